//! What admins say about the state of a key after its birth, and where that leaves the key (P33).
//!
//! Every node judges alone and may hear of commands late, twice, or in another order than its
//! peers. Where a key stands is therefore a function of the set of commands that were heard, not of
//! their order: compromise outdoes deactivation, deactivation outdoes what came before, and between
//! suspensions and resumptions the highest sequence decides, at equal sequences the suspension.
//! Nodes that have heard the same agree.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    bytes::Digest,
    command::{SignedCommand, check_key_id},
    identity::{Signature, sign_digest},
    ids::{KeyId, KeyName, NodeId},
    key::{KeyRecord, KeyState},
    refusal::{Reason, Refusal},
    roster::{NodeCard, PinnedRoster},
    tagged::{Tag, Tagged},
};

/// How far a sequence may be ahead of the one before it, so that no admin alone can use them up.
pub const MAX_SEQUENCE_STEP: u64 = 1_024;

/// The longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 500;

/// The most bytes that all commands about the state of one key take: three, each of at most a few
/// kilobytes with its endorsements.
pub const MAX_STANDING_BYTES: usize = 64 << 10;

/// What is to become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StateChange {
    /// It signs nothing until it is resumed.
    Suspend,
    /// It signs again.
    Resume,
    /// Its time is over: it never signs for clients again.
    Deactivate,
    /// Somebody else may have it: it never signs for clients again.
    Compromise,
}

impl StateChange {
    /// The change as programs and people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Deactivate => "deactivate",
            Self::Compromise => "compromise",
        }
    }

    /// The state that a key is in once the change binds.
    pub const fn target(self) -> KeyState {
        match self {
            Self::Suspend => KeyState::Suspended,
            Self::Resume => KeyState::Active,
            Self::Deactivate => KeyState::Deactivated,
            Self::Compromise => KeyState::Compromised,
        }
    }

    /// Whether nothing undoes it.
    pub const fn retires(self) -> bool {
        matches!(self, Self::Deactivate | Self::Compromise)
    }

    /// Whether one admin is enough. Stopping must be quick; everything else takes the lifecycle
    /// quorum (P11).
    pub const fn needs_one(self) -> bool {
        matches!(self, Self::Suspend)
    }
}

impl fmt::Display for StateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A command about the state of a key. It does not expire, so that a node that was away catches up
/// (P6); its sequence orders it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetKeyState {
    /// The name of the key.
    pub key: KeyName,
    /// The key; a name is an alias (I4).
    pub key_id: KeyId,
    /// From 1: higher than every sequence that the key has had.
    pub sequence: u64,
    /// What is to become of it.
    pub change: StateChange,
    /// Why, for people: 1 to [`MAX_REASON_BYTES`] bytes without control characters.
    pub reason: String,
}

impl SetKeyState {
    /// Checks what needs no state.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestInvalid`] when the sequence is 0 or the reason is empty, too long, or not
    /// printable on one line.
    pub fn check(&self) -> Result<(), Refusal> {
        let invalid = |message: &str| Err(Refusal::new(Reason::RequestInvalid, message));
        if self.sequence == 0 {
            return invalid("the sequence of a state is 0, expected 1 or more");
        }
        if self.reason.trim().is_empty() {
            return invalid("a change of state needs a reason: say why in a few words");
        }
        if self.reason.len() > MAX_REASON_BYTES {
            return invalid("the reason is too long, expected at most 500 bytes");
        }
        if self.reason.chars().any(char::is_control) {
            return invalid("the reason has control characters, expected one line of text");
        }
        Ok(())
    }
}

impl SetKeyState {
    /// Checks that a key is the one that the command names, and not another of its name (I4).
    ///
    /// # Errors
    ///
    /// [`Reason::KeyIdMismatch`] when it is another.
    pub fn check_key(&self, held: &KeyRecord) -> Result<(), Refusal> {
        check_key_id(&self.key, self.key_id, held)
    }
}

/// One command about the state of a key that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateMark {
    /// Its sequence.
    pub sequence: u64,
    /// What it changes.
    pub change: StateChange,
    /// Why.
    pub reason: String,
    /// The command, so that the mark can be checked by whoever has the roster.
    pub command: SignedCommand,
}

impl StateMark {
    /// A mark for a command that was checked.
    pub fn new(set: &SetKeyState, command: SignedCommand) -> Self {
        Self {
            sequence: set.sequence,
            change: set.change,
            reason: set.reason.clone(),
            command,
        }
    }

    /// Whether this mark outdoes another one of the same rank.
    fn outdoes(&self, other: &Self) -> bool {
        order(self.sequence, self.change) > order(other.sequence, other.change)
    }
}

/// The higher sequence wins, and at equal sequences the suspension (P33).
fn order(sequence: u64, change: StateChange) -> (u64, bool) {
    (sequence, change == StateChange::Suspend)
}

/// Where a key stands by the commands that were heard: the last suspension or resumption, the
/// deactivation, and the report of a compromise, each if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    latest: Option<StateMark>,
    deactivated: Option<StateMark>,
    compromised: Option<StateMark>,
}

/// What a command does to where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It decides where the key stands from here on.
    Changes,
    /// The command is the one that put the key where it stands.
    Known,
}

impl Standing {
    /// The commands that decide, in the order in which they can be told again.
    pub fn marks(&self) -> impl Iterator<Item = &StateMark> {
        let marks = [&self.latest, &self.deactivated, &self.compromised];
        marks.into_iter().flatten()
    }

    /// The command that decides.
    pub fn decisive(&self) -> Option<&StateMark> {
        let marks = [&self.compromised, &self.deactivated, &self.latest];
        marks.into_iter().flatten().next()
    }

    /// The highest sequence so far; 0 if there is none.
    pub fn sequence(&self) -> u64 {
        self.marks().map(|mark| mark.sequence).max().unwrap_or(0)
    }

    /// The state of a key that is active or not by its certificate and proof.
    pub fn state(&self, proven: bool) -> KeyState {
        match self.decisive().map(|mark| mark.change) {
            Some(change @ (StateChange::Compromise | StateChange::Deactivate)) => change.target(),
            _ if !proven => KeyState::PreActive,
            Some(change) => change.target(),
            None => KeyState::Active,
        }
    }

    /// Judges a command by what was heard before.
    ///
    /// # Errors
    ///
    /// [`Reason::StateOutdated`] when a later command, or one that cannot be undone, was heard, and
    /// when the sequence is further ahead than [`MAX_SEQUENCE_STEP`].
    pub fn judge(&self, set: &SetKeyState, digest: &Digest) -> Result<Effect, Refusal> {
        if self.marks().any(|mark| mark.command.digest() == *digest) {
            return Ok(Effect::Known);
        }
        let outdated = |why: String| {
            Refusal::new(Reason::StateOutdated, format!("key \"{}\" {why}", set.key))
                .with("key", &set.key)
                .with("sequence", self.sequence())
        };
        let retired = self.compromised.as_ref().or(self.deactivated.as_ref());
        let closed = match set.change {
            StateChange::Compromise => self.compromised.as_ref(),
            StateChange::Deactivate | StateChange::Suspend | StateChange::Resume => retired,
        };
        if let Some(mark) = closed {
            return Err(outdated(format!(
                "is {} since sequence {}, which no command undoes",
                mark.change.target(),
                mark.sequence
            )));
        }
        if let Some(last) = self.latest.as_ref().filter(|_| !set.change.retires())
            && order(set.sequence, set.change) <= order(last.sequence, last.change)
        {
            return Err(outdated(format!(
                "has heard sequence {} to {}, and this is sequence {} to {}: make the command again \
                 with a higher one",
                last.sequence, last.change, set.sequence, set.change
            )));
        }
        let last = self.sequence();
        if set.sequence.saturating_sub(last) > MAX_SEQUENCE_STEP {
            return Err(outdated(format!(
                "is at sequence {last}, and {} is more than {MAX_SEQUENCE_STEP} ahead: bring the \
                 commands in between first",
                set.sequence
            )));
        }
        Ok(Effect::Changes)
    }

    /// Takes an accepted command. The order in which commands are taken does not matter.
    pub fn take(&mut self, mark: StateMark) {
        let slot = match mark.change {
            StateChange::Compromise => &mut self.compromised,
            StateChange::Deactivate => &mut self.deactivated,
            StateChange::Suspend | StateChange::Resume => &mut self.latest,
        };
        if slot.as_ref().is_none_or(|held| mark.outdoes(held)) {
            *slot = Some(mark);
        }
    }

    /// Refuses to show an address of a key that can never spend from it again.
    ///
    /// # Errors
    ///
    /// The reason that names the state.
    pub fn check_receives(&self, key: &KeyName) -> Result<(), Refusal> {
        match self.decisive() {
            Some(mark) if mark.change.retires() => self.check_signs(key),
            _ => Ok(()),
        }
    }

    /// Refuses what only an active key does.
    ///
    /// # Errors
    ///
    /// The reason that names the state, with the words of whoever decided it.
    pub fn check_signs(&self, key: &KeyName) -> Result<(), Refusal> {
        let Some(mark) = self.decisive() else {
            return Ok(());
        };
        let (reason, what) = match mark.change {
            StateChange::Resume => return Ok(()),
            StateChange::Suspend => (
                Reason::KeySuspended,
                "is suspended: it signs again once the admins resume it",
            ),
            StateChange::Deactivate => (
                Reason::KeyDeactivated,
                "is deactivated and signs no more: use its successor",
            ),
            StateChange::Compromise => (
                Reason::KeyCompromised,
                "is reported as compromised and signs no more: use another key",
            ),
        };
        let message = format!("key \"{key}\" {what} (reason: {})", mark.reason);
        Err(Refusal::new(reason, message)
            .with("key", key)
            .with("sequence", mark.sequence)
            .with("why", &mark.reason))
    }
}

/// A holder's signed word that it acts by a change of state (P41).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReceipt {
    /// The holder.
    pub node: NodeId,
    /// The name of the key.
    pub key: KeyName,
    /// The key.
    pub key_id: KeyId,
    /// The digest of the command that was asked for.
    pub command: Digest,
    /// The state of the key at this holder.
    pub state: KeyState,
    /// The highest sequence that it has heard of.
    pub sequence: u64,
    /// The journal sequence of the last record about the state.
    pub record: u64,
    /// Over all of it.
    pub signature: Signature,
}

impl StateReceipt {
    /// What the holder signs.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::Receipt)
            .text("key-state")
            .text(self.node.as_str())
            .text(self.key.as_str())
            .bytes(self.key_id.as_bytes())
            .digest(&self.command)
            .text(self.state.as_str())
            .number(self.sequence)
            .number(self.record)
            .finish()
    }

    /// Signs the receipt.
    #[must_use]
    pub fn sign(mut self, key: &ed25519_dalek::SigningKey) -> Self {
        self.signature = sign_digest(key, &self.digest());
        self
    }

    /// Checks that the receipt is this node's and answers this command.
    ///
    /// # Errors
    ///
    /// [`Reason::ProtocolViolation`] when it is not.
    pub fn verify(
        &self,
        pinned: &PinnedRoster,
        node: &NodeId,
        set: &SetKeyState,
        command: &Digest,
    ) -> Result<(), Refusal> {
        let card: Option<&NodeCard> = pinned.roster().node(node);
        let signed = card.is_some_and(|card| {
            card.identity_key
                .verify(&self.digest(), &self.signature)
                .is_ok()
        });
        let fits = self.node == *node
            && self.key == set.key
            && self.key_id == set.key_id
            && self.command == *command
            && self.sequence >= set.sequence;
        if signed && fits {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::ProtocolViolation,
            format!("the receipt of node {node} is not one for this command"),
        )
        .with("node", node))
    }
}

#[cfg(test)]
mod tests;
