//! Plain old data: values that may be viewed as, and made from, any bytes.

/// Types for which every bit pattern is a valid value and which have no padding.
///
/// # Safety
/// Implementors are `#[repr(C)]`, contain no padding bytes, no references and no
/// type with invalid bit patterns (`bool`, enums, `char`, `NonZero*`).
pub unsafe trait Pod: Copy + 'static {
    /// The bytes of this value, in native byte order.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: `Pod` promises that there is no padding, so all
        // `size_of::<Self>()` bytes are initialised; the lifetime is that of `self`.
        unsafe {
            core::slice::from_raw_parts((self as *const Self).cast::<u8>(), size_of::<Self>())
        }
    }
}

// SAFETY: primitive integers and arrays of them have no padding and no invalid value.
unsafe impl Pod for u8 {}
// SAFETY: as above.
unsafe impl Pod for u16 {}
// SAFETY: as above.
unsafe impl Pod for u32 {}
// SAFETY: as above.
unsafe impl Pod for u64 {}
// SAFETY: as above; array elements are contiguous.
unsafe impl<const N: usize> Pod for [u8; N] {}
