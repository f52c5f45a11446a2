//! What a symbol source is asked and answers. Live it reads binaries
//! ([`super::symbolize`]), in a replay the recording.

use rustc_hash::FxHashMap;

/// Where an address lies.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
pub enum Source {
    /// In the kernel or its modules.
    Kernel,
    /// In a binary, by number, in its own addresses.
    Binary(u32),
    /// In code that a process made, by its id.
    Jit(u32),
}

/// A function at an address.
#[derive(Clone, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Symbol {
    /// Name for people, demangled.
    pub name: String,
    /// Name in the symbol table, empty if it is the same or not known.
    pub system_name: String,
    /// Source file; empty if not known.
    pub file: String,
    /// First line of the function; 0 if not known.
    #[serde(default)]
    pub start: u32,
    /// Line in it; 0 if not known.
    pub line: u32,
    /// Column; 0 if not known.
    pub column: u32,
}

/// Names addresses.
pub trait Symbols {
    /// Names addresses of one source, sorted. `found` is called with the place in
    /// `addresses` and a function: inlined ones first; not at all where nothing is known.
    fn resolve(&mut self, source: Source, addresses: &[u64], found: &mut dyn FnMut(usize, Symbol));
}

/// The answers of another source, kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Kept {
    known: FxHashMap<(Source, u64), Vec<Symbol>>,
}

impl Kept {
    /// Keeps an answer.
    pub fn keep(&mut self, source: Source, address: u64, symbols: Vec<Symbol>) {
        self.known.insert((source, address), symbols);
    }
}

impl Symbols for Kept {
    fn resolve(&mut self, source: Source, addresses: &[u64], found: &mut dyn FnMut(usize, Symbol)) {
        for (at, address) in addresses.iter().enumerate() {
            for symbol in self.known.get(&(source, *address)).into_iter().flatten() {
                found(at, symbol.clone());
            }
        }
    }
}
