//! Arrays and objects, an element at a time.
#![expect(
    clippy::inline_always,
    reason = "a tenth of the instructions of an admission, see benches/instructions.txt"
)]

use std::marker::PhantomData;
use std::mem;

use serde::de::{Deserialize, DeserializeSeed, MapAccess, SeqAccess};

use super::skip::skip_nested;
use super::{MAX_ELEMENTS, Reader, Unread};

/// What is left of an array.
pub(super) struct Elements<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    /// Where the key begins under which it stands.
    pub(super) key: usize,
    pub(super) count: usize,
    /// For how many elements a vector has room.
    pub(super) capacity: usize,
}

/// A guess, so that a vector grows once or never: a pod has a handful of whatever it has.
const FEW: usize = 8;

impl Elements<'_, '_> {
    /// Whether a vector may have more room than it has: it doubles it.
    #[cold]
    fn grow(&mut self, size: usize) -> bool {
        let more = self.capacity.max(FEW);
        match self.reader.room.checked_sub(more * size) {
            Some(room) if self.count < MAX_ELEMENTS => {
                self.reader.room = room;
                self.capacity += more;
                true
            }
            _ => false,
        }
    }

    /// Goes to the end, which is left to the caller.
    #[cold]
    fn leave_out_rest(&mut self) -> Result<(), Unread> {
        self.reader.leave_out(self.key);
        self.reader.at = skip_nested(self.reader.bytes(), self.reader.at, 1)? - 1;
        Ok(())
    }
}

impl<'a> SeqAccess<'a> for Elements<'_, 'a> {
    type Error = Unread;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unread> {
        if !self.reader.advance(b']', self.count == 0, "`,` or `]`")? {
            return Ok(None);
        }
        if self.count == self.capacity && !self.grow(mem::size_of::<T::Value>()) {
            return self.leave_out_rest().map(|()| None);
        }
        self.count += 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    #[inline(always)]
    fn next_element<T: Deserialize<'a>>(&mut self) -> Result<Option<T>, Unread> {
        self.next_element_seed(PhantomData)
    }

    fn size_hint(&self) -> Option<usize> {
        // An empty array gets no capacity: a review can have many of them.
        let is_empty = self.reader.bytes().get(self.reader.at) == Some(&b']');
        Some(if is_empty { 0 } else { FEW })
    }
}

/// What is left of an object.
pub(super) struct Fields<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    pub(super) is_first: bool,
}

impl<'a> MapAccess<'a> for Fields<'_, 'a> {
    type Error = Unread;

    #[inline(always)]
    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unread> {
        if !self.reader.advance(b'}', self.is_first, "`,` or `}`")? {
            self.reader.at += 1;
            return Ok(None);
        }
        self.is_first = false;
        self.reader.key = self.reader.at;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    #[inline(always)]
    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        self.reader.consume(b':', "`:`")?;
        seed.deserialize(&mut *self.reader)
    }

    #[inline(always)]
    fn next_value<V: Deserialize<'a>>(&mut self) -> Result<V, Unread> {
        self.next_value_seed(PhantomData)
    }
}

/// What is left of an object whose keys are anybody's. All of it is read, because what matters may
/// come late; what is kept is left to the visitor.
pub(super) struct Entries<'r, 'a> {
    pub(super) fields: Fields<'r, 'a>,
    /// Where the key begins under which it stands.
    pub(super) key: usize,
    pub(super) count: usize,
}

impl<'a> MapAccess<'a> for Entries<'_, 'a> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unread> {
        let key = self.fields.next_key_seed(seed)?;
        if self.count == MAX_ELEMENTS && key.is_some() {
            self.fields.reader.leave_out(self.key);
        }
        self.count += 1;
        Ok(key)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        self.fields.next_value_seed(seed)
    }
}
