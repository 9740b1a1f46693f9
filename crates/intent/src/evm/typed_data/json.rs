//! JSON in which nothing is lost: no key stands twice, no number is rounded, nothing is deeper or
//! longer than its bound.

use std::{cell::RefCell, collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::refusal::{TypedDataRefusal, short};

/// The deepest nesting of objects and arrays.
pub(super) const MAX_DEPTH: usize = 32;

/// The most values in one document.
pub(super) const MAX_VALUES: usize = 8192;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// A whole number of at most 64 bits: a sign and its decimal digits.
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Object),
}

/// Values by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object(BTreeMap<String, Json>);

impl Object {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Json)> {
        self.0.iter()
    }

    pub(super) fn required(&self, at: &str, name: &str) -> Result<&Json, TypedDataRefusal> {
        self.0
            .get(name)
            .ok_or_else(|| TypedDataRefusal::MissingField {
                at: short(at),
                name: short(name),
            })
    }

    /// Refuses every name that is not one of these.
    pub(super) fn only(&self, at: &str, names: &[&str]) -> Result<(), TypedDataRefusal> {
        match self.0.keys().find(|key| !names.contains(&key.as_str())) {
            Some(key) => Err(TypedDataRefusal::ExtraField {
                at: short(at),
                name: short(key),
            }),
            None => Ok(()),
        }
    }
}

impl Json {
    /// What kind of value it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads exactly one value.
pub(super) fn read(bytes: &[u8]) -> Result<Json, TypedDataRefusal> {
    let state = RefCell::new(State::default());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed {
        state: &state,
        depth: 0,
    };
    let read = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| {
        let refusal = state.borrow_mut().refusal.take();
        refusal.unwrap_or_else(|| TypedDataRefusal::NotJson {
            detail: short(&error.to_string()),
        })
    })
}

/// What is counted over the whole document, and why reading stopped.
#[derive(Default)]
struct State {
    values: usize,
    refusal: Option<TypedDataRefusal>,
}

#[derive(Clone, Copy)]
struct Seed<'s> {
    state: &'s RefCell<State>,
    depth: usize,
}

impl Seed<'_> {
    fn refuse<E: Error>(self, refusal: TypedDataRefusal) -> E {
        self.state.borrow_mut().refusal = Some(refusal);
        E::custom("refused")
    }

    fn inner<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(self.refuse(TypedDataRefusal::TooDeep));
        }
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let values = self.state.borrow().values.saturating_add(1);
        if values > MAX_VALUES {
            return Err(self.refuse(TypedDataRefusal::TooManyValues));
        }
        self.state.borrow_mut().values = values;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Err(self.refuse(TypedDataRefusal::InexactNumber))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut object = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(self.refuse(TypedDataRefusal::DuplicateKey { key: short(&key) }));
            }
            let value = access.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Json::Object(Object(object)))
    }
}
