//! Addresses and statements of them.

use quorate_model::address::{AddressClaim, AddressKind, AddressStatement, AddressType, Network};

use super::*;

/// A key, a child of it, and a kind of address.
pub(crate) fn address() -> impl Strategy<Value = (KeyName, DerivationPath, AddressKind)> {
    let bitcoin = (
        select(Network::ALL.to_vec()),
        select(AddressType::ALL.to_vec()),
    );
    let kind = prop_oneof![
        bitcoin.prop_map(|(network, form)| AddressKind::Bitcoin { network, form }),
        Just(AddressKind::Ethereum),
        Just(AddressKind::Solana),
    ];
    (named::<KeyName>(), path(), kind)
}

pub(crate) fn address_statement() -> impl Strategy<Value = AddressStatement> {
    let about = (epoch(), digest(), ".{0,20}");
    (named::<NodeId>(), address(), about, signature()).prop_map(
        |(node, (key, path, kind), (epoch, certificate, address), signature)| AddressStatement {
            node,
            claim: AddressClaim {
                key,
                epoch,
                certificate,
                path,
                kind,
                address,
            },
            signature,
        },
    )
}
