//! The local time zone.

#![allow(unsafe_code, reason = "calls the C library")]

/// Seconds east of UTC, now. 0 where it is not known.
#[must_use]
pub fn utc_offset() -> i32 {
    let mut parts = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: `time` accepts a null pointer and then only returns the time. `localtime_r`
    // reads that local value and writes the structure whose address it is given; it
    // returns null if it did not. Nothing else in this process changes the environment
    // while it reads `TZ`.
    unsafe {
        let now = libc::time(std::ptr::null_mut());
        if libc::localtime_r(&now, parts.as_mut_ptr()).is_null() {
            return 0;
        }
        i32::try_from(parts.assume_init().tm_gmtoff).unwrap_or(0)
    }
}
