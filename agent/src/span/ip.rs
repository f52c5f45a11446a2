//! Addresses as text, without an allocation.

use std::io::Write;
use std::net::IpAddr;

/// Room for the text of an IP address, and the address that is in it.
pub(super) struct IpText {
    bytes: [u8; 48],
    len: usize,
    of: Option<IpAddr>,
}

impl IpText {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; 48],
            len: 0,
            of: None,
        }
    }

    /// Formats an address once; the same address again costs a comparison.
    #[inline]
    pub(super) fn format(&mut self, address: IpAddr) -> &str {
        if self.of != Some(address) {
            self.len = match address {
                IpAddr::V4(v4) => self.v4(v4.octets()),
                IpAddr::V6(_) => {
                    let mut rest = &mut self.bytes[..];
                    // 45 bytes at most; without room nothing would be shown.
                    let written = write!(rest, "{address}");
                    let left = rest.len();
                    if written.is_ok() {
                        self.bytes.len() - left
                    } else {
                        0
                    }
                }
            };
            self.of = Some(address);
        }
        let text = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// `Ipv4Addr`'s own formatting costs more than all other attributes of an address.
    fn v4(&mut self, octets: [u8; 4]) -> usize {
        let mut digits = itoa::Buffer::new();
        let mut len = 0;
        for (i, octet) in octets.into_iter().enumerate() {
            if i > 0 {
                self.bytes[len] = b'.';
                len += 1;
            }
            let text = digits.format(octet).as_bytes();
            self.bytes[len..len + text.len()].copy_from_slice(text);
            len += text.len();
        }
        len
    }
}
