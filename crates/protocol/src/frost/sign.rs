//! One signer's part (RFC 9591 section 5.2).

use super::{
    ShareBytes, Tweak, edwards,
    key::{Inner, SigningKeyShare},
    nonces::{NoncePair, Scalars},
    secp,
    set::SigningSet,
};

/// Why no share is made. The nonces are gone in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Fewer signers than the key needs.
    #[error("sign with {signers} of {threshold} signers")]
    TooFewSigners {
        /// How many are in the set.
        signers: usize,
        /// How many are needed.
        threshold: u16,
    },
    /// The set does not contain this signer.
    #[error("find this signer in the signing set")]
    NotInSet,
    /// The set holds other commitments for this signer than those of the nonces.
    #[error("compare the nonces with their commitments in the signing set")]
    ForeignCommitments,
    /// Keys of this scheme have no such tweak.
    #[error("tweak a key of a scheme without tweaks")]
    TweakUnsupported,
    /// Nonces or commitments of another curve than the key.
    #[error("sign with nonces of another scheme")]
    OtherScheme,
    /// The commitments sum to the identity, or to no point of the group.
    #[error("sum the commitments of the signing set")]
    BadCommitments,
}

/// Makes this signer's share `z_i` of a signature over a message.
///
/// # Security
///
/// The nonces are consumed, whatever comes of it. A pair that answers two signing sets gives the
/// share of the key away.
pub fn sign_share(
    key: &SigningKeyShare,
    nonces: NoncePair,
    set: &SigningSet,
    message: &[u8],
    tweak: Tweak,
) -> Result<ShareBytes, SignError> {
    let threshold = key.threshold();
    if set.len() < usize::from(threshold) {
        return Err(SignError::TooFewSigners {
            signers: set.len(),
            threshold,
        });
    }
    let in_set = set.commitments(key.index()).ok_or(SignError::NotInSet)?;
    if in_set != nonces.commitments() {
        return Err(SignError::ForeignCommitments);
    }
    let NoncePair { scalars, .. } = nonces;
    match (&key.inner, &*scalars) {
        (Inner::Secp { share, forms }, Scalars::Secp { hiding, binding }) => {
            let form = forms.form(tweak).ok_or(SignError::TweakUnsupported)?;
            secp::Round::new(forms.flavor, form, set, message)
                .and_then(|round| {
                    secp::share(forms, form, &round, key.index(), (hiding, binding), share)
                })
                .ok_or(SignError::BadCommitments)
        }
        (Inner::Edwards { share, group_key }, Scalars::Edwards { hiding, binding }) => {
            if tweak != Tweak::None {
                return Err(SignError::TweakUnsupported);
            }
            edwards::Round::new(group_key, set, message)
                .filter(edwards::Round::is_in_group)
                .and_then(|round| edwards::share(&round, key.index(), (hiding, binding), share))
                .ok_or(SignError::BadCommitments)
        }
        (Inner::Secp { .. }, Scalars::Edwards { .. })
        | (Inner::Edwards { .. }, Scalars::Secp { .. }) => Err(SignError::OtherScheme),
    }
}
