//! Schnorr's proof that a dealer knows its constant term (Schnorr, CRYPTO 1989), bound to session
//! and dealer. Without it the last dealer could choose its term against those of the others, and so
//! choose the key.

use frost_core::Scalar;
use quorate_model::{Digest, PartyIndex, Tag};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};

use super::{Commitment, Polynomial, SecretScalar, random_nonzero};
use crate::suite::{
    Suite, decode_element, decode_scalar, encode_element, encode_scalar, hash_to_scalar,
};

/// The proof (R, z): R = k·G and z = k + c·a, where c = H(session, dealer, A, R).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofOfKnowledge {
    /// R, encoded.
    pub commitment: Vec<u8>,
    /// z, encoded.
    pub response: [u8; 32],
}

impl std::fmt::Debug for ProofOfKnowledge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProofOfKnowledge")
    }
}

fn challenge<C: Suite>(
    session: &Digest,
    dealer: PartyIndex,
    constant: &[u8],
    commitment: &[u8],
) -> Scalar<C> {
    hash_to_scalar::<C>(Tag::ProofOfKnowledge, |tagged| {
        tagged
            .text(C::ID)
            .digest(session)
            .number(u64::from(dealer.number()))
            .bytes(constant)
            .bytes(commitment)
    })
}

impl ProofOfKnowledge {
    /// Proves knowledge of the constant term of a polynomial.
    pub(crate) fn prove<C: Suite>(
        session: &Digest,
        dealer: PartyIndex,
        polynomial: &Polynomial<C>,
        rng: &mut dyn CryptoRngCore,
    ) -> Option<Self> {
        let secret = polynomial.constant()?;
        let constant = encode_element::<C>(&C::mul_base(secret.expose()))?;
        let nonce = SecretScalar::<C>::new(random_nonzero::<C>(rng));
        let commitment = encode_element::<C>(&C::mul_base(nonce.expose()))?;
        let c = challenge::<C>(session, dealer, &constant, &commitment);
        let response = encode_scalar::<C>(&(*nonce.expose() + c * *secret.expose()));
        Some(Self {
            commitment,
            response,
        })
    }

    /// Checks the proof against the commitment to the constant term: z·G = R + c·A.
    pub(crate) fn holds<C: Suite>(
        &self,
        session: &Digest,
        dealer: PartyIndex,
        polynomial: &Commitment<C>,
    ) -> bool {
        let constant = polynomial.constant();
        let (Some(encoded), Some(commitment), Some(response)) = (
            encode_element::<C>(&constant),
            decode_element::<C>(&self.commitment),
            decode_scalar::<C>(&self.response),
        ) else {
            return false;
        };
        let c = challenge::<C>(session, dealer, &encoded, &self.commitment);
        C::mul_base(&response) == commitment + constant * c
    }
}
