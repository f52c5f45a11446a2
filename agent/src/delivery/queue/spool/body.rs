//! Bodies as they are stored.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;

use super::format::{Encoding, MAX_BODY};

/// zstd's fastest regular level.
const LEVEL: i32 = 1;

/// The body as it is to be stored. What does not become smaller is left as it is.
#[must_use]
pub fn pack(body: &[u8], compress: bool) -> (Encoding, Cow<'_, [u8]>) {
    if compress
        && let Ok(packed) = zstd::bulk::compress(body, LEVEL)
        && packed.len() < body.len()
    {
        return (Encoding::Zstd, Cow::Owned(packed));
    }
    (Encoding::Plain, Cow::Borrowed(body))
}

/// The body as it was put in.
///
/// # Errors
/// It is not what the encoding says, or larger than [`MAX_BODY`].
pub fn unpack(encoding: Encoding, body: Vec<u8>) -> io::Result<Bytes> {
    Ok(match encoding {
        Encoding::Plain => body.into(),
        Encoding::Zstd => {
            // The frame says its size, which is not trusted beyond the limit.
            let size = zstd::bulk::Decompressor::upper_bound(&body).unwrap_or(MAX_BODY);
            zstd::bulk::decompress(&body, size.min(MAX_BODY))?.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for body in [vec![], vec![7; 100_000], (0..=255).collect()] {
            for compress in [false, true] {
                let (encoding, packed) = pack(&body, compress);
                assert!(packed.len() <= body.len());
                let back = unpack(encoding, packed.into_owned()).unwrap();
                assert_eq!(back, body);
            }
        }
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = zstd::bulk::compress(&vec![0; MAX_BODY + 1], 1).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(unpack(Encoding::Zstd, bomb).is_err());
        assert!(unpack(Encoding::Zstd, b"no zstd".to_vec()).is_err());
    }
}
