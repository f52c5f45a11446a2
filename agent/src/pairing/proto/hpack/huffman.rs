//! The Huffman code of header strings (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical, so the lengths of its codes are all there is to know. Codes of
//! up to [`FAST_BITS`] bits, which is all of the usual text, are found with one look;
//! longer ones by comparing with the first code of each length.

/// Bits looked at at once.
const FAST_BITS: u32 = 10;
/// Length of the longest code.
const MAX_BITS: usize = 30;
/// The symbol that ends nothing: it must not occur (section 5.2).
const EOS: u16 = 256;

/// Length of each symbol's code, bits (appendix B); the last one is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// A symbol and the length of its code; length 0 if the code is longer than looked at.
#[derive(Clone, Copy)]
struct Short {
    symbol: u8,
    bits: u8,
}

/// The code, in the forms that decoding looks at.
struct Code {
    short: [Short; 1 << FAST_BITS],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// By length: the first code, the place of its symbol, and one more than the last
    /// code, shifted to the top of 32 bits.
    first: [u32; MAX_BITS + 1],
    place: [u16; MAX_BITS + 1],
    limit: [u64; MAX_BITS + 1],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut made = Self {
            short: [Short { symbol: 0, bits: 0 }; 1 << FAST_BITS],
            symbols: [0; 257],
            first: [0; MAX_BITS + 1],
            place: [0; MAX_BITS + 1],
            limit: [0; MAX_BITS + 1],
        };
        let (mut code, mut count, mut bits) = (0u32, 0, 1);
        while bits <= MAX_BITS {
            (made.first[bits], made.place[bits]) = (code, count as u16);
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == bits {
                    made.symbols[count] = symbol as u16;
                    if bits <= FAST_BITS as usize {
                        let shift = FAST_BITS as usize - bits;
                        let mut at = (code as usize) << shift;
                        while at < (code as usize + 1) << shift {
                            let bits = bits as u8;
                            made.short[at] = Short {
                                symbol: symbol as u8,
                                bits,
                            };
                            at += 1;
                        }
                    }
                    code += 1;
                    count += 1;
                }
                symbol += 1;
            }
            made.limit[bits] = (code as u64) << (32 - bits);
            code <<= 1;
            bits += 1;
        }
        made
    }

    /// The symbol at the top of `bits`, and the length of its code.
    fn long(&self, bits: u32) -> (u16, u32) {
        let mut len = FAST_BITS as usize + 1;
        while len < MAX_BITS && u64::from(bits) >= self.limit[len] {
            len += 1;
        }
        let beyond = (bits >> (32 - len)) - self.first[len];
        let place = u32::from(self.place[len]) + beyond;
        (self.symbols[place.min(256) as usize], len as u32)
    }
}

/// Appends what `coded` says to `out`; `false` if it is no valid code, and then what was
/// appended means nothing.
///
/// Padding must be shorter than a byte and all ones (section 5.2).
#[must_use]
#[inline]
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    // No code is shorter than five bits.
    out.resize(start + coded.len() * 8 / 5, 0);
    let Some(len) = decode_into(coded, &mut out[start..]) else {
        return false;
    };
    out.truncate(start + len);
    true
}

fn decode_into(mut coded: &[u8], out: &mut [u8]) -> Option<usize> {
    // Bits not decoded yet are at the top of `held`, zeros below them.
    let (mut held, mut bits) = (0u64, 0u32);
    let mut len = 0;
    loop {
        if bits < 32 {
            if let Some((word, rest)) = coded.split_first_chunk::<4>() {
                held |= u64::from(u32::from_be_bytes(*word)) << (32 - bits);
                (bits, coded) = (bits + 32, rest);
            } else {
                for &byte in std::mem::take(&mut coded) {
                    held |= u64::from(byte) << (56 - bits);
                    bits += 8;
                }
            }
        }
        let short = CODE.short[(held >> (64 - FAST_BITS)) as usize];
        let (symbol, taken) = match short.bits {
            0 => CODE.long((held >> 32) as u32),
            taken => (u16::from(short.symbol), u32::from(taken)),
        };
        if taken > bits {
            // All ones, and too few of them for a code: padding.
            let padding = bits < 8 && held >> 56 == !(0xff >> bits) & 0xff;
            return padding.then_some(len);
        }
        if symbol == EOS {
            return None;
        }
        *out.get_mut(len)? = symbol as u8;
        len += 1;
        held <<= taken;
        bits -= taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Encodes the slow way: bit by bit.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for &byte in text {
            let len = usize::from(LENGTHS[usize::from(byte)]);
            let rank = (0..byte).filter(|&other| usize::from(LENGTHS[usize::from(other)]) == len);
            let code = CODE.first[len] + rank.count() as u32;
            bits.push_str(&format!("{code:0len$b}"));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let byte = |at: usize| u8::from_str_radix(&bits[at..at + 8], 2).unwrap();
        (0..bits.len()).step_by(8).map(byte).collect()
    }

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        decode(coded, &mut out).then(|| out.split_off(6))
    }

    #[test]
    fn codes_are_those_of_appendix_b() {
        // A code of each length that there is.
        for (symbol, code) in [
            (b'0', 0x0),
            (b' ', 0x14),
            (b'A' + 1, 0x5d),
            (b'&', 0xf8),
            (b'!', 0x3f8),
            (b'+', 0x7fb),
            (b'#', 0xffa),
            (b'$', 0x1ff9),
            (b'^', 0x3ffc),
            (b'<', 0x7ffc),
            (b'\\', 0x7fff0),
            (128, 0xfffe6),
            (153, 0x1f_ffdc),
            (129, 0x3f_ffd2),
            (1, 0x7f_ffd8),
            (9, 0xff_ffea),
            (199, 0x1ff_ffec),
            (192, 0x3ff_ffe0),
            (203, 0x7ff_ffde),
            (2, 0xfff_ffe2),
            (22, 0x3fff_fffe),
        ] {
            let bits = usize::from(LENGTHS[usize::from(symbol)]);
            let text = format!("{code:0bits$b}{}", "1".repeat((8 - bits % 8) % 8));
            let byte = |at: usize| u8::from_str_radix(&text[at..at + 8], 2).unwrap();
            let coded: Vec<_> = (0..text.len()).step_by(8).map(byte).collect();
            assert_eq!(decoded(&coded), Some(vec![symbol]), "{symbol}");
        }
    }

    #[test]
    fn padding_is_short_and_all_ones() {
        assert_eq!(decoded(&[]), Some(vec![]));
        assert_eq!(decoded(&[0b0000_0111]), Some(b"0".to_vec()));
        assert_eq!(decoded(&[0b0000_0110]), None, "a zero in the padding");
        assert_eq!(decoded(&[0b0000_0111, 0xff]), None, "a byte of padding");
        assert_eq!(decoded(&[0xff]), None, "eight bits of padding");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "EOS");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), None, "a code cut off");
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decoded(&encode(&text)), Some(text));
        }

        #[test]
        fn only_what_would_be_encoded_so_is_decoded(coded in prop::collection::vec(any::<u8>(), 0..30)) {
            if let Some(text) = decoded(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}
