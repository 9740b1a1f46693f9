//! Runs of key generation; what they have in common with other runs is in `ceremony::harness`.

use quorate_model::{Digest, Epoch, PartyIndex, Scheme, SessionBinding, key::Participant};

pub(crate) use crate::ceremony::harness::*;
use crate::dkg::{Setup, protocol_name, start};

pub(crate) fn binding(scheme: Scheme, threshold: u16, count: u16) -> SessionBinding {
    SessionBinding {
        protocol: protocol_name(scheme).unwrap().to_owned(),
        cluster: Digest::new([1; 32]),
        roster: Digest::new([2; 32]),
        key: "treasury".parse().unwrap(),
        source: None,
        target_epoch: Epoch(1),
        threshold,
        participants: PartyIndex::first(count)
            .map(|index| Participant {
                index,
                node: node(index),
            })
            .collect(),
        command: Digest::new([3; 32]),
        payload_index: 0,
    }
}

pub(crate) fn setup(scheme: Scheme, threshold: u16, count: u16, me: PartyIndex) -> Setup {
    Setup {
        me,
        roster_key_of: PartyIndex::first(count)
            .map(|index| (index, identity(index).verifying_key()))
            .collect(),
        threshold,
        count,
        scheme,
        binding: binding(scheme, threshold, count),
    }
}

impl Cluster {
    pub(crate) fn new(scheme: Scheme, threshold: u16, count: u16, seed: u64) -> Self {
        let mut cluster = Self::empty(binding(scheme, threshold, count), seed);
        for me in PartyIndex::first(count) {
            let setup = setup(scheme, threshold, count, me);
            let (machine, hello) = start(
                setup,
                state(me.number().into()),
                &identity(me),
                &mut cluster.rng,
            )
            .unwrap();
            cluster.enroll(me, machine, hello);
        }
        cluster
    }

    /// The usual run of these tests: 2 of 3.
    pub(crate) fn small(seed: u64) -> Self {
        Self::new(Scheme::Bip340, 2, 3, seed)
    }

    /// A run that waits for this round, with puppets that are played from here on.
    pub(crate) fn at(round: u8, puppets: &[u16], seed: u64) -> Self {
        Self::small(seed).go_to(round, puppets)
    }
}
