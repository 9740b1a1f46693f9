//! For each check one change at which exactly that check fires.

use ed25519_dalek::SigningKey;

use super::*;
use crate::{
    IdentityKey, KeyId, NodeId, Nonce32, PartyIndex, Reason, Scheme, SessionBinding,
    SessionPreimage,
    certificate::{NodeSignature, PreparedStatement, verifying_shares_hash},
    command::{EndorsementKind, SignedCommand},
    ids::{Epoch, PrincipalId},
    roster::{CoordinatorCard, NodeCard, Principal, Roster, SignedRoster},
    scheme::{KeyPurpose, Purposes},
};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn node(number: u8) -> NodeId {
    format!("node-{number}").parse().unwrap()
}

fn admin() -> PrincipalId {
    "ada".parse().unwrap()
}

fn roster() -> PinnedRoster {
    let card = |number: u8| NodeCard {
        id: node(number),
        identity_key: IdentityKey::of(&key(number)),
        tls_key_hash: Digest::new([number; 32]),
        region: "eu".to_owned(),
        organisation: "Example".to_owned(),
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: Vec::new(),
        nodes: (1..=5).map(card).collect(),
        coordinators: vec![CoordinatorCard {
            id: "coordinator-1".parse().unwrap(),
            tls_key_hash: Digest::new([100; 32]),
        }],
        principals: vec![
            principal(admin(), "Ada", 200),
            principal(second_admin(), "Bob", 202),
        ],
        admin_quorum: 2,
        lifecycle_quorum: 2,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: crate::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&admin(), &key(200));
    signed.sign(&second_admin(), &key(202));
    signed.verify_first().unwrap()
}

fn second_admin() -> PrincipalId {
    "bob".parse().unwrap()
}

fn principal(id: PrincipalId, person: &str, number: u8) -> Principal {
    Principal {
        id,
        person: person.to_owned(),
        roles: vec![Role::Admin, Role::Client],
        identity_key: IdentityKey::of(&key(number)),
        tls_key_hash: Digest::new([number; 32]),
    }
}

/// The key 2 of 3 of the nodes 1, 2, 3.
fn source() -> KeyRecord {
    KeyRecord {
        name: "treasury".parse().unwrap(),
        scheme: Scheme::Bip340,
        purposes: Purposes::new(vec![KeyPurpose::Transactions]).unwrap(),
        epoch: Epoch(3),
        threshold: 2,
        participants: participants_of(&[node(1), node(2), node(3)]),
        group_key: vec![2; 33],
        verifying_shares: vec![vec![1], vec![2], vec![3]],
        chain_code: [4; 32],
        command: Digest::new([5; 32]),
        certificate: Digest::new([6; 32]),
    }
}

fn reshare() -> ReshareKey {
    ReshareKey {
        key: "treasury".parse().unwrap(),
        key_id: KeyId::of(&Digest::new([5; 32])),
        source_epoch: Epoch(3),
        first_epoch: Epoch(4),
        threshold: 2,
        nodes: vec![node(3), node(4), node(5)],
        accept_fragile: false,
    }
}

/// Everything that a certificate is judged by.
struct Case {
    pinned: PinnedRoster,
    cluster: ClusterId,
    roster: Digest,
    reshare: ReshareKey,
    source: KeyRecord,
    certificate: CommitCertificate,
}

fn case() -> Case {
    let pinned = roster();
    let (source, reshare) = (source(), reshare());
    let bytes = b"reshare treasury".to_vec();
    let cluster = pinned.cluster();
    let mut signed = SignedCommand::propose(bytes, &cluster, &admin(), Role::Admin, &key(200));
    let second = second_admin();
    signed.endorse(
        &cluster,
        EndorsementKind::Approve,
        &second,
        Role::Admin,
        &key(202),
    );
    let dealing = [
        source.participants[0].clone(),
        source.participants[2].clone(),
    ];
    let (participants, dealers) = reshare_places(&reshare.nodes, &dealing);
    let nonces = (1..).take(participants.len());
    let session = SessionPreimage {
        nonces: nonces.map(|seed| Nonce32([seed; 32])).collect(),
        binding: SessionBinding {
            protocol: "reshare/1/bip340".to_owned(),
            cluster: pinned.cluster(),
            roster: pinned.hash(),
            key: reshare.key.clone(),
            source: Some(SessionSource {
                epoch: source.epoch,
                certificate: source.certificate,
                dealers,
                receivers: 3,
            }),
            target_epoch: Epoch(5),
            threshold: reshare.threshold,
            participants,
            command: signed.digest(),
            payload_index: 0,
        },
    };
    let verifying_shares = vec![vec![7], vec![8], vec![9]];
    let statement = PreparedStatement {
        session: session.id(),
        roster: pinned.hash(),
        command: signed.digest(),
        key: reshare.key.clone(),
        scheme: source.scheme,
        purposes: source.purposes.clone(),
        epoch: Epoch(5),
        source: Some((source.epoch, source.certificate)),
        threshold: reshare.threshold,
        participants: participants_of(&reshare.nodes),
        group_key: source.group_key.clone(),
        verifying_shares: verifying_shares_hash(&verifying_shares),
        chain_code: source.chain_code,
        transcript: Digest::new([10; 32]),
    };
    let mut case = Case {
        cluster: pinned.cluster(),
        roster: pinned.hash(),
        pinned,
        reshare,
        source,
        certificate: CommitCertificate {
            command: signed,
            session,
            statement,
            verifying_shares,
            signatures: Vec::new(),
        },
    };
    case.sign();
    case
}

impl Case {
    /// Lets all new holders sign what stands there.
    fn sign(&mut self) {
        let statement = &self.certificate.statement;
        self.certificate.signatures = [3, 4, 5]
            .map(|number| NodeSignature {
                node: node(number),
                signature: statement.sign(&key(number)),
            })
            .to_vec();
    }

    fn binding(&mut self) -> &mut SessionBinding {
        &mut self.certificate.session.binding
    }

    fn bound_source(&mut self) -> &mut SessionSource {
        self.binding().source.as_mut().unwrap()
    }

    fn verdict(&self) -> Result<KeyRecord, Refusal> {
        let command = EpochChange {
            cluster: self.cluster,
            roster: self.roster,
            reshare: &self.reshare,
        };
        self.certificate
            .verify_epoch_change(&self.pinned, command, &self.source)
    }
}

fn index(number: u16) -> PartyIndex {
    PartyIndex::new(number).unwrap()
}

/// The certificate is refused for this, although all new holders have signed it and its session id
/// fits: only the check in question is left.
fn refused(change: impl FnOnce(&mut Case), message: &str) {
    let mut case = case();
    change(&mut case);
    case.certificate.statement.session = case.certificate.session.id();
    case.sign();
    refuses(&case, message);
}

fn refuses(case: &Case, message: &str) {
    let refusal = case.verdict().unwrap_err();
    assert_eq!(refusal.reason, Reason::ProtocolViolation);
    assert!(refusal.message.contains(message), "{}", refusal.message);
}

#[test]
fn a_certificate_of_a_resharing_makes_the_record_of_the_same_key() {
    let case = case();

    let record = case.verdict().unwrap();

    assert_eq!(record.id(), case.source.id());
    assert_eq!(record.group_key, case.source.group_key);
    assert_eq!(record.chain_code, case.source.chain_code);
    assert_eq!(record.epoch, Epoch(5));
    assert_eq!(record.participants, participants_of(&case.reshare.nodes));
    assert_eq!(record.verifying_shares, case.certificate.verifying_shares);
    assert_eq!(record.certificate, case.certificate.hash());
    assert_ne!(record.command, case.certificate.statement.command);
}

#[test]
fn it_is_no_certificate_of_a_birth() {
    let case = case();
    let create = crate::command::CreateKey {
        key: case.reshare.key.clone(),
        scheme: case.source.scheme,
        threshold: case.reshare.threshold,
        nodes: case.reshare.nodes.clone(),
        purposes: case.source.purposes.clone(),
        accept_fragile: false,
        life: crate::life::KeyLife::default(),
    };
    let command = crate::command::Command {
        cluster: case.cluster,
        roster: case.roster,
        id: crate::CommandId::from_random([1; 16]),
        created: crate::UnixMillis(1),
        expires: crate::UnixMillis(2),
        body: crate::command::CommandBody::CreateKey(create),
    };

    let refusal = case.certificate.verify_birth(&case.pinned, &command);

    assert_eq!(refusal.unwrap_err().reason, Reason::ProtocolViolation);
}

#[test]
fn a_command_for_others_or_without_its_endorsement_is_refused() {
    let elsewhere = "another cluster or roster";
    refused(|case| case.cluster = Digest::ZERO, elsewhere);
    refused(|case| case.roster = Digest::ZERO, elsewhere);
    let bytes = || b"reshare treasury".to_vec();
    // P11: one admin alone moves no key.
    refused(
        |case| {
            case.certificate.command.endorsements.pop();
        },
        "lifecycle quorum",
    );
    refused(
        |case| {
            let (cluster, by) = (case.cluster, key(201));
            case.certificate.command =
                SignedCommand::propose(bytes(), &cluster, &admin(), Role::Admin, &by);
        },
        "does not hold",
    );
    refused(
        |case| {
            let (cluster, by) = (case.cluster, key(200));
            case.certificate.command =
                SignedCommand::propose(bytes(), &cluster, &admin(), Role::Client, &by);
        },
        "is not endorsed",
    );
    refused(
        |case| {
            let (cluster, by) = (case.cluster, key(200));
            let command = &mut case.certificate.command;
            command.endorsements.clear();
            command.endorse(
                &cluster,
                EndorsementKind::Reject,
                &admin(),
                Role::Admin,
                &by,
            );
        },
        "is not endorsed",
    );
}

#[test]
fn a_shape_that_no_key_may_have_is_refused() {
    refused(|case| case.reshare.threshold = 1, "at least 2");
    refused(|case| case.reshare.threshold = 4, "lower it or name");
    refused(|case| case.reshare.threshold = 3, "fragile");
    refused(|case| case.reshare.nodes[1] = node(3), "named twice");
}

#[test]
fn a_command_for_another_key_or_epoch_is_refused() {
    let other = "another key or epoch";

    refused(|case| case.source.name = "other".parse().unwrap(), other);
    refused(|case| case.source.command = Digest::ZERO, other);
    refused(|case| case.source.epoch = Epoch(4), other);
    refused(|case| case.reshare.key_id = KeyId([0; 32]), other);
}

#[test]
fn one_that_was_made_under_an_unknown_roster_is_refused() {
    refused(
        |case| case.certificate.statement.roster = Digest::ZERO,
        "does not lead to the one in force",
    );
}

#[test]
fn what_was_prepared_is_what_was_commanded() {
    let changes: [fn(&mut Case); 10] = [
        |case| case.reshare.source_epoch = Epoch(4),
        |case| case.certificate.statement.key = "other".parse().unwrap(),
        |case| case.certificate.statement.threshold = 3,
        |case| case.certificate.statement.participants.swap(0, 1),
        |case| case.certificate.statement.command = Digest::ZERO,
        |case| case.certificate.statement.source = None,
        |case| case.certificate.statement.epoch = Epoch(3),
        |case| case.certificate.statement.epoch = Epoch(3 + 1_001),
        |case| case.reshare.first_epoch = Epoch(6),
        |case| case.reshare.nodes.swap(0, 1),
    ];
    for change in changes {
        refused(change, "not what was commanded");
    }
}

#[test]
fn a_key_that_is_reshared_stays_the_same() {
    let changes: [fn(&mut Case); 4] = [
        |case| case.certificate.statement.scheme = Scheme::EcdsaSecp256k1,
        |case| {
            let purposes = Purposes::new(vec![KeyPurpose::Digests]).unwrap();
            case.certificate.statement.purposes = purposes;
        },
        |case| case.certificate.statement.group_key[1] ^= 1,
        |case| case.certificate.statement.chain_code[0] ^= 1,
    ];
    for change in changes {
        refused(change, "another key");
    }
}

#[test]
fn the_session_is_bound_to_everything() {
    let changes: [fn(&mut Case); 20] = [
        |case| case.binding().source = None,
        |case| case.bound_source().dealers.truncate(1),
        |case| case.bound_source().dealers[1].source_index = index(3),
        |case| {
            let again = case.bound_source().dealers[1];
            case.bound_source().dealers.push(again);
        },
        |case| case.certificate.statement.source = Some((Epoch(3), Digest::ZERO)),
        |case| case.binding().cluster = Digest::ZERO,
        |case| case.binding().roster = Digest::ZERO,
        |case| case.binding().key = "other".parse().unwrap(),
        |case| case.binding().target_epoch = Epoch(4),
        |case| case.binding().threshold = 3,
        |case| case.binding().participants.swap(0, 1),
        |case| drop(case.binding().participants.pop()),
        |case| case.binding().command = Digest::ZERO,
        |case| case.binding().payload_index = 1,
        |case| case.bound_source().epoch = Epoch(2),
        |case| case.bound_source().certificate = Digest::ZERO,
        |case| case.bound_source().receivers = 4,
        |case| case.bound_source().dealers.reverse(),
        |case| case.certificate.session.nonces.truncate(3),
        |case| case.certificate.session.nonces.push(Nonce32([9; 32])),
    ];
    for change in changes {
        refused(change, "its session is another one");
    }
    let mut case = case();
    case.certificate.session.nonces.swap(0, 1);
    refuses(&case, "its session is another one");
}

#[test]
fn verifying_shares_are_those_that_were_prepared() {
    refused(
        |case| case.certificate.verifying_shares.swap(0, 1),
        "its verifying shares",
    );
    refused(
        |case| {
            let certificate = &mut case.certificate;
            certificate.verifying_shares.truncate(2);
            certificate.statement.verifying_shares =
                verifying_shares_hash(&certificate.verifying_shares);
        },
        "its verifying shares",
    );
}

#[test]
fn every_new_holder_has_signed_and_old_ones_do_not_count() {
    let mut missing = case();
    missing.certificate.signatures.pop();
    refuses(&missing, "not signed by every holder");

    let mut twice = case();
    twice.certificate.signatures[2] = twice.certificate.signatures[1].clone();
    refuses(&twice, "not signed by every holder");

    let mut old = case();
    let signature = old.certificate.statement.sign(&key(1));
    old.certificate.signatures[2] = NodeSignature {
        node: node(1),
        signature,
    };
    refuses(&old, "not signed by every holder");

    let mut forged = case();
    forged.certificate.signatures[2].signature = forged.certificate.statement.sign(&key(1));
    refuses(&forged, "the signature of node node-5 fails");

    let mut other = case();
    other.certificate.statement.transcript = Digest::ZERO;
    refuses(&other, "the signature of node node-3 fails");
}
