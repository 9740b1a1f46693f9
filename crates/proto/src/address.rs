//! Conversions of questions for addresses and of what nodes state of them.

use quorate_model::{
    Refusal,
    address::{AddressKind, AddressQuery, AddressStatement},
    command::MAX_HOLDERS,
};

use crate::{
    convert::{Malformed, known, list, path, store, stored},
    names, v1,
};

impl From<AddressQuery> for v1::AttestAddressRequest {
    fn from(query: AddressQuery) -> Self {
        let (network, form) = match query.kind {
            AddressKind::Bitcoin { network, form } => (
                v1::BitcoinNetwork::from(network),
                v1::AddressType::from(form),
            ),
            AddressKind::Ethereum | AddressKind::Solana => Default::default(),
        };
        let chain = match query.kind {
            AddressKind::Bitcoin { .. } => v1::Chain::Bitcoin,
            AddressKind::Ethereum => v1::Chain::Ethereum,
            AddressKind::Solana => v1::Chain::Solana,
        };
        Self {
            name: names::key(&query.key),
            path: query.path.steps().to_vec(),
            chain: chain.into(),
            network: network.into(),
            r#type: form.into(),
        }
    }
}

impl TryFrom<v1::AttestAddressRequest> for AddressQuery {
    type Error = Refusal;
    fn try_from(wire: v1::AttestAddressRequest) -> Result<Self, Refusal> {
        Ok(Self {
            key: names::parse_key(&wire.name)?,
            kind: kind(&wire)?,
            path: path("path", wire.path)?,
        })
    }
}

fn kind(wire: &v1::AttestAddressRequest) -> Result<AddressKind, Malformed> {
    let absent = |field, number| match number {
        0 => Ok(()),
        _ => Err(Malformed::new(field, "is for addresses of Bitcoin")),
    };
    let chain = v1::Chain::try_from(wire.chain).unwrap_or_default();
    let kind = match chain {
        v1::Chain::Bitcoin => {
            return Ok(AddressKind::Bitcoin {
                network: known::<v1::BitcoinNetwork, _>("network", wire.network)?,
                form: known::<v1::AddressType, _>("type", wire.r#type)?,
            });
        }
        v1::Chain::Ethereum => AddressKind::Ethereum,
        v1::Chain::Solana => AddressKind::Solana,
        v1::Chain::Unspecified => {
            return Err(Malformed::new("chain", "is no known value"));
        }
    };
    absent("network", wire.network)?;
    absent("type", wire.r#type)?;
    Ok(kind)
}

/// Writes statements of an address.
///
/// # Errors
///
/// Only when one cannot be encoded.
pub fn statements_to_wire(
    statements: &[AddressStatement],
) -> Result<v1::AttestAddressResponse, Refusal> {
    let statements = statements.iter().map(store).collect::<Result<_, _>>()?;
    Ok(v1::AttestAddressResponse { statements })
}

/// Reads statements of an address; whether they hold is checked elsewhere.
///
/// # Errors
///
/// When there are more than there are holders, or one is malformed.
pub fn statements(wire: v1::AttestAddressResponse) -> Result<Vec<AddressStatement>, Refusal> {
    Ok(list("statements", wire.statements, MAX_HOLDERS, |bytes| {
        stored("statements", &bytes)
    })?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_model::{Reason, address::AddressType};

    use super::*;
    use crate::arbitrary;

    proptest! {
        #[test]
        fn a_question_and_its_answer_survive_the_wire(
            (key, path, kind) in arbitrary::address(),
            stated in prop::collection::vec(arbitrary::address_statement(), 0..4),
        ) {
            let query = AddressQuery { key, path, kind };

            let wire = v1::AttestAddressRequest::from(query.clone());

            prop_assert_eq!(AddressQuery::try_from(wire), Ok(query));
            let wire = statements_to_wire(&stated).unwrap();
            prop_assert_eq!(statements(wire), Ok(stated));
        }
    }

    #[test]
    fn questions_that_name_no_address_are_refused() {
        let right = v1::AttestAddressRequest {
            name: "keys/hot".to_owned(),
            path: vec![0, 5],
            chain: v1::Chain::Bitcoin.into(),
            network: v1::BitcoinNetwork::Regtest.into(),
            r#type: v1::AddressType::from(AddressType::P2pkh).into(),
        };
        let check = |change: &dyn Fn(&mut v1::AttestAddressRequest)| {
            let mut wire = right.clone();
            change(&mut wire);
            let refusal = AddressQuery::try_from(wire).unwrap_err();
            assert_eq!(refusal.reason, Reason::RequestInvalid, "{refusal}");
        };

        assert!(AddressQuery::try_from(right.clone()).is_ok());
        check(&|wire| wire.name = "hot".to_owned());
        check(&|wire| wire.path = vec![1 << 31]);
        check(&|wire| wire.path = vec![0; 11]);
        check(&|wire| wire.chain = 0);
        check(&|wire| wire.chain = 9);
        check(&|wire| wire.network = 0);
        check(&|wire| wire.r#type = 0);
        check(&|wire| wire.chain = v1::Chain::Ethereum.into());
    }
}
