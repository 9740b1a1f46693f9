//! From shares to a signature, and to whoever spoilt it (RFC 9591 section 5.3, P25).

use std::collections::BTreeSet;

use quorate_model::PartyIndex;

use super::{
    ShareBytes, Tweak, edwards,
    public::{Points, PublicKeys, at},
    secp,
    set::SigningSet,
};

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// Fewer signers than the key needs.
    #[error("aggregate {signers} of {threshold} shares")]
    TooFewSigners {
        /// How many are in the set.
        signers: usize,
        /// How many are needed.
        threshold: u16,
    },
    /// A signer that holds no share of the key.
    #[error("find signer {0} among the holders of the key")]
    Stranger(PartyIndex),
    /// The shares are not one of each signer of the set, in order.
    #[error("match shares with the signing set")]
    OtherShares,
    /// Keys of this scheme have no such tweak.
    #[error("tweak a key of a scheme without tweaks")]
    TweakUnsupported,
    /// The set is of another curve, or its commitments sum to the identity.
    #[error("sum the commitments of the signing set")]
    BadCommitments,
    /// Some shares do not hold.
    #[error("aggregate shares of which {} do not hold", culprits.len())]
    Cheaters {
        /// Whose.
        culprits: BTreeSet<PartyIndex>,
    },
    /// A bug on our side.
    #[error("invariant broken: {0}")]
    Invariant(&'static str),
}

/// A round on the curve of the key.
enum Round<'a> {
    Secp {
        forms: &'a secp::Forms,
        form: &'a secp::Form,
        round: secp::Round,
    },
    Edwards {
        round: edwards::Round,
    },
}

impl<'a> Round<'a> {
    fn new(
        keys: &'a PublicKeys,
        set: &SigningSet,
        message: &[u8],
        tweak: Tweak,
    ) -> Result<Self, AggregateError> {
        match &keys.points {
            Points::Secp { forms, .. } => {
                let form = forms.form(tweak).ok_or(AggregateError::TweakUnsupported)?;
                let round = secp::Round::new(forms.flavor, form, set, message)
                    .ok_or(AggregateError::BadCommitments)?;
                Ok(Self::Secp { forms, form, round })
            }
            Points::Edwards { group_key, .. } => {
                if tweak != Tweak::None {
                    return Err(AggregateError::TweakUnsupported);
                }
                let round = edwards::Round::new(group_key, set, message)
                    .ok_or(AggregateError::BadCommitments)?;
                Ok(Self::Edwards { round })
            }
        }
    }

    /// The signature; none if a share is not below the order.
    fn signature(&self, shares: &[(PartyIndex, ShareBytes)]) -> Option<Vec<u8>> {
        match self {
            Self::Secp { forms, round, .. } => {
                let shares: Vec<_> = shares
                    .iter()
                    .map(|(_, share)| secp::read_share(share))
                    .collect::<Option<_>>()?;
                Some(secp::signature(forms.flavor, round, &shares))
            }
            Self::Edwards { round } => {
                let shares: Vec<_> = shares
                    .iter()
                    .map(|(_, share)| edwards::read_share(share))
                    .collect::<Option<_>>()?;
                Some(edwards::signature(round, &shares))
            }
        }
    }

    fn share_holds(
        &self,
        keys: &PublicKeys,
        set: &SigningSet,
        signer: PartyIndex,
        share: &ShareBytes,
    ) -> bool {
        let Some(commitments) = set.commitments(signer) else {
            return false;
        };
        let entry = (signer, commitments);
        match (self, &keys.points) {
            (
                Self::Secp { forms, form, round },
                Points::Secp {
                    verifying_shares, ..
                },
            ) => at(verifying_shares, signer).is_some_and(|verifying_share| {
                secp::share_holds(forms, form, round, entry, verifying_share, share)
            }),
            (
                Self::Edwards { round },
                Points::Edwards {
                    verifying_shares, ..
                },
            ) => at(verifying_shares, signer).is_some_and(|verifying_share| {
                edwards::share_holds(round, entry, verifying_share, share)
            }),
            (Self::Secp { .. }, Points::Edwards { .. })
            | (Self::Edwards { .. }, Points::Secp { .. }) => false,
        }
    }
}

fn check_signers(keys: &PublicKeys, set: &SigningSet) -> Result<(), AggregateError> {
    let threshold = keys.threshold();
    if set.len() < usize::from(threshold) {
        return Err(AggregateError::TooFewSigners {
            signers: set.len(),
            threshold,
        });
    }
    match set
        .signers()
        .find(|signer| usize::from(signer.number()) > keys.count())
    {
        Some(stranger) => Err(AggregateError::Stranger(stranger)),
        None => Ok(()),
    }
}

/// Adds shares up to a signature and has it verified by a second library. Only if it does not hold,
/// each share is checked, and those that do not hold are named.
pub fn aggregate(
    keys: &PublicKeys,
    set: &SigningSet,
    message: &[u8],
    tweak: Tweak,
    shares: &[(PartyIndex, ShareBytes)],
) -> Result<Vec<u8>, AggregateError> {
    check_signers(keys, set)?;
    if !shares.iter().map(|(signer, _)| *signer).eq(set.signers()) {
        return Err(AggregateError::OtherShares);
    }
    let round = Round::new(keys, set, message, tweak)?;
    let verifier = keys
        .verifier(tweak)
        .ok_or(AggregateError::TweakUnsupported)?;
    if let Some(signature) = round.signature(shares)
        && verifier.verify(message, &signature).is_ok()
    {
        return Ok(signature);
    }
    let culprits: BTreeSet<_> = shares
        .iter()
        .filter(|(signer, share)| !round.share_holds(keys, set, *signer, share))
        .map(|(signer, _)| *signer)
        .collect();
    if culprits.is_empty() {
        return Err(AggregateError::Invariant(
            "shares that hold make a signature that holds",
        ));
    }
    Err(AggregateError::Cheaters { culprits })
}

/// Checks one share by itself.
pub fn verify_share(
    keys: &PublicKeys,
    set: &SigningSet,
    message: &[u8],
    tweak: Tweak,
    signer: PartyIndex,
    share: &ShareBytes,
) -> Result<(), AggregateError> {
    check_signers(keys, set)?;
    if set.commitments(signer).is_none() {
        return Err(AggregateError::OtherShares);
    }
    let round = Round::new(keys, set, message, tweak)?;
    if round.share_holds(keys, set, signer, share) {
        Ok(())
    } else {
        Err(AggregateError::Cheaters {
            culprits: BTreeSet::from([signer]),
        })
    }
}
