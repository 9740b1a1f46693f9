//! What a run ends with.

use crate::{
    abort::Abort,
    ceremony::{Outcome, Output, Sharing},
    sharing::SigningShare,
};

/// The new sharing of a key as one who took part has it. It names its source in the binding of its
/// session; group key and chain code are those of the source.
#[derive(Debug)]
pub enum ReshareOutput {
    /// A holder of the new epoch.
    Holder {
        /// Its share.
        share: SigningShare,
        /// The new sharing.
        sharing: Sharing,
    },
    /// A dealer that holds nothing in the new epoch. Whether the receivers have taken what it dealt
    /// it does not know; only the certificate of the new epoch says so (P28).
    Dealer {
        /// The new sharing.
        sharing: Sharing,
    },
}

impl ReshareOutput {
    /// The new sharing, public and the same for all.
    pub fn sharing(&self) -> &Sharing {
        match self {
            Self::Holder { sharing, .. } | Self::Dealer { sharing } => sharing,
        }
    }
}

impl Output for ReshareOutput {
    fn conclude(Outcome { share, sharing }: Outcome) -> Result<Self, Abort> {
        Ok(match share {
            Some(share) => Self::Holder { share, sharing },
            None => Self::Dealer { sharing },
        })
    }
}
