//! What happens in a run, one thing at a time.

use quorate_coordinator::core::{Action, BatchId, CallFailure, CallId, Event, StoreItem, admit};
use quorate_model::{
    KeyName, Reason, Refusal,
    node_api::{NodeReply, NodeRequest},
    operation::{CommandState, CommandView},
};
use rand_core::RngCore as _;

use super::{AWAY_US, World, ending::EndStep, restoring::KeeperStep};
use crate::{
    faults::{below, happens, pick},
    machine::Answer,
    workload::{Kind, Operation},
};

/// How long the client waits before it submits the same command again, in microseconds.
pub(super) const RESUBMIT_US: u64 = 3_000_000;

/// How long a node that is not let in waits before it tries again, in microseconds.
const KNOCK_US: u64 = 500_000;

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// A request reaches a node.
    ToNode {
        desk: usize,
        life: u32,
        node: usize,
        call: CallId,
        request: Box<NodeRequest>,
    },
    /// An answer reaches a coordinator.
    ToDesk {
        desk: usize,
        life: u32,
        call: CallId,
        result: Box<Result<NodeReply, CallFailure>>,
    },
    /// The store has written.
    Stored {
        desk: usize,
        life: u32,
        batch: BatchId,
        writes: Vec<StoreItem>,
    },
    /// A coordinator asked to be woken.
    Wake { desk: usize, life: u32 },
    /// A node's link comes up.
    LinkUp {
        desk: usize,
        life: u32,
        node: usize,
        boot: u32,
    },
    /// A node crashes.
    CrashNode { node: usize },
    /// A node starts.
    StartNode { node: usize },
    /// A node takes a checkpoint if one is due.
    TickNode { node: usize, boot: u32 },
    /// A coordinator crashes.
    CrashDesk { desk: usize },
    /// A coordinator starts.
    StartDesk { desk: usize },
    /// A client submits an operation, again if need be.
    Submit { operation: usize },
    /// The admins go on changing the roster.
    Move,
    /// Somebody brings a node a roster that is none.
    WhisperRoster,
    /// Something is done about backups.
    Keep(KeeperStep),
    /// Something is done about the end of a key.
    End(EndStep),
    /// An admin has a key reshared, from the epoch that it is shown.
    Reshare { key: KeyName },
}

impl Happening {
    /// Whether it is a planned fault.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Self::CrashNode { .. } | Self::CrashDesk { .. })
    }

    /// A line for the trace.
    pub(super) fn line(&self, now_us: u64) -> String {
        format!("{now_us} {self:?}")
    }
}

impl World {
    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToNode {
                desk,
                life,
                node,
                call,
                request,
            } => self.reach_node(desk, life, node, call, *request),
            Happening::ToDesk {
                desk,
                life,
                call,
                result,
            } => {
                if self.desks[desk].lives(life) && self.desks[desk].replied(call) {
                    let result = *result;
                    self.tell(desk, Event::Reply { call, result });
                }
            }
            Happening::Stored {
                desk,
                life,
                batch,
                writes,
            } => {
                if self.desks[desk].lives(life) {
                    self.desks[desk].store(writes);
                    self.tell(desk, Event::Stored { batch });
                }
            }
            Happening::Wake { desk, life } => {
                if self.desks[desk].lives(life) {
                    self.tell(desk, Event::Tick);
                }
            }
            Happening::LinkUp {
                desk,
                life,
                node,
                boot,
            } => {
                if self.machines[node].is_up(boot) && !self.link(desk, life, node) {
                    // It knocks until the coordinator knows it.
                    let up = Happening::LinkUp {
                        desk,
                        life,
                        node,
                        boot,
                    };
                    self.after(KNOCK_US, up);
                }
            }
            Happening::CrashNode { node } => {
                if self.machines[node].crash(&mut self.rng) {
                    self.left(node);
                    self.check_shares();
                }
            }
            Happening::StartNode { node } => self.start_node(node),
            Happening::TickNode { node, boot } => {
                let reading = self.now();
                if self.machines[node].tick(boot, reading) {
                    self.after(250_000, Happening::TickNode { node, boot });
                }
            }
            Happening::CrashDesk { desk } => self.crash_desk(desk),
            Happening::StartDesk { desk } => self.start_desk(desk),
            Happening::Submit { operation } => self.submit(operation),
            Happening::Reshare { key } => self.reshare(key),
            Happening::Move => self.move_on(),
            Happening::WhisperRoster => self.whisper_roster(),
            Happening::Keep(step) => self.keep(step),
            Happening::End(step) => self.take_step(step),
        }
    }

    /// A machine's link to a coordinator comes up; a link of the same node to it breaks.
    /// False where the coordinator does not know the node yet.
    pub(super) fn link(&mut self, desk: usize, life: u32, machine: usize) -> bool {
        if !self.desks[desk].lives(life) || self.machines[machine].boot().is_none() {
            return true;
        }
        let node = self.machines[machine].id().clone();
        let Some(pinned) = self.desks[desk].pinned() else {
            return true;
        };
        if pinned.roster().node(&node).is_none() {
            // Who was removed is not let in any more.
            return pinned.card(&node).is_some();
        }
        if let Some(other) = self.desks[desk].linked(&node).filter(|at| *at != machine)
            && let Some(event) = self.desks[desk].unlink(other, node.clone())
        {
            self.tell(desk, event);
        }
        self.desks[desk].link(node.clone(), machine);
        self.tell(desk, Event::LinkUp { node });
        true
    }

    fn start_node(&mut self, node: usize) {
        if self.machines[node].is_scrapped() || self.machines[node].boot().is_some() {
            return;
        }
        let reading = self.now();
        let boot = self.machines[node].start(&self.people, reading, &mut self.invariants);
        for desk in 0..self.desks.len() {
            let life = self.desks[desk].life();
            let delay = 30_000 + below(&mut self.rng, 1_000);
            let up = Happening::LinkUp {
                desk,
                life,
                node,
                boot,
            };
            self.after(delay, up);
        }
        self.after(250_000, Happening::TickNode { node, boot });
    }

    fn crash_desk(&mut self, desk: usize) {
        let Some(unanswered) = self.desks[desk].crash() else {
            return;
        };
        for operation in unanswered {
            let delay = 500_000 + below(&mut self.rng, RESUBMIT_US);
            self.after(delay, Happening::Submit { operation });
        }
        self.after(AWAY_US, Happening::StartDesk { desk });
    }

    fn start_desk(&mut self, desk: usize) {
        let seed = self.rng.next_u64();
        self.desks[desk].start(&self.people.first, seed);
        let life = self.desks[desk].life();
        for node in 0..self.machines.len() {
            if let Some(boot) = self.machines[node].boot() {
                let up = Happening::LinkUp {
                    desk,
                    life,
                    node,
                    boot,
                };
                self.after(10_000, up);
            }
        }
        self.after(1_000, Happening::Wake { desk, life });
    }

    /// A client goes to any coordinator that is there.
    fn submit(&mut self, operation: usize) {
        if self.operations[operation].done {
            return;
        }
        let known = self.operations[operation].desk;
        let up: Vec<usize> = (0..self.desks.len())
            .filter(|desk| known.is_none_or(|known| known == *desk))
            .filter(|desk| self.desks[*desk].is_up())
            .collect();
        if up.is_empty() {
            self.after(RESUBMIT_US, Happening::Submit { operation });
            return;
        }
        let desk = up[pick(&mut self.rng, up.len())];
        self.invariants.made(&self.operations[operation]);
        let signed = self.operations[operation].signed.clone();
        let pinned = self.desks[desk].pinned().unwrap_or(&self.people.first);
        match admit(pinned, signed) {
            Ok(command) => {
                let event = self.desks[desk].submission(operation, command);
                self.tell(desk, event);
            }
            Err(refusal) => self.answered(desk, operation, Err(refusal)),
        }
    }

    /// Takes an operation up and submits it; the answer is its place.
    pub(super) fn ask(&mut self, operation: Operation) -> usize {
        // A roster reaches machines with those who bring it, too.
        self.invariants.made(&operation);
        let at = self.operations.len();
        self.operations.push(operation);
        self.submit(at);
        at
    }

    /// Tells a coordinator something and carries out what it wants.
    pub(super) fn tell(&mut self, desk: usize, event: Event) {
        let now = self.now();
        for action in self.desks[desk].tell(now, event) {
            self.act(desk, action);
        }
    }

    fn act(&mut self, desk: usize, action: Action) {
        let life = self.desks[desk].life();
        match action {
            Action::Call {
                call,
                node,
                request,
                timeout_ms,
            } => {
                let machine = self.desks[desk].linked(&node);
                self.invariants.asked(&self.people.pinned, &request);
                self.desks[desk].called(call, machine);
                let result = Box::new(Err(CallFailure::TimedOut));
                let timed_out = Happening::ToDesk {
                    desk,
                    life,
                    call,
                    result,
                };
                self.after(timeout_ms * 1_000, timed_out);
                if let Some(machine) = machine {
                    self.send(desk, machine, call, &request);
                }
            }
            Action::Persist { batch, writes } => {
                for item in &writes {
                    self.invariants.stored(&self.people.pinned, item);
                }
                let delay = 100 + below(&mut self.rng, 5_000);
                let stored = Happening::Stored {
                    desk,
                    life,
                    batch,
                    writes,
                };
                self.after(delay, stored);
            }
            Action::Answer { handle, result } => {
                if let Some(operation) = self.desks[desk].answered(handle) {
                    let result = result.map(|view| CommandView::clone(&view));
                    self.answered(desk, operation, result);
                }
            }
            Action::WakeAt(ms) => self.at(ms * 1_000, Happening::Wake { desk, life }),
            Action::Notice(notice) => self.invariants.noticed(&notice),
            Action::Progress(_) | Action::Roster(_) => {}
        }
    }

    fn send(&mut self, desk: usize, node: usize, call: CallId, request: &NodeRequest) {
        let life = self.desks[desk].life();
        let copies = 1 + u32::from(happens(&mut self.rng, self.faults.doubled));
        for _ in 0..copies {
            if happens(&mut self.rng, self.faults.lost) {
                continue;
            }
            let delay = self.delay();
            let mut request = request.clone();
            if let Some(coordinator) = &mut self.two_faced {
                request = coordinator.relay(&mut self.rng, desk, request);
            }
            if let Some(cheat) = &self.cheat {
                request = cheat.relay(node, request);
            }
            let arrival = Happening::ToNode {
                desk,
                life,
                node,
                call,
                request: Box::new(request),
            };
            self.after(delay, arrival);
        }
    }

    fn delay(&mut self) -> u64 {
        let span = self
            .faults
            .delay_max_us
            .saturating_sub(self.faults.delay_min_us);
        let delay = self.faults.delay_min_us + below(&mut self.rng, span);
        if happens(&mut self.rng, self.faults.stalled) {
            delay * 10
        } else {
            delay
        }
    }

    fn reach_node(
        &mut self,
        desk: usize,
        life: u32,
        node: usize,
        call: CallId,
        request: NodeRequest,
    ) {
        if let Some(recording) = &mut self.recording {
            recording.request(&request);
        }
        let answer = self.ask_node(desk, node, request);
        match answer {
            Answer::Down => {}
            Answer::Died => {
                self.left(node);
                self.check_shares();
            }
            Answer::Said(reply) => {
                if let (Some(recording), Ok(reply)) = (&mut self.recording, &reply) {
                    recording.reply(reply);
                }
                if happens(&mut self.rng, self.faults.lost) {
                    return;
                }
                let reply = match &self.two_faced {
                    Some(coordinator) => reply.map(|said| coordinator.hears(desk, node, said)),
                    None => reply,
                };
                let result = Box::new(reply.map_err(CallFailure::Refused));
                let delay = self.delay();
                let answer = Happening::ToDesk {
                    desk,
                    life,
                    call,
                    result,
                };
                self.after(delay, answer);
            }
        }
    }

    pub(super) fn ask_node(&mut self, desk: usize, node: usize, request: NodeRequest) -> Answer {
        let dies = happens(&mut self.rng, self.faults.crash_before_answer);
        let is_cheat = self.cheat.as_ref().is_some_and(|cheat| cheat.node == node);
        if is_cheat
            && self.machines[node].boot().is_some()
            && let Some(cheat) = &mut self.cheat
            && let Some(reply) = cheat.plays(&self.people, &self.machines[node], &request)
        {
            return Answer::Said(reply);
        }
        let shown = match &request {
            NodeRequest::AdvanceCeremony {
                attempt,
                round,
                envelopes,
            } => Some((*attempt, (*round, envelopes.clone()))),
            _ => None,
        };
        let reading = self.now();
        let caller = self.desks[desk].id().clone();
        let machine = &mut self.machines[node];
        let invariants = &mut self.invariants;
        let answer = machine.answer(&self.people, &caller, request, reading, dies, invariants);
        let Answer::Said(Ok(reply)) = answer else {
            return answer;
        };
        if is_cheat && let Some(cheat) = &mut self.cheat {
            return Answer::Said(cheat.says(reply));
        }
        if let (NodeReply::Ceremony(reply), Some((attempt, shown))) = (&reply, shown) {
            let id = self.machines[node].id().clone();
            self.invariants.carried(&id, attempt, shown, reply);
        }
        Answer::Said(Ok(reply))
    }

    /// A client hears something final, or tries again with the same command.
    fn answered(&mut self, desk: usize, operation: usize, result: Result<CommandView, Refusal>) {
        let ends = self.is_of_the_end(&self.operations[operation]);
        let signs_in_vain = ends && self.operations[operation].signs() && self.is_retired();
        let retires = self.operations[operation].kind == Kind::State;
        let reshares = self.operations[operation].kind == Kind::Reshare;
        let outdated =
            |view: &CommandView| {
                let reason = view.error.as_ref().map(|refusal| refusal.reason);
                match reason {
                    Some(Reason::StateOutdated | Reason::EpochChanged) => {
                        view.state == CommandState::Denied
                    }
                    // The admins would choose holders that work with each other.
                    Some(Reason::PairBanned) => reshares,
                    // A restored node has forgotten what became of it.
                    // The roster changed since it was made.
                    Some(Reason::NodeDrained | Reason::NodeUnknown) if reshares => true,
                    // Nor does it prepare any of the numbers that it may have prepared.
                    Some(Reason::CommandTimeInvalid | Reason::EpochTaken) if reshares => {
                        self.loses_disks()
                    }
                    // Its time is over, and so is whatever its admins asked for in vain.
                    // Its holders may be gone, and nobody asks for it any more.
                    Some(_) if signs_in_vain => true,
                    Some(Reason::KeyDestroyed) => self.ended.is_some(),
                    Some(
                        Reason::KeyNotActive | Reason::KeyDeactivated | Reason::KeyCompromised,
                    ) if ends => true,
                    _ => ends && !retires && view.state == CommandState::Denied,
                }
            };
        let again = match &result {
            // A suspension that comes after its resumption is over, and so is a resharing that
            // another one overtook.
            Ok(view) => view.state != CommandState::Succeeded && !outdated(view),
            Err(refusal) => match refusal.reason {
                Reason::RequestIdReused => false,
                Reason::NodeDrained | Reason::NodeUnknown => !reshares,
                _ => true,
            },
        };
        if result.is_ok() {
            let name = self.operations[operation].key.clone();
            let shown = self.desks[desk].shows(&name);
            let proven = shown.filter(|key| key.evidence.proof.is_some());
            if let Some(key) = proven {
                self.invariants.shown(&self.people.pinned, &key);
                self.check_shown(&name, key.state);
            }
        }
        self.take_advice(operation, &result);
        let by = self.desks[desk].id();
        self.invariants
            .answered(by, &self.operations[operation], &result);
        self.operations[operation].answers.push(result);
        if again {
            let delay = RESUBMIT_US + below(&mut self.rng, RESUBMIT_US);
            self.after(delay, Happening::Submit { operation });
        } else {
            self.operations[operation].done = true;
        }
    }
}
