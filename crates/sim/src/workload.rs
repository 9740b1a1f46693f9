//! What clients ask for in a run, and what they were answered.

use ed25519_dalek::SigningKey;
use quorate_model::{
    CommandId, Digest, KeyName, KeyPurpose, NodeId, Payload, PrincipalId, Purposes, Scheme,
    UnixMillis,
    command::{Command, CommandBody, CreateKey, Sign, SignedCommand},
    operation::CommandView,
    refusal::Refusal,
    roster::{PinnedRoster, Role},
};

/// One command of a client, from its making to its answer.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The command.
    pub signed: SignedCommand,
    /// Its id.
    pub id: CommandId,
    /// The key that it is about.
    pub key: KeyName,
    /// What it asks to have signed; none for a creation.
    pub payloads: Vec<Payload>,
    /// Every final answer that the client was given.
    pub answers: Vec<Result<CommandView, Refusal>>,
    /// How often it was submitted.
    pub submitted: u32,
    /// Whether the client got what it asked for.
    pub done: bool,
}

/// Who speaks for a client.
pub struct Speaker<'a> {
    /// The roster.
    pub pinned: &'a PinnedRoster,
    /// The principal.
    pub principal: PrincipalId,
    /// Its role.
    pub role: Role,
    /// Its key.
    pub key: &'a SigningKey,
}

impl Speaker<'_> {
    /// Makes a command.
    pub fn command(&self, id: CommandId, created: UnixMillis, body: CommandBody) -> SignedCommand {
        let command = Command {
            cluster: self.pinned.cluster(),
            roster: self.pinned.hash(),
            id,
            created,
            expires: created.plus(3_600_000),
            body,
        };
        let bytes = quorate_proto::command::encode(&command);
        SignedCommand::propose(
            bytes,
            &self.pinned.cluster(),
            &self.principal,
            self.role,
            self.key,
        )
    }

    /// Asks for a key of all nodes.
    pub fn create(
        &self,
        id: CommandId,
        created: UnixMillis,
        key: KeyName,
        scheme: Scheme,
        threshold: u16,
        nodes: Vec<NodeId>,
    ) -> Operation {
        let purposes = Purposes::new(vec![KeyPurpose::Messages]).unwrap_or_else(|_| {
            unreachable!("one purpose is a set of purposes")
        });
        let body = CommandBody::CreateKey(CreateKey {
            key: key.clone(),
            scheme,
            threshold,
            nodes,
            purposes,
            accept_fragile: true,
        });
        Operation::new(self.command(id, created, body), id, key, Vec::new())
    }

    /// Asks for a signature over a message.
    pub fn sign(
        &self,
        id: CommandId,
        created: UnixMillis,
        key: KeyName,
        message: Vec<u8>,
    ) -> Operation {
        let payloads = vec![Payload::message(message)];
        let body =
            CommandBody::Sign(Sign { key: key.clone(), payloads: payloads.clone() });
        Operation::new(self.command(id, created, body), id, key, payloads)
    }
}

impl Operation {
    fn new(signed: SignedCommand, id: CommandId, key: KeyName, payloads: Vec<Payload>) -> Self {
        Self { signed, id, key, payloads, answers: Vec::new(), submitted: 0, done: false }
    }

    /// Whether it creates a key.
    pub fn is_creation(&self) -> bool {
        self.payloads.is_empty()
    }

    /// The digest of the command.
    pub fn digest(&self) -> Digest {
        self.signed.digest()
    }
}
