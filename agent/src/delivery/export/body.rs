//! The body of a request: one or several encoded batches, one behind the other.
//!
//! `Export…ServiceRequest` of traces and metrics have repeated fields and nothing else, and
//! of those protobuf says that two messages behind each other are their union. Nothing is
//! copied to join them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Bytes in several pieces.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Parts(VecDeque<Bytes>);

impl Parts {
    /// Bytes in all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter()
    }

    /// Puts a piece in front.
    pub fn push_front(&mut self, piece: Bytes) {
        self.0.push_front(piece);
    }

    /// All pieces as one; copies if there are several.
    #[must_use]
    pub fn join(&self) -> Bytes {
        if let [one] = self.0.as_slices().0
            && self.0.len() == 1
        {
            return one.clone();
        }
        let mut all = Vec::with_capacity(self.len());
        self.iter().for_each(|piece| all.extend_from_slice(piece));
        all.into()
    }
}

impl From<Bytes> for Parts {
    fn from(bytes: Bytes) -> Self {
        std::iter::once(bytes).collect()
    }
}

impl FromIterator<Bytes> for Parts {
    fn from_iter<T: IntoIterator<Item = Bytes>>(pieces: T) -> Self {
        // HTTP/2 would send a frame for nothing.
        Self(pieces.into_iter().filter(|it| !it.is_empty()).collect())
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}
