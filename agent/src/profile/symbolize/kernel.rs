//! Names of kernel functions, from `/proc/kallsyms`.
//!
//! The list has some 200,000 lines: it is read through once for all addresses, and
//! nothing of it is kept but what was asked for.

use std::fs::File;
use std::io::{BufRead, BufReader};

use crate::profile::symbols::Symbol;

/// Names for sorted addresses.
pub(super) fn names(addresses: &[u64]) -> Vec<Vec<Symbol>> {
    match File::open("/proc/kallsyms") {
        Ok(file) => search(BufReader::with_capacity(64 << 10, file), addresses),
        Err(_) => vec![Vec::new(); addresses.len()],
    }
}

fn search(mut list: impl BufRead, addresses: &[u64]) -> Vec<Vec<Symbol>> {
    // The closest symbol below each address and above the address before it.
    let mut closest: Vec<Option<(u64, String)>> = vec![None; addresses.len()];
    let mut line = Vec::new();
    while let Ok(1..) = list.read_until(b'\n', &mut line) {
        if let Some((address, name)) = symbol(&line) {
            let at = addresses.partition_point(|wanted| *wanted < address);
            if let Some(slot) = closest.get_mut(at)
                && slot.as_ref().is_none_or(|(known, _)| *known < address)
            {
                *slot = Some((address, name.to_owned()));
            }
        }
        line.clear();
    }
    let mut last: Option<String> = None;
    closest
        .into_iter()
        .map(|found| {
            if let Some((_, name)) = found {
                last = Some(name);
            }
            let name = last.clone()?;
            Some(Symbol {
                name,
                ..Symbol::default()
            })
        })
        .map(|symbol| symbol.into_iter().collect())
        .collect()
}

/// `address type name[\t[module]]`, of code. Addresses are 0 for who may not see them.
fn symbol(line: &[u8]) -> Option<(u64, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split_ascii_whitespace();
    let address = u64::from_str_radix(fields.next()?, 16).ok()?;
    let code = matches!(fields.next()?, "t" | "T" | "w" | "W");
    (address != 0 && code).then_some((address, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_symbol_below_counts_in_any_order() {
        let list = b"ffff0300 t third\t[module]\nffff0100 T first\nffff0200 t second\n\
            ffff0250 D data\n0000000000000000 T hidden\nbroken\n";
        let addresses = [
            0xffff_0010,
            0xffff_0100,
            0xffff_0120,
            0xffff_0260,
            0xffff_0300,
        ];
        let names: Vec<String> = search(&list[..], &addresses)
            .iter()
            .map(|symbols| symbols.first().map_or(String::new(), |s| s.name.clone()))
            .collect();
        assert_eq!(names, ["", "first", "first", "second", "third"]);
    }
}
