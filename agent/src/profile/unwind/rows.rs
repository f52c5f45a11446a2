//! Rows of one binary, sorted and made few.

use super::rules::GAP;

/// From `address` (relative to the binary's lowest one) on, `rule` holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// First address.
    pub address: u32,
    /// Number of the rule.
    pub rule: u16,
    /// The end of a function rather than a part of one: gives way to a row that begins
    /// at the same address.
    pub end: bool,
}

/// Gathers the rows of a binary, function by function in any order.
#[derive(Default, Debug)]
pub struct Rows {
    rows: Vec<Row>,
}

/// Most rows of one binary: 128 MiB of them, before they are made few.
const MAX_ROWS: usize = 16 << 20;

impl Rows {
    /// Rows that are in order already.
    pub(super) fn sorted(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// Adds a row. `false` if there are too many.
    pub fn push(&mut self, address: u32, rule: u16) -> bool {
        self.add(Row {
            address,
            rule,
            end: false,
        })
    }

    /// Ends a function.
    pub fn end(&mut self, address: u32) -> bool {
        self.add(Row {
            address,
            rule: GAP,
            end: true,
        })
    }

    fn add(&mut self, row: Row) -> bool {
        if self.rows.len() >= MAX_ROWS {
            return false;
        }
        // Neighbours with the same rule are one row; most of the rows that change nothing
        // but what callee-saved registers are for go here.
        if let Some(last) = self.rows.last()
            && last.rule == row.rule
            && !last.end
            && !row.end
            && last.address <= row.address
        {
            return true;
        }
        self.rows.push(row);
        true
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows in order, at most one for an address, no two neighbours with one rule.
    #[must_use]
    pub fn finish(mut self) -> Vec<Row> {
        let sorted = self
            .rows
            .is_sorted_by(|a, b| (a.address, !a.end) <= (b.address, !b.end));
        if !sorted {
            // Stable: of two functions at one address the later one counts.
            self.rows.sort_by_key(|row| (row.address, !row.end));
        }
        let mut kept = 0;
        for at in 0..self.rows.len() {
            let row = self.rows[at];
            if kept > 0 && self.rows[kept - 1].address == row.address {
                kept -= 1;
            }
            // What came before may have the same rule, now that its successor was replaced.
            if kept > 0 && self.rows[kept - 1].rule == row.rule {
                continue;
            }
            self.rows[kept] = row;
            kept += 1;
        }
        self.rows.truncate(kept);
        self.rows.shrink_to_fit();
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(rows: Rows) -> Vec<(u32, u16)> {
        rows.finish()
            .iter()
            .map(|row| (row.address, row.rule))
            .collect()
    }

    #[test]
    fn functions_in_any_order_become_sorted_rows() {
        let mut rows = Rows::default();
        rows.push(100, 5);
        rows.push(104, 6);
        rows.push(106, 6);
        rows.end(120);
        rows.push(40, 7);
        rows.end(100);
        rows.push(10, 7);
        rows.end(40);
        // The first function goes on as the second begins: one row.
        assert_eq!(pairs(rows), [(10, 7), (100, 5), (104, 6), (120, GAP)]);
    }

    #[test]
    fn an_empty_function_leaves_the_one_before_it_alone() {
        let mut rows = Rows::default();
        rows.push(10, 3);
        rows.push(20, 4);
        rows.push(20, 3);
        rows.end(30);
        assert_eq!(pairs(rows), [(10, 3), (30, GAP)]);
    }
}
