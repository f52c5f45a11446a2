//! Names of code made at run time, from the file that a runtime writes for `perf`
//! (`tools/perf/Documentation/jit-interface.txt` of the kernel).

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use crate::host::discovery::procfs::ProcDir;
use crate::profile::symbols::Symbol;

/// Most bytes read of such a file.
const MAX_FILE: u64 = 64 << 20;
/// Longest name kept, bytes.
const MAX_NAME: usize = 1024;

/// Names for sorted addresses of a process.
pub(super) fn names(pid: u32, addresses: &[u64]) -> Vec<Vec<Symbol>> {
    let file = inside(pid).or_else(|| outside(pid)).unwrap_or_default();
    search(&file, addresses)
}

/// The file as the process sees it, named by the id that the process knows itself by.
fn inside(pid: u32) -> Option<Vec<u8>> {
    let process = ProcDir::open(pid).ok()?;
    let mut status = Vec::new();
    process.read("status", 16 << 10, &mut status).ok()?;
    let status = String::from_utf8_lossy(&status);
    let ids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let own: u32 = ids.split_ascii_whitespace().next_back()?.parse().ok()?;
    process.read_inside(&format!("/tmp/perf-{own}.map"), MAX_FILE)
}

/// The file of a process that ended.
fn outside(pid: u32) -> Option<Vec<u8>> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(format!("/tmp/perf-{pid}.map"))
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut out = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut out).ok()?;
    Some(out)
}

fn search(file: &[u8], addresses: &[u64]) -> Vec<Vec<Symbol>> {
    let mut found: Vec<Option<&[u8]>> = vec![None; addresses.len()];
    // From each address to itself or a later one: the next that has no name yet. So no
    // address is visited for every line, whatever the file says.
    let mut nameless: Vec<usize> = (0..=addresses.len()).collect();
    // Code is made anew where other code was: the last entry holds.
    for line in file.rsplit(|byte| *byte == b'\n') {
        let Some((start, size, name)) = entry(line) else {
            continue;
        };
        let end = start.saturating_add(size);
        let first = addresses.partition_point(|address| *address < start);
        let mut at = next(&mut nameless, first);
        while addresses.get(at).is_some_and(|address| *address < end) {
            found[at] = Some(name);
            nameless[at] = at + 1;
            at = next(&mut nameless, at);
        }
    }
    let symbol = |name: &[u8]| Symbol {
        name: String::from_utf8_lossy(name.get(..MAX_NAME).unwrap_or(name)).into_owned(),
        ..Symbol::default()
    };
    found
        .into_iter()
        .map(|name| name.map(symbol).into_iter().collect())
        .collect()
}

/// Follows references to their end, and shortens the way for the next time.
fn next(references: &mut [usize], mut at: usize) -> usize {
    while references[at] != at {
        references[at] = references[references[at]];
        at = references[at];
    }
    at
}

/// `START SIZE name`, numbers in hexadecimal.
fn entry(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let mut number = || {
        let text = std::str::from_utf8(fields.next()?).ok()?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = fields.next()?.trim_ascii();
    (!name.is_empty()).then_some((start, size, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_of_an_address_names_it() {
        let file = b"1000 10 LazyCompile:*old a.js:1\n2000 20 other thing\nxx\n1000 8 new\n";
        let names: Vec<String> = search(file, &[0xfff, 0x1004, 0x100c, 0x1010, 0x201f, 0x2020])
            .iter()
            .map(|symbols| symbols.first().map_or(String::new(), |s| s.name.clone()))
            .collect();
        let old = "LazyCompile:*old a.js:1";
        assert_eq!(names, ["", "new", old, "", "other thing", ""]);
    }
    #[test]
    fn entries_that_cover_everything_cost_no_more_than_others() {
        let addresses: Vec<u64> = (0..20_000).collect();
        let file = b"0 ffffffffffffffff everything\n".repeat(500_000);
        let begin = std::time::Instant::now();
        let names = search(&file, &addresses);
        assert!(names.iter().all(|symbols| symbols[0].name == "everything"));
        // Every entry for every address would be 10^10 steps.
        assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
    }
}
