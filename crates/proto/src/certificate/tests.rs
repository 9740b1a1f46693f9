use ed25519_dalek::SigningKey;
use quorate_model::{
    CommandId, Digest, Epoch, IdentityKey, KeyPurpose, NodeId, Nonce32, PrincipalId, Purposes,
    Reason, Scheme, SessionBinding, SessionPreimage, UnixMillis,
    certificate::{NodeSignature, PreparedStatement, participants_of, verifying_shares_hash},
    command::{Command, CommandBody, CreateKey, SignedCommand},
    roster::{CoordinatorCard, NodeCard, Principal, Role, Roster, SignedRoster},
};
use uuid::Uuid;

use super::*;

#[test]
fn a_certificate_that_fits_its_command_yields_the_key() {
    let pinned = pinned();

    let (certificate, record) = verify(
        &certificate(&pinned, &create(&pinned)).to_bytes().unwrap(),
        None,
        &pinned,
    )
    .unwrap();

    assert_eq!(record.name.as_str(), "treasury");
    assert_eq!(record.threshold, 2);
    assert_eq!(record.certificate, certificate.hash());
}

#[test]
fn a_certificate_for_another_key_than_commanded_is_refused() {
    let pinned = pinned();
    let mut other = certificate(&pinned, &create(&pinned));
    other.statement.key = "other-key".parse().unwrap();
    other.signatures = signatures(&other.statement);

    let refused = verify(&other.to_bytes().unwrap(), None, &pinned).unwrap_err();

    assert_eq!(refused.reason, Reason::ProtocolViolation);
    assert!(
        refused.message.contains("not what was commanded"),
        "{refused}"
    );
}

#[test]
fn a_certificate_around_bytes_that_are_no_command_is_refused() {
    let pinned = pinned();
    let mut unreadable = certificate(&pinned, &create(&pinned));
    let mut bytes = unreadable.command.bytes.clone();
    // A field that this version does not know.
    bytes.extend([0x78, 1]);
    unreadable.command = propose(&pinned, bytes);

    let refused = verify(&unreadable.to_bytes().unwrap(), None, &pinned).unwrap_err();

    assert_eq!(refused.reason, Reason::CommandUndecodable);
}

#[test]
fn a_certificate_with_a_signature_by_the_wrong_node_is_refused() {
    let pinned = pinned();
    let mut forged = certificate(&pinned, &create(&pinned));
    forged.signatures[1].signature = forged.signatures[0].signature;

    let refused = verify(&forged.to_bytes().unwrap(), None, &pinned).unwrap_err();

    assert_eq!(refused.reason, Reason::ProtocolViolation);
    assert!(refused.message.contains("node-b"), "{refused}");
}

#[test]
fn bytes_that_are_no_certificate_are_refused() {
    let refused = verify(b"\x01garbage", None, &pinned()).unwrap_err();

    assert_eq!(refused.reason, Reason::ProtocolViolation);
}

const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn nodes() -> Vec<NodeId> {
    NODES.map(|id| id.parse().unwrap()).to_vec()
}

fn admin() -> PrincipalId {
    "admin".parse().unwrap()
}

pub(crate) fn pinned() -> PinnedRoster {
    let card = |(seed, id): (u8, NodeId)| NodeCard {
        id,
        identity_key: IdentityKey::of(&key(seed)),
        tls_key_hash: Digest::new([seed; 32]),
        region: "region".to_owned(),
        organisation: "organisation".to_owned(),
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: Vec::new(),
        nodes: (1..).zip(nodes()).map(card).collect(),
        coordinators: vec![CoordinatorCard {
            id: "coordinator-1".parse().unwrap(),
            tls_key_hash: Digest::new([100; 32]),
        }],
        principals: vec![Principal {
            id: admin(),
            person: "Ada".to_owned(),
            roles: vec![Role::Admin],
            identity_key: IdentityKey::of(&key(200)),
            tls_key_hash: Digest::new([200; 32]),
        }],
        admin_quorum: 1,
        lifecycle_quorum: 1,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: quorate_model::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&admin(), &key(200));
    signed.verify_first().unwrap()
}

pub(crate) fn create(pinned: &PinnedRoster) -> Command {
    Command {
        cluster: pinned.cluster(),
        roster: pinned.hash(),
        id: CommandId(Uuid::from_bytes([9; 16])),
        created: UnixMillis(1_700_000_000_000),
        expires: UnixMillis(1_700_000_060_000),
        body: CommandBody::CreateKey(CreateKey {
            key: "treasury".parse().unwrap(),
            scheme: Scheme::Bip340,
            threshold: 2,
            nodes: nodes(),
            purposes: Purposes::new(vec![KeyPurpose::Transactions]).unwrap(),
            accept_fragile: false,
            life: quorate_model::life::KeyLife::default(),
        }),
    }
}

pub(crate) fn propose(pinned: &PinnedRoster, bytes: Vec<u8>) -> SignedCommand {
    SignedCommand::propose(bytes, &pinned.cluster(), &admin(), Role::Admin, &key(200))
}

pub(crate) fn certificate(pinned: &PinnedRoster, command: &Command) -> CommitCertificate {
    let CommandBody::CreateKey(create) = &command.body else {
        panic!("a key is created")
    };
    let signed = propose(pinned, command::encode(command));
    let participants = participants_of(&create.nodes);
    let verifying_shares = vec![vec![1], vec![2], vec![3]];
    let session = SessionPreimage {
        binding: SessionBinding {
            protocol: "dkg/2".to_owned(),
            cluster: pinned.cluster(),
            roster: pinned.hash(),
            key: create.key.clone(),
            source: None,
            target_epoch: Epoch(1),
            threshold: create.threshold,
            participants: participants.clone(),
            command: signed.digest(),
            payload_index: 0,
        },
        nonces: [1, 2, 3].map(|seed| Nonce32([seed; 32])).to_vec(),
    };
    let statement = PreparedStatement {
        session: session.id(),
        roster: pinned.hash(),
        command: signed.digest(),
        key: create.key.clone(),
        scheme: create.scheme,
        purposes: create.purposes.clone(),
        epoch: Epoch(1),
        source: None,
        threshold: create.threshold,
        participants,
        group_key: vec![2; 33],
        verifying_shares: verifying_shares_hash(&verifying_shares),
        chain_code: [4; 32],
        transcript: Digest::new([5; 32]),
    };
    let signatures = signatures(&statement);
    CommitCertificate {
        command: signed,
        session,
        statement,
        verifying_shares,
        signatures,
    }
}

fn signatures(statement: &PreparedStatement) -> Vec<NodeSignature> {
    let sign = |(seed, node)| NodeSignature {
        node,
        signature: statement.sign(&key(seed)),
    };
    (1..).zip(nodes()).map(sign).collect()
}
