//! The little of an ELF file that profiles need: segments, sections, build id.
//!
//! Files are read, never mapped: whoever owns one may truncate it meanwhile, and a
//! mapping would then end the agent.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// A segment that is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Place in the file.
    pub offset: u64,
    /// Address.
    pub address: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Whether it holds code.
    pub code: bool,
}

/// A section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Name.
    pub name: String,
    /// Address, 0 if it is not loaded.
    pub address: u64,
    /// Place in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Whether the bytes are compressed (`SHF_COMPRESSED`).
    pub compressed: bool,
    /// Whether there are bytes in the file.
    pub in_file: bool,
    /// Whether it holds code (`SHF_EXECINSTR`).
    pub code: bool,
}

/// An ELF file's headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elf {
    /// Address of the first instruction; 0 if there is none.
    pub entry: u64,
    /// Loaded segments.
    pub segments: Vec<Segment>,
    /// Sections; none if they were stripped.
    pub sections: Vec<Section>,
    /// GNU build id, lower-case hexadecimal; empty if there is none.
    pub build_id: String,
    /// Whether a dynamic linker is asked for.
    pub interpreter: bool,
    /// Place and length of the section headers.
    pub section_headers: (u64, u64),
    /// Place in the file and address of `.eh_frame_hdr`, from its segment.
    pub eh_frame_hdr: Option<Segment>,
}

const EHDR: usize = 64;
const PHDR: usize = 56;
const SHDR: usize = 64;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const SHT_NOBITS: u32 = 8;
const SHF_EXECINSTR: u64 = 1 << 2;
const SHF_COMPRESSED: u64 = 1 << 11;
const NT_GNU_BUILD_ID: u32 = 3;
const EM_X86_64: u16 = 62;

/// Bounds on what a header may claim.
const MAX_SEGMENTS: usize = 256;
const MAX_SECTIONS: usize = 4096;
const MAX_NAMES: u64 = 1 << 20;
const MAX_NOTES: u64 = 64 << 10;
const MAX_BUILD_ID: usize = 64;

impl Elf {
    /// Reads the headers of a 64-bit x86-64 executable or library.
    ///
    /// # Errors
    /// `InvalidData` if it is something else, or those of reading.
    pub fn read(file: &File) -> io::Result<Self> {
        let head = bytes(file, 0, EHDR as u64)?;
        if !head.starts_with(b"\x7fELF\x02\x01") || u16_at(&head, 18) != Some(EM_X86_64) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let field = |at| u64_at(&head, at).ok_or(io::ErrorKind::InvalidData);
        let half = |at| u16_at(&head, at).map_or(0, usize::from);
        let mut elf = Self {
            entry: field(24)?,
            segments: Vec::new(),
            sections: Vec::new(),
            build_id: String::new(),
            interpreter: false,
            section_headers: (0, 0),
            eh_frame_hdr: None,
        };
        let (count, size) = (half(56).min(MAX_SEGMENTS), half(54));
        if size == PHDR {
            let headers = bytes(file, field(32)?, (count * PHDR) as u64)?;
            for header in headers.chunks_exact(PHDR) {
                elf.segment(file, header);
            }
        }
        let (count, size, names) = (half(60).min(MAX_SECTIONS), half(58), half(62));
        let table = field(40)?;
        if size == SHDR && table != 0 {
            // Sections may be missing, or past the end of a cut file: nothing needs them.
            let len = (count * SHDR) as u64;
            let headers = bytes(file, table, len).unwrap_or_default();
            elf.section_headers = (table, len);
            elf.sections(file, &headers, names);
        }
        if elf.segments.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(elf)
    }

    fn segment(&mut self, file: &File, header: &[u8]) {
        let field = |at| u64_at(header, at).unwrap_or(0);
        let segment = Segment {
            offset: field(8),
            address: field(16),
            size: field(32),
            code: u32_at(header, 4).unwrap_or(0) & PF_X != 0,
        };
        match u32_at(header, 0) {
            Some(PT_LOAD) => self.segments.push(segment),
            Some(PT_INTERP) => self.interpreter = true,
            Some(PT_GNU_EH_FRAME) => self.eh_frame_hdr = Some(segment),
            Some(PT_NOTE) if self.build_id.is_empty() => {
                let size = segment.size.min(MAX_NOTES);
                let notes = bytes(file, segment.offset, size).unwrap_or_default();
                self.build_id = build_id(&notes).unwrap_or_default();
            }
            _ => {}
        }
    }

    fn sections(&mut self, file: &File, headers: &[u8], names: usize) {
        let field = |header: &[u8], at| u64_at(header, at).unwrap_or(0);
        let names = headers
            .chunks_exact(SHDR)
            .nth(names)
            .map(|header| {
                let size = field(header, 32).min(MAX_NAMES);
                bytes(file, field(header, 24), size).unwrap_or_default()
            })
            .unwrap_or_default();
        self.sections = headers
            .chunks_exact(SHDR)
            .map(|header| {
                let name = u32_at(header, 0).unwrap_or(0) as usize;
                let name = names.get(name..).unwrap_or_default();
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                Section {
                    name: String::from_utf8_lossy(name).into_owned(),
                    address: field(header, 16),
                    offset: field(header, 24),
                    size: field(header, 32),
                    compressed: field(header, 8) & SHF_COMPRESSED != 0,
                    in_file: u32_at(header, 4) != Some(SHT_NOBITS),
                    code: field(header, 8) & SHF_EXECINSTR != 0,
                }
            })
            .collect();
    }

    /// The section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name && s.in_file)
    }

    /// Lowest address.
    #[must_use]
    pub fn base(&self) -> u64 {
        let lowest = self.segments.iter().map(|s| s.address).min();
        lowest.unwrap_or(0) & !0xfff
    }

    /// First address behind the code.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments
            .iter()
            .filter(|segment| segment.code)
            .map(|segment| segment.address.saturating_add(segment.size))
            .max()
            .unwrap_or(0)
    }

    /// Where there is code: its sections, or all of the segments that hold it.
    pub fn code(&self) -> Vec<Range<u64>> {
        let sections = self.sections.iter().filter(|s| s.code && s.in_file);
        let sections = sections.map(|s| (s.address, s.size));
        let segments = self.segments.iter().filter(|s| s.code);
        let segments = segments.map(|s| (s.address, s.size));
        let ranges = |(address, size): (u64, u64)| address..address.saturating_add(size);
        let found: Vec<_> = sections.map(ranges).collect();
        if found.is_empty() {
            return segments.map(ranges).collect();
        }
        found
    }

    /// The bytes of code at addresses, if they all are in one segment of the file.
    #[must_use]
    pub fn code_bytes(&self, file: &File, range: Range<u64>) -> Option<Vec<u8>> {
        let holds = |s: &&Segment| {
            let all = s.address..s.address.saturating_add(s.size);
            s.code && all.contains(&range.start) && range.end <= all.end
        };
        let segment = self.segments.iter().find(holds)?;
        let skipped = range.start - segment.address;
        let offset = segment.offset.checked_add(skipped)?;
        bytes(file, offset, range.end.checked_sub(range.start)?).ok()
    }

    /// The address of a place in the file, within code.
    #[must_use]
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        self.segments
            .iter()
            .filter(|segment| segment.code)
            .find(|s| {
                // A mapping begins at a page, before its segment does.
                let begin = s.offset & !0xfff;
                (begin..s.offset.saturating_add(s.size)).contains(&offset)
            })
            .map(|s| s.address.wrapping_add(offset).wrapping_sub(s.offset))
    }
}

/// Reads `len` bytes at `offset`.
///
/// # Errors
/// `UnexpectedEof` if there are fewer, or those of reading.
pub fn bytes(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    // A header may claim any length: do not ask for memory before the bytes are there.
    let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidData)?;
    if end > file.metadata()?.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut out = vec![0; len];
    file.read_exact_at(&mut out, offset)?;
    Ok(out)
}

/// The build id in a segment of notes.
fn build_id(mut notes: &[u8]) -> Option<String> {
    loop {
        let name_len = u32_at(notes, 0)? as usize;
        let len = u32_at(notes, 4)? as usize;
        let kind = u32_at(notes, 8)?;
        let name_end = 12usize.checked_add(name_len.checked_next_multiple_of(4)?)?;
        let name = notes.get(12..name_end)?;
        let value = notes.get(name_end..name_end.checked_add(len)?)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && value.len() <= MAX_BUILD_ID {
            return Some(value.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(name_end.checked_add(len.checked_next_multiple_of(4)?)?..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(field.try_into().ok()?))
}

/// The little-endian `u32` at `at`.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

/// The little-endian `u64` at `at`.
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    #[test]
    fn the_running_test_is_read() {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::read(&file).unwrap();
        assert!(elf.section(".eh_frame").is_some());
        assert!(elf.eh_frame_hdr.is_some() && elf.interpreter);
        let code = elf.segments.iter().find(|s| s.code).unwrap();
        assert_eq!(elf.address_of(code.offset + 5), Some(code.address + 5));
        assert!(elf.end() > elf.base());
    }

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        let note = |kind: u32, name: &[u8], value: &[u8]| {
            let mut out = Vec::new();
            for field in [name.len() as u32, value.len() as u32, kind] {
                out.extend_from_slice(&field.to_le_bytes());
            }
            out.extend_from_slice(name);
            out.extend_from_slice(value);
            out.resize(out.len().next_multiple_of(4), 0);
            out
        };
        let notes = [note(4, b"Go\0\0", b"abcde"), note(3, b"GNU\0", &[0xab, 1])].concat();
        assert_eq!(build_id(&notes).as_deref(), Some("ab01"));
        assert_eq!(build_id(&notes[..notes.len() - 3]), None);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_quietly(mut garbage in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut file = tempfile::tempfile().unwrap();
            for (to, from) in garbage.iter_mut().zip(*b"\x7fELF\x02\x01") {
                *to = from;
            }
            if garbage.len() > 20 {
                garbage[18] = 62;
                garbage[19] = 0;
            }
            file.write_all(&garbage).unwrap();
            let _ = Elf::read(&file);
        }
    }
}
