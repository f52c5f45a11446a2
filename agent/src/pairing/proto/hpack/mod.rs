//! HPACK, the header compression of HTTP/2 (RFC 7541): a decoder that listens in.
//!
//! It differs from a peer's decoder in one thing: it may have come late, or have missed
//! a part. Then its dynamic table lacks the older entries ([`Decoder::forget`]), and
//! fields that refer to those are reported with an unknown name or value, never with
//! another's. What is inserted later is right from then on, because indices count from
//! the newest entry.
//!
//! Peers may use any table size that they agreed on. It is not needed to follow what
//! they do, because a size that is smaller than known only means that older entries are
//! not referred to any more; so SETTINGS are not looked at, only size updates.

mod fixed;
mod huffman;
mod name;
mod table;

pub use name::Name;

use table::Table;

/// Most bytes that are kept of a table, as its peers count them (RFC 7541, section 4.1):
/// the size that browsers ask for. What does not fit is unknown when it is referred to.
pub const MAX_TABLE: usize = 64 << 10;
/// Least that is kept when memory is short.
const MIN_TABLE: usize = 512;
/// Most fields reported of a block.
pub const MAX_FIELDS: u32 = 512;
/// Most bytes of names and values reported of a block, 32 a field added, as
/// SETTINGS_MAX_HEADER_LIST_SIZE counts (RFC 9113, section 6.5.2).
pub const MAX_LIST: usize = 64 << 10;
/// Memory that a decoder keeps when it is used for another connection, bytes.
const KEPT: usize = 16 << 10;

/// A header field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// What the name means; `None` if it is unknown.
    pub meaning: Option<Name>,
    /// The name as it was sent, or `None` if it is unknown.
    pub name: Option<&'a [u8]>,
    /// The value as it was sent, or `None` if it is unknown.
    pub value: Option<&'a [u8]>,
}

/// What is left to say of a block whose fields were reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Whether there were more fields than are reported at most.
    pub truncated: bool,
}

/// Why a block cannot be decoded. The table is forgotten then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HpackError {
    /// The block ends within a field.
    #[error("header block ends within a field")]
    Short,
    /// An integer beyond 2^28 or of more bytes than that needs (section 5.1).
    #[error("integer in a header block is too large")]
    Integer,
    /// No entry has this index (section 2.3.3).
    #[error("no entry has index {0}")]
    Index(usize),
    /// A string is not valid Huffman code (section 5.2).
    #[error("invalid Huffman code")]
    Huffman,
    /// A size update behind a field (section 4.2).
    #[error("table size update within a header block")]
    SizeUpdate,
}

/// Decodes the header blocks of one direction of a connection, in order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// Text of literals that are not inserted.
    scratch: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder for a connection that is seen from its first byte.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Table::new(),
            scratch: Vec::new(),
        }
    }

    /// As [`Self::new`], using memory again.
    pub fn reset(&mut self) {
        self.table.reset(KEPT);
        self.scratch.clear();
        self.scratch.shrink_to(KEPT);
    }

    /// A block was not seen, or not all of it: nothing is known of the table any more.
    pub fn forget(&mut self) {
        self.table.forget();
    }

    /// Whether a reference to the table may be to something unknown.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        !self.table.is_whole()
    }

    /// Memory held, bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory() + self.scratch.capacity()
    }

    /// Decodes a header block, the fragments of its frames joined, and lends its fields
    /// to `report` in order. The table keeps at most `keep` bytes, within 512 and
    /// [`MAX_TABLE`].
    ///
    /// # Errors
    /// If the block is malformed. Fields before the defect were reported.
    #[inline]
    pub fn decode(
        &mut self,
        block: &[u8],
        keep: usize,
        report: impl FnMut(Field<'_>),
    ) -> Result<Block, HpackError> {
        let mut reader = Reader {
            decoder: self,
            rest: block,
            cap: keep.clamp(MIN_TABLE, MAX_TABLE),
            fields: 0,
            bytes: 0,
            report,
        };
        let result = reader.fields();
        let truncated = reader.exhausted();
        if result.is_err() {
            self.forget();
        }
        result.map(|()| Block { truncated })
    }
}

/// A header block being read.
struct Reader<'a, F> {
    decoder: &'a mut Decoder,
    rest: &'a [u8],
    cap: usize,
    /// Fields and bytes reported so far.
    fields: u32,
    bytes: usize,
    report: F,
}

/// A string literal, as it is in the block.
#[derive(Clone, Copy)]
struct Literal<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl Literal<'_> {
    /// The most bytes that it may say.
    fn most(&self) -> usize {
        if self.huffman {
            self.bytes.len() * 8 / 5
        } else {
            self.bytes.len()
        }
    }

    fn append(&self, out: &mut Vec<u8>) -> Result<(), HpackError> {
        if !self.huffman {
            out.extend_from_slice(self.bytes);
        } else if !huffman::decode(self.bytes, out) {
            return Err(HpackError::Huffman);
        }
        Ok(())
    }
}

impl<'a, F: FnMut(Field<'_>)> Reader<'a, F> {
    /// Reads the representations of a block (section 6).
    #[inline]
    fn fields(&mut self) -> Result<(), HpackError> {
        let mut begun = false;
        while let Some(&first) = self.rest.first() {
            match first {
                0x80.. => self.indexed()?,
                0x40..0x80 => self.inserted()?,
                0x20..0x40 if begun => return Err(HpackError::SizeUpdate),
                0x20..0x40 => {
                    let size = self.integer(5)?;
                    self.decoder.table.set_limit(size);
                    continue;
                }
                ..0x20 => self.not_inserted()?,
            }
            begun = true;
        }
        Ok(())
    }

    /// Indexed header field (section 6.1).
    #[inline]
    fn indexed(&mut self) -> Result<(), HpackError> {
        let index = self.integer(7)?;
        if let Some((meaning, name, value)) = fixed(index) {
            self.report(Field {
                meaning: Some(meaning),
                name: Some(name.as_bytes()),
                value: Some(value.as_bytes()),
            });
            return Ok(());
        }
        let table = &self.decoder.table;
        let field = match table.get(age(index)?) {
            Some(entry) => {
                let (name, value) = table.text_of(entry);
                Field {
                    meaning: entry.name,
                    name,
                    value,
                }
            }
            None if table.is_whole() => return Err(HpackError::Index(index)),
            None => Field {
                meaning: None,
                name: None,
                value: None,
            },
        };
        if counts(&mut self.fields, &mut self.bytes, &field) {
            (self.report)(field);
        }
        Ok(())
    }

    /// Literal header field with incremental indexing (section 6.2.1). Its text is made
    /// where the table will keep it.
    fn inserted(&mut self) -> Result<(), HpackError> {
        let index = self.integer(6)?;
        let literal = (index == 0).then(|| self.literal()).transpose()?;
        let value = self.literal()?;
        let most = literal.map_or(0, |name| name.most()) + value.most();
        let table = &mut self.decoder.table;
        let _ = table.text_for(most + 64);
        let start = table.mark();
        let mut known = true;
        let meaning = match literal {
            Some(name) => {
                name.append(table.text_for(0))?;
                None
            }
            None => match fixed(index) {
                Some((meaning, name, _)) => {
                    table.text_for(0).extend_from_slice(name.as_bytes());
                    Some(meaning)
                }
                None => match table.get(age(index)?).copied() {
                    Some(entry) => {
                        table.append_name_of(&entry);
                        known = entry.name.is_some();
                        entry.name
                    }
                    None if table.is_whole() => return Err(HpackError::Index(index)),
                    None => {
                        known = false;
                        None
                    }
                },
            },
        };
        let middle = table.mark();
        value.append(table.text_for(0))?;
        let (name, value) = table.made(start..middle, table.mark());
        let meaning = meaning.or_else(|| known.then(|| Name::of(name)));
        let field = Field {
            meaning,
            name: known.then_some(name),
            value: Some(value),
        };
        if counts(&mut self.fields, &mut self.bytes, &field) {
            (self.report)(field);
        }
        table.insert(meaning, start, middle, self.cap);
        Ok(())
    }

    /// Literal header field without indexing, or never indexed (sections 6.2.2, 6.2.3).
    fn not_inserted(&mut self) -> Result<(), HpackError> {
        let index = self.integer(4)?;
        let literal = (index == 0).then(|| self.literal()).transpose()?;
        let value = self.literal()?;
        let Decoder { table, scratch } = &mut *self.decoder;
        scratch.clear();
        if let Some(name) = literal {
            name.append(scratch)?;
        }
        let middle = scratch.len();
        value.append(scratch)?;
        let (made, value) = scratch.split_at(middle);
        let (meaning, name) = if literal.is_some() {
            (Some(Name::of(made)), Some(made))
        } else if let Some((meaning, name, _)) = fixed(index) {
            (Some(meaning), Some(name.as_bytes()))
        } else {
            match table.get(age(index)?) {
                Some(entry) => (entry.name, table.text_of(entry).0),
                None if table.is_whole() => return Err(HpackError::Index(index)),
                None => (None, None),
            }
        };
        let field = Field {
            meaning,
            name,
            value: Some(value),
        };
        if counts(&mut self.fields, &mut self.bytes, &field) {
            (self.report)(field);
        }
        Ok(())
    }

    #[inline]
    fn report(&mut self, field: Field<'_>) {
        if counts(&mut self.fields, &mut self.bytes, &field) {
            (self.report)(field);
        }
    }

    fn exhausted(&self) -> bool {
        self.fields > MAX_FIELDS || self.bytes > MAX_LIST
    }

    /// An integer whose first byte has `bits` bits for it (section 5.1).
    #[inline]
    fn integer(&mut self, bits: u32) -> Result<usize, HpackError> {
        let (&first, mut rest) = self.rest.split_first().ok_or(HpackError::Short)?;
        let mask = (1 << bits) - 1;
        let mut value = usize::from(first & mask as u8);
        if value == mask {
            let mut shift = 0;
            loop {
                let (&byte, more) = rest.split_first().ok_or(HpackError::Short)?;
                rest = more;
                if shift > 21 {
                    return Err(HpackError::Integer);
                }
                value += usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        self.rest = rest;
        Ok(value)
    }

    /// A string literal (section 5.2).
    #[inline]
    fn literal(&mut self) -> Result<Literal<'a>, HpackError> {
        let huffman = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let len = self.integer(7)?;
        let (bytes, rest) = (self.rest.split_at_checked(len)).ok_or(HpackError::Short)?;
        self.rest = rest;
        Ok(Literal { huffman, bytes })
    }
}

/// Counts a field, and says whether it is within what is reported.
#[inline]
fn counts(fields: &mut u32, bytes: &mut usize, field: &Field<'_>) -> bool {
    let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    *fields = fields.saturating_add(1);
    *bytes = bytes.saturating_add(len(field.name) + len(field.value) + 32);
    *fields <= MAX_FIELDS && *bytes <= MAX_LIST
}

/// An entry of the static table.
#[inline]
fn fixed(index: usize) -> Option<(Name, &'static str, &'static str)> {
    fixed::ENTRIES.get(index.wrapping_sub(1)).copied()
}

/// How many insertions ago the entry with this index of the dynamic table was made.
#[inline]
fn age(index: usize) -> Result<usize, HpackError> {
    index
        .checked_sub(fixed::ENTRIES.len() + 1)
        .ok_or(HpackError::Index(index))
}

#[cfg(test)]
mod tests;
