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
    evacuation,
    identity::{Signature, sign_digest},
    ids::{KeyId, KeyName, NodeId},
    key::{KeyRecord, KeyState},
    refusal::{Reason, Refusal},
    roster::{NodeCard, PinnedRoster},
    tagged::{Tag, Tagged},
};

/// How far the sequence of a suspension may be ahead of the last resumption, so that no admin alone
/// can put a key where no resumption reaches it. What takes a quorum may have any sequence.
pub const MAX_SUSPENSION_STEP: u64 = 1_024;

/// The longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 500;

/// The highest sequence, so that there is always a next one.
const MAX_SEQUENCE: u64 = u64::MAX >> 1;

/// The most bytes that all commands about the state of one key take: four, each of at most a few
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

    /// Whether a key in this state is one of which the change was obeyed.
    pub const fn is_obeyed_in(self, state: KeyState) -> bool {
        match self {
            Self::Suspend => !matches!(state, KeyState::Active),
            Self::Resume => matches!(state, KeyState::Active | KeyState::PreActive),
            Self::Deactivate => matches!(state, KeyState::Deactivated | KeyState::Compromised),
            Self::Compromise => matches!(state, KeyState::Compromised),
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
        if !(1..=MAX_SEQUENCE).contains(&self.sequence) {
            return Err(Refusal::new(
                Reason::RequestInvalid,
                "the sequence of a state is 0 or far too high, expected 1 or a few more than the \
                 last one",
            ));
        }
        check_reason("a change of state", &self.reason)
    }
}

/// Checks that a reason can be read by people: 1 to [`MAX_REASON_BYTES`] bytes that show on one
/// line.
pub(crate) fn check_reason(what: &str, reason: &str) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(Reason::RequestInvalid, message));
    if reason.trim().is_empty() {
        return invalid(format!("{what} needs a reason: say why in a few words"));
    }
    if reason.len() > MAX_REASON_BYTES {
        return invalid(format!(
            "the reason is too long, expected at most {MAX_REASON_BYTES} bytes"
        ));
    }
    if reason.chars().any(is_hidden) {
        return invalid(
            "the reason has characters that do not show, expected one line of text".to_owned(),
        );
    }
    Ok(())
}

/// Whether a character changes how a line looks without being seen itself: controls, line
/// separators, and what turns the direction of writing.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        )
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
}

/// Where a key stands by the commands that were heard: of each change the one with the highest
/// sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    resumed: Option<StateMark>,
    suspended: Option<StateMark>,
    deactivated: Option<StateMark>,
    compromised: Option<StateMark>,
}

fn sequence_of(mark: Option<&StateMark>) -> u64 {
    mark.map_or(0, |mark| mark.sequence)
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
    /// The commands that decide, in an order in which whoever has heard none of them takes them
    /// all.
    pub fn marks(&self) -> impl Iterator<Item = &StateMark> {
        let marks = [
            &self.resumed,
            &self.suspended,
            &self.deactivated,
            &self.compromised,
        ];
        marks.into_iter().flatten()
    }

    /// The command that decides: the gravest, and between suspension and resumption the one with
    /// the higher sequence; at equal ones the suspension.
    pub fn decisive(&self) -> Option<&StateMark> {
        let retired = self.compromised.as_ref().or(self.deactivated.as_ref());
        retired.or_else(|| {
            let resumed = sequence_of(self.resumed.as_ref());
            let suspended = self.suspended.as_ref();
            suspended
                .filter(|mark| mark.sequence >= resumed)
                .or(self.resumed.as_ref())
        })
    }

    /// Whether a command is among those that decide.
    pub fn holds(&self, command: &Digest) -> bool {
        self.marks().any(|mark| mark.command.digest() == *command)
    }

    /// The highest sequence so far; 0 if there is none.
    pub fn sequence(&self) -> u64 {
        self.marks().map(|mark| mark.sequence).max().unwrap_or(0)
    }

    /// The state of a key that is active or not by its certificate and proof.
    pub fn state(&self, proven: bool) -> KeyState {
        match self.decisive().map(|mark| mark.change) {
            Some(change) if change.retires() => change.target(),
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
    /// when a suspension is further ahead than [`MAX_SUSPENSION_STEP`].
    pub fn judge(&self, set: &SetKeyState, digest: &Digest) -> Result<Effect, Refusal> {
        if self.holds(digest) {
            return Ok(Effect::Known);
        }
        let outdated = |why: String| {
            Err(
                Refusal::new(Reason::StateOutdated, format!("key \"{}\" {why}", set.key))
                    .with("key", &set.key)
                    .with("sequence", self.sequence()),
            )
        };
        let retired = self.compromised.as_ref().or(self.deactivated.as_ref());
        let closed = if set.change == StateChange::Compromise {
            self.compromised.as_ref()
        } else {
            retired
        };
        if let Some(mark) = closed {
            return outdated(format!(
                "is {} since sequence {}, which no command undoes",
                mark.change.target(),
                mark.sequence
            ));
        }
        let resumed = sequence_of(self.resumed.as_ref());
        let suspended = sequence_of(self.suspended.as_ref());
        let (least, most) = match set.change {
            StateChange::Deactivate | StateChange::Compromise => (0, u64::MAX),
            // One that a suspension outdoes is heard all the same: it says how far the next may go.
            StateChange::Resume => (resumed.saturating_add(1), u64::MAX),
            StateChange::Suspend => (
                resumed.max(suspended.saturating_add(1)),
                resumed.saturating_add(MAX_SUSPENSION_STEP),
            ),
        };
        if set.sequence < least {
            return outdated(format!(
                "has heard sequence {}, and this is sequence {} to {}: make the command again with \
                 {least} or more",
                resumed.max(suspended),
                set.sequence,
                set.change
            ));
        }
        if set.sequence > most {
            return outdated(format!(
                "was resumed at sequence {resumed}, and no suspension may be more than \
                 {MAX_SUSPENSION_STEP} ahead of that: bring the resumption in between first"
            ));
        }
        Ok(Effect::Changes)
    }

    /// Takes an accepted command. The order in which commands are taken does not matter.
    pub fn take(&mut self, mark: StateMark) {
        let slot = match mark.change {
            StateChange::Compromise => &mut self.compromised,
            StateChange::Deactivate => &mut self.deactivated,
            StateChange::Suspend => &mut self.suspended,
            StateChange::Resume => &mut self.resumed,
        };
        if sequence_of(slot.as_ref()) < mark.sequence {
            *slot = Some(mark);
        }
        // A suspension that was resumed decides nothing any more.
        let resumed = sequence_of(self.resumed.as_ref());
        self.suspended.take_if(|mark| mark.sequence < resumed);
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

    /// Refuses to move what a key holds to where its creation says, while it is in use (P33).
    ///
    /// # Errors
    ///
    /// [`Reason::KeyNotRetired`].
    pub fn check_evacuates(&self, key: &KeyName) -> Result<(), Refusal> {
        match self.decisive() {
            Some(mark) if mark.change.retires() => Ok(()),
            _ => Err(evacuation::not_retired(key, self.state(true))),
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
                "is deactivated and signs no more: use the key in its place, if there is one",
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
        let card: Option<&NodeCard> = pinned.card(node);
        let signed = card.is_some_and(|card| {
            card.identity_key
                .verify(&self.digest(), &self.signature)
                .is_ok()
        });
        let fits = self.node == *node
            && self.key == set.key
            && self.key_id == set.key_id
            && self.command == *command
            && self.sequence >= set.sequence
            && set.change.is_obeyed_in(self.state);
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
