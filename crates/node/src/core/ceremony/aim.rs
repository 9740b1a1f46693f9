//! What a ceremony is for.

use quorate_model::{
    Digest, Epoch, KeyName, KeyRecord, NodeId, PartyIndex, Purposes, Scheme,
    certificate::{PreparedStatement, participants_of, verifying_shares_hash},
    command::{CreateKey, ReshareKey},
    key::Participant,
    session::Dealer,
};
use quorate_protocol::{ceremony::Sharing, reshare::ReshareSource};

/// What a ceremony is to make.
pub(super) enum Aim {
    /// A key.
    Create(CreateKey),
    /// New shares of one.
    Reshare(Box<Resharing>),
}

/// A resharing that was judged.
pub(super) struct Resharing {
    pub(super) command: ReshareKey,
    /// The epoch that is reshared.
    pub(super) source: KeyRecord,
    /// The same as the protocol takes it.
    pub(super) statement: ReshareSource,
    /// The encoded certificate of the key's birth.
    pub(super) birth: Vec<u8>,
    /// Everybody who takes part, by index in the session.
    pub(super) participants: Vec<Participant>,
    /// Those of them who deal.
    pub(super) dealers: Vec<Dealer>,
    /// Where the epoch stands that is reshared.
    pub(super) order: (Epoch, Digest),
}

impl Aim {
    pub(super) fn key(&self) -> &KeyName {
        match self {
            Self::Create(create) => &create.key,
            Self::Reshare(resharing) => &resharing.command.key,
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        match self {
            Self::Create(create) => create.scheme,
            Self::Reshare(resharing) => resharing.source.scheme,
        }
    }

    fn purposes(&self) -> &Purposes {
        match self {
            Self::Create(create) => &create.purposes,
            Self::Reshare(resharing) => &resharing.source.purposes,
        }
    }

    pub(super) fn threshold(&self) -> u16 {
        match self {
            Self::Create(create) => create.threshold,
            Self::Reshare(resharing) => resharing.command.threshold,
        }
    }

    /// Who holds shares afterwards.
    pub(super) fn holders(&self) -> &[NodeId] {
        match self {
            Self::Create(create) => &create.nodes,
            Self::Reshare(resharing) => &resharing.command.nodes,
        }
    }

    /// Everybody who takes part, by index in the session (P5).
    pub(super) fn participants(&self) -> Vec<Participant> {
        match self {
            Self::Create(create) => participants_of(&create.nodes),
            Self::Reshare(resharing) => resharing.participants.clone(),
        }
    }

    pub(super) fn node_at(&self, index: PartyIndex) -> Option<NodeId> {
        let mut participants = self.participants().into_iter();
        participants.find(|p| p.index == index).map(|p| p.node)
    }

    fn source(&self) -> Option<(Epoch, Digest)> {
        match self {
            Self::Create(_) => None,
            Self::Reshare(resharing) => {
                Some((resharing.source.epoch, resharing.source.certificate))
            }
        }
    }

    /// What a holder of the new sharing states about it (P19).
    pub(super) fn statement(
        &self,
        roster: Digest,
        command: Digest,
        epoch: Epoch,
        sharing: &Sharing,
    ) -> PreparedStatement {
        PreparedStatement {
            session: sharing.session.id(),
            roster,
            command,
            key: self.key().clone(),
            scheme: self.scheme(),
            purposes: self.purposes().clone(),
            epoch,
            source: self.source(),
            threshold: self.threshold(),
            participants: participants_of(self.holders()),
            group_key: sharing.group_key.clone(),
            verifying_shares: verifying_shares_hash(&sharing.verifying_shares),
            chain_code: sharing.chain_code,
            transcript: sharing.transcript,
        }
    }
}
