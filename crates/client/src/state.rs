//! States of keys: commands that change them, words of further admins, and who acts by them.

use std::collections::BTreeSet;

use quorate_model::{
    CommandId, Digest, KeyName, KeyRecord, NodeId, PrincipalId, Reason, Refusal,
    command::{Command, CommandBody, EndorsementKind, SignedCommand},
    operation::{CommandOutcome, CommandState, CommandView, KeyView, StateOutcome},
    roster::PinnedRoster,
    standing::{SetKeyState, Standing, StateChange, StateMark},
};

use crate::{
    client::Client,
    command::{CommandOptions, CommandTimes, Prepared},
    error::ClientError,
    key::ListedKey,
    verify::VerificationError,
};

/// Who acts by a change of state, as their verified receipts say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    outcome: StateOutcome,
    holders: usize,
}

impl Acknowledged {
    /// Checks every receipt, and counts who is missing and how many bind by itself.
    fn verify(
        record: &KeyRecord,
        roster: &PinnedRoster,
        prepared: &Prepared,
        view: &CommandView,
    ) -> Result<Self, VerificationError> {
        let other = VerificationError::OtherOutcome;
        let CommandBody::SetKeyState(set) = &prepared.command().body else {
            return Err(other("the command changes no state"));
        };
        let Some(CommandOutcome::KeyStateSet(outcome)) = &view.outcome else {
            return Err(other("it is not one of a change of state"));
        };
        let holders = record.participants.len();
        let (mut heard, mut acting) = (BTreeSet::new(), BTreeSet::new());
        for receipt in &outcome.receipts {
            let holds = receipt
                .verify(roster, &receipt.node, set, &prepared.digest())
                .is_ok();
            if !holds || !heard.insert(receipt.node.clone()) {
                return Err(VerificationError::BadReceipt(receipt.node.clone()));
            }
            // Whoever held the key in an earlier epoch binds nobody.
            if record.index_of(&receipt.node).is_some() {
                acting.insert(receipt.node.clone());
            }
        }
        let binding = record.blocking();
        if acting.len() < binding {
            return Err(other("fewer holders act by it than it takes to bind"));
        }
        let missing = record
            .participants
            .iter()
            .map(|p| &p.node)
            .filter(|node| !acting.contains(*node))
            .cloned()
            .collect();
        let receipts = outcome.receipts.iter();
        let receipts = receipts.filter(|receipt| acting.contains(&receipt.node));
        Ok(Self {
            outcome: StateOutcome {
                key: record.name.clone(),
                binding: u16::try_from(binding).unwrap_or(u16::MAX),
                receipts: receipts.cloned().collect(),
                missing,
            },
            holders,
        })
    }

    /// The holders that act by the change.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.outcome.receipts.iter().map(|receipt| &receipt.node)
    }

    /// The holders that have not said so. They hear of it when they are back.
    pub fn missing(&self) -> &[NodeId] {
        &self.outcome.missing
    }

    /// How many holders the key has.
    pub fn holders(&self) -> usize {
        self.holders
    }

    /// How many honest holders must act by the change so that nobody signs against it: n-t+1.
    pub fn binding(&self) -> usize {
        usize::from(self.outcome.binding)
    }

    /// The outcome with the receipts.
    pub fn outcome(&self) -> &StateOutcome {
        &self.outcome
    }
}

/// A command that waits for the words of more principals, decoded from the bytes that they sign.
#[derive(Clone, Debug)]
pub struct AwaitingCommand {
    signed: SignedCommand,
    command: Command,
}

impl AwaitingCommand {
    /// What is asked for.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// The digest of the exact bytes.
    pub fn digest(&self) -> Digest {
        self.signed.digest()
    }

    /// The bytes with the words so far.
    pub fn signed(&self) -> &SignedCommand {
        &self.signed
    }

    /// Whether a principal proposes or approves it already: every word was verified.
    pub fn is_endorsed_by(&self, principal: &PrincipalId) -> bool {
        let mut words = self.signed.endorsements.iter();
        words.any(|word| word.principal == *principal && word.kind.is_for_it())
    }
}

/// Nothing is signed that this version cannot show.
fn other_body() -> Refusal {
    Refusal::new(
        Reason::RequestInvalid,
        "the command is of a kind that waits for nobody's approval",
    )
}

/// The refusal of what nobody does with a key that is gone.
pub(crate) fn destroyed(key: &KeyName) -> Refusal {
    let message = format!("key \"{key}\" is destroyed: nobody has a share of it");
    Refusal::new(Reason::KeyDestroyed, message).with("key", key)
}

/// The commands about the state of a key, each checked under the roster (P33).
pub(crate) fn standing(
    view: &KeyView,
    record: &KeyRecord,
    roster: &PinnedRoster,
) -> Result<Standing, VerificationError> {
    let mut standing = Standing::default();
    for mark in view.standing.marks() {
        let command = quorate_proto::admission::admit_ever(roster, &mark.command)?;
        let CommandBody::SetKeyState(set) = command.body else {
            return Err(VerificationError::OtherKey(record.name.clone()));
        };
        let forbidden = mark
            .command
            .is_forbidden(&CommandBody::SetKeyState(set.clone()));
        if set.key != record.name || forbidden {
            return Err(VerificationError::OtherKey(record.name.clone()));
        }
        set.check_key(record)?;
        // As every honest holder judges it.
        standing.judge(&set, &mark.command.digest())?;
        standing.take(StateMark::new(&set, mark.command.clone()));
    }
    Ok(standing)
}

impl Client {
    /// Makes a command that changes the state of a key, and endorses it. What the key's state does
    /// not allow is refused here.
    ///
    /// # Errors
    ///
    /// [`Reason::StateOutdated`] when the change would change nothing or cannot be undone;
    /// [`Reason::KeyDestroyed`] when a key that is gone is reported as compromised;
    /// [`Reason::RequestInvalid`] when the reason is none.
    pub fn prepare_state_change(
        &self,
        key: &ListedKey,
        change: StateChange,
        reason: &str,
        options: &CommandOptions,
    ) -> Result<Prepared, ClientError> {
        let (record, standing) = (key.record(), key.standing());
        let set = SetKeyState {
            key: record.name.clone(),
            key_id: record.id(),
            sequence: standing.sequence().saturating_add(1),
            change,
            reason: reason.to_owned(),
        };
        set.check()?;
        // Of what any node would refuse as outdated, that is said.
        if key.state().is_destroyed() && change == StateChange::Compromise {
            return Err(destroyed(&record.name).into());
        }
        // A second suspension outdoes a resumption that was withheld.
        if key.state() == change.target() && change != StateChange::Suspend {
            let message = format!("key \"{}\" is {} already", record.name, key.state());
            return Err(Refusal::new(Reason::StateOutdated, message)
                .with("key", &record.name)
                .into());
        }
        standing.judge(&set, &Digest::ZERO)?;
        Ok(self.prepare(CommandBody::SetKeyState(set), options))
    }

    /// Verifies what a command that changes a state came to: every receipt, and how many it takes
    /// to bind. It binds whoever holds the key by then.
    ///
    /// # Errors
    ///
    /// [`VerificationError::OtherOutcome`] when it is the outcome of something else, and
    /// [`VerificationError::BadReceipt`] when a receipt does not hold.
    pub async fn acknowledged(
        &self,
        key: &ListedKey,
        prepared: &Prepared,
        view: &CommandView,
    ) -> Result<Acknowledged, ClientError> {
        let key = self.look_up_again(key.record()).await?;
        Ok(Acknowledged::verify(
            key.record(),
            &self.roster(),
            prepared,
            view,
        )?)
    }

    /// A command that waits for the words of more principals, decoded from its exact bytes.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestInvalid`] when it does not wait for any; [`VerificationError`] when what the
    /// coordinator shows is another command.
    pub async fn awaiting(&self, id: CommandId) -> Result<AwaitingCommand, ClientError> {
        let view = self.command(id).await?;
        let Some(signed) = view
            .awaiting
            .filter(|_| view.state == CommandState::AwaitingEndorsement)
        else {
            let message = format!(
                "command {id} is {}: it waits for no endorsements",
                view.state.as_str()
            );
            return Err(Refusal::new(Reason::RequestInvalid, message)
                .with("command_id", id)
                .into());
        };
        let command = self
            .verified(|roster| quorate_proto::admission::admit_proposal(roster, &signed))
            .await?;
        if !matches!(
            command.body,
            CommandBody::CreateKey(_)
                | CommandBody::SetKeyState(_)
                | CommandBody::ReshareKey(_)
                | CommandBody::DestroyKey(_)
                | CommandBody::ChangeRoster(_)
                | CommandBody::ReadmitNode(_)
                | CommandBody::Evacuate(_)
        ) {
            return Err(other_body().into());
        }
        if command.id != id || signed.digest() != view.digest {
            return Err(VerificationError::OtherOutcome("it is another command's").into());
        }
        // Whoever dates a command ahead has it endorsed before its time, together with another one.
        quorate_proto::admission::check_made(&command, CommandTimes::from_now().created)?;
        Ok(AwaitingCommand { signed, command })
    }

    /// Adds this principal's word to a command whose bytes were looked at.
    ///
    /// # Errors
    ///
    /// What the coordinator refuses: a principal who has spoken already, or lacks the role.
    pub async fn endorse(
        &self,
        awaiting: &AwaitingCommand,
        kind: EndorsementKind,
    ) -> Result<CommandView, ClientError> {
        let role = match kind {
            EndorsementKind::Reject => quorate_model::roster::Role::Admin,
            EndorsementKind::Propose | EndorsementKind::Approve | _ => awaiting.command.body.role(),
        };
        let word = self
            .identity()
            .endorse(&awaiting.signed, &self.roster().cluster(), kind, role);
        self.transport().endorse(awaiting.command.id, &word).await
    }
}

#[cfg(test)]
mod tests;
