//! Keys among numbered nodes, and runs that reshare them. Node `n` is `node-n`, wherever it stands.

use std::collections::BTreeMap;

use quorate_model::{
    Digest, Epoch, KeyPurpose, NodeId, PartyIndex, Purposes, Scheme, SessionBinding, SessionSource,
    certificate::{PreparedStatement, participants_of, verifying_shares_hash},
    key::Participant,
    session::reshare_places,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

pub(crate) use crate::ceremony::harness::*;
use crate::{
    Fault,
    ceremony::{
        messages::{Package, Reveal},
        terms::deals,
    },
    dkg,
    evidence::Evidence,
    frost::{
        AggregateError, Hedge, NoncePair, PublicKeys, SigningKeyShare, SigningSet, Tweak,
        aggregate, sign_share,
    },
    reshare::{Advance, ReshareOutput, ReshareSource, Setup, Sharing, protocol_name, start},
    sharing::{Polynomial, SecretScalar, SigningShare, decode_share},
    suite::{Curve, Edwards, Secp, Suite, encode_element},
};

pub(crate) type Cluster = crate::ceremony::harness::Cluster<ReshareOutput>;

pub(crate) fn nodes(numbers: &[u16]) -> Vec<NodeId> {
    numbers.iter().map(|number| node(party(*number))).collect()
}

pub(crate) fn number(node: &NodeId) -> u16 {
    node.as_str()["node-".len()..].parse().unwrap()
}

/// An epoch of a key, with all its shares.
pub(crate) struct Held {
    pub(crate) source: ReshareSource,
    pub(crate) shares: BTreeMap<PartyIndex, SigningShare>,
}

/// What makes a statement beside the sharing itself.
fn source_of(
    epoch: u32,
    before: Option<&ReshareSource>,
    participants: Vec<Participant>,
    sharing: &Sharing,
) -> ReshareSource {
    let source = before.map(|before| {
        let statement = &before.statement;
        (statement.epoch, statement.certificate_hash())
    });
    let statement = PreparedStatement {
        session: sharing.session.id(),
        roster: Digest::new([2; 32]),
        command: Digest::new([3; 32]),
        key: "treasury".parse().unwrap(),
        scheme: sharing.scheme,
        purposes: Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
        epoch: Epoch(epoch),
        source,
        threshold: sharing.threshold,
        participants,
        group_key: sharing.group_key.clone(),
        verifying_shares: verifying_shares_hash(&sharing.verifying_shares),
        chain_code: sharing.chain_code,
        transcript: sharing.transcript,
    };
    let verifying_shares = sharing.verifying_shares.clone();
    ReshareSource {
        statement,
        verifying_shares,
    }
}

impl Held {
    /// A key that is born among the nodes 1..=count.
    pub(crate) fn born(scheme: Scheme, threshold: u16, count: u16, seed: u64) -> Self {
        let outputs = dkg::tests::harness::Cluster::new(scheme, threshold, count, seed).finish();
        let first = &outputs[0];
        let sharing = Sharing {
            scheme,
            threshold,
            group_key: first.group_key.clone(),
            verifying_shares: first.verifying_shares.clone(),
            chain_code: first.chain_code,
            session: first.session.clone(),
            transcript: first.transcript,
        };
        let participants = first.session.binding.participants.clone();
        Self {
            source: source_of(1, None, participants, &sharing),
            shares: PartyIndex::first(count)
                .zip(outputs.into_iter().map(|output| output.share))
                .collect(),
        }
    }

    /// A key that the test deals by itself to the nodes 1..=count.
    pub(crate) fn dealt(scheme: Scheme, threshold: u16, count: u16, seed: u64) -> Self {
        match Curve::of(scheme).unwrap() {
            Curve::Secp => Self::dealt_on::<Secp>(scheme, threshold, count, seed),
            Curve::Edwards => Self::dealt_on::<Edwards>(scheme, threshold, count, seed),
        }
    }

    fn dealt_on<C: Suite>(scheme: Scheme, threshold: u16, count: u16, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let polynomial = Polynomial::<C>::random(threshold, &mut rng);
        let commitment = polynomial.commit();
        let binding = dkg::tests::harness::binding(scheme, threshold, count);
        let participants = binding.participants.clone();
        let sharing = Sharing {
            scheme,
            threshold,
            group_key: encode_element::<C>(&commitment.constant()).unwrap(),
            verifying_shares: PartyIndex::first(count)
                .map(|index| encode_element::<C>(&commitment.evaluate(index)).unwrap())
                .collect(),
            chain_code: [7; 32],
            session: quorate_model::SessionPreimage {
                binding,
                nonces: Vec::new(),
            },
            transcript: Digest::new([8; 32]),
        };
        Self {
            source: source_of(1, None, participants, &sharing),
            shares: PartyIndex::first(count)
                .map(|index| {
                    let share = *polynomial.evaluate(index).to_bytes();
                    (index, SigningShare::from_bytes(share))
                })
                .collect(),
        }
    }

    /// The usual key of these tests: 2 of 3 on BIP-340.
    pub(crate) fn small() -> Self {
        Self::dealt(Scheme::Bip340, 2, 3, 1)
    }

    pub(crate) fn holders(&self) -> Vec<u16> {
        let participants = self.source.statement.participants.iter();
        participants.map(|p| number(&p.node)).collect()
    }

    pub(crate) fn index_of(&self, node: u16) -> Option<PartyIndex> {
        let at = self.holders().iter().position(|holder| *holder == node)?;
        PartyIndex::new(u16::try_from(at + 1).unwrap())
    }

    /// What a session is bound to in which these nodes deal to those.
    pub(crate) fn binding(
        &self,
        dealers: &[u16],
        receivers: &[u16],
        threshold: u16,
    ) -> SessionBinding {
        let statement = &self.source.statement;
        let dealing: Vec<_> = dealers
            .iter()
            .map(|dealer| Participant {
                index: self.index_of(*dealer).unwrap_or_else(|| party(*dealer)),
                node: node(party(*dealer)),
            })
            .collect();
        let (participants, dealers) = reshare_places(&nodes(receivers), &dealing);
        SessionBinding {
            protocol: protocol_name(statement.scheme).unwrap().to_owned(),
            cluster: Digest::new([1; 32]),
            roster: Digest::new([2; 32]),
            key: statement.key.clone(),
            source: Some(SessionSource {
                epoch: statement.epoch,
                certificate: statement.certificate_hash(),
                dealers,
                receivers: u16::try_from(receivers.len()).unwrap(),
            }),
            target_epoch: Epoch(statement.epoch.0 + 1),
            threshold,
            participants,
            command: Digest::new([4; 32]),
            payload_index: 0,
        }
    }

    pub(crate) fn setup(&self, binding: &SessionBinding, me: PartyIndex) -> Setup {
        Setup {
            me,
            roster_key_of: binding
                .participants
                .iter()
                .map(|p| {
                    let key = identity(party(number(&p.node))).verifying_key();
                    (p.index, key)
                })
                .collect(),
            source: self.source.clone(),
            threshold: binding.threshold,
            count: binding.source.as_ref().unwrap().receivers,
            scheme: self.source.statement.scheme,
            binding: binding.clone(),
        }
    }

    /// The share that a party of a session deals.
    pub(crate) fn share_for(
        &self,
        binding: &SessionBinding,
        me: PartyIndex,
    ) -> Option<&SigningShare> {
        let node = &binding.participants[usize::from(me.number()) - 1].node;
        let share = self.shares.get(&self.index_of(number(node))?);
        share.filter(|_| deals(binding, me))
    }

    /// A run in which these nodes deal to those.
    pub(crate) fn run(
        &self,
        dealers: &[u16],
        receivers: &[u16],
        threshold: u16,
        seed: u64,
    ) -> Cluster {
        let binding = self.binding(dealers, receivers, threshold);
        let mut cluster = Cluster::empty(binding.clone(), seed);
        for me in cluster.parties() {
            let (machine, hello) = start(
                self.setup(&binding, me),
                self.share_for(&binding, me),
                state(me.number().into()),
                &cluster.identity(me),
                &mut cluster.rng,
            )
            .unwrap();
            cluster.enroll(me, machine, hello);
        }
        cluster
    }

    /// The epoch that such a run makes, after everything that all must agree on was compared.
    pub(crate) fn reshare(
        &self,
        dealers: &[u16],
        receivers: &[u16],
        threshold: u16,
        seed: u64,
    ) -> Self {
        let outputs = self.run(dealers, receivers, threshold, seed).finish();
        let sharing = outputs[0].sharing().clone();
        let (before, session) = (&self.source.statement, &sharing.session);
        assert_eq!(sharing.group_key, before.group_key);
        assert_eq!(sharing.chain_code, before.chain_code);
        assert_eq!(sharing.scheme, before.scheme);
        assert_eq!(sharing.threshold, threshold);
        assert_eq!(sharing.verifying_shares.len(), receivers.len());
        assert_eq!(
            session.binding.source.as_ref().unwrap().certificate,
            before.certificate_hash()
        );
        let count = outputs.len();
        let mut shares = BTreeMap::new();
        for (at, output) in (1..).zip(outputs) {
            assert_eq!(*output.sharing(), sharing);
            match output {
                ReshareOutput::Holder { share, .. } => {
                    assert!(usize::from(at) <= receivers.len());
                    shares.insert(party(at), share);
                }
                ReshareOutput::Dealer { .. } => assert!(usize::from(at) > receivers.len()),
            }
        }
        assert!(count >= receivers.len());
        assert_eq!(shares.len(), receivers.len());
        let participants = participants_of(&nodes(receivers));
        let epoch = before.epoch.0 + 1;
        Self {
            source: source_of(epoch, Some(&self.source), participants, &sharing),
            shares,
        }
    }

    pub(crate) fn keys(&self) -> PublicKeys {
        let statement = &self.source.statement;
        PublicKeys::new(
            statement.scheme.proven_by(),
            statement.threshold,
            &statement.group_key,
            &self.source.verifying_shares,
        )
        .unwrap()
    }

    pub(crate) fn key(&self, index: PartyIndex) -> SigningKeyShare {
        let statement = &self.source.statement;
        SigningKeyShare::new(
            statement.scheme.proven_by(),
            index,
            statement.threshold,
            &self.shares[&index],
            &statement.group_key,
            &self.source.verifying_shares[usize::from(index.number()) - 1],
        )
        .unwrap()
    }

    /// A signature by holders of this epoch.
    pub(crate) fn sign(&self, signers: &[PartyIndex], message: &[u8]) -> Vec<u8> {
        let parts: Vec<_> = signers.iter().map(|signer| (self, *signer)).collect();
        sign(self, &parts, message).unwrap()
    }
}

/// A signature under the public sharing of one epoch, by shares of any.
pub(crate) fn sign(
    under: &Held,
    parts: &[(&Held, PartyIndex)],
    message: &[u8],
) -> Result<Vec<u8>, AggregateError> {
    let scheme = under.source.statement.scheme.proven_by();
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let hedge = Hedge::new([8; 32]);
    let (nonces, entries): (Vec<_>, Vec<_>) = parts
        .iter()
        .map(|(_, signer)| {
            let (nonces, commitments) = NoncePair::generate(scheme, &hedge, &mut rng).unwrap();
            (nonces, (*signer, commitments))
        })
        .unzip();
    let set = SigningSet::new(entries).unwrap();
    let shares: Vec<_> = parts
        .iter()
        .zip(nonces)
        .map(|((held, signer), nonces)| {
            let share = sign_share(&held.key(*signer), nonces, &set, message, Tweak::None);
            (*signer, share.unwrap())
        })
        .collect();
    aggregate(&under.keys(), &set, message, Tweak::None, &shares)
}

/// Every subset of so many of the indices 1..=count.
pub(crate) fn subsets(count: u16, size: u16) -> Vec<Vec<PartyIndex>> {
    (0u32..1 << count)
        .filter(|bits| bits.count_ones() == u32::from(size))
        .map(|bits| {
            PartyIndex::first(count)
                .filter(|index| bits & (1 << (index.number() - 1)) != 0)
                .collect()
        })
        .collect()
}

// The run that tests of cheats use: the key 2 of 3 of the nodes 1, 2, 3; nodes 1 and 3 deal to
// nodes 3, 4 and 5. So party 1 is node 3, which deals and receives; parties 2 and 3 are nodes 4 and
// 5, which only receive; party 4 is node 1, which only deals.

/// The party that deals and receives.
pub(crate) const BOTH: u16 = 1;
/// A party that only receives.
pub(crate) const RECEIVER: u16 = 2;
/// The party that only deals.
pub(crate) const DEALER: u16 = 4;

/// The run that waits for this round, with puppets that are played from here on.
pub(crate) fn at(round: u8, puppets: &[u16], seed: u64) -> Cluster {
    Held::small()
        .run(&[1, 3], &[3, 4, 5], 2, seed)
        .go_to(round, puppets)
}

/// The part of the key that a dealer of that run holds.
pub(crate) fn part_of(cluster: &Cluster, dealer: u16) -> SecretScalar<Secp> {
    let held = Held::small();
    let share = held.share_for(&cluster.binding, party(dealer)).unwrap();
    let share = decode_share::<Secp>(share.expose()).unwrap();
    let (_, lambda) = ReshareSource::part_of::<Secp>(&cluster.binding, party(dealer)).unwrap();
    SecretScalar::new(lambda * share.expose())
}

/// What that dealer should deal.
pub(crate) fn honest_polynomial(
    cluster: &mut Cluster,
    dealer: u16,
    threshold: u16,
) -> Polynomial<Secp> {
    let part = part_of(cluster, dealer);
    Polynomial::with_constant(part, threshold, &mut cluster.rng)
}

pub(crate) fn package_of(cluster: &mut Cluster, polynomial: &Polynomial<Secp>) -> Reveal {
    Reveal {
        package: Package {
            commitments: polynomial.commit().encode().unwrap(),
            proof: None,
        },
        opening: cluster.random(),
    }
}

/// The outcome blames the node at this index of that run.
pub(crate) fn blames(outcome: Advance, culprit: u16, fault: Fault) -> Evidence {
    let node = node(party([3, 4, 5, 1][usize::from(culprit) - 1]));
    assert_blames_node(outcome, culprit, node, fault)
}

/// All outcomes do.
pub(crate) fn all_blame(outcomes: BTreeMap<PartyIndex, Advance>, culprit: u16, fault: Fault) {
    assert!(!outcomes.is_empty());
    for outcome in outcomes.into_values() {
        blames(outcome, culprit, fault);
    }
}
