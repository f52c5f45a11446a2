//! Names from a binary's symbols and debug information, through blazesym.
//!
//! blazesym maps what it reads. Files belong to others, who may truncate them at any
//! time, which would end the agent; so it gets a copy of what it needs, in memory and
//! with holes for the rest, for as long as it takes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use blazesym::symbolize::source::{self, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolizer};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::profile::process::elf::{Elf, Section};
use crate::profile::process::gopclntab::Table;
use crate::profile::process::memory_file;
use crate::profile::symbols::Symbol;
use crate::profile::unwind::gopclntab;

/// Most bytes copied of a binary's symbols, and of its debug information.
const MAX_SYMBOLS: u64 = 128 << 20;
const MAX_DEBUG: u64 = 64 << 20;
/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

const SYMBOLS: [&str; 5] = [".symtab", ".strtab", ".dynsym", ".dynstr", ".shstrtab"];

/// Names for addresses of a binary, in its own terms.
pub(super) fn names(file: &File, elf: &Elf, addresses: &[u64]) -> Vec<Vec<Symbol>> {
    if elf.section(".symtab").is_none()
        && let Some(bytes) = gopclntab(file, elf)
        && let Some(functions) = Table::parse(&bytes, elf)
    {
        return addresses
            .iter()
            .map(|address| go(functions, *address).into_iter().collect())
            .collect();
    }
    if elf.section(".symtab").is_none()
        && let Some((file, elf)) = separate(&elf.build_id)
    {
        return of_file(&file, &elf, addresses);
    }
    let mut named = of_file(file, elf, addresses);
    if let Some(bytes) = gopclntab(file, elf)
        && let Some(functions) = Table::parse(&bytes, elf)
    {
        first_lines(functions, &mut named);
    }
    named
}

/// Adds where functions begin in the source, which symbols do not say. Of functions that are
/// inlined everywhere Go's table has no entry.
fn first_lines(functions: Table<'_>, named: &mut [Vec<Symbol>]) {
    let asked: FxHashSet<&str> = named.iter().flatten().map(|s| s.name.as_str()).collect();
    let lines: FxHashMap<String, u32> = functions
        .functions()
        .filter(|function| function.line > 0 && asked.contains(function.name))
        .map(|function| (function.name.to_owned(), function.line))
        .collect();
    for symbol in named.iter_mut().flatten() {
        symbol.start = lines.get(&symbol.name).copied().unwrap_or(0);
    }
}

/// The separate debug information of a binary, where this host has it installed.
fn separate(build_id: &str) -> Option<(File, Elf)> {
    let (first, rest) = build_id.split_at_checked(2)?;
    let file = File::open(format!("/usr/lib/debug/.build-id/{first}/{rest}.debug")).ok()?;
    let elf = Elf::read(&file).ok()?;
    (elf.build_id == build_id && elf.section(".symtab").is_some()).then_some((file, elf))
}

fn of_file(file: &File, elf: &Elf, addresses: &[u64]) -> Vec<Vec<Symbol>> {
    let none = || vec![Vec::new(); addresses.len()];
    let debug_bytes: u64 = debug(elf).map(|section| section.size).sum();
    let with_debug = debug_bytes > 0 && debug_bytes <= MAX_DEBUG;
    let Ok(copy) = copy(file, elf, with_debug) else {
        return none();
    };
    // The binary may be malformed on purpose: a panic of the parser names nothing.
    let asked = AssertUnwindSafe(|| ask(&copy, with_debug, addresses));
    catch_unwind(asked).ok().flatten().unwrap_or_else(none)
}

/// The name that a stripped Go binary has for an address.
fn go(functions: Table<'_>, address: u64) -> Option<Symbol> {
    functions.find(address).map(|function| Symbol {
        name: function.name.to_owned(),
        start: function.line,
        ..Symbol::default()
    })
}

fn ask(copy: &File, with_debug: bool, addresses: &[u64]) -> Option<Vec<Vec<Symbol>>> {
    let symbolizer = Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_code_info(with_debug)
        .enable_inlined_fns(with_debug)
        // No links to other files: they would be followed on behalf of the binary.
        .set_debug_dirs(None::<[&str; 0]>)
        .build();
    let mut elf = source::Elf::new(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    elf.debug_syms = with_debug;
    let answers = symbolizer
        .symbolize(&Source::Elf(elf), Input::VirtOffset(addresses))
        .ok()?;
    let named = answers
        .iter()
        .map(|answer| answer.as_sym().map_or_else(Vec::new, lines));
    Some(named.collect())
}

/// A symbol with what was inlined into it, the innermost first.
fn lines(symbol: &Sym<'_>) -> Vec<Symbol> {
    let named = |name: &str, code: Option<&CodeInfo<'_>>| Symbol {
        name: name.to_owned(),
        system_name: String::new(),
        start: 0,
        file: code.map_or_else(String::new, |code| code.to_path().display().to_string()),
        line: code.and_then(|code| code.line).unwrap_or(0),
        column: code.and_then(|code| code.column).map_or(0, u32::from),
    };
    let mut out: Vec<Symbol> = symbol
        .inlined
        .iter()
        .rev()
        .map(|inlined| named(&inlined.name, inlined.code_info.as_ref()))
        .collect();
    out.push(named(&symbol.name, symbol.code_info.as_deref()));
    out
}

fn debug(elf: &Elf) -> impl Iterator<Item = &Section> {
    elf.sections
        .iter()
        .filter(|section| section.in_file && section.name.starts_with(".debug_"))
}

/// Headers and the sections that name things, at their places in an otherwise empty file.
fn copy(file: &File, elf: &Elf, with_debug: bool) -> io::Result<File> {
    let out = memory_file(c"symbols")?;
    let size = file.metadata()?.len();
    out.set_len(size)?;
    let mut buffer = vec![0; CHUNK];
    let mut part = |offset: u64, len: u64| -> io::Result<()> {
        let end = offset.saturating_add(len).min(size);
        let mut at = offset;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let read = file.read_at(&mut buffer[..wanted], at)?;
            if read == 0 {
                break;
            }
            out.write_all_at(&buffer[..read], at)?;
            at += read as u64;
        }
        Ok(())
    };
    // The file header, with the program headers that follow it in every binary.
    part(0, 4096)?;
    part(elf.section_headers.0, elf.section_headers.1)?;
    let symbols = elf
        .sections
        .iter()
        .filter(|section| section.in_file && SYMBOLS.contains(&section.name.as_str()));
    let mut copied = 0;
    for section in symbols.chain(debug(elf).filter(|_| with_debug)) {
        copied += section.size;
        if copied > MAX_SYMBOLS {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        part(section.offset, section.size)?;
    }
    Ok(out)
}
