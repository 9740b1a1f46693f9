//! Two runs of one party in one ceremony, for two audiences.

use std::collections::BTreeMap;

use ed25519_dalek::{SigningKey, VerifyingKey};
use quorate_model::{
    Digest, Epoch, PartyIndex, Reason, Refusal,
    certificate::{CommitCertificate, participants_of},
    command::{CommandBody, CreateKey, ReshareKey, SignedCommand},
    key::Participant,
    node_api::{AttemptId, CeremonyReply, NodeReply, NodeRequest, ReshareFrom},
    session::{SessionBinding, SessionSource, reshare_places},
};
use quorate_protocol::{
    ceremony::{self, Advance, HelloState, Output, round},
    dkg,
    envelope::Envelope,
    reshare,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::{machine::Machine, people::People};

/// Two runs of one party that say the same hello and different things after it.
pub(super) struct Puppets {
    pub(super) attempt: AttemptId,
    machines: Option<Pair>,
    rngs: (ChaCha20Rng, ChaCha20Rng),
    said: BTreeMap<u8, CeremonyReply>,
}

/// The two runs.
enum Pair {
    Birth(dkg::Machine, dkg::Machine),
    Reshare(reshare::Machine, reshare::Machine),
}

/// What each of them says.
type Said = (Vec<Envelope>, Vec<Envelope>);

impl Pair {
    fn round(&self) -> u8 {
        match self {
            Self::Birth(first, _) => first.round(),
            Self::Reshare(first, _) => first.round(),
        }
    }

    /// Whoever says two things does not stop at hearing that others heard two things.
    #[cfg(debug_assertions)]
    fn shameless(self) -> Self {
        match self {
            Self::Birth(first, second) => Self::Birth(
                first.without_comparing_echoes(),
                second.without_comparing_echoes(),
            ),
            Self::Reshare(first, second) => Self::Reshare(
                first.without_comparing_echoes(),
                second.without_comparing_echoes(),
            ),
        }
    }

    #[cfg(not(debug_assertions))]
    fn shameless(self) -> Self {
        self
    }

    fn advance(
        self,
        shown: (&[Vec<u8>], &[Vec<u8>]),
        key: &SigningKey,
        rngs: &mut (ChaCha20Rng, ChaCha20Rng),
    ) -> Option<(Self, Said)> {
        Some(match self {
            Self::Birth(first, second) => {
                let ((first, second), said) = both((first, second), shown, key, rngs)?;
                (Self::Birth(first, second), said)
            }
            Self::Reshare(first, second) => {
                let ((first, second), said) = both((first, second), shown, key, rngs)?;
                (Self::Reshare(first, second), said)
            }
        })
    }
}

type Machines<O> = (ceremony::Machine<O>, ceremony::Machine<O>);

/// Lets both runs take a round; none when one of them is over.
fn both<O: Output>(
    (first, second): Machines<O>,
    (shown, other): (&[Vec<u8>], &[Vec<u8>]),
    key: &SigningKey,
    rngs: &mut (ChaCha20Rng, ChaCha20Rng),
) -> Option<(Machines<O>, Said)> {
    let one = first.advance(shown, key, &mut rngs.0);
    let two = second.advance(other, key, &mut rngs.1);
    let (
        Advance::Running {
            machine: first,
            outgoing,
        },
        Advance::Running {
            machine: second,
            outgoing: others,
        },
    ) = (one, two)
    else {
        return None;
    };
    Some(((first, second), (outgoing, others)))
}

/// What a run of either protocol starts from.
struct Start<'a> {
    people: &'a People,
    machine: &'a Machine,
    command: &'a SignedCommand,
    epoch: Epoch,
    key: &'a SigningKey,
}

impl Start<'_> {
    fn identities(&self, participants: &[Participant]) -> BTreeMap<PartyIndex, VerifyingKey> {
        participants
            .iter()
            .filter_map(|p| {
                let at = self.people.node_at(&p.node)?;
                Some((p.index, self.people.nodes[at].verifying_key()))
            })
            .collect()
    }

    fn me(&self, participants: &[Participant]) -> Option<PartyIndex> {
        let me = self.machine.id();
        Some(participants.iter().find(|p| p.node == *me)?.index)
    }

    /// Where the node stands in truth: it lies about other things.
    fn state(&self) -> HelloState {
        let head = self.machine.durable();
        HelloState {
            journal_sequence: head.map_or(0, |head| head.sequence),
            journal_head: head.map_or(Digest::ZERO, |head| head.hash),
            boot_id: [0; 16],
            policy: Digest::ZERO,
        }
    }

    /// Two runs with one past, and the hello of both.
    fn creation(&self, create: &CreateKey, rng: &mut ChaCha20Rng) -> Option<(Pair, Envelope)> {
        let participants = participants_of(&create.nodes);
        let setup = dkg::Setup {
            me: self.me(&participants)?,
            roster_key_of: self.identities(&participants),
            threshold: create.threshold,
            count: u16::try_from(participants.len()).ok()?,
            scheme: create.scheme,
            binding: SessionBinding {
                protocol: dkg::protocol_name(create.scheme)?.to_owned(),
                cluster: self.people.pinned.cluster(),
                roster: self.people.pinned.hash(),
                key: create.key.clone(),
                source: None,
                target_epoch: self.epoch,
                threshold: create.threshold,
                participants,
                command: self.command.digest(),
                payload_index: 0,
            },
        };
        let mut same = rng.clone();
        let (first, hello) = dkg::start(setup.clone(), self.state(), self.key, rng).ok()?;
        let (second, _) = dkg::start(setup, self.state(), self.key, &mut same).ok()?;
        Some((Pair::Birth(first, second), hello))
    }

    /// The same of a dealer. Who only receives has nothing to say in two ways.
    fn resharing(
        &self,
        reshare: &ReshareKey,
        from: &ReshareFrom,
        rng: &mut ChaCha20Rng,
    ) -> Option<(Pair, Envelope)> {
        if !from.dealers.contains(self.machine.id()) {
            return None;
        }
        let evidence = &from.evidence;
        let birth = evidence.birth.as_deref();
        let pinned = &self.people.pinned;
        let (parsed, record): (CommitCertificate, _) =
            quorate_proto::certificate::verify(&evidence.certificate, birth, pinned).ok()?;
        let holders = record.participants.iter();
        let dealing: Vec<Participant> = holders
            .filter(|holder| from.dealers.contains(&holder.node))
            .cloned()
            .collect();
        let (participants, dealers) = reshare_places(&reshare.nodes, &dealing);
        let receivers = u16::try_from(reshare.nodes.len()).ok()?;
        let setup = reshare::Setup {
            me: self.me(&participants)?,
            roster_key_of: self.identities(&participants),
            source: reshare::ReshareSource::of(&parsed),
            threshold: reshare.threshold,
            count: receivers,
            scheme: record.scheme,
            binding: SessionBinding {
                protocol: reshare::protocol_name(record.scheme)?.to_owned(),
                cluster: pinned.cluster(),
                roster: pinned.hash(),
                key: reshare.key.clone(),
                source: Some(SessionSource {
                    epoch: record.epoch,
                    certificate: record.certificate,
                    dealers,
                    receivers,
                }),
                target_epoch: self.epoch,
                threshold: reshare.threshold,
                participants,
                command: self.command.digest(),
                payload_index: 0,
            },
        };
        let share = self.machine.share(&record)?;
        let share = Some(&share);
        let mut same = rng.clone();
        let state = self.state();
        let (first, hello) = reshare::start(setup.clone(), share, state, self.key, rng).ok()?;
        let state = self.state();
        let (second, _) = reshare::start(setup, share, state, self.key, &mut same).ok()?;
        Some((Pair::Reshare(first, second), hello))
    }
}

impl Puppets {
    pub(super) fn begin(
        people: &People,
        machine: &Machine,
        seed: u64,
        key: &SigningKey,
        request: &NodeRequest,
    ) -> Option<Self> {
        let NodeRequest::BeginCeremony {
            attempt,
            command,
            epoch,
            source,
        } = request
        else {
            return None;
        };
        let start = Start {
            people,
            machine,
            command,
            epoch: *epoch,
            key,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let decoded = quorate_proto::command::decode(&command.bytes).ok()?;
        let (machines, hello) = match (decoded.body, source) {
            (CommandBody::CreateKey(create), None) => start.creation(&create, &mut rng)?,
            (CommandBody::ReshareKey(reshare), Some(from)) => {
                start.resharing(&reshare, from, &mut rng)?
            }
            _ => return None,
        };
        let reply = CeremonyReply {
            round: round::HELLO,
            envelopes: vec![hello.to_bytes().ok()?],
            prepared: None,
            aborted: None,
        };
        Some(Self {
            attempt: *attempt,
            machines: Some(machines.shameless()),
            rngs: (rng, ChaCha20Rng::seed_from_u64(seed ^ u64::MAX)),
            said: BTreeMap::from([(0, reply)]),
        })
    }

    pub(super) fn repeat(&self, round: u8) -> Option<Result<NodeReply, Refusal>> {
        let reply = self.said.get(&round)?;
        Some(Ok(NodeReply::Ceremony(reply.clone())))
    }

    pub(super) fn advance(
        &mut self,
        round: u8,
        envelopes: &[Vec<u8>],
        key: &SigningKey,
        shown: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<NodeReply, Refusal> {
        if let Some(reply) = self.repeat(round + 1) {
            return reply;
        }
        let over = || Refusal::new(Reason::SessionUnknown, "the ceremony is not known here");
        let machines = self.machines.take().ok_or_else(over)?;
        let other: Vec<_> = envelopes
            .iter()
            .map(|bytes| shown.get(bytes).unwrap_or(bytes).clone())
            .collect();
        let (machines, (outgoing, others)) = machines
            .advance((envelopes, &other), key, &mut self.rngs)
            .ok_or_else(over)?;
        let bytes = |envelope: &Envelope| envelope.to_bytes().unwrap_or_default();
        for (one, two) in outgoing.iter().zip(&others) {
            shown.insert(bytes(one), bytes(two));
        }
        let reply = CeremonyReply {
            round: machines.round(),
            envelopes: outgoing.iter().map(bytes).collect(),
            prepared: None,
            aborted: None,
        };
        self.machines = Some(machines);
        self.said.insert(round + 1, reply.clone());
        Ok(NodeReply::Ceremony(reply))
    }
}
