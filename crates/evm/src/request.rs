//! From the parameter of `eth_signTransaction` to the bytes of a payload.
//!
//! Pure: nothing is asked of any chain, so that nonce, gas, fees and chain id must be there. What
//! the parameter says and the bytes cannot carry is refused and not dropped, because it could be
//! a restriction that somebody meant.

use quorate_intent::{Amount, EvmAccess, EvmAddress, EvmFees, EvmRefusal, EvmTransaction};
use quorate_model::{Payload, PayloadKind, Reason, Refusal};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A transaction that somebody asks to have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmRequest {
    /// The transaction.
    pub transaction: EvmTransaction,
    /// Who is said to send it: no part of the bytes.
    pub from: Option<EvmAddress>,
}

/// Why a parameter of `eth_signTransaction` makes no transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvmRequestError {
    /// It is no JSON object of the known fields.
    #[error("the transaction is no parameter of eth_signTransaction: {0}")]
    Malformed(String),
    /// A field that nothing can stand in for.
    #[error("the transaction has no \"{0}\": nothing is looked up here, so it must be given")]
    Missing(&'static str),
    /// Two fields that exclude each other.
    #[error("the transaction has both \"{first}\" and \"{second}\", which exclude each other")]
    Conflict {
        /// One field.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// Another type than the fields make.
    #[error(
        "the transaction says that it has type {claimed}, and its fields are those of type {found}"
    )]
    OtherType {
        /// The type that it says.
        claimed: u64,
        /// The type that the fields make.
        found: u8,
    },
    /// A number that is larger than the field.
    #[error("\"{0}\" of the transaction is too large")]
    TooLarge(&'static str),
    /// Another sender than the key.
    #[error("the transaction is from {from}, and the key is {key}: check the name of the key")]
    WrongFrom {
        /// The sender that it says.
        from: EvmAddress,
        /// The account of the key.
        key: EvmAddress,
    },
    /// A transaction that no key signs.
    #[error(transparent)]
    Refused(#[from] EvmRefusal),
}

impl EvmRequestError {
    /// The reason of the catalogue.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_)
            | Self::Missing(_)
            | Self::Conflict { .. }
            | Self::OtherType { .. }
            | Self::TooLarge(_) => Reason::PayloadUndecodable,
            Self::WrongFrom { .. } => Reason::PayloadRefused,
            Self::Refused(refusal) => refusal.reason(),
        }
    }

    /// A stable code for exactly this error, finer than the reason.
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "EVM_REQUEST_MALFORMED",
            Self::Missing(_) => "EVM_REQUEST_MISSING",
            Self::Conflict { .. } => "EVM_REQUEST_CONFLICT",
            Self::OtherType { .. } => "EVM_REQUEST_OTHER_TYPE",
            Self::TooLarge(_) => "EVM_REQUEST_TOO_LARGE",
            Self::WrongFrom { .. } => "EVM_WRONG_FROM",
            Self::Refused(refusal) => refusal.detail(),
        }
    }
}

impl From<&EvmRequestError> for Refusal {
    fn from(error: &EvmRequestError) -> Self {
        Self::new(error.reason(), error.to_string()).with("detail", error.detail())
    }
}

impl EvmRequest {
    /// Reads the parameter of `eth_signTransaction`. The type follows from the fields for fees.
    ///
    /// # Errors
    ///
    /// When a field is missing, unknown, malformed or in conflict with another.
    pub fn from_json(json: &[u8]) -> Result<Self, EvmRequestError> {
        let parameter: Parameter = serde_json::from_slice(json)
            .map_err(|error| EvmRequestError::Malformed(error.to_string()))?;
        parameter.into_request()
    }

    /// Checks that the transaction is from the account of the key, if it says so at all.
    ///
    /// # Errors
    ///
    /// [`EvmRequestError::WrongFrom`] when it names another account.
    pub fn check_from(&self, key: EvmAddress) -> Result<(), EvmRequestError> {
        match self.from {
            Some(from) if from != key => Err(EvmRequestError::WrongFrom { from, key }),
            Some(_) | None => Ok(()),
        }
    }

    /// The payload that a command carries.
    pub fn payload(&self) -> Payload {
        Payload::new(PayloadKind::EvmTransaction, self.transaction.encode())
    }
}

/// A number: 0x-hex, or a JSON number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quantity(Amount);

/// Bytes: 0x-hex.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hex(Vec<u8>);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => return Ok(Self(number.into())),
            NumberOrText::Text(text) => text,
        };
        let refused = || D::Error::custom(format!("\"{text:.80}\" is no number in 0x-hex"));
        let digits = text.strip_prefix("0x").ok_or_else(refused)?;
        let hex_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if digits.is_empty() || digits.len() > 64 || !hex_digits {
            return Err(refused());
        }
        let bytes = hex::decode(format!("{digits:0>64}")).map_err(|_| refused())?;
        Amount::from_be_slice(&bytes).map(Self).ok_or_else(refused)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x");
        digits
            .and_then(|digits| hex::decode(digits).ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom("expected bytes in 0x-hex"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Access {
    address: EvmAddress,
    storage_keys: Vec<Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Parameter {
    from: Option<EvmAddress>,
    to: Option<EvmAddress>,
    gas: Option<Quantity>,
    gas_limit: Option<Quantity>,
    gas_price: Option<Quantity>,
    max_fee_per_gas: Option<Quantity>,
    max_priority_fee_per_gas: Option<Quantity>,
    max_fee_per_blob_gas: Option<Quantity>,
    value: Option<Quantity>,
    data: Option<Hex>,
    input: Option<Hex>,
    nonce: Option<Quantity>,
    chain_id: Option<Quantity>,
    #[serde(rename = "type")]
    kind: Option<Quantity>,
    access_list: Option<Vec<Access>>,
    blob_versioned_hashes: Option<Vec<Hex>>,
    authorization_list: Option<serde_json::Value>,
}

impl Parameter {
    fn into_request(self) -> Result<EvmRequest, EvmRequestError> {
        if self.authorization_list.is_some() {
            return Err(EvmRefusal::AuthorizationList.into());
        }
        let fees = self.fees()?;
        let gas_limit = match (self.gas, self.gas_limit) {
            (Some(_), Some(_)) => return Err(conflict("gas", "gasLimit")),
            (gas, limit) => small("gas", gas.or(limit))?,
        };
        let input = match (self.data, self.input) {
            (Some(data), Some(input)) if data != input => return Err(conflict("data", "input")),
            (data, input) => data.or(input).map(|bytes| bytes.0).unwrap_or_default(),
        };
        let chain_id = self.chain_id.ok_or(EvmRefusal::ChainIdMissing)?;
        let access_list = self.access_list.unwrap_or_default();
        let transaction = EvmTransaction {
            chain_id: u64::try_from(chain_id.0).map_err(|_| EvmRefusal::ChainIdTooLarge)?,
            nonce: small("nonce", self.nonce)?,
            fees,
            gas_limit,
            to: self.to,
            value: self.value.map_or(Amount::ZERO, |value| value.0),
            input,
            access_list: access_list
                .into_iter()
                .map(Access::into_model)
                .collect::<Result<_, _>>()?,
        };
        transaction.check()?;
        let found = transaction.type_number();
        match self.kind.map(|claimed| u64::try_from(claimed.0)) {
            Some(Ok(claimed)) if claimed == u64::from(found) => {}
            Some(Ok(claimed)) => return Err(EvmRequestError::OtherType { claimed, found }),
            Some(Err(_)) => return Err(EvmRequestError::TooLarge("type")),
            None => {}
        }
        Ok(EvmRequest {
            transaction,
            from: self.from,
        })
    }

    /// The type follows from what is said about fees.
    fn fees(&self) -> Result<EvmFees, EvmRequestError> {
        let blob_fields = [
            (self.max_fee_per_blob_gas.is_some(), "maxFeePerBlobGas"),
            (self.blob_versioned_hashes.is_some(), "blobVersionedHashes"),
        ];
        let dynamic_fields = [
            (self.max_fee_per_gas.is_some(), "maxFeePerGas"),
            (
                self.max_priority_fee_per_gas.is_some(),
                "maxPriorityFeePerGas",
            ),
        ];
        let mut newer = dynamic_fields.into_iter().chain(blob_fields);
        if let Some(gas_price) = self.gas_price {
            if let Some((_, second)) = newer.find(|(is_given, _)| *is_given) {
                return Err(conflict("gasPrice", second));
            }
            let gas_price = price("gasPrice", Some(gas_price))?;
            // An access list may be empty, and then nothing but the type tells that there is one.
            let says_listed = self.kind == Some(Quantity(Amount::from(1_u64)));
            return Ok(match self.access_list {
                None if !says_listed => EvmFees::Legacy { gas_price },
                _ => EvmFees::AccessList { gas_price },
            });
        }
        let max_fee = price("maxFeePerGas", self.max_fee_per_gas)?;
        let max_priority_fee = price("maxPriorityFeePerGas", self.max_priority_fee_per_gas)?;
        if blob_fields.into_iter().all(|(is_given, _)| !is_given) {
            return Ok(EvmFees::Dynamic {
                max_priority_fee,
                max_fee,
            });
        }
        let hashes = self.blob_versioned_hashes.as_ref();
        let hashes = hashes.ok_or(EvmRequestError::Missing("blobVersionedHashes"))?;
        Ok(EvmFees::Blob {
            max_priority_fee,
            max_fee,
            max_blob_fee: price("maxFeePerBlobGas", self.max_fee_per_blob_gas)?,
            hashes: words(hashes)?,
        })
    }
}

impl Access {
    fn into_model(self) -> Result<EvmAccess, EvmRequestError> {
        Ok(EvmAccess {
            address: self.address,
            keys: words(&self.storage_keys)?,
        })
    }
}

fn words(given: &[Hex]) -> Result<Vec<[u8; 32]>, EvmRequestError> {
    let word = |hex: &Hex| {
        let word = hex.0.as_slice().try_into();
        word.map_err(|_| EvmRequestError::Malformed("expected 32 bytes in 0x-hex".to_owned()))
    };
    given.iter().map(word).collect()
}

fn small(field: &'static str, given: Option<Quantity>) -> Result<u64, EvmRequestError> {
    let given = given.ok_or(EvmRequestError::Missing(field))?;
    u64::try_from(given.0).map_err(|_| EvmRequestError::TooLarge(field))
}

fn price(field: &'static str, given: Option<Quantity>) -> Result<u128, EvmRequestError> {
    let given = given.ok_or(EvmRequestError::Missing(field))?;
    u128::try_from(given.0).map_err(|_| EvmRequestError::TooLarge(field))
}

const fn conflict(first: &'static str, second: &'static str) -> EvmRequestError {
    EvmRequestError::Conflict { first, second }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "0x3535353535353535353535353535353535353535";

    fn read(fields: &str) -> Result<EvmRequest, EvmRequestError> {
        let json = format!(
            r#"{{"to":"{TO}","gas":"0x5208","nonce":"0x9","value":"0xde0b6b3a7640000",{fields}}}"#
        );
        EvmRequest::from_json(json.as_bytes())
    }

    #[test]
    fn the_example_of_eip_155_becomes_its_bytes() {
        let request = read(r#""chainId":1,"gasPrice":"0x4a817c800""#).unwrap();

        assert_eq!(
            hex::encode(request.payload().bytes),
            "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a7640000\
             80018080"
        );
    }

    #[test]
    fn the_type_follows_from_the_fields_for_fees() {
        let hash = format!("0x01{}", "00".repeat(31));
        let blob = format!(r#""maxFeePerBlobGas":"0x1","blobVersionedHashes":["{hash}"]"#);
        let dynamic = r#""maxFeePerGas":"0x2","maxPriorityFeePerGas":"0x1","chainId":"0x1""#;
        for (fields, expected) in [
            (r#""gasPrice":"0x1","chainId":"0x1""#.to_owned(), 0),
            (
                r#""gasPrice":"0x1","chainId":"0x1","accessList":[]"#.to_owned(),
                1,
            ),
            (
                r#""gasPrice":"0x1","chainId":"0x1","type":"0x1""#.to_owned(),
                1,
            ),
            (dynamic.to_owned(), 2),
            (format!("{dynamic},{blob}"), 3),
            (format!(r#"{dynamic},"type":"0x2""#), 2),
        ] {
            let request = read(&fields).unwrap();
            let bytes = request.payload().bytes;

            assert_eq!(request.transaction.type_number(), expected, "{fields}");
            assert_eq!(EvmTransaction::decode(&bytes), Ok(request.transaction));
        }
    }

    #[test]
    fn what_is_missing_or_contradicts_is_named() {
        let check = |fields: &str, expected: EvmRequestError| {
            assert_eq!(read(fields), Err(expected), "{fields}");
        };
        let legacy = r#""gasPrice":"0x1","chainId":"0x1""#;
        let with = |more: &str| format!("{legacy},{more}");

        check(r#""gasPrice":"0x1""#, EvmRefusal::ChainIdMissing.into());
        check(
            r#""gasPrice":"0x1","chainId":0"#,
            EvmRefusal::ChainIdZero.into(),
        );
        check(r#""chainId":1"#, EvmRequestError::Missing("maxFeePerGas"));
        check(
            r#""chainId":1,"maxFeePerGas":"0x1""#,
            EvmRequestError::Missing("maxPriorityFeePerGas"),
        );
        check(
            &with(r#""maxFeePerGas":"0x1""#),
            conflict("gasPrice", "maxFeePerGas"),
        );
        check(
            &with(r#""maxFeePerBlobGas":"0x1""#),
            conflict("gasPrice", "maxFeePerBlobGas"),
        );
        check(&with(r#""gasLimit":"0x1""#), conflict("gas", "gasLimit"));
        check(
            &with(r#""data":"0x01","input":"0x02""#),
            conflict("data", "input"),
        );
        check(
            &with(r#""type":"0x2""#),
            EvmRequestError::OtherType {
                claimed: 2,
                found: 0,
            },
        );
        check(
            &with(r#""authorizationList":[]"#),
            EvmRefusal::AuthorizationList.into(),
        );
        let large = format!(r#""gasPrice":"0x1{}","chainId":1"#, "0".repeat(32));
        check(&large, EvmRequestError::TooLarge("gasPrice"));
    }

    #[test]
    fn what_is_no_parameter_is_refused() {
        let legacy = r#""gasPrice":"0x1","chainId":"0x1""#;
        for more in [
            r#""gasPrice":"0x2""#,
            r#""surprise":1"#,
            r#""data":"01""#,
            r#""data":"0x0""#,
            r#""from":"0x35""#,
            r#""maxFeePerGas":"12""#,
            r#""maxFeePerGas":-1"#,
            r#""maxFeePerGas":1.5"#,
            r#""maxFeePerGas":"0x""#,
        ] {
            let result = read(&format!("{legacy},{more}"));

            assert!(
                matches!(result, Err(EvmRequestError::Malformed(_))),
                "{more}: {result:?}"
            );
        }
    }

    #[test]
    fn a_sender_is_optional_and_checked_when_it_is_there() {
        let key: EvmAddress = TO.parse().unwrap();
        let other: EvmAddress = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
            .parse()
            .unwrap();
        let legacy = r#""gasPrice":"0x1","chainId":"0x1""#;
        let without = read(legacy).unwrap();
        let with = read(&format!(r#"{legacy},"from":"{TO}""#)).unwrap();

        assert_eq!(without.check_from(key), Ok(()));
        assert_eq!(with.check_from(key), Ok(()));
        assert_eq!(
            with.check_from(other),
            Err(EvmRequestError::WrongFrom {
                from: key,
                key: other
            })
        );
    }
}
