//! Conversions of what is said about the end of a key, and the judgment of its proof.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Digest, KeyId, KeyRecord, Reason, Refusal, UnixMillis,
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

/// A command about the end of a key that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedOrder {
    /// What it asks for.
    pub destroy: DestroyKey,
    /// When it was made.
    pub created: UnixMillis,
    /// When it stops being carried out.
    pub expires: UnixMillis,
    /// The roster that it was made under.
    pub roster: Digest,
    /// Whether the roster in force admits it too. Otherwise somebody who spoke for it was removed, and
    /// no node in service takes it any more.
    pub in_force: bool,
}

/// Checks that whoever confirms has let the delay of the roster pass since the announcement was made:
/// the two are not endorsed in one sitting, to be carried out whatever anybody thinks of it later
/// (P11).
///
/// # Errors
///
/// [`Reason::CommandTimeInvalid`] when the confirmation was made too early.
pub fn check_afresh(
    pinned: &PinnedRoster,
    announced: UnixMillis,
    confirmed: UnixMillis,
) -> Result<(), Refusal> {
    let delay_ms = pinned.roster().lifecycle_delay_ms();
    if confirmed >= announced.plus(delay_ms) {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::CommandTimeInvalid,
        format!(
            "the confirmation was made {} s after the announcement, expected {} s or more: confirm \
             again, after the delay",
            confirmed.since(announced).div_euclid(1_000),
            delay_ms.div_euclid(1_000)
        ),
    ))
}

/// Checks a command about the end of a key by everything but the state of a node and the time: who
/// speaks for it, and which key it is about. One that was made under an earlier roster is judged by
/// that.
///
/// # Errors
///
/// The refusal that every node gives.
pub fn check_order(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    record: &KeyRecord,
) -> Result<CheckedOrder, Refusal> {
    let (admitted, in_force) = admission::admit_noting_when(pinned, signed)?;
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
    Ok(CheckedOrder {
        destroy,
        created: admitted.created,
        expires: admitted.expires,
        roster: admitted.roster,
        in_force,
    })
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
        .collect::<Result<BTreeMap<Digest, CheckedOrder>, Refusal>>()?;
    let carries_out = orders
        .iter()
        .filter(|(_, order)| match order.destroy.step {
            DestroyStep::AtOnce => true,
            DestroyStep::Confirm { announcement } => orders
                .get(&announcement)
                .filter(|announced| announced.destroy.step == DestroyStep::Announce)
                .is_some_and(|announced| {
                    pinned.at(&order.roster).is_some_and(|then| {
                        check_afresh(&then, announced.created, order.created).is_ok()
                    })
                }),
            DestroyStep::Announce | DestroyStep::Cancel { .. } => false,
        })
        .map(|(digest, _)| *digest)
        .collect::<BTreeSet<_>>();
    let rosters: Vec<PinnedRoster> = carries_out
        .iter()
        .filter_map(|digest| pinned.at(&orders.get(digest)?.roster))
        .collect();
    let count = certificate.count(pinned, &record, &carries_out, &rosters)?;
    Ok((record, count))
}

#[cfg(test)]
mod tests;
