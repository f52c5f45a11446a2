//! Sorted rows as the blocks of a kernel table; see [`remora_common::profile`].

use remora_common::profile::{BLOCK_ROWS, Block, PAGE_BITS, page_entry, row};

use super::Row;
use super::rules::GAP;

/// The table of a binary whose addresses end at `end`. `None` if the rows of a page do
/// not fit into its blocks, which takes a row for every single byte.
#[must_use]
pub fn table(rows: &[Row], end: u32) -> Option<Vec<Block>> {
    let pages = (end >> PAGE_BITS) as usize + 1;
    let index_blocks = pages.div_ceil(BLOCK_ROWS);
    let mut blocks: Vec<Block> = vec![[0; BLOCK_ROWS]; index_blocks];
    blocks.reserve(rows.len() / BLOCK_ROWS + pages);
    let mut at = 0;
    let mut carried = GAP;
    let mut page_rows: Vec<u32> = Vec::new();
    for page in 0..pages {
        page_rows.clear();
        while let Some(next) = rows.get(at)
            && (next.address >> PAGE_BITS) as usize == page
        {
            let pc = (next.address & 0xffff) as u16;
            if page_rows.is_empty() && pc > 0 {
                page_rows.push(row(0, carried));
            }
            page_rows.push(row(pc, next.rule));
            carried = next.rule;
            at += 1;
        }
        if page_rows.is_empty() {
            // A page of which nothing is known needs no block.
            if carried == GAP {
                continue;
            }
            page_rows.push(row(0, carried));
        }
        let first = u32::try_from(blocks.len()).ok().filter(|n| *n < 1 << 24)?;
        let chunks = page_rows.chunks(BLOCK_ROWS);
        let count = u8::try_from(chunks.len()).ok()?;
        for chunk in chunks {
            // The rest is filled with the last row, which a search may find as well.
            let last = *chunk.last()?;
            let mut block = [last; BLOCK_ROWS];
            block[..chunk.len()].copy_from_slice(chunk);
            blocks.push(block);
        }
        blocks[page / BLOCK_ROWS][page % BLOCK_ROWS] = page_entry(first, count);
    }
    Some(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use remora_common::profile::{row_pc, row_rule};

    /// The kernel's search, in words that need no verifier.
    fn find(blocks: &[Block], address: u32) -> u16 {
        let page = (address >> PAGE_BITS) as usize;
        let entry = blocks[page / BLOCK_ROWS][page % BLOCK_ROWS];
        let (first, count) = ((entry >> 8) as usize, (entry & 0xff) as usize);
        let pc = (address & 0xffff) as u16;
        blocks[first..first + count]
            .iter()
            .flatten()
            .take_while(|row| row_pc(**row) <= pc)
            .last()
            .map_or(GAP, |row| row_rule(*row))
    }

    proptest! {
        #[test]
        fn every_address_finds_its_row(
            steps in proptest::collection::vec((1u32..40_000, 0u16..9), 0..2000),
            asked in proptest::collection::vec(any::<u32>(), 64),
        ) {
            let mut address = 0;
            let rows: Vec<Row> = steps.iter().map(|(step, rule)| {
                address += step;
                Row { address, rule: *rule, end: false }
            }).collect();
            let end = address + 5;
            let blocks = table(&rows, end).unwrap();
            for asked in asked.iter().map(|a| a % end).chain(rows.iter().map(|r| r.address)) {
                let expected = rows.iter().take_while(|row| row.address <= asked).last();
                prop_assert_eq!(find(&blocks, asked), expected.map_or(GAP, |row| row.rule));
            }
        }
    }

    #[test]
    fn dense_pages_take_several_blocks_and_empty_ones_none() {
        let rows: Vec<Row> = (0..1000)
            .map(|n| Row {
                address: 0x30000 + n * 7,
                rule: (n % 50) as u16 + 2,
                end: false,
            })
            .chain([Row {
                address: 0x3fff0,
                rule: GAP,
                end: true,
            }])
            .collect();
        let blocks = table(&rows, 0x80000).unwrap();
        assert_eq!(blocks.len(), 1 + 4);
        assert_eq!(find(&blocks, 0x30000 + 7 * 999 + 3), 999 % 50 + 2);
        assert_eq!(find(&blocks, 0x70000), GAP);
    }
}
