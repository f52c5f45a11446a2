//! Bytes of traced programs made safe for a terminal.
//!
//! Paths, methods and names come from programs that may be hostile: an escape
//! sequence in a request target must not move the cursor or retitle the window, and
//! direction marks must not reorder a line. What is not plainly visible is shown as
//! an escape instead.

use std::fmt::{self, Write};

/// Shows a string with everything but letters, digits, and the visible ASCII
/// characters replaced by `\n`, `\t`, `\xNN` or `\u{NNNN}`.
#[derive(Clone, Copy, Debug)]
pub struct Safe<'a>(pub &'a str);

/// Whether a character is shown as it is.
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() || c == ' ' || (!c.is_ascii() && c.is_alphanumeric())
}

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                c if is_plain(c) => f.write_char(c)?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
                c => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_hostile_text_as_escapes() {
        assert_eq!(Safe("/users/7").to_string(), "/users/7");
        assert_eq!(Safe("/a\x1b[2J\x07").to_string(), "/a\\x1b[2J\\x07");
        assert_eq!(Safe("a\nb\r\t").to_string(), "a\\nb\\r\\t");
        assert_eq!(Safe("\u{202e}txt").to_string(), "\\u{202e}txt");
        assert_eq!(Safe("\u{9b}31m").to_string(), "\\u{9b}31m");
        assert_eq!(Safe("/größe").to_string(), "/größe");
        assert_eq!(
            Safe("a\u{200b}b\u{fffd}").to_string(),
            "a\\u{200b}b\\u{fffd}"
        );
    }

    proptest! {
        #[test]
        fn never_lets_a_control_character_through(text in any::<String>()) {
            prop_assert!(Safe(&text).to_string().chars().all(is_plain));
        }
    }
}
