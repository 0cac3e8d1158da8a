//! JSON that is read leniently.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
    },
};
use serde_json::{Number, value::RawValue};

use crate::platform::surrogates::without_halves;

/// Codes and ids of the service are cut to this number of characters.
pub(super) const WORD_LENGTH: usize = 200;

/// A JSON object, read together with the document around it; `None` for other JSON. For objects of
/// each frame, because a [`RawValue`] is read twice.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        let members = T::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Object(Some(members)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Object<T>, A::Error> {
        IgnoredAny.visit_seq(items).map(|_| Object(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Object<T>, E> {
        Ok(Object(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Object<T>, E> {
        Ok(Object(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Object<T>, E> {
        Ok(Object(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Object<T>, E> {
        Ok(Object(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Object<T>, E> {
        Ok(Object(None))
    }

    fn visit_unit<E>(self) -> Result<Object<T>, E> {
        Ok(Object(None))
    }
}

/// Deserializes a JSON object. Returns an error for other JSON.
pub(super) fn members<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> serde_json::Result<T> {
    is_object(raw.get().as_bytes())?;
    serde_json::from_str(raw.get())
}

/// Returns an error if the JSON is not an object. Without this check, serde would also accept an
/// array, and take its items as fields in order.
pub(super) fn is_object(json: &[u8]) -> serde_json::Result<()> {
    if json.trim_ascii_start().starts_with(b"{") {
        Ok(())
    } else {
        Err(serde::de::Error::custom("not an object"))
    }
}

/// The first `most` characters without NUL, which PostgreSQL cannot store.
pub(super) fn excerpt(text: &str, most: usize) -> String {
    // A text has at least as many bytes as characters.
    if text.len() <= most && !text.contains('\0') {
        return text.to_owned();
    }
    let storable = text.chars().filter(|character| *character != '\0');
    storable.take(most).collect()
}

/// The text of a JSON string without escapes, which needs no parser.
pub(super) fn plain_string(raw: &RawValue) -> Option<&str> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

pub(super) fn read<T: DeserializeOwned>(raw: Option<&RawValue>) -> Option<T> {
    serde_json::from_slice(&without_halves(raw?.get().as_bytes())).ok()
}

/// A string or a number, as text.
pub(super) fn string_or_number(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    if let Some(text) = plain_string(raw?) {
        return Some(Cow::Borrowed(text));
    }
    let text = read(raw).or_else(|| read::<Number>(raw).map(|number| number.to_string()));
    text.map(Cow::Owned)
}

/// A non-empty string or a number, cut to `most` characters.
pub(super) fn word(raw: Option<&RawValue>, most: usize) -> Option<String> {
    let word = excerpt(&string_or_number(raw)?, most);
    Some(word).filter(|word| !word.is_empty())
}
