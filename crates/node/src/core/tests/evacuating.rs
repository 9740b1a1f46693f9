//! Keys whose time is over move what they hold to where their creation says, and sign nothing else
//! (P33).

use quorate_model::{
    PayloadKind, Refusal,
    audit::ShareReleased,
    certificate::CommitCertificate,
    command::{CreateKey, SignedCommand},
    destruction::DestroyStep,
    evacuation::Evacuate,
    life::KeyLife,
    standing::StateChange,
};
use quorate_protocol::ecdsa::signing::round;

use super::{
    ecdsa::{inbox_of, said_in},
    standing::told,
    *,
};

use StateChange::{Compromise, Deactivate};

/// The account that is pinned, and the one of a thief.
pub(super) const PINNED: [u8; 32] = [9; 32];
const THIEF: [u8; 32] = [8; 32];

pub(super) fn solana(account: [u8; 32]) -> String {
    let address = quorate_intent::solana::address(&account);
    format!("solana:5eykt4UsFv8P8NJdTREpY1vzqKqKvdp:{address}")
}

/// A message that moves a million lamports from a key to an account.
pub(super) fn transfer(from: &[u8], to: [u8; 32]) -> Payload {
    let header: [u8; 4] = [1, 0, 1, 3];
    let system = [0; 32];
    let blockhash = [3; 32];
    let instruction = [
        1, 2, 2, 0, 1, 12, 2, 0, 0, 0, 0x40, 0x42, 0x0f, 0, 0, 0, 0, 0,
    ];
    let message = [&header[..], from, &to, &system, &blockhash, &instruction].concat();
    Payload::solana_message(message)
}

impl Cluster {
    fn creation_to(
        &mut self,
        scheme: Scheme,
        purposes: &[KeyPurpose],
        to: &[String],
    ) -> SignedCommand {
        let evacuation = to.iter().map(|text| text.parse().unwrap()).collect();
        let create = CreateKey {
            key: "hot".parse().unwrap(),
            scheme,
            threshold: 2,
            nodes: (0..self.cores.len()).map(node_id).collect(),
            purposes: quorate_model::Purposes::new(purposes.to_vec()).unwrap(),
            accept_fragile: true,
            life: KeyLife {
                evacuation,
                ..KeyLife::default()
            },
        };
        let mut command = self.creation(create);
        let key = self.second_admin.clone();
        let second = "the-second-admin";
        self.word(&mut command, EndorsementKind::Approve, second, &key);
        command
    }

    /// A key for Solana that may be evacuated to the pinned account.
    fn solana_key(&mut self) -> CommitCertificate {
        let purposes = [KeyPurpose::Transactions, KeyPurpose::Messages];
        let command = self.creation_to(Scheme::Ed25519, &purposes, &[solana(PINNED)]);
        self.carry_out(&command)
    }

    fn evacuation_of_one(&mut self, payload: Payload) -> SignedCommand {
        let id = self.command_id();
        let body = CommandBody::Evacuate(Evacuate {
            sign: self.sign_body("hot", vec![payload]),
            reason: "a drill".to_owned(),
        });
        self.signed(id, Role::Admin, body)
    }

    pub(super) fn evacuation(&mut self, payload: Payload) -> SignedCommand {
        let mut command = self.evacuation_of_one(payload);
        let key = self.second_admin.clone();
        let second = "the-second-admin";
        self.word(&mut command, EndorsementKind::Approve, second, &key);
        command
    }

    fn try_command(
        &mut self,
        certificate: &CommitCertificate,
        command: &SignedCommand,
    ) -> Option<Reason> {
        let set = self.set(&[0, 1], Scheme::Ed25519);
        let request = self.share_request(command, certificate, &[set]);
        let signed = told(self.shares(0, &request));
        let validated = told(self.ask(
            0,
            NodeRequest::Validate {
                command: command.clone(),
            },
        ));
        // Whoever asks what would come of it hears of everything but the words that are missing.
        let told = signed.filter(|reason| *reason != Reason::EndorsementsMissing);
        assert_eq!(told, validated);
        signed
    }

    fn try_evacuation(&mut self, certificate: &CommitCertificate, to: [u8; 32]) -> Option<Reason> {
        let command = self.evacuation(transfer(&certificate.statement.group_key, to));
        self.try_command(certificate, &command)
    }
}

#[test]
fn a_key_is_not_evacuated_before_its_proof_nor_after_its_end() {
    let mut cluster = Cluster::new(3);
    let purposes = [KeyPurpose::Transactions];
    let command = cluster.creation_to(Scheme::Ed25519, &purposes, &[solana(PINNED)]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    let proof = cluster.prove(&certificate).unwrap();
    cluster.change(0, "hot", 1, Compromise).unwrap();
    assert_eq!(
        cluster.try_evacuation(&certificate, PINNED),
        Some(Reason::KeyNotActive)
    );

    for at in 0..3 {
        cluster.activate(at, &certificate, &proof).unwrap();
    }
    assert_eq!(cluster.try_evacuation(&certificate, PINNED), None);
    let order = cluster.step("hot", DestroyStep::AtOnce);
    cluster.destroy(0, &order).unwrap();

    assert_eq!(
        cluster.try_evacuation(&certificate, PINNED),
        Some(Reason::KeyDestroyed)
    );
}

#[test]
fn a_retired_key_signs_only_transfers_to_the_pinned_account() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.solana_key();
    let group_key = certificate.statement.group_key.clone();
    cluster.change(0, "hot", 1, Compromise).unwrap();

    assert_eq!(cluster.try_evacuation(&certificate, PINNED), None);
    assert_eq!(
        cluster.try_evacuation(&certificate, THIEF),
        Some(Reason::DestinationNotPinned)
    );
    let words = cluster.evacuation(Payload::message(*b"words"));
    assert_eq!(
        cluster.try_command(&certificate, &words),
        Some(Reason::PayloadRefused)
    );
    // Whoever asks as a client gets nothing, to wherever it goes.
    let sign = cluster.sign_command("hot", vec![transfer(&group_key, PINNED)]);
    assert_eq!(
        cluster.try_command(&certificate, &sign),
        Some(Reason::KeyCompromised)
    );

    let rules: Vec<String> = entries(&cluster, 0)
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::ShareReleased(ShareReleased { judgment, .. }) => Some(judgment.rule),
            _ => None,
        })
        .collect();
    assert_eq!(rules.last().map(String::as_str), Some("quorum:admin"));
}

#[test]
fn an_evacuation_takes_the_admin_quorum() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.solana_key();
    let payload = transfer(&certificate.statement.group_key, PINNED);
    cluster.change(0, "hot", 1, Deactivate).unwrap();

    let alone = cluster.evacuation_of_one(payload.clone());
    assert_eq!(
        cluster.try_command(&certificate, &alone),
        Some(Reason::EndorsementsMissing)
    );
    // One person with two keys is one person (P6).
    let mut twice = alone;
    let phone = cluster.phone.clone();
    cluster.word(&mut twice, EndorsementKind::Approve, "the-phone", &phone);
    assert_eq!(
        cluster.try_command(&certificate, &twice),
        Some(Reason::EndorsementsMissing)
    );
    let id = cluster.command_id();
    let body = CommandBody::Evacuate(Evacuate {
        sign: cluster.sign_body("hot", vec![payload.clone()]),
        reason: "a drill".to_owned(),
    });
    let by_client = cluster.signed(id, Role::Client, body);
    assert_eq!(
        cluster.try_command(&certificate, &by_client),
        Some(Reason::RoleMissing)
    );
    let mut rejected = cluster.evacuation(payload);
    let approved = rejected.clone();
    rejected.endorsements.pop();
    let second = cluster.second_admin.clone();
    let reject = EndorsementKind::Reject;
    cluster.word(&mut rejected, reject, "the-second-admin", &second);
    assert_eq!(
        cluster.try_command(&certificate, &rejected),
        Some(Reason::CommandRejected)
    );
    assert_eq!(
        cluster.try_command(&certificate, &approved),
        Some(Reason::CommandRejected),
        "what was rejected stays so"
    );
}

#[test]
fn a_key_without_destinations_is_never_evacuated_and_none_is_made_with_false_ones() {
    let mut cluster = Cluster::new(3);
    let command = cluster.creation_to(Scheme::Ed25519, &[KeyPurpose::Transactions], &[]);
    let certificate = cluster.carry_out(&command);
    cluster.change(0, "hot", 1, Deactivate).unwrap();
    assert_eq!(
        cluster.try_evacuation(&certificate, PINNED),
        Some(Reason::DestinationNotPinned)
    );

    let mut alone = cluster.creation_to(
        Scheme::Ed25519,
        &[KeyPurpose::Transactions],
        &[solana(PINNED)],
    );
    alone.endorsements.pop();
    assert_eq!(
        told(cluster.prepare(&alone, Epoch(1), 9)),
        Some(Reason::EndorsementsMissing),
        "who pins a destination has a way to what the key will hold"
    );

    let mut cluster = Cluster::new(3);
    let elsewhere = ["eip155:1:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".to_owned()];
    let command = cluster.creation_to(Scheme::Ed25519, &[KeyPurpose::Transactions], &elsewhere);
    let request = NodeRequest::Validate {
        command: command.clone(),
    };
    assert_eq!(told(cluster.ask(0, request)), Some(Reason::RequestInvalid));
    assert_eq!(
        told(cluster.prepare(&command, Epoch(1), 1)),
        Some(Reason::RequestInvalid)
    );
}

/// A transfer of 21 million wei on chain 1: `[1, 0, 0, 100, 21000, to, 21000000, "", []]` behind its
/// type (EIP-1559).
fn wei(to: &str) -> Payload {
    let to = hex::decode(to).unwrap();
    let head = [0x02, 0xe3, 0x01, 0x80, 0x80, 0x64, 0x82, 0x52, 0x08, 0x94];
    let bytes = [&head[..], &to, &[0x84, 0x01, 0x40, 0x6f, 0x40, 0x80, 0xc0]].concat();
    Payload::new(PayloadKind::EvmTransaction, bytes)
}

/// ECDSA judges an evacuation when a session begins, and again before its last message (P7).
#[test]
fn an_ecdsa_key_is_evacuated_in_rounds_and_stops_when_it_is_destroyed_meanwhile() {
    let account = "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    let pinned = [format!("eip155:1:0x{account}")];
    let mut cluster = Cluster::new(3);
    let purposes = [KeyPurpose::Transactions];
    let command = cluster.creation_to(Scheme::EcdsaSecp256k1, &purposes, &pinned);
    let certificate = cluster.carry_out_ecdsa(&command);
    let evacuation = cluster.evacuation(wei(account));
    let request = cluster.request(&certificate, &evacuation, 0, &[0, 1]);
    let in_use = cluster.run_to(&[0, 1], 1, &request, u8::MAX).unwrap_err();
    assert_eq!(in_use.1.reason, Reason::KeyNotRetired);
    for at in 0..3 {
        cluster.change(at, "hot", 1, Compromise).unwrap();
    }

    let signed = cluster.run_to(&[0, 1], 2, &request, u8::MAX).unwrap();
    assert!(signed.iter().all(|reply| reply.signed.is_some()));
    let astray = cluster.evacuation(wei("1111111111111111111111111111111111111111"));
    let astray = cluster.request(&certificate, &astray, 0, &[0, 1]);
    let refused: Refusal = cluster.run_to(&[0, 1], 3, &astray, u8::MAX).unwrap_err().1;
    assert_eq!(refused.reason, Reason::DestinationNotPinned);

    let last = round::MULTIPLY;
    let again = cluster.evacuation(wei(account));
    let again = cluster.request(&certificate, &again, 0, &[0, 1]);
    let replies = cluster.run_to(&[0, 1], 4, &again, last).unwrap();
    let order = cluster.step("hot", DestroyStep::AtOnce);
    cluster.destroy(0, &order).unwrap();
    let said = said_in(&replies);
    let stopped = cluster.advance_signing(0, 4, last, inbox_of(&said, 0));
    assert_eq!(told(stopped), Some(Reason::KeyDestroyed));
}
