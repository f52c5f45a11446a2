//! Go's function table, `.gopclntab`: in every Go binary, stripped or not, because the
//! runtime walks stacks by it (`runtime/symtab.go`, `debug/gosym/pclntab.go`).

use super::elf::{Elf, u32_at, u64_at};

/// Magic numbers of Go 1.18 and 1.20; older binaries have `.debug_frame` at most.
const GO_1_18: u32 = 0xffff_fff0;
const GO_1_20: u32 = 0xffff_fff1;

/// Where a function's flags are; Go 1.20 put its first line before them.
const FLAGS_1_18: usize = 37;
const FLAGS_1_20: usize = 41;

/// Bits of a function's flags.
const TOP_FRAME: u8 = 1;
const SP_WRITE: u8 = 1 << 1;

/// The table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    names: &'a [u8],
    numbers: &'a [u8],
    functions: &'a [u8],
    count: usize,
    /// Address of Go's code.
    text: u64,
    /// Where flags are in a function's entry.
    flags: usize,
    /// Bytes that steps of addresses are counted in.
    quantum: u64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function<'a> {
    /// First address.
    pub begin: u64,
    /// First address behind it.
    pub end: u64,
    /// Name.
    pub name: &'a str,
    /// Stacks end here.
    pub top: bool,
    /// It sets the stack pointer to another stack.
    pub switches: bool,
    /// First line in the source; 0 if not known, as before Go 1.20.
    pub line: u32,
    steps: &'a [u8],
}

impl<'a> Table<'a> {
    /// The table in the bytes of its section; `None` if it is of another version.
    #[must_use]
    pub fn parse(bytes: &'a [u8], elf: &Elf) -> Option<Self> {
        let flags = match u32_at(bytes, 0)? {
            GO_1_18 => FLAGS_1_18,
            GO_1_20 => FLAGS_1_20,
            _ => return None,
        };
        let word = |index: usize| usize::try_from(u64_at(bytes, 8 + index * 8)?).ok();
        if bytes.get(7) != Some(&8) {
            return None;
        }
        let quantum = u64::from(*bytes.get(6)?);
        // Position-independent binaries leave it to the dynamic linker, new ones leave it out.
        let text = match word(2)? as u64 {
            0 => elf.section(".text")?.address,
            text => text,
        };
        Some(Self {
            names: bytes.get(word(3)?..)?,
            numbers: bytes.get(word(6)?..)?,
            functions: bytes.get(word(7)?..)?,
            count: word(0)?,
            text,
            flags,
            quantum,
        })
    }

    /// Functions in the order of their addresses.
    pub fn functions(self) -> impl Iterator<Item = Function<'a>> {
        (0..self.count).map_while(move |index| self.function(index))
    }

    /// The function that holds an address.
    #[must_use]
    pub fn find(self, address: u64) -> Option<Function<'a>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.function(middle)?.end <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.function(low)
            .filter(|function| (function.begin..function.end).contains(&address))
    }

    fn function(self, index: usize) -> Option<Function<'a>> {
        if index >= self.count {
            return None;
        }
        let at = index.checked_mul(8)?;
        let begin = u32_at(self.functions, at)?;
        let end = u32_at(self.functions, at + 8)?;
        let entry = self
            .functions
            .get(u32_at(self.functions, at + 4)? as usize..)?;
        let name = self.names.get(u32_at(entry, 4)? as usize..)?;
        let name = &name[..name.iter().position(|byte| *byte == 0)?];
        let flags = *entry.get(self.flags)?;
        let line = match self.flags {
            FLAGS_1_20 => u32_at(entry, 36)?,
            _ => 0,
        };
        let steps = match u32_at(entry, 16)? {
            0 => &[],
            offset => self.numbers.get(offset as usize..)?,
        };
        Some(Function {
            begin: self.text.wrapping_add(begin.into()),
            end: self.text.wrapping_add(end.into()),
            name: std::str::from_utf8(name).ok()?,
            top: flags & TOP_FRAME != 0,
            switches: flags & SP_WRITE != 0,
            line,
            steps,
        })
    }

    /// How far the stack pointer is below the return address, from which address on.
    pub fn stack_depths(self, function: Function<'a>) -> impl Iterator<Item = (u64, i32)> {
        let mut rest = function.steps;
        let mut address = function.begin;
        let mut depth = -1i32;
        let mut first = true;
        std::iter::from_fn(move || {
            let change = number(&mut rest)?;
            if change == 0 && !first {
                return None;
            }
            first = false;
            let signed = (change >> 1).cast_signed() ^ -(change & 1).cast_signed();
            depth = depth.checked_add(signed)?;
            let begin = address;
            address = address.checked_add(u64::from(number(&mut rest)?) * self.quantum)?;
            (begin < function.end).then_some((begin, depth))
        })
    }
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u32> {
    let mut out = 0u32;
    for shift in (0..32).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        out |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(out);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        let mut bytes: &[u8] = &[0x05, 0x80, 0x01, 0xff];
        assert_eq!(number(&mut bytes), Some(5));
        assert_eq!(number(&mut bytes), Some(128));
        assert_eq!(number(&mut bytes), None);
    }
}
