//! The end of keys: the steps towards it, who acts by them, and the certificate that is left (P34).

mod announcement;
mod repeated;

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    CommandId, Digest, KeyRecord, KeyState, NodeId, Reason, Refusal, UnixMillis,
    command::{CommandBody, SignedCommand},
    destruction::{
        DestroyKey, DestroyStep, Destruction, DestructionCertificate, DestructionCount,
        DestructionReceipt, not_retired,
    },
    operation::{CommandOutcome, CommandView, KeyView},
    roster::PinnedRoster,
};
use quorate_proto::destruction::{check_order, verify};

use crate::{
    client::Client,
    command::{CommandOptions, CommandTimes, Prepared},
    error::ClientError,
    key::ListedKey,
    verify::{VerificationError, possession},
};

pub use announcement::{Announcement, Withdrawal};
pub use repeated::TakenStep;

/// What a caller wants of the end of a key. An announcement that is not named is the only one that
/// is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestroyAction {
    /// Says that the key is to be destroyed.
    Announce,
    /// Withdraws an announcement.
    Cancel(Option<Digest>),
    /// Carries an announcement out.
    Confirm(Option<Digest>),
    /// Destroys the key at once, by the word of every admin.
    AtOnce,
}

/// What nodes say of a step, as their verified receipts show.
#[derive(Clone, Debug)]
pub struct DestructionProgress {
    /// The word of every node that acts by the step.
    pub receipts: Vec<DestructionReceipt>,
    /// The holders that have not said so, with what they refuse.
    pub missing_holders: Vec<(NodeId, Option<Refusal>)>,
    /// The other nodes of the roster that have not said so.
    pub missing_others: Vec<(NodeId, Option<Refusal>)>,
    /// The certificate as far as it has come, once shares are gone.
    pub certificate: Option<(DestructionCertificate, DestructionCount)>,
}

/// What is shown of the end of a key, each part checked under the roster.
pub(crate) fn known(
    view: &KeyView,
    record: &KeyRecord,
    roster: &PinnedRoster,
) -> Result<Destruction, VerificationError> {
    let about = (&record.name, record.id());
    let mut steps = BTreeMap::new();
    for order in &view.destruction.orders {
        let step = check_order(roster, order, record)?.destroy.step;
        steps.insert(order.digest(), step);
    }
    let mut tombstones = BTreeSet::new();
    for receipt in &view.destruction.receipts {
        receipt.verify(roster, &receipt.node, about)?;
        let repeated = receipt.is_destroyed() && !tombstones.insert(&receipt.node);
        let asked = steps.get(&receipt.command);
        if repeated || !asked.is_some_and(|step| receipt.fits(*step)) {
            return Err(VerificationError::BadReceipt(receipt.node.clone()));
        }
    }
    Ok(view.destruction.clone())
}

/// The state of a key: it is destroyed once every node of the roster says so. That only the holders
/// that are shown do is not enough, because another epoch may be held by others (decision 0020). Nodes
/// that were added after the order hold nothing of the key.
pub(crate) fn state(
    destruction: &Destruction,
    record: &KeyRecord,
    roster: &PinnedRoster,
    otherwise: KeyState,
) -> KeyState {
    let gone: BTreeSet<&NodeId> = destruction.destroyed().map(|said| &said.node).collect();
    let orders: BTreeSet<Digest> = destruction.destroyed().map(|said| said.command).collect();
    let ordered: Vec<PinnedRoster> = orders
        .iter()
        .filter_map(|digest| {
            let order = destruction.order(digest)?;
            let command = quorate_proto::command::decode(&order.bytes).ok()?;
            roster.at(&command.roster)
        })
        .collect();
    let had_a_share = |node: &NodeId| {
        let mut rosters = ordered.iter();
        rosters.any(|then| then.card(node).is_some())
    };
    let nodes = roster.roster().nodes.iter().map(|card| &card.id);
    let asked: Vec<&NodeId> = nodes.filter(|node| had_a_share(node)).collect();
    let holders = record.participants.iter().map(|holder| &holder.node);
    let mut required = asked.iter().copied().chain(holders);
    if !asked.is_empty() && required.all(|node| gone.contains(node)) {
        otherwise.destroyed()
    } else {
        otherwise
    }
}

impl ListedKey {
    /// The certificate of the key's end as far as it has come, and who is missing; none while no
    /// node has destroyed its shares.
    ///
    /// # Errors
    ///
    /// When what the coordinator shows does not make a certificate that holds.
    pub fn destruction_certificate(
        &self,
        roster: &PinnedRoster,
    ) -> Result<Option<(DestructionCertificate, DestructionCount)>, VerificationError> {
        certificate_of(self, self.destruction(), roster)
    }
}

/// An order about the end of a key, as it was written.
struct Order {
    id: CommandId,
    created: UnixMillis,
    expires: UnixMillis,
    roster: Digest,
    destroy: DestroyKey,
}

impl Order {
    fn read(signed: &SignedCommand) -> Option<Self> {
        let command = quorate_proto::command::decode(&signed.bytes).ok()?;
        if let CommandBody::DestroyKey(destroy) = command.body {
            Some(Self {
                id: command.id,
                created: command.created,
                expires: command.expires,
                roster: command.roster,
                destroy,
            })
        } else {
            None
        }
    }
}

fn certificate_of(
    key: &ListedKey,
    destruction: &Destruction,
    roster: &PinnedRoster,
) -> Result<Option<(DestructionCertificate, DestructionCount)>, VerificationError> {
    let receipts: Vec<_> = destruction.destroyed().cloned().collect();
    if receipts.is_empty() {
        return Ok(None);
    }
    let mut digests: BTreeSet<Digest> = receipts.iter().map(|receipt| receipt.command).collect();
    let named: Vec<Digest> = digests
        .iter()
        .filter_map(|digest| destruction.order(digest))
        .filter_map(|order| Order::read(order)?.destroy.step.announcement())
        .collect();
    digests.extend(named);
    let orders = destruction.orders.iter();
    let orders = orders.filter(|order| digests.contains(&order.digest()));
    let certificate = DestructionCertificate {
        evidence: key.evidence().clone(),
        orders: orders.cloned().collect(),
        receipts,
    };
    let (_, count) = verify(&certificate, roster)?;
    Ok(Some((certificate, count)))
}

/// Verifies a certificate of destruction with nothing but the roster, the proof of possession of its
/// last epoch included.
///
/// # Errors
///
/// [`VerificationError`] when any part of it does not hold.
pub fn verify_destruction(
    certificate: &DestructionCertificate,
    roster: &PinnedRoster,
) -> Result<(KeyRecord, DestructionCount), VerificationError> {
    let (record, count) = verify(certificate, roster)?;
    match &certificate.evidence.proof {
        Some(proof) => {
            possession(proof, &record, roster)?;
        }
        // A key may be destroyed before it was ever proven; a later epoch counts only with proof.
        None if certificate.evidence.birth.is_some() => {
            return Err(VerificationError::UnprovenEpoch {
                key: record.name,
                epoch: record.epoch,
            });
        }
        None => {}
    }
    Ok((record, count))
}

impl Client {
    /// Makes a command about the end of a key, and endorses it. What the key's state does not allow
    /// is refused here.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyNotRetired`] for a key that is still in use, [`Reason::KeyDestroyed`] for one
    /// that is gone, [`Reason::DestructionNotAnnounced`] when there is no announcement or when the
    /// one to confirm is not in force,
    /// [`Reason::DestructionTooEarly`] when no node would take the confirmation yet, and
    /// [`Reason::RequestInvalid`] when there are several announcements and none is named, or when the
    /// reason is none.
    pub fn prepare_destruction(
        &self,
        key: &ListedKey,
        action: DestroyAction,
        reason: &str,
        options: &CommandOptions,
    ) -> Result<Prepared, ClientError> {
        let record = key.record();
        let needs_one = matches!(action, DestroyAction::Cancel(_));
        check_state(key, needs_one, &self.roster())?;
        let now = options.times.unwrap_or_else(CommandTimes::from_now).created;
        let step = match action {
            DestroyAction::Announce => DestroyStep::Announce,
            DestroyAction::AtOnce => DestroyStep::AtOnce,
            DestroyAction::Cancel(named) => DestroyStep::Cancel {
                announcement: key.to_withdraw(named, now)?,
            },
            DestroyAction::Confirm(named) => DestroyStep::Confirm {
                announcement: key.to_confirm(named, &self.roster(), now)?,
            },
        };
        let destroy = DestroyKey {
            key: record.name.clone(),
            key_id: record.id(),
            step,
            reason: reason.to_owned(),
        };
        destroy.check()?;
        Ok(self.prepare(CommandBody::DestroyKey(destroy), options))
    }

    /// Verifies what a step came to: every receipt, and with the key as it is shown now how far its
    /// end has come.
    ///
    /// # Errors
    ///
    /// [`VerificationError::OtherOutcome`] when it is the outcome of something else, and
    /// [`VerificationError::BadReceipt`] when a receipt does not hold.
    pub async fn destruction(
        &self,
        key: &ListedKey,
        prepared: &Prepared,
        view: &CommandView,
    ) -> Result<DestructionProgress, ClientError> {
        let other = VerificationError::OtherOutcome;
        let CommandBody::DestroyKey(destroy) = &prepared.command().body else {
            return Err(other("the command is not about the end of a key").into());
        };
        let Some(CommandOutcome::KeyDestruction(outcome)) = &view.outcome else {
            return Err(other("it is not one of the end of a key").into());
        };
        let key = self.look_up_again(key.record()).await?;
        let (record, roster) = (key.record(), &*self.roster());
        let about = (&record.name, record.id());
        let mut said = BTreeMap::new();
        for receipt in &outcome.receipts {
            let holds = receipt.answers(destroy, &prepared.digest())
                && receipt.verify(roster, &receipt.node, about).is_ok();
            if !holds || said.insert(receipt.node.clone(), receipt.clone()).is_some() {
                return Err(VerificationError::BadReceipt(receipt.node.clone()).into());
            }
        }
        let refusal_of = |node: &NodeId| {
            let mut missing = outcome.missing.iter();
            missing
                .find(|(other, _)| other == node)
                .and_then(|(_, refusal)| refusal.clone())
        };
        let missing = |holds: bool| {
            let nodes = roster.roster().nodes.iter().map(|card| &card.id);
            nodes
                .filter(|node| record.index_of(node).is_some() == holds)
                .filter(|node| !said.contains_key(*node))
                .map(|node| (node.clone(), refusal_of(node)))
                .collect()
        };
        let (missing_holders, missing_others) = (missing(true), missing(false));
        let certificate = if destroy.step.destroys() {
            key.destruction_certificate(roster)?
        } else {
            None
        };
        Ok(DestructionProgress {
            receipts: said.into_values().collect(),
            missing_holders,
            missing_others,
            certificate,
        })
    }
}

/// What is known to be refused by every node is not asked.
fn check_state(key: &ListedKey, needs_one: bool, roster: &PinnedRoster) -> Result<(), ClientError> {
    let (record, state) = (key.record(), key.state());
    let complete = key
        .destruction_certificate(roster)?
        .is_some_and(|(_, count)| count.is_complete());
    if complete {
        let message = format!("key \"{}\" is destroyed at every node already", record.name);
        return Err(Refusal::new(Reason::KeyDestroyed, message)
            .with("key", &record.name)
            .into());
    }
    if !needs_one && !state.is_retired() && !state.is_destroyed() {
        return Err(not_retired(&record.name, state).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
