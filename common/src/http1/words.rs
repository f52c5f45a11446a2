//! Eight bytes at a time, without branches: the verifier would follow each of them.

use super::WINDOW;

pub(super) const ONES: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGH: u64 = 0x8080_8080_8080_8080;
const LF: u64 = 0x0a * ONES;
pub(super) const LOWER: u64 = 0x20 * ONES;

#[inline(always)]
pub(super) const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// The eight bytes at `at % WINDOW`, the first one lowest.
///
/// # Safety
/// `window` is readable for `WINDOW + SLACK` bytes.
#[inline(always)]
pub(super) unsafe fn load(window: *const u8, at: usize) -> u64 {
    let at = within(at);
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: `at < WINDOW`, and SLACK covers the load, which needs no alignment.
    return u64::from_le(unsafe { window.add(at).cast::<u64>().read_unaligned() });
    // For BPF the compiler makes eight loads of a byte each out of an unaligned one,
    // though the processors that have a JIT all have unaligned loads, and the verifier
    // allows them on these.
    #[cfg(target_arch = "bpf")]
    {
        let word: u64;
        // SAFETY: `at < WINDOW`, and SLACK covers the load; it writes nothing.
        unsafe {
            core::arch::asm!("{word} = *(u64 *)({from} + 0)",
                word = out(reg) word, from = in(reg) window.add(at),
                options(pure, readonly, nostack, preserves_flags));
        }
        word
    }
}

/// `at % WINDOW`. On BPF the compiler must not know when that changes nothing, and leave
/// it out: old verifiers lose bounds that were found by comparing another copy of a value.
#[inline(always)]
#[cfg_attr(
    not(target_arch = "bpf"),
    allow(unused_mut, reason = "changed on BPF only")
)]
pub(super) fn within(mut at: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    // SAFETY: a register is copied to itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) at, options(pure, nomem, nostack, preserves_flags));
    }
    at & (WINDOW - 1)
}

/// Zero, in a register of its own: a constant that the compiler keeps for later use would
/// make states differ for the verifier.
#[inline(always)]
pub(super) fn zero() -> u64 {
    #[cfg(not(target_arch = "bpf"))]
    return 0;
    #[cfg(target_arch = "bpf")]
    {
        let value: u64;
        // SAFETY: sets one register.
        unsafe {
            core::arch::asm!("{0} = 0", out(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
}

/// Index of the first LF in `bytes`, or 8.
#[inline(always)]
pub(crate) const fn first_lf(bytes: u64) -> usize {
    let x = bytes ^ LF;
    let hits = x.wrapping_sub(ONES) & !x & HIGH;
    if hits == 0 {
        return 8;
    }
    lowest(hits) as usize
}

/// The high bit of each byte that is in `from..=to`, for bounds below 0x7f, in a word whose
/// bytes all have their high bit set: so no byte borrows from the next one.
#[inline(always)]
pub(super) const fn in_range(wide: u64, from: u64, to: u64) -> u64 {
    wide.wrapping_sub(from * ONES) & !wide.wrapping_sub((to + 1) * ONES)
}

/// The high bit of each byte that is a character of a token (RFC 9110, section 5.6.2), as a
/// method is one.
#[inline(always)]
pub(super) const fn token(bytes: u64) -> u64 {
    let wide = bytes | HIGH;
    let visible = in_range(wide, 0x21, 0x7e);
    // The delimiters: "(),/:;<=>?@[\]{}
    let delimiters = in_range(wide, 0x22, 0x22)
        | in_range(wide, 0x28, 0x29)
        | in_range(wide, 0x2c, 0x2c)
        | in_range(wide, 0x2f, 0x2f)
        | in_range(wide, 0x3a, 0x40)
        | in_range(wide, 0x5b, 0x5d)
        | in_range(wide, 0x7b, 0x7b)
        | in_range(wide, 0x7d, 0x7d);
    visible & !delimiters & !bytes & HIGH
}

/// The high bit of each byte that is a space.
#[inline(always)]
pub(super) const fn space(bytes: u64) -> u64 {
    in_range(bytes | HIGH, 0x20, 0x20) & !bytes & HIGH
}

/// The index of the lowest byte whose high bit is set; 0 if none is. Multiplying by the
/// constant moves the byte whose value is the index to the top: BPF has no
/// count-trailing-zeros.
#[inline(always)]
pub(super) const fn lowest(bits: u64) -> u64 {
    ((bits & bits.wrapping_neg()) >> 7).wrapping_mul(0x0001_0203_0405_0607) >> 56
}
