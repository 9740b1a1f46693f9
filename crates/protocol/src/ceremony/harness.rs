//! Runs of several parties in one process, with parties that the test plays itself.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use quorate_model::{
    Digest, Epoch, IdentityKey, NodeId, PartyIndex, SessionBinding, SessionPreimage, SessionSource,
    session::Dealer,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde::Serialize;

use super::{
    Advance, Hello, HelloState, Machine, Output, Rejected,
    messages::{Commit, Echo, Reveal, decode, encode},
    round,
    terms::{agreed, protocol_id, receives, view},
};
use crate::{
    Abort, Fault,
    dkg::DkgOutput,
    envelope::{Envelope, SignedHeader, Slot},
    evidence::{Blamed, Evidence, Facts, NotProven},
};

pub(crate) fn party(index: u16) -> PartyIndex {
    PartyIndex::new(index).unwrap()
}

pub(crate) fn node(index: PartyIndex) -> NodeId {
    format!("node-{index}").parse().unwrap()
}

pub(crate) fn identity(index: PartyIndex) -> SigningKey {
    SigningKey::from_bytes(&[u8::try_from(index.number()).unwrap(); 32])
}

pub(crate) fn identity_of(name: &NodeId) -> Option<IdentityKey> {
    let number = name.as_str().strip_prefix("node-")?.parse().ok()?;
    Some(IdentityKey::of(&identity(PartyIndex::new(number)?)))
}

pub(crate) fn facts() -> Facts<'static> {
    Facts {
        identity_of: &identity_of,
        signing: None,
    }
}

/// A source for bindings of protocols that have none.
pub(crate) fn some_source() -> SessionSource {
    SessionSource {
        epoch: Epoch(1),
        certificate: Digest::ZERO,
        dealers: vec![Dealer {
            index: party(1),
            source_index: party(1),
        }],
        receivers: 3,
    }
}

pub(crate) fn state(sequence: u64) -> HelloState {
    HelloState {
        journal_sequence: sequence,
        journal_head: Digest::new([4; 32]),
        boot_id: [5; 16],
        policy: Digest::new([6; 32]),
    }
}

/// A run whose honest parties are machines and whose puppets are played by the test.
pub(crate) struct Cluster<O = DkgOutput> {
    pub(crate) rng: ChaCha20Rng,
    pub(crate) machines: BTreeMap<PartyIndex, Machine<O>>,
    /// What those who are done ended with.
    pub(crate) outputs: BTreeMap<PartyIndex, O>,
    /// What everybody sends in the round that is awaited.
    pub(crate) outgoing: BTreeMap<PartyIndex, Vec<Envelope>>,
    /// What everybody broadcast in the rounds before.
    pub(crate) history: BTreeMap<u8, Vec<Envelope>>,
    pub(crate) puppets: BTreeSet<PartyIndex>,
    pub(crate) round: u8,
    pub(crate) binding: SessionBinding,
}

impl<O: Output + std::fmt::Debug> Cluster<O> {
    /// A run in which nobody has begun.
    pub(crate) fn empty(binding: SessionBinding, seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            machines: BTreeMap::new(),
            outputs: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            history: BTreeMap::new(),
            puppets: BTreeSet::new(),
            round: 0,
            binding,
        }
    }

    /// Lets a party begin.
    pub(crate) fn enroll(&mut self, me: PartyIndex, machine: Machine<O>, hello: Envelope) {
        assert_eq!(machine.round(), round::HELLO);
        self.machines.insert(me, machine);
        self.outgoing.insert(me, vec![hello]);
    }

    /// Goes on to a round, with puppets that are played from there on.
    pub(crate) fn go_to(mut self, round: u8, puppets: &[u16]) -> Self {
        while self.round < round {
            self.step();
        }
        self.puppets = puppets.iter().map(|puppet| party(*puppet)).collect();
        self
    }

    /// The node that stands at an index.
    pub(crate) fn node(&self, index: PartyIndex) -> NodeId {
        let mut participants = self.binding.participants.iter();
        let participant = participants.find(|participant| participant.index == index);
        participant.map_or_else(|| node(index), |participant| participant.node.clone())
    }

    /// Its identity key.
    pub(crate) fn identity(&self, index: PartyIndex) -> SigningKey {
        let node = self.node(index);
        identity(party(node.as_str()["node-".len()..].parse().unwrap()))
    }

    pub(crate) fn parties(&self) -> Vec<PartyIndex> {
        self.binding
            .participants
            .iter()
            .map(|participant| participant.index)
            .collect()
    }

    /// The honest parties that are not done.
    pub(crate) fn honest(&self) -> Vec<PartyIndex> {
        self.parties()
            .into_iter()
            .filter(|index| !self.puppets.contains(index) && !self.outputs.contains_key(index))
            .collect()
    }

    pub(crate) fn session(&self) -> Digest {
        let mut machines = self.machines.values();
        machines.find_map(Machine::session).unwrap()
    }

    pub(crate) fn preimage(&self) -> SessionPreimage {
        let nonces = self.history[&round::HELLO]
            .iter()
            .map(|hello| decode::<Hello>(round::HELLO, &hello.body).unwrap().nonce)
            .collect();
        SessionPreimage {
            binding: self.binding.clone(),
            nonces,
        }
    }

    /// The envelopes that a relay brings to a party.
    pub(crate) fn inbound(&self, to: PartyIndex) -> Vec<Envelope> {
        self.outgoing
            .values()
            .flatten()
            .filter(|envelope| {
                envelope
                    .header
                    .recipient
                    .is_none_or(|recipient| recipient == to)
            })
            .cloned()
            .collect()
    }

    pub(crate) fn deliver(&mut self, to: PartyIndex, envelopes: &[Envelope]) -> Advance<O> {
        let bytes: Vec<_> = envelopes
            .iter()
            .map(|envelope| envelope.to_bytes().unwrap())
            .collect();
        self.deliver_bytes(to, &bytes)
    }

    pub(crate) fn deliver_bytes(&mut self, to: PartyIndex, bytes: &[Vec<u8>]) -> Advance<O> {
        let machine = self.machines.remove(&to).unwrap();
        let identity = self.identity(to);
        machine.advance(bytes, &identity, &mut self.rng)
    }

    /// Delivers the round to all honest parties, who all go on. Puppets' messages of the next round
    /// are still to be made.
    pub(crate) fn step(&mut self) {
        let mut next = BTreeMap::new();
        for to in self.honest() {
            let inbound = self.inbound(to);
            match self.deliver(to, &inbound) {
                Advance::Running { machine, outgoing } => {
                    assert_eq!(machine.round(), self.round + 1);
                    self.machines.insert(to, machine);
                    next.insert(to, outgoing);
                }
                Advance::Finished { output, outgoing } if !receives(&self.binding, to) => {
                    assert_eq!(self.round, round::REVEAL_ECHO);
                    self.outputs.insert(to, output);
                    next.insert(to, outgoing);
                }
                other @ (Advance::Finished { .. }
                | Advance::Aborted { .. }
                | Advance::Refused { .. }) => {
                    panic!("party {to} in round {}: {other:?}", self.round)
                }
            }
        }
        self.enter(next);
    }

    fn enter(&mut self, next: BTreeMap<PartyIndex, Vec<Envelope>>) {
        let said = std::mem::replace(&mut self.outgoing, next)
            .into_values()
            .flatten()
            .collect();
        self.history.insert(self.round, said);
        self.round += 1;
    }

    /// Delivers the round to all honest parties, for whom the run ends here.
    pub(crate) fn end(&mut self) -> BTreeMap<PartyIndex, Advance<O>> {
        let parties = self.honest();
        let envelopes: Vec<_> = parties.iter().map(|to| (*to, self.inbound(*to))).collect();
        envelopes
            .into_iter()
            .map(|(to, inbound)| (to, self.deliver(to, &inbound)))
            .collect()
    }

    /// What everybody ends with, in order.
    pub(crate) fn finish(mut self) -> Vec<O> {
        while self.round < round::SHARE {
            self.step();
        }
        for (to, advance) in self.end() {
            let Advance::Finished { output, outgoing } = advance else {
                panic!("{advance:?}")
            };
            assert!(outgoing.is_empty());
            self.outputs.insert(to, output);
        }
        self.outputs.into_values().collect()
    }

    /// What an honest message of the awaited round says about the round before.
    pub(crate) fn previous(&self) -> Digest {
        let digests =
            |round: u8| -> Vec<_> { self.history[&round].iter().map(Envelope::digest).collect() };
        let seen = |round| view(&self.session(), round, &digests(round));
        match self.round {
            round::HELLO => Digest::ZERO,
            round::COMMIT => view(&self.binding.provisional_id(), 0, &digests(0)),
            round::COMMIT_ECHO => seen(round::COMMIT),
            round::REVEAL => agreed(&seen(round::COMMIT)),
            round::REVEAL_ECHO => seen(round::REVEAL),
            _ => agreed(&seen(round::REVEAL)),
        }
    }

    pub(crate) fn slot(&self, sender: PartyIndex, recipient: Option<PartyIndex>) -> Slot {
        let session = if self.round == 0 {
            self.binding.provisional_id()
        } else {
            self.session()
        };
        Slot {
            session,
            protocol: protocol_id(&self.binding),
            round: self.round,
            sender,
            recipient,
            previous: self.previous(),
        }
    }

    /// A broadcast of a puppet for the awaited round.
    pub(crate) fn play<T: Serialize>(&mut self, puppet: u16, body: &T) {
        let puppet = party(puppet);
        assert!(self.puppets.contains(&puppet));
        let slot = self.slot(puppet, None);
        let envelope = Envelope::sign(slot, encode(body).unwrap(), &self.identity(puppet));
        self.outgoing.insert(puppet, vec![envelope]);
    }

    /// The signed headers of a round that is over.
    pub(crate) fn seen(&self, round: u8) -> Vec<SignedHeader> {
        self.history[&round]
            .iter()
            .map(Envelope::signed_header)
            .collect()
    }

    /// An honest echo of a puppet.
    pub(crate) fn play_echo(&mut self, puppet: u16) {
        let seen = self.seen(self.round - 1);
        self.play(puppet, &Echo { seen });
    }

    /// Lets puppets commit to and reveal packages of their own; the reveals are out afterwards.
    pub(crate) fn play_dealers(&mut self, dealers: &[(u16, Reveal)]) {
        assert_eq!(self.round, round::COMMIT);
        let session = self.session();
        for (puppet, reveal) in dealers {
            let commitment = reveal.commitment(&session, party(*puppet));
            self.play(*puppet, &Commit { commitment });
        }
        self.step();
        for (puppet, _) in dealers {
            self.play_echo(*puppet);
        }
        self.step();
        for (puppet, reveal) in dealers {
            self.play(*puppet, reveal);
        }
    }

    pub(crate) fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// All of these ended by blaming this party for this, with evidence that others confirm.
pub(crate) fn assert_all_blame<O: std::fmt::Debug>(
    outcomes: BTreeMap<PartyIndex, Advance<O>>,
    culprit: u16,
    fault: Fault,
) {
    assert!(!outcomes.is_empty());
    for (_, outcome) in outcomes {
        assert_blames(outcome, culprit, fault);
    }
}

/// The run ended by blaming this party for this, with evidence that others confirm.
pub(crate) fn assert_blames<O: std::fmt::Debug>(
    outcome: Advance<O>,
    culprit: u16,
    fault: Fault,
) -> Evidence {
    assert_blames_node(outcome, culprit, node(party(culprit)), fault)
}

/// The same where the node of this party has another number.
pub(crate) fn assert_blames_node<O: std::fmt::Debug>(
    outcome: Advance<O>,
    culprit: u16,
    node: NodeId,
    fault: Fault,
) -> Evidence {
    let Advance::Aborted { abort, outgoing } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(abort.fault(), Some(fault));
    assert_eq!(abort.culprits(), BTreeSet::from([party(culprit)]));
    let evidence = abort.evidence().unwrap().clone();
    let read = Evidence::from_bytes(&evidence.to_bytes().unwrap()).unwrap();
    assert_eq!(read, evidence);
    let blamed = Blamed {
        node,
        party: party(culprit),
        fault,
    };
    assert_eq!(read.verify(&facts()), Ok(blamed));
    assert_eq!(evidence.is_complaint(), fault == Fault::BadSubShare);
    assert_eq!(outgoing.len(), usize::from(fault == Fault::BadSubShare));
    assert_needs_the_roster(&evidence);
    evidence
}

/// Evidence says nothing under a roster in which the nodes have other keys, or none.
fn assert_needs_the_roster(evidence: &Evidence) {
    let other = |_: &NodeId| Some(IdentityKey::of(&SigningKey::from_bytes(&[99; 32])));
    let nobody = |_: &NodeId| None;
    let under = |identity_of| {
        evidence.verify(&Facts {
            identity_of,
            signing: None,
        })
    };

    assert_eq!(under(&other), Err(NotProven::Statement));
    assert_eq!(under(&nobody), Err(NotProven::UnknownParticipant));
}

/// The run ended, and nobody is named.
pub(crate) fn assert_blameless<O: std::fmt::Debug>(outcome: Advance<O>, fault: Fault) {
    let Advance::Aborted { abort, outgoing } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(abort.fault(), Some(fault));
    assert!(abort.culprits().is_empty());
    assert!(abort.evidence().is_none());
    assert!(outgoing.is_empty());
    assert!(matches!(abort, Abort::Misbehavior { .. }));
}

/// The round was not taken, and the machine still waits for it.
pub(crate) fn assert_refused<O: std::fmt::Debug>(
    outcome: Advance<O>,
    expected: &Rejected,
) -> Machine<O> {
    let Advance::Refused { machine, rejected } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(rejected, *expected);
    machine
}
