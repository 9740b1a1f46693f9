//! From typed data of alloy to the JSON document that nodes decode.
//!
//! A type of Rust knows its values only in the encoding of the ABI, so that they are read back from
//! it. Whatever goes wrong on the way shows in the digest, which the caller compares.

use alloy_dyn_abi::{DynSolValue, TypedData, eip712::Resolver};
use alloy_primitives::hex;
use alloy_signer::{Error, Result};
use alloy_sol_types::{Eip712Domain, SolStruct, SolType};
use serde_json::{Map, Value, json};

/// The name of the type of domains.
const DOMAIN: &str = "EIP712Domain";

/// The document of typed data. It names the type of the domain, which alloy lets people leave out.
pub(super) fn document(data: &TypedData) -> Result<Vec<u8>> {
    let mut resolver = data.resolver.clone();
    if !resolver.contains_type_name(DOMAIN) {
        resolver.ingest_string(data.domain.encode_type())?;
    }
    let mut domain = Map::new();
    let Eip712Domain {
        name,
        version,
        chain_id,
        verifying_contract,
        salt,
    } = &data.domain;
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            domain.insert(name.to_owned(), value.into());
        }
    };
    put("name", name.as_ref().map(ToString::to_string));
    put("version", version.as_ref().map(ToString::to_string));
    put("chainId", chain_id.map(|id| id.to_string()));
    put(
        "verifyingContract",
        verifying_contract.map(|contract| contract.to_string()),
    );
    put("salt", salt.map(|salt| salt.to_string()));
    let document = json!({
        "types": resolver,
        "primaryType": data.primary_type,
        "domain": domain,
        "message": data.message,
    });
    serde_json::to_vec(&document).map_err(Error::other)
}

/// Typed data of a type of Rust.
pub(super) fn of_struct<T: SolStruct>(value: &T, domain: &Eip712Domain) -> Result<TypedData> {
    let resolver = Resolver::from_struct::<T>();
    let root = resolver.resolve(T::NAME)?;
    let message = json_of(&root.abi_decode(&encode::<T>(value))?)?;
    Ok(TypedData {
        domain: domain.clone(),
        resolver,
        primary_type: T::NAME.to_owned(),
        message,
    })
}

fn encode<T: SolType>(value: &T::RustType) -> Vec<u8> {
    T::abi_encode(value)
}

/// A value as documents write it. Numbers are texts, because readers of JSON round them.
fn json_of(value: &DynSolValue) -> Result<Value> {
    let list = |values: &[DynSolValue]| {
        let values = values.iter().map(json_of);
        values.collect::<Result<Vec<_>>>()
    };
    Ok(match value {
        DynSolValue::Bool(is) => json!(is),
        DynSolValue::Int(number, _) => json!(number.to_string()),
        DynSolValue::Uint(number, _) => json!(number.to_string()),
        DynSolValue::FixedBytes(word, length) => {
            json!(hex::encode_prefixed(
                word.get(..*length).unwrap_or_default()
            ))
        }
        DynSolValue::Address(address) => json!(address.to_string()),
        DynSolValue::Bytes(bytes) => json!(hex::encode_prefixed(bytes)),
        DynSolValue::String(text) => json!(text),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) => Value::Array(list(values)?),
        DynSolValue::CustomStruct {
            prop_names, tuple, ..
        } => {
            let values = prop_names.iter().cloned().zip(list(tuple)?);
            Value::Object(values.collect())
        }
        DynSolValue::Function(_) | DynSolValue::Tuple(_) => {
            return Err(Error::message("EIP-712 has no tuples and no functions"));
        }
    })
}
