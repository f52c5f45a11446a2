//! Cells of a table: hostile text, escaped, cut and padded to a number of columns.

use std::fmt::{self, Write};

use super::escape::Safe;
use unicode_width::UnicodeWidthChar as _;

/// Shown in place of what was cut.
const GAP: char = '…';

/// Text for a cell. [`fmt::Display`] pads it with spaces on the right.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    text: &'a str,
    width: usize,
    cut: Cut,
    padded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    Nowhere,
    End,
    Middle,
}

impl<'a> Cell<'a> {
    /// Exactly `width` columns; what is too long loses its end.
    #[must_use]
    pub const fn left(text: &'a str, width: usize) -> Self {
        Self {
            text,
            width,
            cut: Cut::End,
            padded: true,
        }
    }

    /// Exactly `width` columns; what is too long loses its middle, since the ends of
    /// paths and addresses tell most.
    #[must_use]
    pub const fn middle(text: &'a str, width: usize) -> Self {
        Self {
            text,
            width,
            cut: Cut::Middle,
            padded: true,
        }
    }

    /// At least `width` columns; nothing is cut.
    #[must_use]
    pub const fn whole(text: &'a str, width: usize) -> Self {
        Self {
            text,
            width,
            cut: Cut::Nowhere,
            padded: true,
        }
    }

    /// Columns that the text takes if it is not cut.
    #[must_use]
    pub fn text_width(&self) -> usize {
        let mut length = Length(0);
        // The writer cannot fail.
        let _ = write!(length, "{}", Safe(self.text));
        length.0
    }

    /// The same without spaces behind it.
    #[must_use]
    pub const fn unpadded(self) -> Self {
        Self {
            padded: false,
            ..self
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.text_width();
        let (head, tail) = match self.cut {
            _ if length <= self.width => (length, 0),
            Cut::Nowhere => (length, 0),
            Cut::End => (self.width.saturating_sub(1), 0),
            Cut::Middle => {
                let kept = self.width.saturating_sub(1);
                (kept - kept / 2, kept / 2)
            }
        };
        let whole = head == length;
        let mut window = Window {
            out: f,
            at: 0,
            head,
            tail_from: if whole { usize::MAX } else { length - tail },
            gap: !whole && self.width > 0,
            written: 0,
        };
        write!(window, "{}", Safe(self.text))?;
        let written = window.written;
        if self.padded && written < self.width {
            write!(f, "{:1$}", "", self.width - written)?;
        }
        Ok(())
    }
}

/// Columns that a text takes as it is.
#[must_use]
pub fn text_columns(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Columns of a terminal that a character fills: two for the wide letters of East Asian
/// scripts, none for marks that stand on the letter before.
fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Counts columns.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text_columns(text);
        Ok(())
    }
}

/// Lets through what lies within the first `head` columns, and what begins at `tail_from`
/// or behind it.
struct Window<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    at: usize,
    head: usize,
    tail_from: usize,
    gap: bool,
    /// Columns written. A wide letter that would be cut in two is left out.
    written: usize,
}

impl fmt::Write for Window<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let width = columns(c);
            if self.at + width <= self.head || self.at >= self.tail_from {
                self.out.write_char(c)?;
                self.written += width;
            } else if self.gap {
                self.gap = false;
                self.out.write_char(GAP)?;
                self.written += 1;
            }
            self.at += width;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_and_pads() {
        assert_eq!(Cell::left("abc", 5).to_string(), "abc  ");
        assert_eq!(Cell::left("abcdef", 5).to_string(), "abcd…");
        assert_eq!(Cell::middle("/users/7/orders", 9).to_string(), "/use…ders");
        assert_eq!(Cell::middle("/users/7", 8).to_string(), "/users/7");
        assert_eq!(Cell::whole("/users/7", 4).to_string(), "/users/7");
        assert_eq!(Cell::whole("/a", 4).to_string(), "/a  ");
        assert_eq!(Cell::left("abc", 5).unpadded().to_string(), "abc");
        assert_eq!(Cell::left("\x1b[2J", 9).to_string(), "\\x1b[2J  ");
        assert_eq!(Cell::middle("größe/größe", 5).to_string(), "gr…ße");
        assert_eq!(Cell::left("/商品/一覧", 6).to_string(), "/商品…");
        assert_eq!(Cell::left("/商品/一覧", 5).to_string(), "/商… ");
        assert_eq!(Cell::middle("/商品/一覧", 8).to_string(), "/商…覧  ");
        assert_eq!(Cell::left("abc", 0).to_string(), "");
        assert_eq!(Cell::middle("abc", 1).to_string(), "…");
    }

    proptest! {
        #[test]
        fn is_exactly_as_wide_as_asked(text in any::<String>(), width in 0usize..40) {
            for cell in [Cell::left(&text, width), Cell::middle(&text, width)] {
                let shown = cell.to_string().chars().map(columns).sum::<usize>();
                prop_assert_eq!(shown, width);
            }
        }
    }
}
