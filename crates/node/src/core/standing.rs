//! Where keys stand by the word of admins (P33, P41).
//!
//! Each node holds the states itself and refuses by them alone. A command about a state needs no
//! trusted clock: it does not expire, and its sequence orders it, so a node that was away for a year
//! takes it like one that heard of it at once. Nor does its id bind it: a command that somebody else
//! made under the same id must not keep a suspension away.

use std::sync::Arc;

use quorate_model::{
    Digest, KeyName, KeyState, PrincipalId, Reason, Refusal, Signature,
    audit::{Entry, KeyStateChanged, RULE_OF_CLIENTS},
    command::{CommandBody, SignedCommand},
    node_api::NodeReply,
    standing::{Effect, SetKeyState, StateChange, StateMark, StateReceipt},
};

use super::{
    Context, Fatal, NodeCore, Outcome, Pending, State, Subject,
    binding::rejected,
    budget::{self, Budget},
    destroying::check_not_destroyed,
    gate::{self, Admitted},
    ledger::{self, KeyRow},
    loaded::{not_active, unknown},
    lock,
};
use crate::disk::Disk;

/// Refuses to sign with a key that does not stand as active. What is refused here is decided by
/// admins alone; whether the key is proven is judged elsewhere.
pub(super) fn check_standing(state: &State, name: &KeyName) -> Result<Result<(), Refusal>, Fatal> {
    #[cfg(debug_assertions)]
    if state.ignores_states {
        return Ok(Ok(()));
    }
    let stands = ledger::standing(&*state.index, name)?.standing;
    let Err(refusal) = stands.check_signs(name) else {
        return Ok(Ok(()));
    };
    // Only a retired key is destroyed, so the end is looked for where a key does not sign.
    Ok(check_not_destroyed(state, name)?.and(Err(refusal)))
}

/// Whose wish a signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A client's, with a key in use.
    Client,
    /// That of the admin quorum, with a key whose time is over, to where its creation says (P33).
    Evacuation,
}

impl Use {
    /// What a command that signs is for.
    pub(super) const fn of(body: &CommandBody) -> Self {
        if matches!(body, CommandBody::Evacuate(_)) {
            Self::Evacuation
        } else {
            Self::Client
        }
    }

    /// The rule by which it was allowed, for the audit record.
    pub(super) const fn rule(self) -> &'static str {
        match self {
            Self::Client => RULE_OF_CLIENTS,
            Self::Evacuation => "quorum:admin",
        }
    }
}

/// Refuses to sign where the state of the key does not allow it: a key in use signs for clients, and
/// one whose time is over moves what it holds to where its creation says.
pub(super) fn check_use(
    state: &State,
    name: &KeyName,
    purpose: Use,
) -> Result<Result<(), Refusal>, Fatal> {
    if purpose == Use::Client {
        return check_standing(state, name);
    }
    if let Err(refusal) = check_not_destroyed(state, name)? {
        return Ok(Err(refusal));
    }
    if !is_proven(state, name)? {
        return Ok(Err(not_active(name, "its creation is not finished")));
    }
    let stands = ledger::standing(&*state.index, name)?.standing;
    Ok(stands.check_evacuates(name))
}

fn is_proven(state: &State, name: &KeyName) -> Result<bool, Fatal> {
    let row = ledger::key(&*state.index, name)?;
    Ok(row.is_some_and(|row| row.active().is_some()))
}

/// Each admin has a budget of its own, so that none uses up the others'.
fn may_suspend_again(state: &mut State, by: Option<PrincipalId>, now_ms: u64) -> bool {
    by.is_some_and(|admin| {
        state
            .suspensions
            .entry(admin)
            .or_insert_with(|| Budget::new(budget::SUSPENSIONS))
            .take(now_ms)
    })
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Takes a command about the state of a key, and acknowledges it once it is durable.
    pub(super) fn set_key_state(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        signed: SignedCommand,
    ) -> Result<Outcome, Fatal> {
        let now = lock(&self.state).clock.elapsed(context.reading);
        let admitted = self.admit(&signed, now);
        self.hear_of_state(context, signed, admitted, false)
    }

    /// Takes a command about the state of a key that others act by: whoever commanded it may have been
    /// removed since, and what they stopped stays stopped.
    pub(super) fn adopt_key_state(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        signed: SignedCommand,
    ) -> Result<Outcome, Fatal> {
        let now = lock(&self.state).clock.elapsed(context.reading);
        let admitted = gate::admit_ever(&self.pinned(), &signed, now);
        self.hear_of_state(context, signed, admitted, true)
    }

    fn hear_of_state(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        signed: SignedCommand,
        admitted: Result<Admitted, Refusal>,
        adopts: bool,
    ) -> Result<Outcome, Fatal> {
        let mut subject = Subject {
            command: Some(signed.digest()),
            ..Subject::default()
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        subject.command_id = Some(admitted.command().id);
        subject.endorsements = Some(admitted.endorsements());
        let CommandBody::SetKeyState(set) = &admitted.command().body else {
            let refusal = Refusal::new(
                Reason::RequestInvalid,
                "the command does not change the state of a key",
            );
            return self.refused(context, subject, refusal);
        };
        subject.key = Some(set.key.clone());
        if let Err(refusal) = self.check_held(set)? {
            // Of a key that comes to this node later it has heard what stops it.
            let stops = adopts && set.change != StateChange::Resume;
            if !stops || refusal.reason != Reason::KeyUnknown {
                return self.refused(context, subject, refusal);
            }
        }
        let digest = admitted.digest();
        let mut state = lock(&self.state);
        if let Err(refusal) = check_not_destroyed(&state, &set.key)? {
            drop(state);
            return self.refused(context, subject, refusal);
        }
        let standing = ledger::standing(&*state.index, &set.key)?.standing;
        // What this node acts by is not taken back by a word that comes later.
        if !standing.holds(&digest)
            && let Some(outcome) = self.rejected_state(context, &mut state, &admitted, set)?
        {
            return Ok(outcome);
        }
        match standing.judge(set, &digest) {
            Err(refusal) => {
                drop(state);
                self.refused(context, subject, refusal)
            }
            Ok(Effect::Known) => {
                let receipt = self.recorded_receipt(&state, set, digest)?;
                Ok(Outcome::Ready(receipt.map(NodeReply::StateSet)))
            }
            Ok(Effect::Changes) => {
                let repeats = set.change == StateChange::Suspend
                    && standing.state(true) == KeyState::Suspended;
                let by = signed.proposing_admin().cloned();
                if repeats && !may_suspend_again(&mut state, by, context.reading.monotonic_ms) {
                    return Ok(Outcome::Ready(Err(Refusal::new(
                        Reason::Overloaded,
                        format!(
                            "key \"{}\" is suspended, and was so often: try again later",
                            set.key
                        ),
                    ))));
                }
                self.change_state(context, &mut state, &admitted, set, signed)
            }
        }
    }

    /// What an admin forbade stays forbidden for ever, because such commands do not expire (P8).
    fn rejected_state(
        self: &Arc<Self>,
        context: &Context<'_>,
        state: &mut State,
        admitted: &Admitted,
        set: &SetKeyState,
    ) -> Result<Option<Outcome>, Fatal> {
        let refusal = rejected(admitted.command().id);
        if let Some(record) = ledger::rejected_state(&*state.index, &admitted.digest())? {
            let told = if self.journal.durable().sequence() < record {
                Refusal::new(
                    Reason::Overloaded,
                    "the rejection is being written: ask again",
                )
            } else {
                refusal
            };
            return Ok(Some(Outcome::Ready(Err(told))));
        }
        if !admitted.is_rejected() {
            return Ok(None);
        }
        // A budget of its own, which only admins use: nobody else can keep it from being recorded.
        if !state.rejections.take(context.reading.monotonic_ms) {
            let message = format!("node {} records no more rejections for the moment", self.me);
            let refusal = Refusal::new(Reason::Overloaded, message);
            return Ok(Some(Outcome::Ready(Err(refusal))));
        }
        let entry = Entry::KeyStateRejected {
            judgment: self.judgment(admitted, "reject:admin"),
            key: set.key.clone(),
        };
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(state, time, vec![entry])?;
        Ok(Some(Pending::answer(appended, move |_| Err(refusal))))
    }

    /// Checks that this node has certified the key that the command names (I4).
    pub(super) fn check_held(&self, set: &SetKeyState) -> Result<Result<(), Refusal>, Fatal> {
        if let Some(key) = self.loaded.get(&set.key) {
            return Ok(set.check_key(&key.record));
        }
        let row = ledger::key(&*lock(&self.state).index, &set.key)?;
        let Some(birth) = row.as_ref().and_then(KeyRow::origin) else {
            return Ok(Err(unknown(&set.key)));
        };
        // A node that is to receive a share hears of states before it has one in use.
        Ok(
            quorate_proto::certificate::verify(birth, None, &self.pinned())
                .and_then(|(_, record)| set.check_key(&record)),
        )
    }

    fn change_state(
        self: &Arc<Self>,
        context: &Context<'_>,
        state: &mut State,
        admitted: &Admitted,
        set: &SetKeyState,
        signed: SignedCommand,
    ) -> Result<Outcome, Fatal> {
        let proven = is_proven(state, &set.key)?;
        let mark = StateMark::new(set, signed);
        let mut standing = ledger::standing(&*state.index, &set.key)?.standing;
        standing.take(mark.clone());
        let rule = if set.change.needs_one() {
            "role:admin"
        } else {
            "quorum:lifecycle"
        };
        let entry = Entry::KeyStateChanged(KeyStateChanged {
            judgment: self.judgment(admitted, rule),
            key: set.key.clone(),
            key_id: set.key_id,
            mark,
            state: standing.state(proven),
        });
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(state, time, vec![entry])?;
        let receipt = obeyed(set, self.receipt(state, set, admitted.digest())?);
        Ok(Pending::answer(appended, move |_| {
            receipt.map(NodeReply::StateSet)
        }))
    }

    /// The receipt for a command that was heard before: told only once its record is durable.
    fn recorded_receipt(
        &self,
        state: &State,
        set: &SetKeyState,
        command: Digest,
    ) -> Result<Result<StateReceipt, Refusal>, Fatal> {
        let receipt = self.receipt(state, set, command)?;
        if self.journal.durable().sequence() < receipt.record {
            return Ok(Err(Refusal::new(
                Reason::Overloaded,
                "the change of state is being written: ask again",
            )));
        }
        Ok(obeyed(set, receipt))
    }

    fn receipt(
        &self,
        state: &State,
        set: &SetKeyState,
        command: Digest,
    ) -> Result<StateReceipt, Fatal> {
        let row = ledger::standing(&*state.index, &set.key)?;
        let proven = is_proven(state, &set.key)?;
        Ok(StateReceipt {
            node: self.me.clone(),
            key: set.key.clone(),
            key_id: set.key_id,
            command,
            state: row.standing.state(proven),
            sequence: row.standing.sequence(),
            record: row.record,
            signature: Signature([0; 64]),
        }
        .sign(&self.identity))
    }
}

/// A resumption that a suspension outdoes is kept and not acknowledged.
fn obeyed(set: &SetKeyState, receipt: StateReceipt) -> Result<StateReceipt, Refusal> {
    if set.change.is_obeyed_in(receipt.state) {
        return Ok(receipt);
    }
    Err(Refusal::new(
        Reason::StateOutdated,
        format!(
            "key \"{}\" stays {}: sequence {} was heard, make the command again with a higher one",
            set.key, receipt.state, receipt.sequence
        ),
    )
    .with("key", &set.key)
    .with("sequence", receipt.sequence))
}
