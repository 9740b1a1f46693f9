//! Whole resharings over cores alone: what a dealer, a receiver and a holder that leaves each do,
//! and what they refuse.

use quorate_model::{
    Refusal,
    certificate::{CommitCertificate, KeyEvidence, NodeSignature, PossessionProof},
    command::{ReshareKey, SignedCommand},
    node_api::{
        ActivationReceipt, CeremonyReply, EraseCertificate, EraseReceipt, Prepared, ReshareFrom,
    },
    payload::pop_message,
    share::{SetEntry, SetOfSigners},
};
use quorate_protocol::{
    ceremony::round,
    frost::{SigningSet, Tweak, aggregate},
};
use rand_core::OsRng;

use super::*;
use crate::core::Outcome;

/// A key with the cores that hold it, by index.
#[derive(Clone)]
struct Held {
    certificate: CommitCertificate,
    proof: PossessionProof,
    birth: Option<Vec<u8>>,
    holders: Vec<usize>,
}

impl Held {
    fn evidence(&self) -> KeyEvidence {
        KeyEvidence {
            certificate: self.certificate.to_bytes().unwrap(),
            proof: Some(self.proof.to_bytes().unwrap()),
            birth: self.birth.clone(),
        }
    }

    fn origin(&self) -> Vec<u8> {
        let own = || self.certificate.to_bytes().unwrap();
        self.birth.clone().unwrap_or_else(own)
    }

    fn epoch(&self) -> Epoch {
        self.certificate.statement.epoch
    }

    fn threshold(&self) -> usize {
        usize::from(self.certificate.statement.threshold)
    }
}

/// A run that is to be made.
struct Run {
    command: SignedCommand,
    epoch: Epoch,
    dealers: Vec<usize>,
    receivers: Vec<usize>,
}

impl Cluster {
    /// A key of some of the nodes.
    fn born(&mut self, name: &str, scheme: Scheme, threshold: u16, holders: &[usize]) -> Held {
        let id = self.command_id();
        let create = CreateKey {
            key: name.parse().unwrap(),
            scheme,
            threshold,
            nodes: holders.iter().map(|at| node_id(*at)).collect(),
            purposes: quorate_model::Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
            accept_fragile: true,
        };
        let command = self.signed(id, Role::Admin, CommandBody::CreateKey(create));
        self.created
            .insert(name.to_owned(), KeyId::of(&command.digest()));
        let prepared = self
            .rounds(&command, Epoch(1), None, (holders, holders.len()))
            .unwrap();
        let certificate = certificate_of(&command, &prepared, holders);
        let proof = self.prove_by(&certificate, holders).unwrap();
        let held = Held {
            certificate,
            proof,
            birth: None,
            holders: holders.to_vec(),
        };
        for at in holders {
            self.activate_at(*at, &held).unwrap();
        }
        held
    }

    fn reshare_command(&mut self, held: &Held, threshold: u16, nodes: &[usize]) -> SignedCommand {
        let id = self.command_id();
        let statement = &held.certificate.statement;
        let name = statement.key.to_string();
        let body = CommandBody::ReshareKey(ReshareKey {
            key: statement.key.clone(),
            key_id: self.created[&name],
            source_epoch: statement.epoch,
            first_epoch: Epoch(statement.epoch.0 + 1),
            threshold,
            nodes: nodes.iter().map(|at| node_id(*at)).collect(),
            accept_fragile: true,
        });
        let command = self.signed(id, Role::Admin, body);
        self.endorsed(command)
    }

    /// With the word of the second person.
    fn endorsed(&self, mut command: SignedCommand) -> SignedCommand {
        let cluster = self.pinned.cluster();
        command.endorse(
            &cluster,
            EndorsementKind::Approve,
            &"the-second-admin".parse().unwrap(),
            Role::Admin,
            &self.second_admin,
        );
        command
    }

    /// A run by the first t holders, to the epoch after the source.
    fn run(&mut self, held: &Held, threshold: u16, receivers: &[usize]) -> Run {
        Run {
            command: self.reshare_command(held, threshold, receivers),
            epoch: Epoch(held.epoch().0 + 1),
            dealers: held.holders[..held.threshold()].to_vec(),
            receivers: receivers.to_vec(),
        }
    }

    /// Carries a run up to its certificate.
    fn certify(&mut self, held: &Held, run: &Run) -> Result<CommitCertificate, Refusal> {
        self.certify_from(&held.evidence(), held, run)
    }

    fn certify_from(
        &mut self,
        evidence: &KeyEvidence,
        held: &Held,
        run: &Run,
    ) -> Result<CommitCertificate, Refusal> {
        let mut everybody = run.receivers.clone();
        everybody.extend(
            held.holders
                .iter()
                .filter(|at| run.dealers.contains(at) && !run.receivers.contains(at)),
        );
        let source = ReshareFrom {
            evidence: evidence.clone(),
            dealers: run.dealers.iter().map(|at| node_id(*at)).collect(),
        };
        let parties = (everybody.as_slice(), run.receivers.len());
        let prepared = self.rounds(&run.command, run.epoch, Some(&source), parties)?;
        Ok(certificate_of(&run.command, &prepared, &run.receivers))
    }

    /// Carries a ceremony of some of the nodes up to PREPARED of those that receive, which stand
    /// first.
    fn rounds(
        &mut self,
        command: &SignedCommand,
        epoch: Epoch,
        source: Option<&ReshareFrom>,
        (everybody, receivers): (&[usize], usize),
    ) -> Result<Vec<Prepared>, Refusal> {
        self.next_id += 1;
        let mut attempt = [0; 16];
        attempt[..8].copy_from_slice(&self.next_id.to_le_bytes()[..8]);
        let mut replies: Vec<CeremonyReply> = Vec::new();
        for at in everybody {
            let request = NodeRequest::BeginCeremony {
                attempt,
                command: command.clone(),
                epoch,
                source: source.cloned(),
            };
            replies.push(ceremony(self.ask(*at, request)?));
        }
        loop {
            let now = replies[0].round;
            let asked = if now == round::SHARE {
                receivers
            } else {
                everybody.len()
            };
            let mut next = Vec::new();
            for (place, at) in everybody.iter().enumerate().take(asked) {
                let request = NodeRequest::AdvanceCeremony {
                    attempt,
                    round: now,
                    envelopes: inbox(&replies, index(place + 1)),
                };
                next.push(ceremony(self.ask(*at, request)?));
            }
            replies = next;
            if replies.iter().all(|reply| reply.prepared.is_some()) {
                return Ok(replies.into_iter().filter_map(|r| r.prepared).collect());
            }
        }
    }

    fn prove_by(
        &mut self,
        certificate: &CommitCertificate,
        holders: &[usize],
    ) -> Result<PossessionProof, Refusal> {
        let scheme = certificate.statement.scheme.proven_by();
        let set = self.set_of(holders, holders, scheme);
        let mut receipts = Vec::new();
        for at in holders {
            let request = NodeRequest::ProveKey {
                certificate: certificate.to_bytes().unwrap(),
                set: set.clone(),
            };
            match self.ask(*at, request)? {
                NodeReply::Proved(receipt) => receipts.push(receipt),
                other => panic!("{other:?}"),
            }
        }
        let shares: Vec<_> = receipts
            .iter()
            .enumerate()
            .map(|(place, receipt)| (index(place + 1), receipt.statement.items[0].share))
            .collect();
        let checked = SigningSet::from_received(scheme, &set).unwrap();
        let message = pop_message(&certificate.hash());
        let keys = self.public_keys(certificate);
        let signature = aggregate(&keys, &checked, &message, Tweak::None, &shares).unwrap();
        Ok(PossessionProof {
            certificate: certificate.hash(),
            set,
            receipts,
            signature,
        })
    }

    /// Tickets of some of the holders, at their indices.
    fn set_of(&mut self, signers: &[usize], holders: &[usize], scheme: Scheme) -> SetOfSigners {
        let mut entries: Vec<_> = signers
            .iter()
            .map(|at| {
                let ticket = self.ticket(*at, scheme);
                let place = holders.iter().position(|holder| holder == at).unwrap();
                SetEntry {
                    signer: index(place + 1),
                    ticket: ticket.id,
                    commitments: ticket.commitments,
                }
            })
            .collect();
        entries.sort_by_key(|entry| entry.signer);
        SetOfSigners { entries }
    }

    fn activate_at(&mut self, at: usize, held: &Held) -> Result<ActivationReceipt, Refusal> {
        let request = NodeRequest::ActivateKey {
            key: held.certificate.statement.key.clone(),
            epoch: held.epoch(),
            certificate: held.certificate.to_bytes().unwrap(),
            proof: held.proof.to_bytes().unwrap(),
        };
        match self.ask(at, request)? {
            NodeReply::Activated(receipt) => Ok(receipt),
            other => panic!("{other:?}"),
        }
    }

    /// The whole way to an epoch in use at its holders.
    fn reshare(&mut self, held: &Held, threshold: u16, receivers: &[usize]) -> Held {
        let run = self.run(held, threshold, receivers);
        let next = self.prove_run(held, &run);
        for at in receivers {
            self.activate_at(*at, &next).unwrap();
        }
        next
    }

    /// A run with its proof, activated nowhere.
    fn prove_run(&mut self, held: &Held, run: &Run) -> Held {
        let certificate = self.certify(held, run).unwrap();
        let proof = self.prove_by(&certificate, &run.receivers).unwrap();
        Held {
            certificate,
            proof,
            birth: Some(held.origin()),
            holders: run.receivers.clone(),
        }
    }

    fn vouch(&mut self, held: &Held) -> EraseCertificate {
        let holders = held.holders.clone();
        EraseCertificate {
            key: held.certificate.statement.key.clone(),
            epoch: held.epoch(),
            receipts: holders
                .iter()
                .map(|at| self.activate_at(*at, held).unwrap())
                .collect(),
        }
    }

    fn erase_at(&mut self, at: usize, erase: &EraseCertificate) -> Result<EraseReceipt, Refusal> {
        let request = NodeRequest::EraseEpochs {
            erasures: vec![erase.clone()],
        };
        match self.ask(at, request)? {
            NodeReply::Erased(outcomes) => outcomes.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Signs with some of the holders; the signature holds under the group key.
    fn sign_by(&mut self, held: &Held, signers: &[usize]) -> Result<Vec<u8>, Refusal> {
        let name = held.certificate.statement.key.to_string();
        let scheme = held.certificate.statement.scheme;
        let command = self.sign_command(&name, vec![Payload::message(b"x")]);
        let set = self.set_of(signers, &held.holders, scheme);
        let request = self.share_request(&command, &held.certificate, std::slice::from_ref(&set));
        let mut shares = Vec::new();
        for at in signers {
            let statement = self.shares(*at, &request)?;
            let place = held.holders.iter().position(|holder| holder == at).unwrap();
            shares.push((index(place + 1), statement.items[0].share));
        }
        shares.sort_by_key(|(signer, _)| *signer);
        let keys = self.public_keys(&held.certificate);
        let checked = SigningSet::from_received(scheme, &set).unwrap();
        Ok(aggregate(&keys, &checked, b"x", Tweak::None, &shares).unwrap())
    }

    fn listing(&self, at: usize) -> quorate_model::node_api::KeyListing {
        match self.cores[at].list_keys(None, 10).unwrap() {
            Outcome::Ready(Ok(NodeReply::Keys(keys))) => keys.into_iter().next().unwrap(),
            _ => panic!("not keys"),
        }
    }

    fn has_share(&self, at: usize, held: &Held) -> bool {
        let share = (held.certificate.statement.key.clone(), held.epoch());
        let kept = self.cores[at].vault.keyring().contains(&share);
        assert_eq!(
            self.cores[at].vault.contains(&share.0, share.1).unwrap(),
            kept
        );
        kept
    }
}

fn certificate_of(
    command: &SignedCommand,
    prepared: &[Prepared],
    holders: &[usize],
) -> CommitCertificate {
    CommitCertificate {
        command: command.clone(),
        session: prepared[0].session.clone(),
        statement: prepared[0].statement.clone(),
        verifying_shares: prepared[0].verifying_shares.clone(),
        signatures: prepared
            .iter()
            .zip(holders)
            .map(|(one, at)| NodeSignature {
                node: node_id(*at),
                signature: one.signature,
            })
            .collect(),
    }
}

#[test]
fn a_key_goes_from_committee_to_committee_and_back_and_signs_in_every_epoch() {
    for scheme in [Scheme::Bip340, Scheme::Ed25519, Scheme::FrostSecp256k1] {
        let mut cluster = Cluster::new(6);
        let born = cluster.born("notes", scheme, 2, &[0, 1, 2]);
        let key = born.certificate.statement.group_key.clone();
        let mut held = born.clone();
        for (threshold, nodes, signers) in [
            (2, vec![0, 1, 2], vec![0, 2]),
            (3, vec![5, 3, 0, 1, 4], vec![1, 3, 4]),
            (2, vec![2, 3, 4, 5], vec![2, 4]),
            (2, vec![0, 1, 2], vec![0, 1]),
        ] {
            let before = held.holders.clone();
            held = cluster.reshare(&held, threshold, &nodes);
            let statement = &held.certificate.statement;
            assert_eq!(statement.group_key, key);
            assert_eq!(statement.chain_code, born.certificate.statement.chain_code);
            cluster.sign_by(&held, &signers).unwrap();

            let erase = cluster.vouch(&held);
            for at in before {
                cluster.activate_at(at, &held).unwrap();
                cluster.erase_at(at, &erase).unwrap();
            }
            cluster.sign_by(&held, &signers).unwrap();
        }
        assert_eq!(held.epoch(), Epoch(5));
    }
}

#[test]
fn the_old_epoch_signs_until_the_new_one_is_in_use_and_not_after() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&old, 2, &[0, 1, 2]);
    let certificate = cluster.certify(&old, &run).unwrap();
    cluster.sign_by(&old, &[0, 1]).unwrap();
    let proof = cluster.prove_by(&certificate, &[0, 1, 2]).unwrap();
    cluster.sign_by(&old, &[0, 1]).unwrap();
    let new = Held {
        certificate,
        proof,
        birth: Some(old.origin()),
        holders: vec![0, 1, 2],
    };

    // Until its proof is there, the new one signs nothing.
    assert_eq!(reason(cluster.sign_by(&new, &[0, 1])), Reason::EpochChanged);
    cluster.activate_at(0, &new).unwrap();
    assert_eq!(reason(cluster.sign_by(&old, &[0, 1])), Reason::EpochChanged);
    cluster.sign_by(&old, &[1, 2]).unwrap();
    cluster.activate_at(1, &new).unwrap();
    cluster.sign_by(&new, &[0, 1]).unwrap();
}

#[test]
fn shares_of_old_epochs_are_gone_once_every_new_holder_has_vouched() {
    let mut cluster = Cluster::new(4);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let new = cluster.reshare(&old, 2, &[1, 2, 3]);
    let erase = cluster.vouch(&new);
    assert!(cluster.has_share(1, &old) && cluster.listing(1).keeps_old);

    // A holder that leaves hears of the new epoch first.
    assert_eq!(reason(cluster.erase_at(0, &erase)), Reason::EpochChanged);
    cluster.activate_at(0, &new).unwrap();
    assert_eq!(cluster.listing(0).epoch, new.epoch());
    assert_eq!(reason(cluster.sign_by(&old, &[0, 1])), Reason::EpochChanged);
    let first = cluster.erase_at(0, &erase).unwrap();
    let again = cluster.erase_at(0, &erase).unwrap();
    for at in [1, 2, 3] {
        cluster.erase_at(at, &erase).unwrap();
    }

    assert_eq!(first.digest(), again.digest());
    for at in 0..3 {
        assert!(!cluster.has_share(at, &old));
        assert!(!cluster.listing(at).keeps_old);
    }
    assert!(cluster.has_share(3, &new));
    cluster.sign_by(&new, &[1, 3]).unwrap();
}

#[test]
fn nothing_is_erased_on_less_than_the_word_of_every_new_holder() {
    let mut cluster = Cluster::new(4);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let new = cluster.reshare(&old, 2, &[1, 2, 3]);
    let good = cluster.vouch(&new);
    let changes: [fn(&mut EraseCertificate); 7] = [
        |erase| erase.receipts.truncate(2),
        |erase| erase.receipts.swap(0, 1),
        |erase| erase.receipts[2] = erase.receipts[1].clone(),
        |erase| erase.receipts[2].sequence += 1,
        |erase| erase.receipts[0].certificate = Digest::ZERO,
        |erase| erase.epoch = Epoch(3),
        |erase| erase.key = "other-key".parse().unwrap(),
    ];
    for change in changes {
        let mut erase = good.clone();
        change(&mut erase);

        let refused = reason(cluster.erase_at(1, &erase));

        assert!(matches!(
            refused,
            Reason::ProtocolViolation | Reason::EpochChanged | Reason::KeyUnknown
        ));
        assert!(cluster.has_share(1, &old));
    }
    // The word of those that hold nothing in the new epoch is no word.
    let stranger = cluster.activate_at(0, &new).unwrap();
    let mut erase = good;
    erase.receipts[0] = stranger;
    assert_eq!(
        reason(cluster.erase_at(1, &erase)),
        Reason::ProtocolViolation
    );
}

#[test]
fn a_node_that_dies_between_the_record_and_the_erasure_erases_when_it_starts_again() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let new = cluster.reshare(&old, 2, &[0, 1, 2]);
    let erase = cluster.vouch(&new);
    let request = NodeRequest::EraseEpochs {
        erasures: vec![erase.clone()],
    };
    let Outcome::Pending(pending) = cluster.judge(0, request) else {
        panic!("nothing is recorded");
    };
    cluster.cores[0]
        .journal()
        .commit(pending.appended())
        .unwrap();
    drop(pending);
    assert!(cluster.has_share(0, &old));

    let erased = cluster.cores[0].finish_erasures(&mut OsRng).unwrap();

    assert_eq!(erased, 1);
    assert!(!cluster.has_share(0, &old) && cluster.has_share(0, &new));
    let boot = Entry::Boot {
        version: "test".to_owned(),
        node: node_id(0),
    };
    let _appended = cluster.cores[0]
        .begin(cluster.reading(), vec![boot])
        .unwrap();
    assert_eq!(cluster.cores[0].finish_erasures(&mut OsRng).unwrap(), 0);
}

#[test]
fn a_certificate_that_comes_late_is_outdone_by_the_epoch_in_use() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let first = cluster.run(&old, 2, &[0, 1, 2]);
    let withheld = cluster.certify(&old, &first).unwrap();
    let mut second = cluster.run(&old, 2, &[0, 1, 2]);
    second.epoch = Epoch(3);
    let new = cluster.prove_run(&old, &second);
    let late = Held {
        proof: cluster.prove_by(&withheld, &[0, 1, 2]).unwrap(),
        certificate: withheld.clone(),
        ..new.clone()
    };
    for at in 0..3 {
        cluster.activate_at(at, &new).unwrap();
    }

    assert_eq!(
        reason(cluster.prove_by(&withheld, &[0, 1, 2])),
        Reason::EpochChanged
    );
    assert_eq!(reason(cluster.activate_at(0, &late)), Reason::EpochChanged);
    let erase = cluster.vouch(&new);
    cluster.erase_at(0, &erase).unwrap();
    assert!(!cluster.has_share(0, &late) && !cluster.has_share(0, &old));
    cluster.sign_by(&new, &[0, 1]).unwrap();
}

#[test]
fn a_lower_epoch_that_is_in_use_gives_way_to_a_higher_one() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let first = cluster.run(&old, 2, &[0, 1, 2]);
    let lower = cluster.prove_run(&old, &first);
    let mut second = cluster.run(&old, 2, &[0, 1, 2]);
    second.epoch = Epoch(3);
    let higher = cluster.prove_run(&old, &second);

    cluster.activate_at(0, &lower).unwrap();
    cluster.activate_at(0, &higher).unwrap();

    assert_eq!(cluster.listing(0).epoch, Epoch(3));
    assert_eq!(reason(cluster.activate_at(0, &lower)), Reason::EpochChanged);
}

#[test]
fn what_is_to_be_reshared_must_be_the_epoch_in_use() {
    let mut cluster = Cluster::new(4);
    let born = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let other = cluster.born("other", Scheme::Bip340, 2, &[0, 1, 2]);
    let new = cluster.reshare(&born, 2, &[0, 1, 2]);

    // A dealer has moved on.
    let stale = cluster.run(&born, 2, &[0, 1, 3]);
    assert_eq!(reason(cluster.certify(&born, &stale)), Reason::EpochChanged);
    let run = cluster.run(&new, 2, &[3, 0, 1]);
    for (evidence, expected) in [
        (other.evidence(), Reason::RequestInvalid),
        (born.evidence(), Reason::RequestInvalid),
        (
            KeyEvidence {
                proof: None,
                ..new.evidence()
            },
            Reason::KeyNotActive,
        ),
        (
            KeyEvidence {
                proof: born.evidence().proof,
                ..new.evidence()
            },
            Reason::ProtocolViolation,
        ),
        (
            KeyEvidence {
                birth: other.birth.or(Some(other.certificate.to_bytes().unwrap())),
                ..new.evidence()
            },
            Reason::ProtocolViolation,
        ),
        (
            KeyEvidence {
                birth: None,
                ..new.evidence()
            },
            Reason::ProtocolViolation,
        ),
    ] {
        // Node 3 knows nothing of the key, and is asked first.
        let refused = cluster.certify_from(&evidence, &new, &run);
        assert_eq!(reason(refused), expected);
    }
    cluster.certify(&new, &run).unwrap();
}

#[test]
fn exactly_as_many_holders_deal_as_make_the_key() {
    let mut cluster = Cluster::new(5);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    for dealers in [vec![0], vec![0, 1, 2], vec![0, 3], vec![0, 0]] {
        let mut run = cluster.run(&held, 2, &[3, 4, 0]);
        run.dealers = dealers;
        assert_eq!(reason(cluster.certify(&held, &run)), Reason::RequestInvalid);
    }
    // Whoever neither deals nor receives has no part in it.
    let run = cluster.run(&held, 2, &[0, 1, 3]);
    let request = NodeRequest::BeginCeremony {
        attempt: [9; 16],
        command: run.command,
        epoch: run.epoch,
        source: Some(ReshareFrom {
            evidence: held.evidence(),
            dealers: vec![node_id(0), node_id(1)],
        }),
    };
    assert_eq!(
        reason(cluster.ask(2, request.clone())),
        Reason::RequestInvalid
    );
    let NodeRequest::BeginCeremony {
        attempt,
        command,
        epoch,
        ..
    } = request
    else {
        panic!("another request");
    };
    let nothing = NodeRequest::BeginCeremony {
        attempt,
        command,
        epoch,
        source: None,
    };
    assert_eq!(reason(cluster.ask(0, nothing)), Reason::RequestInvalid);
}

#[test]
fn epochs_are_taken_once_and_stay_near_their_source() {
    let mut cluster = Cluster::new(3);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let mut run = cluster.run(&held, 2, &[0, 1, 2]);
    cluster.certify(&held, &run).unwrap();

    assert_eq!(reason(cluster.certify(&held, &run)), Reason::EpochTaken);
    for epoch in [0, 1, 1_002] {
        run.epoch = Epoch(epoch);
        assert_eq!(reason(cluster.certify(&held, &run)), Reason::RequestInvalid);
    }
    run.epoch = Epoch(3);
    cluster.certify(&held, &run).unwrap();
}

#[test]
fn one_command_does_not_use_up_the_numbers_of_others() {
    let mut cluster = Cluster::new(2);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1]);
    let mut run = cluster.run(&held, 2, &[0, 1]);
    for number in 2..18 {
        run.epoch = Epoch(number);
        cluster.certify(&held, &run).unwrap();
    }
    run.epoch = Epoch(18);
    assert_eq!(reason(cluster.certify(&held, &run)), Reason::SessionLimit);

    let mut next = cluster.run(&held, 2, &[0, 1]);
    next.epoch = Epoch(18);
    let new = cluster.prove_run(&held, &next);
    for at in [0, 1] {
        cluster.activate_at(at, &new).unwrap();
    }
    let erase = cluster.vouch(&new);
    cluster.erase_at(0, &erase).unwrap();
    let below = cluster.cores[0]
        .vault
        .keyring()
        .epochs_below(&"notes".parse().unwrap(), Epoch(18));
    assert_eq!(below, []);
    assert_eq!(cluster.cores[0].vault.list().unwrap().len(), 1);
}

#[test]
fn two_epochs_of_one_number_are_told_apart_by_their_sessions() {
    let mut cluster = Cluster::new(6);
    let born = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    // Both commands start from the birth, and neither committee knows of the other.
    let first = cluster.run(&born, 2, &[2, 3]);
    let second = cluster.run(&born, 2, &[4, 5]);
    let one = cluster.prove_run(&born, &first);
    let two = cluster.prove_run(&born, &second);
    assert_eq!(one.epoch(), two.epoch());
    let (lower, higher) = if one.certificate.statement.session < two.certificate.statement.session {
        (one, two)
    } else {
        (two, one)
    };
    for held in [&lower, &higher] {
        for at in held.holders.clone() {
            cluster.activate_at(at, held).unwrap();
        }
        let signers = held.holders.clone();
        cluster.sign_by(held, &signers).unwrap();
    }

    let old = lower.holders[0];
    cluster.activate_at(old, &higher).unwrap();
    assert_eq!(
        reason(cluster.activate_at(old, &lower)),
        Reason::EpochChanged
    );
    let erase = cluster.vouch(&higher);
    cluster.erase_at(old, &erase).unwrap();
    assert!(!cluster.has_share(old, &lower));
    assert!(cluster.has_share(higher.holders[0], &higher));
    assert!(!cluster.listing(old).keeps_old);
}

#[test]
fn another_key_of_the_name_is_not_reshared() {
    let mut cluster = Cluster::new(4);
    let one = cluster.born("notes", Scheme::Bip340, 2, &[0, 1]);
    let two = cluster.born("notes", Scheme::Bip340, 2, &[2, 3]);

    // The command is for the second; node 0 holds the first.
    let run = cluster.run(&two, 2, &[2, 0]);
    let refused = cluster.certify(&two, &run);
    assert!(matches!(
        reason(refused),
        Reason::EpochChanged | Reason::KeyExists
    ));
    let run = cluster.run(&one, 2, &[0, 1]);
    assert_eq!(reason(cluster.certify(&one, &run)), Reason::KeyIdMismatch);
    // Nor does its birth become an epoch of the key that a node holds, whichever is higher.
    for (at, other) in [(0, &two), (2, &one)] {
        assert!(matches!(
            reason(cluster.activate_at(at, other)),
            Reason::ProtocolViolation | Reason::EpochChanged
        ));
    }
    cluster.sign_by(&two, &[2, 3]).unwrap();
    let first = one.certificate.to_bytes().unwrap();
    assert_eq!(cluster.listing(0).certificate, Some(first));
}

#[test]
fn a_run_that_is_held_back_outlives_neither_its_command_nor_a_suspension() {
    use quorate_model::standing::{SetKeyState, StateChange};

    let mut cluster = Cluster::new(4);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 3]);
    let certificate = cluster.certify(&held, &run).unwrap();
    let (id, key_id) = (cluster.command_id(), cluster.created["notes"]);
    let suspend = CommandBody::SetKeyState(SetKeyState {
        key: "notes".parse().unwrap(),
        key_id,
        sequence: 1,
        change: StateChange::Suspend,
        reason: "an audit".to_owned(),
    });
    let command = cluster.signed(id, Role::Admin, suspend);

    // The new holder takes the state although it has no epoch in use.
    for at in [0, 1, 3] {
        let command = command.clone();
        cluster
            .ask(at, NodeRequest::SetKeyState { command })
            .unwrap();
    }
    for at in [0, 1, 3] {
        let set = cluster.set_of(&[0, 1, 3], &[0, 1, 3], Scheme::Bip340);
        let request = NodeRequest::ProveKey {
            certificate: certificate.to_bytes().unwrap(),
            set,
        };
        assert_eq!(reason(cluster.ask(at, request)), Reason::KeySuspended);
    }

    let mut cluster = Cluster::new(4);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 3]);
    let certificate = cluster.certify(&held, &run).unwrap();
    cluster.monotonic_ms += 3_600_001;
    assert_eq!(
        reason(cluster.prove_by(&certificate, &[0, 1, 3])),
        Reason::CommandExpired
    );
}

#[test]
fn a_command_begins_where_its_admins_say() {
    let mut cluster = Cluster::new(3);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let mut run = cluster.run(&held, 2, &[0, 1, 2]);
    run.epoch = Epoch(1_001);
    cluster.certify(&held, &run).unwrap();
    run.epoch = Epoch(1_002);
    assert_eq!(reason(cluster.certify(&held, &run)), Reason::RequestInvalid);

    let statement = &held.certificate.statement;
    let body = CommandBody::ReshareKey(ReshareKey {
        key: statement.key.clone(),
        key_id: cluster.created["notes"],
        source_epoch: statement.epoch,
        first_epoch: Epoch(1_002),
        threshold: 2,
        nodes: (0..3).map(node_id).collect(),
        accept_fragile: true,
    });
    let id = cluster.command_id();
    let command = cluster.signed(id, Role::Admin, body);
    run.command = cluster.endorsed(command);
    let new = cluster.prove_run(&held, &run);
    cluster.activate_at(0, &new).unwrap();
}

/// The rows of the table in docs/protocol/states.md.
#[test]
fn a_key_that_is_not_active_is_refreshed_and_goes_to_nobody_else() {
    use quorate_model::standing::{SetKeyState, StateChange};

    for (change, refused) in [
        (StateChange::Suspend, Reason::KeySuspended),
        (StateChange::Deactivate, Reason::KeyDeactivated),
        (StateChange::Compromise, Reason::KeyCompromised),
    ] {
        let mut cluster = Cluster::new(4);
        let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
        let others = cluster.run(&held, 2, &[0, 1, 3]);
        let fewer = cluster.run(&held, 2, &[0, 1]);
        let mut raised = cluster.run(&held, 3, &[0, 1, 2]);
        raised.epoch = Epoch(3);
        let (id, key_id) = (cluster.command_id(), cluster.created["notes"]);
        let set = CommandBody::SetKeyState(SetKeyState {
            key: "notes".parse().unwrap(),
            key_id,
            sequence: 1,
            change,
            reason: "an audit".to_owned(),
        });
        let command = cluster.signed(id, Role::Admin, set);
        let command = cluster.endorsed(command);
        for at in 0..3 {
            let command = command.clone();
            cluster
                .ask(at, NodeRequest::SetKeyState { command })
                .unwrap();
        }

        for run in [&others, &fewer, &raised] {
            assert_eq!(reason(cluster.certify(&held, run)), refused);
        }
        let new = cluster.reshare(&held, 2, &[0, 1, 2]);
        assert_eq!(reason(cluster.sign_by(&new, &[0, 1])), refused);
    }
}

#[test]
fn a_key_that_nobody_has_proven_is_not_reshared() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    let proof = cluster.prove(&certificate).unwrap();
    let held = Held {
        certificate,
        proof,
        birth: None,
        holders: vec![0, 1, 2],
    };
    let run = cluster.run(&held, 2, &[0, 1, 2]);
    let unproven = KeyEvidence {
        proof: None,
        ..held.evidence()
    };

    let refused = cluster.certify_from(&unproven, &held, &run);

    assert_eq!(reason(refused), Reason::KeyNotActive);
}

#[test]
fn what_is_heard_in_the_middle_ends_a_run_before_shares_are_dealt() {
    use quorate_model::standing::{SetKeyState, StateChange};

    let mut cluster = Cluster::new(4);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 3]);
    let source = ReshareFrom {
        evidence: held.evidence(),
        dealers: vec![node_id(0), node_id(1)],
    };
    let mut replies = Vec::new();
    for at in [0, 1, 3] {
        let request = NodeRequest::BeginCeremony {
            attempt: [1; 16],
            command: run.command.clone(),
            epoch: run.epoch,
            source: Some(source.clone()),
        };
        replies.push(ceremony(cluster.ask(at, request).unwrap()));
    }
    let advance = |replies: &[CeremonyReply], place: usize| NodeRequest::AdvanceCeremony {
        attempt: [1; 16],
        round: replies[0].round,
        envelopes: inbox(replies, index(place + 1)),
    };
    while replies[0].round < round::REVEAL_ECHO {
        let mut next = Vec::new();
        for (place, at) in [0, 1, 3].into_iter().enumerate() {
            let request = advance(&replies, place);
            next.push(ceremony(cluster.ask(at, request).unwrap()));
        }
        replies = next;
    }
    let (id, key_id) = (cluster.command_id(), cluster.created["notes"]);
    let suspend = CommandBody::SetKeyState(SetKeyState {
        key: "notes".parse().unwrap(),
        key_id,
        sequence: 1,
        change: StateChange::Suspend,
        reason: "an audit".to_owned(),
    });
    let command = cluster.signed(id, Role::Admin, suspend);
    cluster
        .ask(0, NodeRequest::SetKeyState { command })
        .unwrap();

    let request = advance(&replies, 0);
    assert_eq!(
        reason(cluster.ask(0, request.clone())),
        Reason::KeySuspended
    );
    // The run is over for this node, also when it is asked again.
    assert_eq!(reason(cluster.ask(0, request)), Reason::KeySuspended);
}

#[test]
fn one_coordinator_changes_a_key_at_a_time() {
    let mut cluster = Cluster::new(3);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 2]);
    let begin = |attempt: u8| NodeRequest::BeginCeremony {
        attempt: [attempt; 16],
        command: run.command.clone(),
        epoch: run.epoch,
        source: Some(ReshareFrom {
            evidence: held.evidence(),
            dealers: vec![node_id(0), node_id(1)],
        }),
    };
    cluster.ask(0, begin(1)).unwrap();

    let other = harness::other_coordinator();
    assert_eq!(
        reason(cluster.ask_as(&other, 0, begin(2))),
        Reason::SessionLimit
    );
    // The same one has given the first up.
    cluster.ask(0, begin(3)).unwrap();
}

#[test]
fn a_command_that_an_admin_rejects_in_the_middle_ends_the_run() {
    let mut cluster = Cluster::new(3);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 2]);
    let begin = |command: &SignedCommand, attempt| NodeRequest::BeginCeremony {
        attempt: [attempt; 16],
        command: command.clone(),
        epoch: run.epoch,
        source: Some(ReshareFrom {
            evidence: held.evidence(),
            dealers: vec![node_id(0), node_id(1)],
        }),
    };
    let mut hellos = Vec::new();
    for at in 0..3 {
        hellos.push(ceremony(cluster.ask(at, begin(&run.command, 1)).unwrap()));
    }
    let mut rejected = run.command.clone();
    let cluster_id = cluster.pinned.cluster();
    rejected.endorse(
        &cluster_id,
        EndorsementKind::Reject,
        &"the-phone".parse().unwrap(),
        Role::Admin,
        &cluster.phone,
    );
    assert_eq!(
        reason(cluster.ask(0, begin(&rejected, 2))),
        Reason::CommandRejected
    );

    let request = NodeRequest::AdvanceCeremony {
        attempt: [1; 16],
        round: round::HELLO,
        envelopes: inbox(&hellos, index(1)),
    };

    assert_eq!(reason(cluster.ask(0, request)), Reason::CommandRejected);
}
