//! New shares of a key: refresh, another threshold, other nodes (P27 to P29).

use std::collections::BTreeSet;

use quorate_model::{
    Epoch, KeyId, KeyName, KeyRecord, NodeId, Reason, Refusal,
    command::{CommandBody, ReshareKey},
    node_api::EraseReceipt,
    operation::{CommandOutcome, CommandView, ReshareOutcome},
    roster::PinnedRoster,
};

use crate::{
    client::Client,
    command::{CommandOptions, Prepared},
    error::ClientError,
    key::{CertifiedKey, ListedKey},
    state,
    verify::VerificationError,
};

/// Who is to hold a key, and how many of them sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee {
    /// How many nodes sign.
    pub threshold: u16,
    /// The nodes that hold shares; the first has index 1.
    pub nodes: Vec<NodeId>,
    /// Accepts a shape that t-1 bad nodes can bring to a halt (n < 2t-1).
    pub accept_fragile: bool,
    /// The lowest number of the new epoch; by default [`ListedKey::next_epoch`].
    pub first_epoch: Option<Epoch>,
}

impl Committee {
    /// The holders that a key has. Resharing to them is a refresh. Whatever was accepted of the
    /// shape before is accepted again.
    pub fn of(record: &KeyRecord) -> Self {
        Self {
            threshold: record.threshold,
            nodes: record.participants.iter().map(|p| p.node.clone()).collect(),
            accept_fragile: true,
            first_epoch: None,
        }
    }

    /// Checks the shape for a key: t >= 2, t <= n <= 32, and n >= 2t-1 unless fragility is
    /// accepted.
    ///
    /// # Errors
    ///
    /// [`Reason::ShapeInvalid`].
    pub fn check_shape(&self, key: &KeyName) -> Result<(), Refusal> {
        let command = self.clone().command(key.clone(), KeyId([0; 32]), Epoch(0));
        check_shape(&command)
    }

    fn command(self, key: KeyName, key_id: KeyId, source_epoch: Epoch) -> ReshareKey {
        let Self {
            threshold,
            nodes,
            accept_fragile,
            first_epoch,
        } = self;
        let next = Epoch(source_epoch.0.saturating_add(1));
        ReshareKey {
            key,
            key_id,
            source_epoch,
            first_epoch: first_epoch.unwrap_or(next),
            threshold,
            nodes,
            accept_fragile,
        }
    }

    /// The holders that a key has, with one node in the place of another.
    ///
    /// # Errors
    ///
    /// [`Reason::ShapeInvalid`] when the first holds no share, or the second holds one.
    pub fn replacing(record: &KeyRecord, old: &NodeId, new: &NodeId) -> Result<Self, Refusal> {
        let refuse = |message: String| {
            Err(Refusal::new(Reason::ShapeInvalid, message).with("key", &record.name))
        };
        let mut committee = Self::of(record);
        if committee.nodes.contains(new) {
            return refuse(format!(
                "node \"{new}\" holds a share of key \"{}\" already",
                record.name
            ));
        }
        let Some(place) = committee.nodes.iter_mut().find(|node| *node == old) else {
            return refuse(format!(
                "node \"{old}\" holds no share of key \"{}\"",
                record.name
            ));
        };
        *place = new.clone();
        Ok(committee)
    }
}

/// A key in the epoch that a command has made, and who has erased what it held before.
#[derive(Clone, Debug)]
pub struct Reshared {
    key: CertifiedKey,
    before: KeyRecord,
    outcome: ReshareOutcome,
}

impl Reshared {
    /// Checks that the key is what it was, that its epoch is exactly what was commanded, and every
    /// receipt. Counts who is missing by itself: of the holders before, and whom the coordinator
    /// names.
    fn verify(
        before: &KeyRecord,
        key: &ListedKey,
        prepared: &Prepared,
        view: &CommandView,
        roster: &PinnedRoster,
    ) -> Result<Self, ClientError> {
        let other = VerificationError::OtherOutcome;
        let CommandBody::ReshareKey(reshare) = &prepared.command().body else {
            return Err(other("the command reshares no key").into());
        };
        let Some(CommandOutcome::KeyReshared(outcome)) = &view.outcome else {
            return Err(other("it is not one of a resharing").into());
        };
        key.check_unchanged(before)?;
        let record = key.record();
        if outcome.key != record.name || !reshare.can_make(outcome.epoch) {
            return Err(other("it is another key's, or of an epoch that it cannot make").into());
        }
        if record.epoch > outcome.epoch {
            return Err(moved_on(record, outcome.epoch).into());
        }
        if record.epoch < outcome.epoch {
            return Err(VerificationError::OtherEpoch {
                key: record.name.clone(),
                made: outcome.epoch,
                shown: record.epoch,
            }
            .into());
        }
        let nodes = record.participants.iter().map(|holder| &holder.node);
        let is_as_commanded = record.id() == reshare.key_id
            && record.threshold == reshare.threshold
            && nodes.eq(&reshare.nodes)
            && key.made_by() == prepared.digest();
        if !is_as_commanded {
            return Err(other("the key is not held as was commanded").into());
        }
        let key = key
            .certified()
            .ok_or_else(|| VerificationError::NoProof(record.name.clone()))?;
        let erased = erased(outcome, record, roster)?;
        let held_before = before.participants.iter().map(|holder| &holder.node);
        // Of other epochs the caller's record says nothing that matters here.
        let held_before = held_before.filter(|_| before.epoch == reshare.source_epoch);
        let missing: BTreeSet<_> = held_before
            .chain(&outcome.missing)
            .filter(|node| !erased.contains(*node))
            .cloned()
            .collect();
        Ok(Self {
            key,
            before: before.clone(),
            outcome: ReshareOutcome {
                missing: missing.into_iter().collect(),
                ..outcome.clone()
            },
        })
    }

    /// The key in its epoch.
    pub fn key(&self) -> &CertifiedKey {
        &self.key
    }

    /// The record that the caller had.
    pub fn before(&self) -> &KeyRecord {
        &self.before
    }

    /// The nodes that have erased their shares of lower epochs.
    pub fn erased(&self) -> impl Iterator<Item = &NodeId> {
        self.outcome.erased.iter().map(|receipt| &receipt.node)
    }

    /// The nodes that have not said so. They erase them when they are back.
    pub fn missing(&self) -> &[NodeId] {
        &self.outcome.missing
    }

    /// The outcome with the receipts.
    pub fn outcome(&self) -> &ReshareOutcome {
        &self.outcome
    }
}

/// What is known to be refused by every node is not asked: new shares of a key that is gone, and
/// another committee for one that is not in use. New holders would not have heard where it stands.
fn check_state(key: &ListedKey, committee: &Committee) -> Result<(), Refusal> {
    let record = key.record();
    if key.state().is_destroyed() {
        return Err(state::destroyed(&record.name));
    }
    let holders = record.participants.iter().map(|holder| &holder.node);
    let is_refresh = record.threshold == committee.threshold && holders.eq(&committee.nodes);
    if is_refresh {
        return Ok(());
    }
    key.standing().check_signs(&record.name)
}

fn check_shape(reshare: &ReshareKey) -> Result<(), Refusal> {
    let shape = reshare.check_shape();
    shape.map_err(|error| {
        Refusal::new(Reason::ShapeInvalid, error.to_string()).with("key", &reshare.key)
    })
}

/// Who has erased its shares, each by its own word.
fn erased(
    outcome: &ReshareOutcome,
    record: &KeyRecord,
    roster: &PinnedRoster,
) -> Result<BTreeSet<NodeId>, VerificationError> {
    let mut erased = BTreeSet::new();
    for receipt in &outcome.erased {
        if !holds(receipt, record, roster) || !erased.insert(receipt.node.clone()) {
            return Err(VerificationError::BadReceipt(receipt.node.clone()));
        }
    }
    Ok(erased)
}

fn holds(receipt: &EraseReceipt, record: &KeyRecord, roster: &PinnedRoster) -> bool {
    let is_of_it = receipt.key == record.name
        && receipt.epoch == record.epoch
        && receipt.certificate == record.certificate;
    let card = roster.card(&receipt.node).filter(|_| is_of_it);
    card.is_some_and(|card| {
        let (digest, signature) = (receipt.digest(), &receipt.signature);
        card.identity_key.verify(&digest, signature).is_ok()
    })
}

fn moved_on(record: &KeyRecord, made: Epoch) -> Refusal {
    let (name, epoch) = (&record.name, record.epoch);
    let message = format!(
        "key \"{name}\" is in epoch {epoch} by now: the command made epoch {made}, and another \
         change followed it"
    );
    Refusal::new(Reason::EpochChanged, message).with("key", name)
}

impl Client {
    /// Makes a command that reshares a key to a committee, and endorses it. Without accepting
    /// fragility a fragile shape is refused, and so is a committee that the roster does not allow.
    ///
    /// # Errors
    ///
    /// [`Reason::ShapeInvalid`], [`Reason::NodeUnknown`], [`Reason::NodeDrained`],
    /// [`Reason::PlacementViolated`], the reason that names a state in which the key gets no new
    /// shares, or [`ClientError::NotActive`] where nobody has proven the key yet.
    pub fn prepare_reshare(
        &self,
        key: &ListedKey,
        committee: Committee,
        options: &CommandOptions,
    ) -> Result<Prepared, ClientError> {
        let record = key.record();
        if key.certified().is_none() {
            return Err(ClientError::NotActive(record.name.clone()));
        }
        check_state(key, &committee)?;
        let mut committee = committee;
        committee.first_epoch.get_or_insert(key.next_epoch());
        let reshare = committee.command(record.name.clone(), record.id(), record.epoch);
        check_shape(&reshare)?;
        let roster = self.roster();
        roster
            .roster()
            .check_committee(&reshare.nodes, reshare.threshold)?;
        Ok(self.prepare(CommandBody::ReshareKey(reshare), options))
    }

    /// Reshares a key, and returns what was verified of it. A refresh is a resharing to
    /// [`Committee::of`] the key.
    ///
    /// # Errors
    ///
    /// Those of [`Client::prepare_reshare`] and [`Client::reshared`], and [`ClientError::Waiting`]
    /// where more persons must endorse it.
    pub async fn reshare(
        &self,
        key: &ListedKey,
        committee: Committee,
        options: &CommandOptions,
    ) -> Result<Reshared, ClientError> {
        let prepared = self.prepare_reshare(key, committee, options)?;
        let view = self.carry_out(&prepared).await?;
        self.reshared(key, &prepared, &view).await
    }

    /// Verifies what a command that reshares came to: fetches the key and checks that it is the one
    /// that it was, in an epoch that is certified by its holders, proven under the key itself, and
    /// exactly as commanded; and checks every receipt of an erasure.
    ///
    /// # Errors
    ///
    /// [`Reason::EpochChanged`] when the key is in a later epoch by now; [`VerificationError`] when
    /// something is not what it claims to be.
    pub async fn reshared(
        &self,
        key: &ListedKey,
        prepared: &Prepared,
        view: &CommandView,
    ) -> Result<Reshared, ClientError> {
        let before = key.record();
        let mut listed = self.look_up_again(before).await?;
        if let Some(CommandOutcome::KeyReshared(outcome)) = &view.outcome
            && listed.record().epoch < outcome.epoch
        {
            // Another coordinator may have answered, that hears of the epoch a moment later.
            listed = self.look_up_again(before).await?;
        }
        Reshared::verify(before, &listed, prepared, view, &self.roster())
    }
}

#[cfg(test)]
mod tests;
