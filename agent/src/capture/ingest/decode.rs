//! Bytes from the ring buffer, or from a recording, become typed records here and
//! nowhere else. The bytes are hostile: every length is checked, nothing panics.

use remora_common::counters;
use remora_common::cursor::Cursor;
use remora_common::pod::Pod;
use remora_common::record::{
    self, Close, Conn, Frame, Frames, Header, Kind, Message, Process, ProcessExit,
};

/// Kernel counters, indexed by [`remora_common::counters::Counter`].
pub type Counters = [u64; counters::COUNT];

/// One record, with what trails it borrowed from the bytes it came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// A process was seen speaking HTTP.
    Process(Process),
    /// Such a process ended or replaced its program.
    ProcessExit(ProcessExit),
    /// A connection, and the path of its listening socket if it is a Unix socket.
    Conn(Conn, &'a [u8]),
    /// A part of a message, and its head bytes that no earlier part carried.
    Message(Message, &'a [u8]),
    /// HTTP/2 frames of one direction of a connection.
    Frames(Frames, Entries<'a>),
    /// The end of a connection.
    Close(Close),
    /// The kernel's counters at the end of a recording.
    Counters(Counters),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the record says it has, or than its kind needs.
    #[error("record is cut off")]
    Short,
    /// Made by kernel programs of another version.
    #[error("record version {0} is not {version}", version = record::VERSION)]
    Version(u8),
    /// No such kind.
    #[error("unknown record kind {0}")]
    Kind(u16),
    /// The payload of a frame reaches beyond the record, or less than an entry is left.
    #[error("frame entry reaches beyond the record")]
    Entry,
    /// [`Message::skip`] reaches beyond the record.
    #[error("head bytes to pass over reach beyond the record")]
    Skip,
}

/// Decodes one record. Bytes beyond the length in its header are ignored.
///
/// # Errors
/// If the bytes are not one whole record of a known kind and version.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let header: Header = Cursor::new(bytes).read().ok_or(DecodeError::Short)?;
    if header.version != record::VERSION {
        return Err(DecodeError::Version(header.version));
    }
    let len = usize::try_from(header.len).map_err(|_| DecodeError::Short)?;
    let mut cursor = Cursor::new(bytes.get(..len).ok_or(DecodeError::Short)?);
    Ok(match header.kind {
        Kind::MESSAGE => {
            let message: Message = read(&mut cursor)?;
            let head = cursor.rest().get(usize::from(message.skip)..);
            Record::Message(message, head.ok_or(DecodeError::Skip)?)
        }
        Kind::FRAMES => {
            let frames: Frames = read(&mut cursor)?;
            let entries = Entries(cursor.rest());
            // Looked through before anything is taken in: half a record would leave the
            // header table in a state that is neither known nor forgotten.
            let mut look = entries;
            while look.next().is_some() {}
            if !look.0.is_empty() {
                return Err(DecodeError::Entry);
            }
            Record::Frames(frames, entries)
        }
        Kind::CONN => Record::Conn(read(&mut cursor)?, cursor.rest()),
        Kind::CLOSE => Record::Close(read(&mut cursor)?),
        Kind::PROCESS => Record::Process(read(&mut cursor)?),
        Kind::PROCESS_EXIT => Record::ProcessExit(read(&mut cursor)?),
        Kind::COUNTERS => Record::Counters(read_counters(&mut cursor)?),
        Kind(other) => return Err(DecodeError::Kind(other)),
    })
}

/// The entries of a FRAMES record, each with what was captured of its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = (Frame, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = Cursor::new(self.0);
        let frame: Frame = cursor.read()?;
        let payload = cursor.take(usize::from(frame.captured))?;
        let padding = usize::from(frame.captured).next_multiple_of(8) - payload.len();
        self.0 = cursor.rest().get(padding..).unwrap_or_default();
        Some((frame, payload))
    }
}

/// Whether bytes that are no record were to be HTTP/2 frames.
#[must_use]
pub fn is_frames(bytes: &[u8]) -> bool {
    let header: Option<Header> = Cursor::new(bytes).read();
    header.is_some_and(|header| header.kind == Kind::FRAMES)
}

/// The length in the header of `bytes`, if they hold that many bytes: what a
/// recording keeps of them.
#[must_use]
pub fn stated_len(bytes: &[u8]) -> Option<usize> {
    let header: Header = Cursor::new(bytes).read()?;
    let len = usize::try_from(header.len).ok()?;
    (size_of::<Header>()..=bytes.len())
        .contains(&len)
        .then_some(len)
}

/// Encodes the kernel's counters as a record.
#[must_use]
pub fn encode_counters(values: &Counters) -> Vec<u8> {
    let len = size_of::<Header>() + size_of_val(values);
    let header = Header::new(Kind::COUNTERS, u32::try_from(len).unwrap_or(u32::MAX));
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(header.as_bytes());
    for value in values {
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

#[inline]
fn read<T: Pod>(cursor: &mut Cursor<'_>) -> Result<T, DecodeError> {
    cursor.read().ok_or(DecodeError::Short)
}

/// Counters that a recording does not have stay 0; those it has beyond ours are
/// of a later agent and mean nothing to this one.
fn read_counters(cursor: &mut Cursor<'_>) -> Result<Counters, DecodeError> {
    let _: Header = read(cursor)?;
    let mut values = [0; counters::COUNT];
    for value in &mut values {
        match cursor.read() {
            Some(read) => *value = read,
            None => break,
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream;
    use proptest::prelude::*;

    #[test]
    fn a_message_lends_its_head_without_the_skipped_bytes() {
        let bytes = stream::message(
            9,
            0,
            stream::Part::request(b"xxGET / HTTP/1.1\r\n\r\n").skip(2),
        );
        let Ok(Record::Message(message, head)) = decode(&bytes) else {
            panic!()
        };
        assert_eq!((message.conn, message.skip), (9, 2));
        assert_eq!(head, b"GET / HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn padding_behind_the_stated_length_is_ignored() {
        let mut bytes = stream::message(9, 0, stream::Part::request(b"GET"));
        bytes.extend_from_slice(&[0xaa; 17]);
        let Ok(Record::Message(_, head)) = decode(&bytes) else {
            panic!()
        };
        assert_eq!(head, b"GET");
        assert_eq!(stated_len(&bytes), Some(bytes.len() - 17));
    }

    #[test]
    fn each_defect_is_named() {
        let good = stream::message(1, 0, stream::Part::request(b"GET"));
        for len in 0..good.len() {
            assert_eq!(decode(&good[..len]), Err(DecodeError::Short), "{len}");
        }
        let mut other = good.clone();
        other[0] = 99;
        assert_eq!(decode(&other), Err(DecodeError::Kind(99)));
        let mut other = good.clone();
        other[2] = record::VERSION + 1;
        assert_eq!(
            decode(&other),
            Err(DecodeError::Version(record::VERSION + 1))
        );
        let mut other = good.clone();
        other[4..8].copy_from_slice(&20u32.to_ne_bytes());
        assert_eq!(decode(&other), Err(DecodeError::Short));
        let skip = stream::message(1, 0, stream::Part::request(b"GET").skip(4));
        assert_eq!(decode(&skip), Err(DecodeError::Skip));
    }

    #[test]
    fn counters_survive_and_may_be_fewer_or_more() {
        let values: Counters = std::array::from_fn(|at| at as u64 + 7);
        let bytes = encode_counters(&values);
        assert_eq!(decode(&bytes), Ok(Record::Counters(values)));
        let fewer = stream::with_len(&bytes[..8 + 16]);
        let Ok(Record::Counters(read)) = decode(&fewer) else {
            panic!()
        };
        assert_eq!(&read[..3], &[7, 8, 0]);
        let more = stream::with_len(&[&bytes[..], &[1; 24]].concat());
        assert_eq!(decode(&more), Ok(Record::Counters(values)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn any_body_behind_a_plausible_header_is_safe(kind in 0u16..9, len in 0u32..300, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = Header::new(Kind(kind), len).as_bytes().to_vec();
            bytes.extend_from_slice(&body);
            if decode(&bytes).is_ok() {
                prop_assert!(len as usize <= bytes.len());
            }
        }
    }
}
