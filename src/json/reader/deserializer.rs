//! What serde asks of a reader: the value that a visitor wants most often is tried first.

use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{Reader, Unread};

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Unread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.visit_any(visitor)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.next() == Some(b'"') { self.visit_string(visitor) } else { self.visit_any(visitor) }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.next() {
            Some(b't') => self.literal("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.literal("false").and_then(|()| visitor.visit_bool(false)),
            _ => self.visit_any(visitor),
        }
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.next().is_some_and(|byte| byte.is_ascii_digit()) {
            self.visit_number(visitor)
        } else {
            self.visit_any(visitor)
        }
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unread> {
        if self.next() == Some(b'{') { self.visit_object(visitor) } else { self.visit_any(visitor) }
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.next() == Some(b'[') { self.visit_array(visitor) } else { self.visit_any(visitor) }
    }

    /// An object whose keys are anybody's, unlike that of a struct.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.next().is_some_and(|byte| byte <= b' ') {
            self.peek();
        }
        if self.next() == Some(b'{') { self.visit_map(visitor) } else { self.visit_any(visitor) }
    }

    #[inline(always)]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        let next =
            if self.next().is_some_and(|byte| byte <= b' ') { self.peek() } else { self.next() };
        if next == Some(b'n') {
            return self.literal("null").and_then(|()| visitor.visit_none());
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.skip_value()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char string bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct enum
    }
}
