//! HTTP/1 message framing (RFC 9112, section 6): runs in the kernel, tested in userspace.
