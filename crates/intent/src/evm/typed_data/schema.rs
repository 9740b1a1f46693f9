//! The types of a document, checked before any value is looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    json::{Json, Object},
    refusal::{TypedDataRefusal, short},
};

/// The most types of a document.
pub(super) const MAX_TYPES: usize = 64;

/// The most fields of a type.
pub(super) const MAX_FIELDS: usize = 64;

/// The longest name of a type or a field, in bytes.
const MAX_NAME: usize = 64;

/// The most arrays around a type.
const MAX_ARRAYS: usize = 4;

/// The type of the domain.
pub(super) const DOMAIN: &str = "EIP712Domain";

/// The fields that a domain may have, in the one order in which every library hashes them.
const DOMAIN_FIELDS: [(&str, &str); 5] = [
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
    ("salt", "bytes32"),
];

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Address,
    String,
    Bytes,
    /// So many bytes, 1 to 32.
    FixedBytes(usize),
    /// So many bits, 8 to 256.
    Uint(usize),
    /// So many bits, 8 to 256.
    Int(usize),
    Struct(String),
    /// Any number of elements, or exactly so many.
    Array(Box<Type>, Option<usize>),
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Type,
}

/// The types that a document defines.
#[derive(Debug)]
pub(super) struct Schema(BTreeMap<String, Vec<Field>>);

impl Schema {
    pub(super) fn read(types: &Object) -> Result<Self, TypedDataRefusal> {
        let found = types.iter().count();
        if found > MAX_TYPES {
            return Err(TypedDataRefusal::TooManyTypes { found });
        }
        let mut schema = BTreeMap::new();
        for (name, fields) in types.iter() {
            check_name(name)?;
            if atomic(name).is_some() || matches!(name.as_str(), "uint" | "int" | "byte") {
                return Err(TypedDataRefusal::Name { name: short(name) });
            }
            schema.insert(name.clone(), read_fields(name, fields)?);
        }
        Ok(Self(schema))
    }

    /// The fields of a type that was checked.
    pub(super) fn fields(&self, name: &str) -> &[Field] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Checks that every type is defined, none contains itself, and the domain is as it must be.
    pub(super) fn check(&self, primary: &str) -> Result<(), TypedDataRefusal> {
        self.check_domain()?;
        if primary == DOMAIN {
            return Err(TypedDataRefusal::DomainType {
                problem: "it is not a message",
            });
        }
        if !self.0.contains_key(primary) {
            return Err(TypedDataRefusal::UnknownType {
                name: short(primary),
            });
        }
        for field in self.0.values().flatten() {
            if let Some(name) = field.kind.named()
                && !self.0.contains_key(name)
            {
                return Err(TypedDataRefusal::UnknownType { name: short(name) });
            }
        }
        let mut done = BTreeSet::new();
        for name in self.0.keys() {
            self.check_loop(name, &mut Vec::new(), &mut done)?;
        }
        Ok(())
    }

    /// Goes at most as deep as there are types, and through each of them once.
    fn check_loop<'s>(
        &'s self,
        name: &'s str,
        path: &mut Vec<&'s str>,
        done: &mut BTreeSet<&'s str>,
    ) -> Result<(), TypedDataRefusal> {
        if path.contains(&name) {
            return Err(TypedDataRefusal::TypeLoop { name: short(name) });
        }
        if done.contains(name) {
            return Ok(());
        }
        path.push(name);
        for inner in self
            .fields(name)
            .iter()
            .filter_map(|field| field.kind.named())
        {
            self.check_loop(inner, path, done)?;
        }
        path.pop();
        done.insert(name);
        Ok(())
    }

    fn check_domain(&self) -> Result<(), TypedDataRefusal> {
        let refused = |problem| Err(TypedDataRefusal::DomainType { problem });
        let Some(fields) = self.0.get(DOMAIN) else {
            return refused("it is not defined in types");
        };
        let mut known = DOMAIN_FIELDS.iter();
        for field in fields {
            // Going on from the last one found keeps the order.
            if !known.any(|(name, kind)| field.name == *name && field.kind.to_string() == *kind) {
                return refused(
                    "expected some of name, version, chainId, verifyingContract and salt, in \
                     this order, of their types",
                );
            }
        }
        Ok(())
    }

    /// The type and those that it uses, in the form that is hashed.
    pub(super) fn encode_type(&self, name: &str) -> String {
        let mut used = BTreeSet::new();
        self.collect(name, &mut used);
        used.remove(name);
        let mut text = self.encode_one(name);
        for inner in used {
            text.push_str(&self.encode_one(inner));
        }
        text
    }

    fn collect<'s>(&'s self, name: &str, used: &mut BTreeSet<&'s str>) {
        for inner in self
            .fields(name)
            .iter()
            .filter_map(|field| field.kind.named())
        {
            if used.insert(inner) {
                self.collect(inner, used);
            }
        }
    }

    fn encode_one(&self, name: &str) -> String {
        let fields: Vec<String> = self
            .fields(name)
            .iter()
            .map(|field| format!("{} {}", field.kind, field.name))
            .collect();
        format!("{name}({})", fields.join(","))
    }
}

fn read_fields(name: &str, fields: &Json) -> Result<Vec<Field>, TypedDataRefusal> {
    let at = format!("types.{name}");
    let fields = fields.array(&at)?;
    if fields.len() > MAX_FIELDS {
        return Err(TypedDataRefusal::TooManyFields {
            name: short(name),
            found: fields.len(),
        });
    }
    let mut read: Vec<Field> = Vec::new();
    for field in fields {
        let field = field.object(&at)?;
        field.only(&at, &["name", "type"])?;
        let field_name = field.required(&at, "name")?.string(&at)?;
        check_name(field_name)?;
        if read.iter().any(|earlier| earlier.name == field_name) {
            return Err(TypedDataRefusal::FieldTwice {
                name: short(name),
                field: short(field_name),
            });
        }
        read.push(Field {
            name: field_name.to_owned(),
            kind: Type::read(field.required(&at, "type")?.string(&at)?)?,
        });
    }
    Ok(read)
}

fn check_name(name: &str) -> Result<(), TypedDataRefusal> {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$';
    let starts = name.bytes().next().is_some_and(is_letter);
    if name.len() > MAX_NAME
        || !starts
        || !name
            .bytes()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
    {
        return Err(TypedDataRefusal::Name { name: short(name) });
    }
    Ok(())
}

/// A type of EIP-712 that is not made of others.
fn atomic(text: &str) -> Option<Type> {
    let size = |digits: &str| {
        let size: usize = digits.parse().ok()?;
        (size.to_string() == digits).then_some(size)
    };
    let bits = |digits: &str| size(digits).filter(|bits| (8..=256).contains(bits) && bits % 8 == 0);
    match text {
        "bool" => Some(Type::Bool),
        "address" => Some(Type::Address),
        "string" => Some(Type::String),
        "bytes" => Some(Type::Bytes),
        _ => {
            if let Some(digits) = text.strip_prefix("bytes") {
                let length = size(digits).filter(|length| (1..=32).contains(length));
                length.map(Type::FixedBytes)
            } else if let Some(digits) = text.strip_prefix("uint") {
                bits(digits).map(Type::Uint)
            } else {
                text.strip_prefix("int").and_then(bits).map(Type::Int)
            }
        }
    }
}

impl Type {
    fn read(text: &str) -> Result<Self, TypedDataRefusal> {
        let unknown = || TypedDataRefusal::UnknownType { name: short(text) };
        let start = text.find('[').unwrap_or(text.len());
        let (base, suffix) = text.split_at(start);
        let mut kind = match atomic(base) {
            Some(atomic) => atomic,
            // Short names of types mean different things to different libraries.
            None if matches!(base, "uint" | "int" | "byte") => return Err(unknown()),
            None => {
                check_name(base).map_err(|_| unknown())?;
                Self::Struct(base.to_owned())
            }
        };
        let mut rest = suffix;
        let mut arrays: usize = 0;
        while !rest.is_empty() {
            let inner = rest.strip_prefix('[').ok_or_else(unknown)?;
            let (digits, after) = inner.split_once(']').ok_or_else(unknown)?;
            let length = if digits.is_empty() {
                None
            } else {
                let length: u16 = digits.parse().map_err(|_| unknown())?;
                let canonical = length.to_string() == digits && length > 0;
                canonical.then_some(()).ok_or_else(unknown)?;
                Some(usize::from(length))
            };
            arrays = arrays.saturating_add(1);
            if arrays > MAX_ARRAYS {
                return Err(unknown());
            }
            kind = Self::Array(Box::new(kind), length);
            rest = after;
        }
        Ok(kind)
    }

    /// The defined type that it is made of.
    fn named(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(inner, _) => inner.named(),
            Self::Bool
            | Self::Address
            | Self::String
            | Self::Bytes
            | Self::FixedBytes(_)
            | Self::Uint(_)
            | Self::Int(_) => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Address => f.write_str("address"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::FixedBytes(length) => write!(f, "bytes{length}"),
            Self::Uint(bits) => write!(f, "uint{bits}"),
            Self::Int(bits) => write!(f, "int{bits}"),
            Self::Struct(name) => f.write_str(name),
            Self::Array(inner, None) => write!(f, "{inner}[]"),
            Self::Array(inner, Some(length)) => write!(f, "{inner}[{length}]"),
        }
    }
}
