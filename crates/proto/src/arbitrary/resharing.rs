//! What only resharing and erasing know.

use proptest::{collection::vec, option, prelude::*};
use quorate_model::{
    KeyId, KeyName, NodeId,
    certificate::KeyEvidence,
    command::{CommandBody, ReshareKey},
    node_api::{ActivationReceipt, EraseCertificate, EraseReceipt, ReshareFrom},
    operation::ReshareOutcome,
};

use super::{bytes, digest, epoch, named, signature};

pub(super) fn reshare_command() -> impl Strategy<Value = CommandBody> {
    let shape = (any::<u16>(), vec(named::<NodeId>(), 0..4), any::<bool>());
    (named::<KeyName>(), digest(), epoch(), epoch(), shape).prop_map(
        |(key, id, source_epoch, first_epoch, (threshold, nodes, accept_fragile))| {
            CommandBody::ReshareKey(ReshareKey {
                key,
                key_id: KeyId::of(&id),
                source_epoch,
                first_epoch,
                threshold,
                nodes,
                accept_fragile,
            })
        },
    )
}

pub(super) fn evidence_of_key() -> impl Strategy<Value = KeyEvidence> {
    (bytes(), option::of(bytes()), option::of(bytes())).prop_map(|(certificate, proof, birth)| {
        KeyEvidence {
            certificate,
            proof,
            birth,
        }
    })
}

pub(super) fn reshare_from() -> impl Strategy<Value = ReshareFrom> {
    (evidence_of_key(), vec(named(), 0..3))
        .prop_map(|(evidence, dealers)| ReshareFrom { evidence, dealers })
}

pub(super) fn activation_receipt() -> impl Strategy<Value = ActivationReceipt> {
    (
        named::<NodeId>(),
        named::<KeyName>(),
        epoch(),
        digest(),
        any::<u64>(),
        signature(),
    )
        .prop_map(
            |(node, key, epoch, certificate, sequence, signature)| ActivationReceipt {
                node,
                key,
                epoch,
                certificate,
                sequence,
                signature,
            },
        )
}

pub(super) fn erase_certificate() -> impl Strategy<Value = EraseCertificate> {
    (named(), epoch(), vec(activation_receipt(), 0..3)).prop_map(|(key, epoch, receipts)| {
        EraseCertificate {
            key,
            epoch,
            receipts,
        }
    })
}

pub(super) fn erase_receipt() -> impl Strategy<Value = EraseReceipt> {
    activation_receipt().prop_map(|receipt| EraseReceipt {
        node: receipt.node,
        key: receipt.key,
        epoch: receipt.epoch,
        certificate: receipt.certificate,
        sequence: receipt.sequence,
        signature: receipt.signature,
    })
}

pub(super) fn reshare_outcome() -> impl Strategy<Value = ReshareOutcome> {
    (
        named(),
        epoch(),
        vec(erase_receipt(), 0..3),
        vec(named(), 0..3),
    )
        .prop_map(|(key, epoch, erased, missing)| ReshareOutcome {
            key,
            epoch,
            erased,
            missing,
        })
}
