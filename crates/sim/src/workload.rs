//! What clients ask for in a run, and what they were answered.

use ed25519_dalek::SigningKey;
use quorate_model::{
    CommandId, DerivationPath, Digest, Epoch, KeyId, KeyName, KeyPurpose, NodeId, Payload,
    PrincipalId, Purposes, Scheme, UnixMillis,
    audit::message_hash,
    command::{
        ChangeRoster, Command, CommandBody, CreateKey, EndorsementKind, ReshareKey, Sign,
        SignedCommand,
    },
    destruction::{DestroyKey, DestroyStep},
    key::KeyRecord,
    operation::{CommandState, CommandView},
    refusal::Refusal,
    roster::{PinnedRoster, Role, Roster},
    standing::{SetKeyState, StateChange},
};

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Sign,
    State,
    Reshare,
    Roster,
    Destroy(DestroyStep),
}

/// What a resharing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Nothing but the shares: the same nodes hold them, with the same threshold.
    Refresh,
    /// One node takes the place of another, and the threshold stays.
    Replacement,
    /// The committee, the threshold, or both in another way.
    Other,
}

impl Renewal {
    fn of(source: &KeyRecord, threshold: u16, nodes: &[NodeId]) -> Self {
        let holders = source.participants.iter();
        let gone = holders.filter(|holder| !nodes.contains(&holder.node));
        let stays = threshold == source.threshold && nodes.len() == source.participants.len();
        match gone.count() {
            0 if stays => Self::Refresh,
            1 if stays => Self::Replacement,
            _ => Self::Other,
        }
    }
}

/// One command of a client, from its making to its answer.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// The command.
    pub(crate) signed: SignedCommand,
    /// Its id.
    pub(crate) id: CommandId,
    /// The name of the key that it is about.
    pub(crate) key: KeyName,
    /// The key that it is about.
    pub(crate) key_id: KeyId,
    /// The coordinator that its client knows; any of them where it knows all.
    pub(crate) desk: Option<usize>,
    /// What it asks for.
    pub(crate) kind: Kind,
    /// What it changes, where it is a resharing.
    pub(crate) renewal: Option<Renewal>,
    /// What it asks to have signed; none for a creation and a change of state.
    pub(crate) payloads: Vec<Payload>,
    /// Every final answer that the client was given.
    pub(crate) answers: Vec<Result<CommandView, Refusal>>,
    /// Whether the client got what it asked for.
    pub(crate) done: bool,
}

/// Who speaks for a client.
pub(crate) struct Speaker<'a> {
    /// The roster.
    pub(crate) pinned: &'a PinnedRoster,
    /// The role of all who speak.
    pub(crate) role: Role,
    /// The proposer, and those who approve, with their keys.
    pub(crate) speakers: Vec<(PrincipalId, &'a SigningKey)>,
}

impl Speaker<'_> {
    /// Makes a command.
    pub(crate) fn command(
        &self,
        id: CommandId,
        created: UnixMillis,
        body: CommandBody,
    ) -> SignedCommand {
        let command = Command {
            cluster: self.pinned.cluster(),
            roster: self.pinned.hash(),
            id,
            created,
            expires: created.plus(3_600_000),
            body,
        };
        let mut signed = SignedCommand {
            bytes: quorate_proto::command::encode(&command),
            endorsements: Vec::new(),
        };
        let mut kind = EndorsementKind::Propose;
        for (principal, key) in &self.speakers {
            let cluster = self.pinned.cluster();
            signed.endorse(&cluster, kind, principal, self.role, key);
            kind = EndorsementKind::Approve;
        }
        signed
    }

    /// Asks for a key of these nodes.
    pub(crate) fn create(
        &self,
        id: CommandId,
        created: UnixMillis,
        key: KeyName,
        scheme: Scheme,
        threshold: u16,
        nodes: Vec<NodeId>,
    ) -> Operation {
        let purposes = Purposes::new(vec![KeyPurpose::Messages, KeyPurpose::Digests])
            .unwrap_or_else(|_| unreachable!("two purposes are a set of purposes"));
        let body = CommandBody::CreateKey(CreateKey {
            key: key.clone(),
            scheme,
            threshold,
            nodes,
            purposes,
            accept_fragile: true,
            life: quorate_model::life::KeyLife::default(),
        });
        let signed = self.command(id, created, body);
        let key_id = KeyId::of(&signed.digest());
        Operation::new(signed, id, (key, key_id), Vec::new())
    }

    /// Asks for a change of the state of a key.
    pub(crate) fn set_state(
        &self,
        id: CommandId,
        created: UnixMillis,
        (key, key_id): (KeyName, KeyId),
        sequence: u64,
        change: StateChange,
    ) -> Operation {
        let body = CommandBody::SetKeyState(SetKeyState {
            key: key.clone(),
            key_id,
            sequence,
            change,
            reason: "simulated".to_owned(),
        });
        Operation {
            kind: Kind::State,
            ..Operation::new(
                self.command(id, created, body),
                id,
                (key, key_id),
                Vec::new(),
            )
        }
    }

    /// Takes a step towards the end of a key.
    pub(crate) fn destroy(
        &self,
        id: CommandId,
        created: UnixMillis,
        (key, key_id): (KeyName, KeyId),
        step: DestroyStep,
    ) -> Operation {
        let body = CommandBody::DestroyKey(DestroyKey {
            key: key.clone(),
            key_id,
            step,
            reason: "simulated".to_owned(),
        });
        Operation {
            kind: Kind::Destroy(step),
            ..Operation::new(
                self.command(id, created, body),
                id,
                (key, key_id),
                Vec::new(),
            )
        }
    }

    /// Makes the next roster.
    pub(crate) fn change_roster(
        &self,
        id: CommandId,
        created: UnixMillis,
        change: impl FnOnce(&mut Roster),
    ) -> Operation {
        let mut roster = self.pinned.roster().clone();
        roster.version += 1;
        roster.parents = vec![self.pinned.hash()];
        change(&mut roster);
        let roster = roster
            .to_bytes()
            .unwrap_or_else(|error| unreachable!("a roster of a run is one: {error}"));
        let body = CommandBody::ChangeRoster(ChangeRoster { roster });
        let signed = self.command(id, created, body);
        let nobody = KeyId::of(&signed.digest());
        let none: KeyName = "none"
            .parse()
            .unwrap_or_else(|_| unreachable!("a name is a name"));
        Operation {
            kind: Kind::Roster,
            ..Operation::new(signed, id, (none, nobody), Vec::new())
        }
    }

    /// Asks for new shares of a key.
    pub(crate) fn reshare(
        &self,
        id: CommandId,
        created: UnixMillis,
        source: &KeyRecord,
        first_epoch: Epoch,
        threshold: u16,
        nodes: Vec<NodeId>,
    ) -> Operation {
        let (key, key_id) = (source.name.clone(), source.id());
        let renewal = Some(Renewal::of(source, threshold, &nodes));
        let body = CommandBody::ReshareKey(ReshareKey {
            key: key.clone(),
            key_id,
            source_epoch: source.epoch,
            first_epoch,
            threshold,
            nodes,
            accept_fragile: true,
        });
        Operation {
            kind: Kind::Reshare,
            renewal,
            ..Operation::new(
                self.command(id, created, body),
                id,
                (key, key_id),
                Vec::new(),
            )
        }
    }

    /// Asks for a signature over a message by a child of the key; over its digest where the scheme
    /// signs nothing else.
    pub(crate) fn sign(
        &self,
        id: CommandId,
        created: UnixMillis,
        (key, key_id): (KeyName, KeyId),
        scheme: Scheme,
        message: Vec<u8>,
        path: DerivationPath,
    ) -> Operation {
        let payload = if scheme.is_frost() {
            Payload::message(message)
        } else {
            Payload::digest(*message_hash(&message).as_bytes())
        };
        let payloads = vec![payload.at(path)];
        let body = CommandBody::Sign(Sign {
            key: key.clone(),
            key_id,
            payloads: payloads.clone(),
        });
        Operation::new(self.command(id, created, body), id, (key, key_id), payloads)
    }
}

impl Operation {
    fn new(
        signed: SignedCommand,
        id: CommandId,
        (key, key_id): (KeyName, KeyId),
        payloads: Vec<Payload>,
    ) -> Self {
        Self {
            signed,
            id,
            key,
            key_id,
            desk: None,
            kind: if payloads.is_empty() {
                Kind::Create
            } else {
                Kind::Sign
            },
            renewal: None,
            payloads,
            answers: Vec::new(),
            done: false,
        }
    }

    /// Whether it creates a key.
    pub(crate) fn is_creation(&self) -> bool {
        self.kind == Kind::Create
    }

    /// Whether it dealt shares again, and was not overtaken by another one.
    pub(crate) fn is_reshared(&self) -> bool {
        self.kind == Kind::Reshare && self.succeeded()
    }

    /// Whether it was carried out.
    pub(crate) fn succeeded(&self) -> bool {
        let succeeded = |answer: &Result<CommandView, Refusal>| {
            answer
                .as_ref()
                .is_ok_and(|view| view.state == CommandState::Succeeded)
        };
        self.answers.iter().any(succeeded)
    }

    /// Says what it is and how it was last answered.
    pub(crate) fn stands(&self) -> String {
        let last = match self.answers.last() {
            None => "no answer".to_owned(),
            Some(Err(refusal)) => refusal.to_string(),
            Some(Ok(view)) => format!("{:?} {:?}", view.state, view.error),
        };
        format!("{:?} of \"{}\" ({}): {last}", self.kind, self.key, self.id)
    }

    /// Whether it asks for a signature.
    pub(crate) fn signs(&self) -> bool {
        self.kind == Kind::Sign
    }

    /// Whether it asked for a signature, and got it.
    pub(crate) fn is_signed(&self) -> bool {
        self.signs() && self.succeeded()
    }

    /// The same, by a client that knows one coordinator only.
    pub(crate) fn through(self, desk: Option<usize>) -> Self {
        Self { desk, ..self }
    }

    /// The digest of the command.
    pub(crate) fn digest(&self) -> Digest {
        self.signed.digest()
    }
}
