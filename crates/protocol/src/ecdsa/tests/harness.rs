//! Holders of a key from real key generation, their pairings, and sessions of several parties in
//! one process. The key material is made once per test binary.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use ed25519_dalek::SigningKey;
use quorate_model::{Digest, Epoch, PartyIndex, Scheme, SessionBinding, key::Participant};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRngCore, SeedableRng as _};

use super::super::{
    Advance, DKLS23, EcdsaSignature, KeyShare, PairingState, STAND_IN, SharePlace,
    engine::Engine,
    pairing,
    session::{Session, retouch},
    signing,
};
use crate::{
    dkg::{
        DkgOutput, Rejected,
        tests::harness::{Cluster as Dkg, identity, node, party, state},
    },
    envelope::Envelope,
    sharing::SigningShare,
};

/// The holders of one key.
pub(crate) struct Holders {
    pub(crate) threshold: u16,
    pub(crate) outputs: Vec<DkgOutput>,
    pub(crate) engine: &'static dyn Engine,
    /// The pairings as they are stored.
    states: Vec<Vec<u8>>,
}

impl Holders {
    /// A key of real key generation, with pairings by this engine.
    pub(crate) fn generate(engine: &'static dyn Engine, threshold: u16, count: u16) -> Self {
        let outputs = Dkg::new(Scheme::FrostSecp256k1, threshold, count, 1).finish();
        let mut holders = Self {
            threshold,
            outputs,
            engine,
            states: Vec::new(),
        };
        let all: Vec<_> = (1..=count).collect();
        holders.states = holders
            .pair(&all, 2)
            .finish()
            .into_values()
            .map(|state| state.to_bytes().unwrap().to_vec())
            .collect();
        holders
    }

    /// 3 of 5, by the stand-in.
    pub(crate) fn stand_in() -> &'static Self {
        static HOLDERS: OnceLock<Holders> = OnceLock::new();
        HOLDERS.get_or_init(|| Self::generate(STAND_IN, 3, 5))
    }

    /// 3 of 3, by the real engine.
    pub(crate) fn all_of_three() -> &'static Self {
        static HOLDERS: OnceLock<Holders> = OnceLock::new();
        HOLDERS.get_or_init(|| Self::generate(DKLS23, 3, 3))
    }

    /// 2 of 3, by the real engine.
    pub(crate) fn small() -> &'static Self {
        static HOLDERS: OnceLock<Holders> = OnceLock::new();
        HOLDERS.get_or_init(|| Self::generate(DKLS23, 2, 3))
    }

    /// 3 of 5, by the real engine.
    pub(crate) fn large() -> &'static Self {
        static HOLDERS: OnceLock<Holders> = OnceLock::new();
        HOLDERS.get_or_init(|| Self::generate(DKLS23, 3, 5))
    }

    pub(crate) fn place(&self, me: u16) -> SharePlace {
        SharePlace {
            key: "treasury".parse().unwrap(),
            epoch: Epoch(1),
            me: party(me),
            threshold: self.threshold,
        }
    }

    pub(crate) fn share(&self, me: u16) -> KeyShare {
        let output = &self.outputs[usize::from(me) - 1];
        let share = SigningShare::from_bytes(*output.share.expose());
        KeyShare::new(
            self.place(me),
            &share,
            &output.group_key,
            &output.verifying_shares,
        )
        .unwrap()
    }

    pub(crate) fn group_key(&self) -> [u8; 33] {
        self.outputs[0].group_key.as_slice().try_into().unwrap()
    }

    pub(crate) fn state_bytes(&self, me: u16) -> &[u8] {
        &self.states[usize::from(me) - 1]
    }

    pub(crate) fn pairings(&self, me: u16) -> PairingState {
        PairingState::from_bytes(self.engine, self.state_bytes(me)).unwrap()
    }

    pub(crate) fn binding(&self, protocol: &str, parties: &[u16]) -> SessionBinding {
        SessionBinding {
            protocol: protocol.to_owned(),
            cluster: Digest::new([1; 32]),
            roster: Digest::new([2; 32]),
            key: "treasury".parse().unwrap(),
            source: None,
            target_epoch: Epoch(1),
            threshold: self.threshold,
            participants: parties
                .iter()
                .map(|index| Participant {
                    index: party(*index),
                    node: node(party(*index)),
                })
                .collect(),
            command: Digest::new([3; 32]),
            payload_index: 0,
        }
    }

    /// A set-up among these holders that waits for the hellos.
    pub(crate) fn pair(&self, parties: &[u16], seed: u64) -> Cluster<pairing::Machine> {
        Cluster::start(parties, seed, |me, rng| {
            let share = self.share(me);
            let setup = pairing::Setup {
                engine: self.engine,
                roster_key_of: identities(parties),
                share: &share,
                binding: self.binding(pairing::PROTOCOL, parties),
                state: state(me.into()),
            };
            pairing::start(setup, &identity(party(me)), rng).unwrap()
        })
    }

    /// A signature by these holders that waits for the hellos.
    pub(crate) fn sign(
        &self,
        signers: &[u16],
        digest: [u8; 32],
        tweak: Option<[u8; 32]>,
        seed: u64,
    ) -> Cluster<signing::Machine> {
        Cluster::start(signers, seed, |me, rng| {
            let (share, pairings) = (self.share(me), self.pairings(me));
            let setup = self.signing(&share, &pairings, signers, digest, tweak);
            signing::start(setup, &identity(party(me)), rng).unwrap()
        })
    }

    pub(crate) fn signing<'a>(
        &self,
        share: &'a KeyShare,
        pairings: &'a PairingState,
        signers: &[u16],
        digest: [u8; 32],
        tweak: Option<[u8; 32]>,
    ) -> signing::Setup<'a> {
        signing::Setup {
            engine: self.engine,
            roster_key_of: identities(signers),
            share,
            pairings,
            binding: self.binding(signing::PROTOCOL, signers),
            digest,
            tweak,
            state: state(0),
        }
    }

    /// A signature, the same for every signer.
    pub(crate) fn signature(
        &self,
        signers: &[u16],
        digest: [u8; 32],
        tweak: Option<[u8; 32]>,
        seed: u64,
    ) -> EcdsaSignature {
        let signatures = self.sign(signers, digest, tweak, seed).finish();
        assert_eq!(signatures.len(), signers.len());
        let mut signatures = signatures.into_values();
        let first = signatures.next().unwrap();
        assert!(signatures.all(|signature| signature == first));
        first
    }
}

pub(crate) fn identities(parties: &[u16]) -> BTreeMap<PartyIndex, ed25519_dalek::VerifyingKey> {
    parties
        .iter()
        .map(|index| (party(*index), identity(party(*index)).verifying_key()))
        .collect()
}

/// A machine of either protocol.
pub(crate) trait Run: Sized + std::fmt::Debug {
    type Output: std::fmt::Debug;
    fn awaited(&self) -> u8;
    fn view(&mut self) -> &mut Session;
    fn take(
        self,
        inbound: &[Vec<u8>],
        key: &SigningKey,
        rng: &mut dyn CryptoRngCore,
    ) -> Advance<Self, Self::Output>;
}

macro_rules! run {
    ($machine:ty, $output:ty) => {
        impl Run for $machine {
            type Output = $output;
            fn awaited(&self) -> u8 {
                self.round()
            }
            fn view(&mut self) -> &mut Session {
                self.session_view()
            }
            fn take(
                self,
                inbound: &[Vec<u8>],
                key: &SigningKey,
                rng: &mut dyn CryptoRngCore,
            ) -> Advance<Self, $output> {
                self.advance(inbound, key, rng)
            }
        }
    };
}

run!(pairing::Machine, PairingState);
run!(signing::Machine, EcdsaSignature);

/// Several parties in one session.
pub(crate) struct Cluster<M> {
    pub(crate) rng: ChaCha20Rng,
    pub(crate) machines: BTreeMap<PartyIndex, M>,
    /// What everybody sends in the round that is awaited.
    pub(crate) outgoing: Vec<Envelope>,
    pub(crate) round: u8,
}

pub(crate) type Outcomes<M> = BTreeMap<PartyIndex, Advance<M, <M as Run>::Output>>;

impl<M: Run> Cluster<M> {
    fn start(
        parties: &[u16],
        seed: u64,
        begin: impl Fn(u16, &mut ChaCha20Rng) -> (M, Envelope),
    ) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut machines = BTreeMap::new();
        let mut outgoing = Vec::new();
        for me in parties {
            let (machine, hello) = begin(*me, &mut rng);
            machines.insert(party(*me), machine);
            outgoing.push(hello);
        }
        Self {
            rng,
            machines,
            outgoing,
            round: 0,
        }
    }

    /// What a relay brings to a party.
    pub(crate) fn inbound(&self, to: u16) -> Vec<Envelope> {
        let to = party(to);
        self.outgoing
            .iter()
            .filter(|envelope| envelope.header.recipient.is_none_or(|other| other == to))
            .cloned()
            .collect()
    }

    pub(crate) fn deliver(&mut self, to: u16, envelopes: &[Envelope]) -> Advance<M, M::Output> {
        let bytes: Vec<_> = envelopes
            .iter()
            .map(|envelope| envelope.to_bytes().unwrap())
            .collect();
        self.deliver_bytes(to, &bytes)
    }

    pub(crate) fn deliver_bytes(&mut self, to: u16, bytes: &[Vec<u8>]) -> Advance<M, M::Output> {
        let machine = self.machines.remove(&party(to)).unwrap();
        machine.take(bytes, &identity(party(to)), &mut self.rng)
    }

    /// Delivers the round to everybody, whatever comes of it.
    pub(crate) fn end(&mut self) -> Outcomes<M> {
        let parties: Vec<_> = self.machines.keys().map(|index| index.number()).collect();
        parties
            .into_iter()
            .map(|to| {
                let inbound = self.inbound(to);
                (party(to), self.deliver(to, &inbound))
            })
            .collect()
    }

    /// Delivers the round to everybody, who all go on.
    pub(crate) fn step(&mut self) {
        let mut next = Vec::new();
        for (to, outcome) in self.end() {
            let Advance::Running { machine, outgoing } = outcome else {
                panic!("party {to} in round {}: {outcome:?}", self.round)
            };
            assert_eq!(machine.awaited(), self.round + 1);
            self.machines.insert(to, machine);
            next.extend(outgoing);
        }
        self.outgoing = next;
        self.round += 1;
    }

    /// Goes on until this round is awaited.
    pub(crate) fn to(mut self, round: u8) -> Self {
        while self.round < round {
            self.step();
        }
        self
    }

    pub(crate) fn finish(self) -> BTreeMap<PartyIndex, M::Output> {
        self.to(3)
            .end()
            .into_iter()
            .map(|(to, outcome)| {
                let Advance::Finished { output } = outcome else {
                    panic!("party {to}: {outcome:?}")
                };
                (to, output)
            })
            .collect()
    }

    /// Lets a party say something else than it should to another, signed and sealed as it must be.
    pub(crate) fn cheat(&mut self, from: u16, to: u16, change: impl FnOnce(&mut Vec<u8>)) {
        let place = self
            .outgoing
            .iter()
            .position(|envelope| {
                envelope.header.sender == party(from)
                    && envelope.header.recipient == Some(party(to))
            })
            .unwrap();
        let mut sender = self.machines.remove(&party(from)).unwrap();
        let recipient = self.machines.get_mut(&party(to)).unwrap();
        self.outgoing[place] = retouch(
            sender.view(),
            recipient.view(),
            &self.outgoing[place],
            &identity(party(from)),
            change,
            &mut self.rng,
        );
        self.machines.insert(party(from), sender);
    }
}

/// The round was not taken, and the machine still waits for it.
pub(crate) fn assert_refused<M: Run>(outcome: Advance<M, M::Output>, expected: &Rejected) -> M {
    let Advance::Refused { machine, rejected } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(rejected, *expected);
    machine
}

/// All subsets of this size of the indices from 1.
pub(crate) fn subsets(size: u16, count: u16) -> Vec<Vec<u16>> {
    let all: BTreeSet<u16> = (1..=count).collect();
    (0..1u32 << count)
        .filter(|mask| mask.count_ones() == u32::from(size))
        .map(|mask| {
            all.iter()
                .copied()
                .filter(|index| mask & (1 << (index - 1)) != 0)
                .collect()
        })
        .collect()
}
