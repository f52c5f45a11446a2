//! The header of the PROXY protocol, versions 1 and 2, which a proxy sends before anything else
//! on a connection: it says whom the connection is from (HAProxy's `proxy-protocol.txt`,
//! sections 2.1 and 2.2).

use crate::http1::first_lf;

/// What a header of version 1 begins with; what follows is a line of at most 107 bytes.
const FIRST: u64 = u64::from_le_bytes(*b"PROXY \0\0");
const FIRST_MAX: u64 = 107;

/// What one of version 2 begins with.
const SECOND: u64 = u64::from_le_bytes(*b"\r\n\r\n\0\r\nQ");
/// Bytes of it before its addresses; the last two of them say how many those have.
const SECOND_HEAD: u64 = 16;

/// Whether a call that begins with these eight bytes begins with a header.
#[must_use]
#[inline(always)]
pub const fn begins(low: u64) -> bool {
    low & 0xffff_ffff_ffff == FIRST || low == SECOND
}

/// Length of the header that a call begins with, whose eight bytes from an offset on `word`
/// gives, also those behind its end; `None` if there is none. Whether all of it is there is
/// for the caller to tell.
#[inline(always)]
pub fn header_len(mut word: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
    let low = word(0)?;
    if low == SECOND {
        let len = (word(8)? >> 48) as u16;
        return Some(SECOND_HEAD + len.swap_bytes() as u64);
    }
    if !begins(low) {
        return None;
    }
    let mut at = 0;
    while at < FIRST_MAX {
        let line_end = first_lf(word(at)?) as u64;
        if line_end < 8 {
            return Some(at + line_end + 1);
        }
        at += 8;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn len_of(bytes: &[u8]) -> Option<u64> {
        header_len(|at| {
            let mut word = [0; 8];
            let rest = bytes.get(at as usize..)?;
            let len = rest.len().min(8);
            word[..len].copy_from_slice(&rest[..len]);
            Some(u64::from_le_bytes(word))
        })
    }

    #[test]
    fn headers_of_version_1_are_a_line() {
        let longest = format!(
            "PROXY TCP6 {} {0} 65535 65535\r\n",
            "ffff:".repeat(8).trim_end_matches(':')
        );
        for header in [
            "PROXY TCP4 10.0.0.1 10.0.0.2 50000 80\r\n",
            "PROXY UNKNOWN\r\n",
            &longest,
        ] {
            let call = format!("{header}GET / HTTP/1.1\r\n\r\n");
            assert_eq!(
                len_of(call.as_bytes()),
                Some(header.len() as u64),
                "{header}"
            );
        }
        assert_eq!(len_of(b"PROXY"), None);
        assert_eq!(len_of(b"PROXYING\r\n"), None);
        assert_eq!(len_of(b"GET / HTTP/1.1\r\n"), None);
        // A line without end is none.
        assert_eq!(len_of(&[b"PROXY ".as_slice(), &[b'x'; 200]].concat()), None);
    }

    #[test]
    fn headers_of_version_2_say_how_long_they_are() {
        let signature = b"\r\n\r\n\0\r\nQUIT\n";
        for (family, len) in [(0x11, 12u16), (0x21, 36), (0x00, 0), (0x11, 300)] {
            let mut call = signature.to_vec();
            call.extend([0x21, family]);
            call.extend(len.to_be_bytes());
            call.resize(16 + len as usize, 0x0a);
            call.extend(b"GET / HTTP/1.1\r\n\r\n");
            assert_eq!(len_of(&call), Some(16 + len as u64));
        }
        // More than there are: its end is still to come.
        assert_eq!(len_of(&signature[..8]), Some(16));
    }
}
