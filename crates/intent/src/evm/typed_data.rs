//! Typed data (EIP-712): the JSON document of `eth_signTypedData_v4`.
//!
//! Libraries differ in what they make of documents that are not quite right: a missing field is
//! zero here and an error there, a domain type in another order hashes differently. Whatever
//! could have two meanings is therefore refused, so that the digest is the one that every library
//! computes for the same document, and the rendering is all that it commits to.

mod json;
pub(crate) mod refusal;
mod schema;
mod value;

use quorate_model::Digest;
use serde::{Deserialize, Serialize};

use self::{
    json::{Json, Object},
    refusal::TypedDataRefusal,
    schema::{DOMAIN, Schema},
    value::Hasher,
};
use super::{address::EvmAddress, keccak256};
use crate::amount::Amount;

/// The most bytes of a document.
pub const MAX_TYPED_DATA_BYTES: usize = 1 << 16;

/// How many fields are rendered, the first ones.
pub const MAX_RENDERED_FIELDS: usize = 256;

/// What typed data say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypedDataFacts {
    /// The chain in the form of CAIP-2, when the domain names one.
    pub chain: Option<String>,
    /// For whom the data are meant.
    pub domain: TypedDataDomain,
    /// The type of the message.
    pub primary_type: String,
    /// That type and all that it uses, in the form that is hashed.
    pub encoded_type: String,
    /// The fields of the message in order, deepest first to last, at most
    /// [`MAX_RENDERED_FIELDS`].
    pub fields: Vec<TypedDataField>,
    /// Whether there are more fields or longer values than shown.
    pub truncated: bool,
    /// The hash of the domain.
    pub domain_separator: Digest,
    /// The hash of the message.
    pub message_hash: Digest,
    /// The digest that is signed, over both.
    pub digest: Digest,
}

/// For whom typed data are meant. What is absent is not part of the domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypedDataDomain {
    /// The name of the application, escaped as in messages.
    pub name: Option<String>,
    /// Its version, escaped as in messages.
    pub version: Option<String>,
    /// The chain.
    pub chain_id: Option<Amount>,
    /// The contract that checks the signature.
    pub verifying_contract: Option<EvmAddress>,
    /// What tells the domain from others, in hex.
    pub salt: Option<String>,
}

/// One value of typed data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypedDataField {
    /// Where it stands: names and positions.
    pub path: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The value as text; strings are escaped as in messages.
    pub value: String,
}

/// Reads a document and says what it says.
pub(crate) fn read(bytes: &[u8]) -> Result<TypedDataFacts, TypedDataRefusal> {
    if bytes.len() > MAX_TYPED_DATA_BYTES {
        return Err(TypedDataRefusal::TooLarge { found: bytes.len() });
    }
    let document = json::read(bytes)?;
    let parts = document.object("the document")?;
    parts.only(
        "the document",
        &["types", "primaryType", "domain", "message"],
    )?;
    let primary = parts.required("the document", "primaryType")?;
    let primary = primary.string("primaryType")?;
    let schema = Schema::read(parts.required("the document", "types")?.object("types")?)?;
    schema.check(primary)?;
    let domain_value = parts.required("the document", "domain")?;
    let message = parts.required("the document", "message")?;

    let mut hasher = Hasher::new(&schema);
    let domain_separator = hasher.hash_struct(DOMAIN, "domain", domain_value)?;
    let domain = domain(domain_value.object("domain")?, hasher.rendered())?;
    let domain_truncated = hasher.is_truncated();
    let mut hasher = Hasher::new(&schema);
    let message_hash = hasher.hash_struct(primary, "", message)?;
    let encoded_type = schema.encode_type(primary);
    let truncated = domain_truncated || hasher.is_truncated();
    let chain = domain.chain_id.map(|id| format!("eip155:{id}"));
    let signed = [&[0x19, 0x01][..], &domain_separator, &message_hash].concat();
    Ok(TypedDataFacts {
        chain,
        domain,
        primary_type: primary.to_owned(),
        encoded_type,
        fields: hasher.into_rendered(),
        truncated,
        domain_separator: Digest::new(domain_separator),
        message_hash: Digest::new(message_hash),
        digest: Digest::new(keccak256(&signed)),
    })
}

/// The domain out of its rendering, which has exactly the fields of its type.
fn domain(
    given: &Object,
    rendered: &[TypedDataField],
) -> Result<TypedDataDomain, TypedDataRefusal> {
    let text = |name: &str| {
        let path = format!("domain.{name}");
        let field = rendered.iter().find(|field| field.path == path);
        field.map(|field| field.value.clone())
    };
    let domain = TypedDataDomain {
        name: text("name"),
        version: text("version"),
        chain_id: text("chainId").and_then(|id| id.parse().ok()),
        verifying_contract: text("verifyingContract").and_then(|contract| contract.parse().ok()),
        salt: text("salt"),
    };
    if domain.chain_id == Some(Amount::ZERO) {
        return Err(TypedDataRefusal::ChainIdZero);
    }
    // A domain of nothing is the same for everybody.
    if given.is_empty() {
        return Err(TypedDataRefusal::DomainType {
            problem: "it is empty, and the signature would be valid everywhere",
        });
    }
    Ok(domain)
}

impl Json {
    fn object(&self, at: &str) -> Result<&Object, TypedDataRefusal> {
        let Self::Object(object) = self else {
            return Err(self.wrong(at, "an object"));
        };
        Ok(object)
    }

    fn string(&self, at: &str) -> Result<&str, TypedDataRefusal> {
        let Self::String(text) = self else {
            return Err(self.wrong(at, "a string"));
        };
        Ok(text)
    }

    fn array(&self, at: &str) -> Result<&[Self], TypedDataRefusal> {
        let Self::Array(items) = self else {
            return Err(self.wrong(at, "an array"));
        };
        Ok(items)
    }

    fn wrong(&self, at: &str, expected: &str) -> TypedDataRefusal {
        TypedDataRefusal::WrongType {
            at: refusal::short(at),
            expected: refusal::short(expected),
            found: self.kind(),
        }
    }
}
