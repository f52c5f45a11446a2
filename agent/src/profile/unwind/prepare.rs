//! From a binary's file to its table.

use std::fs::File;
use std::io::{self, Read as _};

use remora_common::profile::Block;

use super::cfi::{self, Layout, Section};
use super::{Rows, Rules, go, infer, table};
use crate::profile::process::elf::{self, Elf, u32_at, u64_at};
use crate::profile::process::gopclntab::Table;

/// Longest unwind section that is read, bytes.
const MAX_SECTION: u64 = 256 << 20;

/// What came out of a binary.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Prepared {
    /// The table; empty if the binary has no unwind information.
    pub blocks: Vec<Block>,
    /// Rows in it.
    pub rows: usize,
    /// Functions described.
    pub functions: u64,
    /// Functions whose description is malformed.
    pub malformed: u64,
}

/// Reads the unwind information of a binary.
///
/// # Errors
/// Those of reading, or `InvalidData` if addresses go beyond 4 GiB.
pub fn prepare(file: &File, elf: &Elf, rules: &mut Rules) -> io::Result<Prepared> {
    let base = elf.base();
    let end = elf.end();
    let size = u32::try_from(end.saturating_sub(base)).map_err(io::Error::other)?;
    let address = |name| elf.section(name).map_or(0, |section| section.address);
    let layout = Layout {
        text: address(".text"),
        got: address(".got"),
        base,
        end,
    };
    let mut rows = Rows::default();
    let mut read = cfi::Read::default();
    if let Some((bytes, address)) = eh_frame(file, elf)? {
        let section = Section {
            bytes: &bytes,
            address,
        };
        read = cfi::eh_frame(section, layout, rules, &mut rows);
    }
    if let Some(bytes) = gopclntab(file, elf)
        && let Some(functions) = Table::parse(&bytes, elf)
    {
        let code = go::Code { file, elf };
        read.functions += go::functions(functions, code, rules, &mut rows);
    }
    if rows.is_empty()
        && let Some(section) = elf.section(".debug_frame")
    {
        let bytes = section_bytes(file, section)?;
        read = cfi::debug_frame(&bytes, layout, rules, &mut rows);
    }
    read.functions += infer::fill(file, elf, rules, &mut rows);
    let mut out = Prepared {
        functions: read.functions,
        malformed: read.malformed,
        ..Prepared::default()
    };
    if !rows.is_empty() {
        let rows = rows.finish();
        out.rows = rows.len();
        out.blocks = table(&rows, size).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(out)
}

/// The bytes of Go's function table, in a Go binary.
pub(crate) fn gopclntab(file: &File, elf: &Elf) -> Option<Vec<u8>> {
    let names = [".gopclntab", ".data.rel.ro.gopclntab"];
    let section = names.iter().find_map(|name| elf.section(name))?;
    section_bytes(file, section).ok()
}

/// The bytes of `.eh_frame` and their address; where sections were stripped, from where
/// `.eh_frame_hdr` says it is to the end of that segment.
fn eh_frame(file: &File, elf: &Elf) -> io::Result<Option<(Vec<u8>, u64)>> {
    if let Some(section) = elf.section(".eh_frame") {
        let bytes = elf::bytes(file, section.offset, bounded(section.size)?)?;
        return Ok(Some((bytes, section.address)));
    }
    let Some(header) = elf.eh_frame_hdr else {
        return Ok(None);
    };
    // Linux Standard Base, Core 5.0, section 10.6.2: version 1, encodings, then the
    // pointer. DW_EH_PE_pcrel | DW_EH_PE_sdata4 is what every linker writes.
    let head = elf::bytes(file, header.offset, 8)?;
    if head.first() != Some(&1) || head.get(1) != Some(&0x1b) {
        return Ok(None);
    }
    let pointer = u32_at(&head, 4).unwrap_or(0).cast_signed();
    let address = header
        .address
        .wrapping_add(4)
        .wrapping_add_signed(pointer.into());
    let holds =
        |s: &&elf::Segment| (s.address..s.address.saturating_add(s.size)).contains(&address);
    let Some(segment) = elf.segments.iter().find(holds) else {
        return Ok(None);
    };
    let skipped = address - segment.address;
    let bytes = elf::bytes(
        file,
        segment.offset + skipped,
        bounded(segment.size - skipped)?,
    )?;
    Ok(Some((bytes, address)))
}

fn bounded(size: u64) -> io::Result<u64> {
    if size > MAX_SECTION {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(size)
}

/// The bytes of a section, decompressed.
pub(crate) fn section_bytes(file: &File, section: &elf::Section) -> io::Result<Vec<u8>> {
    let bytes = elf::bytes(file, section.offset, bounded(section.size)?)?;
    if !section.compressed {
        return Ok(bytes);
    }
    // `Elf64_Chdr`: type (1 is zlib), reserved, size, alignment.
    if u32_at(&bytes, 0) != Some(1) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let size = bounded(u64_at(&bytes, 8).ok_or(io::ErrorKind::InvalidData)?)?;
    let mut out = Vec::new();
    let packed = bytes.get(24..).unwrap_or_default();
    flate2::read::ZlibDecoder::new(packed)
        .take(size)
        .read_to_end(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_has_rows_for_most_of_its_code() {
        let maps = std::fs::read("/proc/self/maps").unwrap();
        let regions = crate::profile::process::maps::parse(&maps, 100);
        let libc = regions.iter().find(|r| r.path.contains("libc.so")).unwrap();
        let file = File::open(&libc.path).unwrap();
        let elf = Elf::read(&file).unwrap();
        let mut rules = Rules::default();
        let prepared = prepare(&file, &elf, &mut rules).unwrap();
        assert!(
            prepared.functions > 2000 && prepared.malformed == 0,
            "{prepared:?}"
        );
        assert!(prepared.rows > 10_000);
        // Four bytes a row, and little beside them.
        assert!(prepared.blocks.len() * 1024 < prepared.rows * 6);
        // Stripped of its sections, the same is found by the segment.
        let stripped = Elf {
            sections: Vec::new(),
            ..elf
        };
        let again = prepare(&file, &stripped, &mut Rules::default()).unwrap();
        assert_eq!(
            (again.functions, again.rows),
            (prepared.functions, prepared.rows)
        );
    }
}
