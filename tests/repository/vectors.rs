//! The test vectors that the documents print for whoever encodes commands in another language.
//!
//! When the page differs, the test prints what belongs between its markers.

use std::fmt::Write as _;

use ed25519_dalek::SigningKey;
use quorate_model::{
    CommandId, Digest, KeyId, KeyPurpose, Payload, PrincipalId, Purposes, Scheme, UnixMillis,
    command::{
        Command, CommandBody, CreateKey, EndorsementKind, Sign, SignedCommand, command_digest,
        endorsement_digest,
    },
    identity::IdentityKey,
    roster::Role,
};
use uuid::Uuid;

const PAGE: &str = "docs/protocol/command-vectors.md";
const BEGIN: &str = "<!-- vectors: begin -->\n";
const END: &str = "<!-- vectors: end -->";

fn command(id: u128, body: CommandBody) -> Command {
    Command {
        cluster: Digest::new([0x11; 32]),
        roster: Digest::new([0x11; 32]),
        id: CommandId(Uuid::from_u128(id)),
        created: UnixMillis(1_800_000_000_123),
        expires: UnixMillis(1_800_000_600_123),
        body,
    }
}

fn commands() -> Vec<(&'static str, Role, Command)> {
    let create = CreateKey {
        key: "treasury".parse().unwrap(),
        scheme: Scheme::Bip340,
        threshold: 2,
        nodes: ["node-a", "node-b", "node-c"]
            .map(|id| id.parse().unwrap())
            .to_vec(),
        purposes: Purposes::new(vec![KeyPurpose::Transactions]).unwrap(),
        accept_fragile: false,
        life: quorate_model::life::KeyLife::default(),
    };
    let sign = Sign {
        key: "notary".parse().unwrap(),
        key_id: KeyId([0x22; 32]),
        payloads: vec![Payload::message(*b"hello"), Payload::digest([0xab; 32])],
    };
    vec![
        (
            "create a key",
            Role::Admin,
            command(1, CommandBody::CreateKey(create)),
        ),
        (
            "sign a message and a digest",
            Role::Client,
            command(2, CommandBody::Sign(sign)),
        ),
    ]
}

fn page() -> String {
    let key = SigningKey::from_bytes(&[7; 32]);
    let principal: PrincipalId = "ada".parse().unwrap();
    let mut text = String::from(
        "Every vector is made under cluster and roster `1111…11` (32 bytes) by principal `ada`, \
         whose Ed25519 seed is 32 bytes `07`.\n",
    );
    writeln!(text, "Its public key is `{}`.", IdentityKey::of(&key)).unwrap();
    for (title, role, command) in commands() {
        let bytes = quorate_proto::command::encode(&command);
        let digest = command_digest(&bytes);
        let said = EndorsementKind::Propose;
        let word = endorsement_digest(&command.cluster, &digest, said, &principal, role);
        let signed =
            SignedCommand::propose(bytes.clone(), &command.cluster, &principal, role, &key);
        write!(text, "\n## {title}\n\n").unwrap();
        writeln!(
            text,
            "Command id `{}`, role `{}`.\n",
            command.id,
            role.as_str()
        )
        .unwrap();
        writeln!(text, "| what | hex |\n|---|---|").unwrap();
        writeln!(text, "| command bytes | `{}` |", hex::encode(&bytes)).unwrap();
        writeln!(text, "| command digest | `{digest}` |").unwrap();
        writeln!(text, "| endorsement digest | `{word}` |").unwrap();
        writeln!(
            text,
            "| signature | `{}` |",
            signed.endorsements[0].signature
        )
        .unwrap();
    }
    text.push('\n');
    text
}

#[test]
fn the_page_of_vectors_is_what_the_code_makes() {
    let text = std::fs::read_to_string(super::root().join(PAGE)).unwrap();
    let (_, rest) = text.split_once(BEGIN).unwrap();
    let (printed, _) = rest.split_once(END).unwrap();

    assert_eq!(
        printed,
        page(),
        "put this between the markers of {PAGE}:\n{}",
        page()
    );
}

#[test]
fn a_vector_decodes_to_what_it_was_made_of() {
    for (_, _, command) in commands() {
        let bytes = quorate_proto::command::encode(&command);

        assert_eq!(quorate_proto::command::decode(&bytes), Ok(command));
    }
}
