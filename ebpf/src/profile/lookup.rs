//! From an address to the rule that holds there.

use remora_common::profile::{
    BLOCK_ROWS, Mapping, PAGE_BITS, PROCESS_MAPPINGS, Rule, cfa, row_pc, row_rule, stop,
};

use crate::maps::{MAPPINGS, RULES, Scratch, TABLES};
use crate::memory::{bounded, opaque};

/// 1 if `a <= b`, else 0, both below 2^32. Not a comparison: that would be a branch, and
/// each step of a search would double what the verifier has to walk.
#[inline(always)]
fn at_most(a: u64, b: u64) -> u64 {
    1 - (opaque(b.wrapping_sub(a)) >> 63)
}

/// Finds the mapping that holds `address`.
///
/// # Safety
/// `scratch` is a valid map value.
#[inline(always)]
pub unsafe fn mapping(scratch: *mut Scratch, address: u64) -> Result<(), u8> {
    // SAFETY: promised by the caller.
    unsafe {
        // Callers are mostly in the mapping of their callees.
        if address.wrapping_sub((*scratch).mapping.begin)
            < (*scratch).mapping.end - (*scratch).mapping.begin
        {
            return Ok(());
        }
        let mut low = (*scratch).first;
        let mut left = (*scratch).count;
        if left == 0 {
            return Err(stop::NO_MAPPING);
        }
        let mut step = PROCESS_MAPPINGS;
        while step > 1 {
            step >>= 1;
            if left < 2 {
                continue;
            }
            let half = left >> 1;
            let Some(middle) = MAPPINGS.get_ptr(low + half) else {
                return Err(stop::NO_MAPPING);
            };
            if (*middle).begin <= address {
                low += half;
            }
            left -= half;
        }
        let Some(found) = MAPPINGS.get_ptr(low) else {
            return Err(stop::NO_MAPPING);
        };
        let Mapping { begin, end, .. } = *found;
        if address.wrapping_sub(begin) >= end.wrapping_sub(begin) {
            return Err(stop::NO_MAPPING);
        }
        (*scratch).mapping = *found;
        Ok(())
    }
}

/// Finds the rule for an address within a table.
#[inline(always)]
pub fn rule(table: u32, address: u64) -> Result<*const Rule, u8> {
    let Some(blocks) = TABLES.get(table) else {
        return Err(stop::PREPARING);
    };
    let page = address >> PAGE_BITS;
    let pc = address & 0xffff;
    let Some(index) = blocks.get_ptr((page / BLOCK_ROWS as u64) as u32) else {
        return Err(stop::NO_ROW);
    };
    // SAFETY: a valid map value, and a bounded index.
    let entry = unsafe { (*index)[bounded(page, 0xff) as usize] };
    let mut low = entry >> 8;
    let mut left = entry & 0xff;
    if left == 0 {
        // No row on the whole page: the rule for gaps.
        return RULES.get_ptr(0).ok_or(stop::NO_ROW);
    }
    let mut round = 0;
    while round < 8 {
        round += 1;
        if left < 2 {
            break;
        }
        let half = left >> 1;
        let Some(middle) = blocks.get_ptr(low + half) else {
            return Err(stop::NO_ROW);
        };
        // SAFETY: a valid map value.
        let first = row_pc(unsafe { (*middle)[0] });
        low += half * at_most(first as u64, pc) as u32;
        left -= half;
    }
    let Some(rows) = blocks.get_ptr(low) else {
        return Err(stop::NO_ROW);
    };
    let rows: *const u32 = rows.cast();
    let mut at = 0u64;
    let mut step = BLOCK_ROWS as u64 / 2;
    while step > 0 {
        // SAFETY: a valid map value of 256 rows, and an index below.
        let row = unsafe { *rows.add(bounded(at + step, 0xff) as usize) };
        at += step * at_most(row_pc(row) as u64, pc);
        step >>= 1;
    }
    // SAFETY: as above.
    let row = unsafe { *rows.add(bounded(at, 0xff) as usize) };
    let Some(rule) = RULES.get_ptr(row_rule(row) as u32) else {
        return Err(stop::NO_ROW);
    };
    // SAFETY: a valid map value.
    if unsafe { (*rule).cfa } == cfa::NONE {
        return Err(stop::NO_ROW);
    }
    Ok(rule)
}
