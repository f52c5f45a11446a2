//! The one place where bytes from the kernel become values.

use crate::pod::Pod;

/// A checked reader over one record. Reads past the end return `None` and leave
/// the cursor where it was; nothing panics on any input.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads one value, whatever the alignment of the bytes.
    pub fn read<T: Pod>(&mut self) -> Option<T> {
        let (head, rest) = self.rest.split_at_checked(size_of::<T>())?;
        // SAFETY: `head` is `size_of::<T>()` readable bytes, and `Pod` promises that
        // any bit pattern is a valid `T`. `read_unaligned` needs no alignment.
        let value = unsafe { core::ptr::read_unaligned(head.as_ptr().cast::<T>()) };
        self.rest = rest;
        Some(value)
    }

    /// Takes the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_unaligned_values_and_stops_at_the_end() {
        let bytes = [1u8, 2, 0, 3, 0, 0, 0, 9];
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(cursor.read::<u8>(), Some(1));
        assert_eq!(cursor.read::<u16>(), Some(u16::from_ne_bytes([2, 0])));
        assert_eq!(cursor.read::<u32>(), Some(u32::from_ne_bytes([3, 0, 0, 0])));
        assert_eq!(cursor.read::<u64>(), None);
        assert_eq!(cursor.rest(), &[9]);
        assert_eq!(cursor.take(2), None);
        assert_eq!(cursor.take(1), Some(&[9u8][..]));
        assert_eq!(cursor.read::<u8>(), None);
    }
}
