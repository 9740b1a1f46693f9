//! What a ceremony is for.

use std::{collections::BTreeSet, sync::Arc};

use quorate_model::{
    Epoch, KeyName, KeyRecord, NodeId, Scheme,
    certificate::participants_of,
    command::{CommandBody, CreateKey, ReshareKey},
    key::Participant,
    node_api::ReshareFrom,
    session::reshare_places,
};

use crate::core::keys::Certified;

/// What a ceremony is to make.
pub(super) enum Aim {
    /// A key.
    Create(CreateKey),
    /// New shares of one.
    Reshare(Box<Resharing>),
}

/// A resharing under way.
pub(super) struct Resharing {
    pub(super) reshare: ReshareKey,
    /// The epoch that is reshared.
    pub(super) source: Arc<Certified>,
    /// Who deals in this attempt.
    pub(super) dealers: Vec<Participant>,
    /// Holders that were silent or guilty when they were to deal.
    pub(super) avoided: BTreeSet<NodeId>,
}

impl Resharing {
    /// How many holders deal.
    pub(super) fn needed(&self) -> usize {
        usize::from(self.source.record.threshold)
    }

    pub(super) fn receives(&self, node: &NodeId) -> bool {
        self.reshare.nodes.contains(node)
    }

    /// The nodes that have shares of the epoch that is reshared.
    pub(super) fn holders(&self) -> BTreeSet<NodeId> {
        let holders = self.source.record.participants.iter();
        holders.map(|holder| holder.node.clone()).collect()
    }

    /// The nodes that may have shares below an epoch that an attempt made. New holders keep what
    /// earlier attempts left.
    pub(super) fn keepers(&self, made: &KeyRecord) -> BTreeSet<NodeId> {
        let mut keepers = self.holders();
        if made.epoch != self.first_epoch() {
            keepers.extend(made.participants.iter().map(|p| p.node.clone()));
        }
        keepers
    }

    /// The epoch of the first attempt.
    fn first_epoch(&self) -> Epoch {
        let next = Epoch(self.source.record.epoch.0.saturating_add(1));
        self.reshare.first_epoch.max(next)
    }
}

impl Aim {
    pub(super) fn key(&self) -> &KeyName {
        match self {
            Self::Create(create) => &create.key,
            Self::Reshare(resharing) => &resharing.reshare.key,
        }
    }

    pub(super) fn body(&self) -> CommandBody {
        match self {
            Self::Create(create) => CommandBody::CreateKey(create.clone()),
            Self::Reshare(resharing) => CommandBody::ReshareKey(resharing.reshare.clone()),
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        match self {
            Self::Create(create) => create.scheme,
            Self::Reshare(resharing) => resharing.source.record.scheme,
        }
    }

    /// Who holds shares afterwards.
    pub(super) fn holders(&self) -> &[NodeId] {
        match self {
            Self::Create(create) => &create.nodes,
            Self::Reshare(resharing) => &resharing.reshare.nodes,
        }
    }

    /// How many of them sign.
    pub(super) fn threshold(&self) -> u16 {
        match self {
            Self::Create(create) => create.threshold,
            Self::Reshare(resharing) => resharing.reshare.threshold,
        }
    }

    /// Everybody who takes part in the rounds, by index in the session.
    pub(super) fn participants(&self) -> Vec<Participant> {
        match self {
            Self::Create(create) => participants_of(&create.nodes),
            Self::Reshare(resharing) => {
                reshare_places(&resharing.reshare.nodes, &resharing.dealers).0
            }
        }
    }

    /// The epoch of the first attempt.
    pub(super) fn first_epoch(&self) -> Epoch {
        match self {
            Self::Create(_) => Epoch(1),
            Self::Reshare(resharing) => resharing.first_epoch(),
        }
    }

    /// Whether an attempt may take this number.
    pub(super) fn can_make(&self, epoch: Epoch) -> bool {
        match self {
            Self::Create(_) => true,
            Self::Reshare(resharing) => resharing.reshare.can_make(epoch),
        }
    }

    /// The epoch that is reshared.
    pub(super) fn source_record(&self) -> Option<&KeyRecord> {
        match self {
            Self::Create(_) => None,
            Self::Reshare(resharing) => Some(&resharing.source.record),
        }
    }

    /// What nodes are shown of the epoch that is reshared.
    pub(super) fn source(&self) -> Option<ReshareFrom> {
        match self {
            Self::Create(_) => None,
            Self::Reshare(resharing) => Some(ReshareFrom {
                evidence: resharing.source.evidence(),
                dealers: resharing.dealers.iter().map(|d| d.node.clone()).collect(),
            }),
        }
    }

    /// The certificate of the key's birth, beside which that of a later epoch is verified.
    pub(super) fn birth(&self) -> Option<Vec<u8>> {
        match self {
            Self::Create(_) => None,
            Self::Reshare(resharing) => Some(resharing.source.origin().to_vec()),
        }
    }

    /// Who must be there, for people.
    pub(super) const fn needs(&self) -> &'static str {
        match self {
            Self::Create(_) => "every node of a new key must take part",
            Self::Reshare(_) => {
                "every node that is to hold a share must take part, and as many holders as sign"
            }
        }
    }
}
