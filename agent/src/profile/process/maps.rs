//! `/proc/PID/maps` (proc_pid_maps(5)): what code a process has mapped.

use std::ops::Range;

/// An executable mapping.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// Addresses.
    pub range: Range<u64>,
    /// Place of the first byte in the file.
    pub offset: u64,
    /// Device, as the kernel writes it, and inode: 0 if no file is mapped.
    pub device: (u32, u32),
    /// See `device`.
    pub inode: u64,
    /// Path as the process sees it, or a name in brackets; empty if it has none.
    pub path: String,
}

/// Addresses that are the kernel's.
const KERNEL: u64 = 1 << 63;

/// Longest path kept, bytes.
const MAX_PATH: usize = 4096;

/// Executable mappings in `text`, in order, at most `limit`. Lines that are not as the
/// manual says are left out.
pub fn parse(text: &[u8], limit: usize) -> Vec<Region> {
    text.split(|byte| *byte == b'\n')
        .filter_map(region)
        .take(limit)
        .collect()
}

fn region(line: &[u8]) -> Option<Region> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut next = || std::str::from_utf8(fields.next()?).ok();
    let (begin, end) = next()?.split_once('-')?;
    let permissions = next()?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = u64::from_str_radix(next()?, 16).ok()?;
    let (major, minor) = next()?.split_once(':')?;
    let device = (
        u32::from_str_radix(major, 16).ok()?,
        u32::from_str_radix(minor, 16).ok()?,
    );
    let inode = next()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    let range = u64::from_str_radix(begin, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
    if range.is_empty() || range.end > KERNEL {
        return None;
    }
    let path = path.get(..MAX_PATH).unwrap_or(path);
    Some(Region {
        range,
        offset,
        device,
        inode,
        path: String::from_utf8_lossy(path).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_mappings_are_kept_with_any_path() {
        let text = b"55d0-55d4 r--p 00000000 fe:01 123  /usr/bin/a\n\
            55d4-55f0 r-xp 00004000 fe:01 123   /srv/my program (deleted)\n\
            7f00-7f10 rwxp 00000000 00:00 0 \n\
            7f20-7f30 r-xp 00000000 00:00 0                          [vdso]\n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n\
            garbage\n7f31-7f30 r-xp 0 0:0 0\n";
        let regions = parse(text, 100);
        let seen: Vec<_> = regions
            .iter()
            .map(|r| (r.range.start, r.offset, r.inode, r.path.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (0x55d4, 0x4000, 123, "/srv/my program (deleted)"),
                (0x7f00, 0, 0, ""),
                (0x7f20, 0, 0, "[vdso]"),
            ]
        );
        assert_eq!(regions[0].device, (0xfe, 1));
        assert_eq!(parse(text, 1).len(), 1);
    }
}
