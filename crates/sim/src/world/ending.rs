//! The end of a key: retired, announced, withdrawn and confirmed by admins, and ordered by those who
//! may not.

use quorate_model::{
    Digest, KeyId, KeyName, KeyState, destruction::DestroyStep, node_api::NodeRequest,
    standing::StateChange,
};
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;

use super::{World, happenings::Happening};
use crate::{
    faults::{below, pick},
    machine::Answer,
    people::{ADMINS, DELAY_MS},
    workload::{Kind, Operation},
};

/// How often the admins look how far the end of the key has come, in microseconds.
const LOOK_US: u64 = 700_000;

/// How long the admins wait for all nodes before they order the end anew, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// What is done about the end of a key in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// It is reported as compromised, not only deactivated.
    compromised: bool,
    /// How often it is announced while there are faults.
    announcements: u64,
    /// How often an announcement is confirmed while there are faults.
    confirmations: u64,
    /// How often one is withdrawn.
    withdrawals: u64,
    /// Whether all admins order it at once.
    at_once: bool,
    /// How often somebody brings a node an order that is none, or the order of another time.
    whispers: u64,
    /// Whether the admins go on until the key is gone.
    to_the_end: bool,
}

impl Ending {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self {
            compromised: rng.next_u32().is_multiple_of(3),
            announcements: 1 + below(rng, 2),
            confirmations: below(rng, 4),
            withdrawals: below(rng, 4) / 2,
            at_once: rng.next_u32().is_multiple_of(6),
            whispers: below(rng, 12),
            to_the_end: !rng.next_u32().is_multiple_of(3),
        }
    }
}

/// How far the end of the key has come.
pub(super) struct Ended {
    ending: Ending,
    key: (KeyName, KeyId),
    /// The announcements that were made.
    announced: Vec<Digest>,
    /// The announcement that the admins go on with after the faults, and its confirmation.
    pursued: (Option<usize>, Option<usize>),
}

/// What happens about the end of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndStep {
    Retire,
    Announce,
    Withdraw,
    Confirm,
    AtOnce,
    Whisper,
    Pursue,
}

impl World {
    /// Puts what is done about the end of the key into the queue.
    pub(super) fn plan_ending(&mut self, ending: Ending, key: (KeyName, KeyId)) {
        self.ended = Some(Ended {
            ending,
            key,
            announced: Vec::new(),
            pursued: (None, None),
        });
        let retired = 1_000_000 + below(&mut self.rng, 3_000_000);
        self.at(retired, Happening::End(EndStep::Retire));
        let mut plan = |from: u64, span: u64, times: u64, step: EndStep| {
            for _ in 0..times {
                let when = from + below(&mut self.rng, span);
                self.at(when, Happening::End(step));
            }
        };
        let announced = retired + 300_000;
        plan(
            announced,
            1_500_000,
            ending.announcements,
            EndStep::Announce,
        );
        plan(announced, 4_000_000, ending.withdrawals, EndStep::Withdraw);
        plan(announced, 5_000_000, ending.confirmations, EndStep::Confirm);
        plan(
            retired,
            6_000_000,
            u64::from(ending.at_once),
            EndStep::AtOnce,
        );
        plan(500_000, 9_000_000, ending.whispers, EndStep::Whisper);
    }

    /// The admins go on when the faults are over.
    pub(super) fn pursue_ending(&mut self) {
        let ending = self.ended.as_ref().map(|ended| ended.ending);
        if ending.is_some_and(|ending| ending.to_the_end || ending.withdrawals > 0) {
            self.after(1_500_000, Happening::End(EndStep::Pursue));
        }
    }

    /// Whether the key is where it is to be: nowhere, if the admins go on until then or if any node
    /// has destroyed it. A node that was restored takes no order from before its return, and one that
    /// was added none from before it came: they wait for the next.
    pub(super) fn is_ended(&self) -> bool {
        let Some(ended) = &self.ended else {
            return true;
        };
        let to_the_end = ended.ending.to_the_end;
        let machines = self.members().into_iter();
        let hears = |at: usize| !self.loses_disk(at) && !self.is_new(at);
        let gone: Vec<bool> = machines
            .filter(|at| !self.is_out(*at) && (to_the_end || hears(*at)))
            .map(|at| self.invariants.destroyed(at, &ended.key.0))
            .collect();
        let wanted = to_the_end || gone.contains(&true);
        !wanted || !gone.contains(&false)
    }

    /// Says who has not destroyed the key, where all are to.
    pub(super) fn unended(&self) -> String {
        let Some(ended) = self.ended.as_ref().filter(|_| !self.is_ended()) else {
            return String::new();
        };
        let mut left = self.members();
        left.retain(|at| !self.invariants.destroyed(*at, &ended.key.0));
        let last = ended.pursued.1.or(ended.pursued.0);
        let last = last.and_then(|at| self.operations[at].answers.last());
        format!(
            "; machines {left:?} do not destroy key \"{}\" ({:?}); the admins were last answered {last:?}",
            ended.key.0, ended.ending
        )
    }

    /// Whether an operation is about the key that ends.
    pub(super) fn is_of_the_end(&self, operation: &Operation) -> bool {
        let ended = self.ended.as_ref();
        ended.is_some_and(|ended| ended.key.1 == operation.key_id) && !operation.is_creation()
    }

    /// Whether the time of the key that ends is over.
    pub(super) fn is_retired(&self) -> bool {
        let mut changes = self.operations.iter().filter(|o| o.kind == Kind::State);
        changes.any(|change| self.is_of_the_end(change) && change.succeeded())
    }

    /// A client is shown a key as destroyed only when no node has anything of it (P34).
    pub(super) fn check_shown(&mut self, key: &KeyName, state: KeyState) {
        if !state.is_destroyed() {
            return;
        }
        let left = self.members().into_iter().find(|at| {
            let honest = self.invariants.is_honest(self.machines[*at].id());
            // What a restored node said before is not what it holds, until that is heard of.
            let counts = honest && !self.is_new(*at) && !self.loses_disk(*at);
            counts && !self.invariants.destroyed(*at, key)
        });
        if let Some(at) = left {
            let detail = format!("a client is shown \"{key}\" as destroyed, and {at} is not done");
            self.invariants.breaks("P34", detail);
        }
    }

    pub(super) fn take_step(&mut self, step: EndStep) {
        let Some(ended) = &self.ended else {
            return;
        };
        let (key, ending) = (ended.key.clone(), ended.ending);
        // Nodes that never held a key believe a quorum that it is over, and never take part in making
        // it: nobody orders the end of a key that is not there.
        let mut creations = self.operations.iter().filter(|o| o.is_creation());
        let is_made = creations.any(|o| o.key_id == key.1 && o.done);
        if !is_made && step != EndStep::Pursue {
            self.after(LOOK_US, Happening::End(step));
            return;
        }
        let announced = ended.announced.clone();
        let chosen = |rng: &mut ChaCha8Rng| {
            let at = pick(rng, announced.len().max(1));
            announced.get(at).copied()
        };
        match step {
            EndStep::Retire => self.retire(key, ending.compromised),
            EndStep::Announce => {
                self.order(DestroyStep::Announce, 2);
            }
            EndStep::Withdraw => {
                if let Some(announcement) = chosen(&mut self.rng) {
                    self.order(DestroyStep::Cancel { announcement }, 1);
                }
            }
            EndStep::Confirm => {
                if let Some(announcement) = chosen(&mut self.rng) {
                    self.order(DestroyStep::Confirm { announcement }, 2);
                }
            }
            EndStep::AtOnce => {
                self.order(DestroyStep::AtOnce, ADMINS);
            }
            EndStep::Whisper => {
                let announcement = chosen(&mut self.rng).unwrap_or(Digest::new([7; 32]));
                self.whisper(key, announcement);
            }
            EndStep::Pursue => self.pursue(),
        }
    }

    fn retire(&mut self, key: (KeyName, KeyId), compromised: bool) {
        let id = self.id();
        let change = if compromised {
            StateChange::Compromise
        } else {
            StateChange::Deactivate
        };
        let created = self.now().wall;
        let operation = self.people.quorum().set_state(id, created, key, 1, change);
        self.ask(operation);
    }

    /// So many admins order a step; the answer is the place of the operation.
    fn order(&mut self, step: DestroyStep, admins: usize) -> Option<usize> {
        let id = self.id();
        let created = self.now().wall;
        let key = self.ended.as_ref()?.key.clone();
        let operation = self.people.admins(admins).destroy(id, created, key, step);
        if let Some(ended) = self
            .ended
            .as_mut()
            .filter(|_| step == DestroyStep::Announce)
        {
            ended.announced.push(operation.digest());
        }
        Some(self.ask(operation))
    }

    /// Brings a node what must not move it: too few words, words of another time, or an order that
    /// is old or not yet due.
    fn whisper(&mut self, key: (KeyName, KeyId), announcement: Digest) {
        let id = self.id();
        let now = self.now().wall;
        let confirm = DestroyStep::Confirm { announcement };
        let made = |operation: &&Operation| operation.digest() == announcement;
        let command = match pick(&mut self.rng, 5) {
            0 => self.people.admins(1).destroy(id, now, key, confirm).signed,
            1 => {
                let all_but_one = self.people.admins(ADMINS - 1);
                all_but_one
                    .destroy(id, now, key, DestroyStep::AtOnce)
                    .signed
            }
            2 => {
                let announced = self.operations.iter().find(made).map(|made| &made.signed);
                let bytes = announced
                    .map(|signed| &signed.bytes[..])
                    .unwrap_or_default();
                let created =
                    quorate_proto::command::decode(bytes).map_or(now, |made| made.created);
                let early = created.plus(DELAY_MS - 1);
                self.people.quorum().destroy(id, early, key, confirm).signed
            }
            3 => {
                let unheard = DestroyStep::Confirm {
                    announcement: Digest::new([9; 32]),
                };
                self.people.quorum().destroy(id, now, key, unheard).signed
            }
            _ => {
                let orders: Vec<&Operation> = self
                    .operations
                    .iter()
                    .filter(|operation| matches!(operation.kind, Kind::Destroy(_)))
                    .collect();
                if orders.is_empty() {
                    return;
                }
                orders[pick(&mut self.rng, orders.len())].signed.clone()
            }
        };
        let node = pick(&mut self.rng, self.machines.len());
        if let Answer::Died = self.ask_node(0, node, NodeRequest::DestroyKey { command }) {
            self.left(node);
            self.check_shares();
        }
    }

    /// Whether the key comes to its end by orders that nodes have not had yet: they were to bring it
    /// there, or whoever keeps it does so because it has heard of a withdrawal, which others had not
    /// when they destroyed it (decision 0020).
    fn needs_admins(&self) -> bool {
        let Some(ended) = &self.ended else {
            return false;
        };
        let keeps = |at: &&usize| !self.invariants.destroyed(**at, &ended.key.0);
        let members = self.members();
        let mut keepers = members.iter().filter(keeps);
        ended.ending.to_the_end || keepers.all(|at| self.invariants.heard_withdrawal(*at))
    }

    /// Announces and confirms until nothing of the key is left. Whoever is still in quarantine may
    /// come back with a share of it, so the admins look for as long as anything goes on.
    fn pursue(&mut self) {
        self.after(LOOK_US, Happening::End(EndStep::Pursue));
        if self.is_ended() || !self.needs_admins() {
            return;
        }
        let Some(pursued) = self.ended.as_ref().map(|ended| ended.pursued) else {
            return;
        };
        let stands = |at: Option<usize>| {
            let operation = at.and_then(|at| self.operations.get(at));
            operation.map(|operation| (operation.done, operation.succeeded()))
        };
        let made = |at: Option<usize>| {
            let operation = at.and_then(|at| self.operations.get(at))?;
            let command = quorate_proto::command::decode(&operation.signed.bytes).ok()?;
            Some(command.created)
        };
        let now = self.now().wall;
        let is_old = made(pursued.1).is_some_and(|made| now > made.plus(PATIENCE_MS));
        let next = match (pursued.0, stands(pursued.0), stands(pursued.1)) {
            (Some(_), _, Some((true, true))) if is_old => {
                // Somebody came back from a backup since.
                (self.order(DestroyStep::Announce, 2), None)
            }
            (None, _, _) | (_, Some((true, false)), _) | (_, _, Some((true, false))) => {
                (self.order(DestroyStep::Announce, 2), None)
            }
            (Some(at), Some((true, true)), None) => {
                let announcement = self.operations[at].digest();
                let created = made(Some(at)).unwrap_or(now);
                // Some node may hear of it a little later than the others.
                if now < created.plus(3 * DELAY_MS) {
                    return;
                }
                let confirm = DestroyStep::Confirm { announcement };
                (Some(at), self.order(confirm, 2))
            }
            _ => return,
        };
        if let Some(ended) = &mut self.ended {
            ended.pursued = next;
        }
    }
}
