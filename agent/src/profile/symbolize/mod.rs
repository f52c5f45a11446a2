//! Names for addresses, from what is on this machine.

mod jit;
mod kernel;
mod native;

use std::fs::File;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::process::binary::Binaries;
use super::process::elf::Elf;
use super::symbols::{Source, Symbol, Symbols};

/// Most memory of remembered names, bytes, roughly.
const CACHE_BYTES: usize = 16 << 20;

/// Names that were looked up, by binary: continuous profiles see the same code again.
#[derive(Default, Debug)]
pub struct Names {
    known: FxHashMap<(Source, u64), Arc<[Symbol]>>,
    bytes: usize,
}

/// Looks names up: each binary is opened once a profile, and closed before the next.
pub struct Live<'a> {
    names: &'a mut Names,
    binaries: &'a Binaries,
}

impl<'a> Live<'a> {
    /// Names from `binaries` and the running system.
    pub fn new(names: &'a mut Names, binaries: &'a Binaries) -> Self {
        Self { names, binaries }
    }
}

impl Symbols for Live<'_> {
    fn resolve(&mut self, source: Source, addresses: &[u64], found: &mut dyn FnMut(usize, Symbol)) {
        let mut unknown = Vec::new();
        for (at, address) in addresses.iter().enumerate() {
            match self.names.known.get(&(source, *address)) {
                Some(symbols) => symbols.iter().for_each(|symbol| found(at, symbol.clone())),
                None => unknown.push((at, *address)),
            }
        }
        if unknown.is_empty() {
            return;
        }
        let asked: Vec<u64> = unknown.iter().map(|(_, address)| *address).collect();
        let answers = match source {
            Source::Kernel => kernel::names(&asked),
            Source::Binary(id) => {
                let binary = self.binaries.get(super::process::binary::BinaryId(id));
                binary.map_or_else(Vec::new, |binary| {
                    binary_names(&binary.file, &binary.elf, &asked)
                })
            }
            Source::Jit(pid) => jit::names(pid, &asked),
        };
        for ((at, address), symbols) in unknown.iter().zip(answers) {
            for symbol in &symbols {
                found(*at, symbol.clone());
            }
            // Code made at run time changes: its names are not kept.
            if !matches!(source, Source::Jit(_)) {
                self.names.keep(source, *address, symbols);
            }
        }
    }
}

fn binary_names(file: &File, elf: &Elf, addresses: &[u64]) -> Vec<Vec<Symbol>> {
    native::names(file, elf, addresses)
}

impl Names {
    fn keep(&mut self, source: Source, address: u64, symbols: Vec<Symbol>) {
        let text = |s: &Symbol| s.name.len() + s.system_name.len() + s.file.len() + size_of_val(s);
        let bytes = 64 + symbols.iter().map(text).sum::<usize>();
        if self.bytes + bytes > CACHE_BYTES {
            self.known.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.known.insert((source, address), symbols.into());
    }
}
