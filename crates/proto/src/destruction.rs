//! Conversions of what is said about the end of a key, and the judgment of its proof.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Digest, KeyId, KeyRecord, Reason, Refusal,
    command::{CommandBody, SignedCommand},
    destruction::{
        DestroyKey, DestroyStep, Destruction, DestructionCertificate, DestructionCount,
        DestructionReceipt, MAX_DESTRUCTION_BYTES, MAX_ORDERS, MAX_RECEIPTS,
    },
    operation::DestructionOutcome,
    roster::{MAX_NODES, PinnedRoster},
};

use crate::{
    admission, certificate,
    convert::{Malformed, array, bounded, digest, list, name, store, stored},
    names, types, v1,
};

impl From<&DestroyKey> for v1::DestroyKey {
    fn from(destroy: &DestroyKey) -> Self {
        let step = match destroy.step {
            DestroyStep::Announce => v1::DestroyStep::Announce,
            DestroyStep::Cancel { .. } => v1::DestroyStep::Cancel,
            DestroyStep::Confirm { .. } => v1::DestroyStep::Confirm,
            DestroyStep::AtOnce => v1::DestroyStep::AtOnce,
        };
        let named = destroy.step.announcement();
        Self {
            key: destroy.key.to_string(),
            key_id: destroy.key_id.as_bytes().to_vec(),
            step: step.into(),
            announcement: named.map_or_else(Vec::new, |digest| digest.as_bytes().to_vec()),
            reason: destroy.reason.clone(),
        }
    }
}

pub(crate) fn destroy_key(wire: v1::DestroyKey) -> Result<DestroyKey, Malformed> {
    const FIELD: &str = "destroy_key.announcement";
    let step = match v1::DestroyStep::try_from(wire.step) {
        Ok(v1::DestroyStep::Announce) => DestroyStep::Announce,
        Ok(v1::DestroyStep::Cancel) => DestroyStep::Cancel {
            announcement: digest(FIELD, &wire.announcement)?,
        },
        Ok(v1::DestroyStep::Confirm) => DestroyStep::Confirm {
            announcement: digest(FIELD, &wire.announcement)?,
        },
        Ok(v1::DestroyStep::AtOnce) => DestroyStep::AtOnce,
        Ok(v1::DestroyStep::Unspecified) | Err(_) => {
            return Err(Malformed::new("destroy_key.step", "no known value"));
        }
    };
    if step.announcement().is_none() && !wire.announcement.is_empty() {
        return Err(Malformed::new(FIELD, "this step names no announcement"));
    }
    let destroy = DestroyKey {
        key: name("destroy_key.key", wire.key)?,
        key_id: array("destroy_key.key_id", &wire.key_id).map(KeyId)?,
        step,
        reason: wire.reason,
    };
    destroy
        .check()
        .map_err(|refusal| Malformed::new("destroy_key", refusal.message))?;
    Ok(destroy)
}

/// What is known of the end of a key; no bytes while nothing is.
pub(crate) fn to_wire(destruction: &Destruction) -> Vec<u8> {
    if destruction.is_empty() {
        return Vec::new();
    }
    // What was read once can be written.
    store(destruction).unwrap_or_default()
}

pub(crate) fn known(field: &'static str, wire: Vec<u8>) -> Result<Destruction, Malformed> {
    let bytes = bounded(field, wire, MAX_DESTRUCTION_BYTES)?;
    if bytes.is_empty() {
        return Ok(Destruction::default());
    }
    let read: Destruction = stored(field, &bytes)?;
    if read.orders.len() > MAX_ORDERS || read.receipts.len() > MAX_RECEIPTS {
        return Err(Malformed::new(
            field,
            "more orders or receipts than are read",
        ));
    }
    Ok(read)
}

pub(crate) fn outcome_to_wire(outcome: DestructionOutcome) -> Result<v1::KeyDestruction, Refusal> {
    let receipts = outcome.receipts.iter().map(store);
    Ok(v1::KeyDestruction {
        key: names::key(&outcome.key),
        receipts: receipts.collect::<Result<_, _>>()?,
        missing: outcome
            .missing
            .into_iter()
            .map(|(node, refusal)| v1::key_destruction::Missing {
                node: node.into(),
                refusal: refusal.map(Into::into),
            })
            .collect(),
    })
}

pub(crate) fn outcome(wire: v1::KeyDestruction) -> Result<DestructionOutcome, Malformed> {
    const RECEIPTS: &str = "key_destruction.receipts";
    const MISSING: &str = "key_destruction.missing";
    Ok(DestructionOutcome {
        key: names::key_in("key_destruction.key", &wire.key)?,
        receipts: list(RECEIPTS, wire.receipts, MAX_NODES, |bytes| {
            stored::<DestructionReceipt>(RECEIPTS, &bytes)
        })?,
        missing: list(MISSING, wire.missing, MAX_NODES, |missing| {
            let refusal = missing.refusal.map(types::refusal).transpose()?;
            Ok((name(MISSING, missing.node)?, refusal))
        })?,
    })
}

/// Checks a command about the end of a key by everything but the state of a node and the time: who
/// speaks for it, and which key it is about.
///
/// # Errors
///
/// The refusal that every node gives.
pub fn check_order(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    record: &KeyRecord,
) -> Result<DestroyKey, Refusal> {
    let admitted = admission::admit(pinned, signed)?;
    if signed.is_forbidden(&admitted.body) {
        return Err(Refusal::new(
            Reason::CommandRejected,
            "an admin forbids the order",
        ));
    }
    let CommandBody::DestroyKey(destroy) = admitted.body else {
        return Err(Refusal::new(
            Reason::ProtocolViolation,
            "the order is not one about the end of a key",
        ));
    };
    if destroy.key != record.name {
        return Err(Refusal::new(
            Reason::ProtocolViolation,
            format!("the order is about key \"{}\"", destroy.key),
        ));
    }
    destroy.check_key(record)?;
    Ok(destroy)
}

/// Verifies a certificate of destruction under a pinned roster, with nothing else at hand: the key's
/// certificates, the persons behind every order, the announcement that each confirmation names, and
/// every receipt (P34).
///
/// Says nothing about the proof of possession of the last epoch, without which an epoch is not to be
/// relied on (decision 0019): verify that first, and hand over its record.
///
/// # Errors
///
/// [`Reason::ProtocolViolation`] when it does not hold, or the refusal of an order.
pub fn verify(
    certificate: &DestructionCertificate,
    pinned: &PinnedRoster,
) -> Result<(KeyRecord, DestructionCount), Refusal> {
    let evidence = &certificate.evidence;
    let birth = evidence.birth.as_deref();
    let (_, record) = certificate::verify(&evidence.certificate, birth, pinned)?;
    if certificate.orders.len() > MAX_ORDERS || certificate.receipts.len() > MAX_NODES {
        return Err(Refusal::new(
            Reason::ProtocolViolation,
            "certificate of destruction has more orders or receipts than a cluster gives",
        ));
    }
    let orders = certificate
        .orders
        .iter()
        .map(|signed| Ok((signed.digest(), check_order(pinned, signed, &record)?)))
        .collect::<Result<BTreeMap<Digest, DestroyKey>, Refusal>>()?;
    let carries_out = orders
        .iter()
        .filter(|(_, order)| match order.step {
            DestroyStep::AtOnce => true,
            DestroyStep::Confirm { announcement } => orders
                .get(&announcement)
                .is_some_and(|order| order.step == DestroyStep::Announce),
            DestroyStep::Announce | DestroyStep::Cancel { .. } => false,
        })
        .map(|(digest, _)| *digest)
        .collect::<BTreeSet<_>>();
    let count = certificate.count(pinned, &record, &carries_out)?;
    Ok((record, count))
}

#[cfg(test)]
mod tests;
