//! FROST on secp256k1: RFC 9591 as it stands, and with BIP-340 signatures.
//!
//! Points here are public, so libsecp256k1's variable-time arithmetic serves them. Secrets meet
//! scalars only, in k256's constant-time arithmetic.

use frost_core::Ciphersuite;
use frost_secp256k1_tr::Secp256K1Sha256TR;
use k256::{
    Scalar, U256,
    elliptic_curve::{PrimeField as _, ops::Reduce},
};
use quorate_model::{PartyIndex, Scheme};
use secp256k1::{PublicKey, Scalar as TweakScalar};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    ShareBytes, Tweak,
    set::{NonceCommitments, Points, SigningSet},
};
use crate::{
    sharing::SecretScalar,
    suite::{Secp, lagrange},
};

/// Which hashes and which signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    Rfc9591,
    Bip340,
}

impl Flavor {
    pub(super) fn of(scheme: Scheme) -> Self {
        if scheme == Scheme::Bip340 {
            Self::Bip340
        } else {
            Self::Rfc9591
        }
    }

    /// H1: binding factors.
    fn h1(self, input: &[u8]) -> Scalar {
        match self {
            Self::Rfc9591 => Secp::H1(input),
            Self::Bip340 => Secp256K1Sha256TR::H1(input),
        }
    }

    /// H2: the challenge.
    fn h2(self, input: &[u8]) -> Scalar {
        match self {
            Self::Rfc9591 => Secp::H2(input),
            Self::Bip340 => Secp256K1Sha256TR::H2(input),
        }
    }

    /// H4: the message in binding factors.
    fn h4(self, input: &[u8]) -> [u8; 32] {
        match self {
            Self::Rfc9591 => Secp::H4(input),
            Self::Bip340 => Secp256K1Sha256TR::H4(input),
        }
    }

    /// H5: the commitments in binding factors.
    fn h5(self, input: &[u8]) -> [u8; 32] {
        match self {
            Self::Rfc9591 => Secp::H5(input),
            Self::Bip340 => Secp256K1Sha256TR::H5(input),
        }
    }
}

/// The key that signs, and how shares of the group key become shares of it.
///
/// BIP-340 signs under points with even Y. A share s of P becomes a share of the even one of P and
/// -P by negating it where P is odd; the BIP-341 tweak t is added to that, and the sum is made even
/// again.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) encoded: [u8; 33],
    negate_before: bool,
    tweak: Option<Scalar>,
    negate_after: bool,
}

const EVEN: u8 = 2;

impl Form {
    fn rfc9591(group_key: &PublicKey) -> Self {
        let encoded = group_key.serialize();
        Self {
            encoded,
            negate_before: false,
            tweak: None,
            negate_after: false,
        }
    }

    fn bip340(group_key: &PublicKey) -> Self {
        let mut encoded = group_key.serialize();
        let negate_before = take_sign(&mut encoded);
        Self {
            encoded,
            negate_before,
            tweak: None,
            negate_after: false,
        }
    }

    /// BIP-341 without scripts: `Q = P + H_TapTweak(x(P))·G` for the even P.
    fn taproot_key_path(group_key: &PublicKey) -> Option<Self> {
        let Self {
            encoded: even,
            negate_before,
            ..
        } = Self::bip340(group_key);
        let tweak = tap_tweak(&even);
        let internal = PublicKey::from_byte_array_compressed(even).ok()?;
        let mut encoded = internal
            .add_exp_tweak(&tweak_scalar(&tweak)?)
            .ok()?
            .serialize();
        let negate_after = take_sign(&mut encoded);
        Some(Self {
            encoded,
            negate_before,
            tweak: Some(tweak),
            negate_after,
        })
    }

    /// The share of the key that signs.
    pub(super) fn share(&self, share: &Scalar) -> Zeroizing<Scalar> {
        let mut share = Zeroizing::new(*share);
        if self.negate_before {
            *share = -*share;
        }
        if let Some(tweak) = &self.tweak {
            *share += tweak;
        }
        if self.negate_after {
            *share = -*share;
        }
        share
    }

    /// The verifying share of the key that signs.
    fn verifying_share(&self, share: &PublicKey) -> Option<PublicKey> {
        let mut share = *share;
        if self.negate_before {
            share = share.negate();
        }
        if let Some(tweak) = &self.tweak {
            share = share.add_exp_tweak(&tweak_scalar(tweak)?).ok()?;
        }
        Some(if self.negate_after {
            share.negate()
        } else {
            share
        })
    }
}

/// Makes an encoded point the even one of itself and its negation; says whether it was odd.
fn take_sign(encoded: &mut [u8; 33]) -> bool {
    let [sign, ..] = encoded;
    let odd = *sign != EVEN;
    *sign = EVEN;
    odd
}

/// The tagged hash of BIP-341 over the x coordinate of an even point, as a scalar.
fn tap_tweak(even: &[u8; 33]) -> Scalar {
    let [_, x @ ..] = even;
    let tag = Sha256::digest(b"TapTweak");
    let hash = Sha256::new()
        .chain_update(tag)
        .chain_update(tag)
        .chain_update(x)
        .finalize();
    <Scalar as Reduce<U256>>::reduce_bytes(&hash)
}

/// The forms that a key can sign in.
#[derive(Clone, Debug)]
pub(super) struct Forms {
    pub(super) flavor: Flavor,
    untweaked: Form,
    taproot: Option<Form>,
}

impl Forms {
    pub(super) fn new(flavor: Flavor, group_key: &PublicKey) -> Option<Self> {
        Some(match flavor {
            Flavor::Rfc9591 => Self {
                flavor,
                untweaked: Form::rfc9591(group_key),
                taproot: None,
            },
            Flavor::Bip340 => Self {
                flavor,
                untweaked: Form::bip340(group_key),
                taproot: Some(Form::taproot_key_path(group_key)?),
            },
        })
    }

    /// The form for a tweak; none if keys of this flavor have no such tweak.
    pub(super) fn form(&self, tweak: Tweak) -> Option<&Form> {
        match tweak {
            Tweak::None => Some(&self.untweaked),
            Tweak::TaprootKeyPath => self.taproot.as_ref(),
        }
    }
}

fn tweak_scalar(scalar: &Scalar) -> Option<TweakScalar> {
    TweakScalar::from_be_bytes(scalar.to_bytes().into()).ok()
}

/// What the signing set and the message determine: the same for all signers.
pub(super) struct Round {
    /// The indices of the signers, in order.
    signers: Vec<PartyIndex>,
    /// The binding factor of each signer, in order.
    factors: Vec<Scalar>,
    /// R, encoded.
    pub(super) commitment: [u8; 33],
    challenge: Scalar,
}

impl Round {
    /// Computes binding factors, R and the challenge (RFC 9591 sections 4.4 to 4.6).
    ///
    /// None if a sum of points is the identity, or the set is on another curve.
    pub(super) fn new(
        flavor: Flavor,
        form: &Form,
        set: &SigningSet,
        message: &[u8],
    ) -> Option<Self> {
        let signers: Vec<_> = set.signers().collect();
        let factors = binding_factors(flavor, form, set, message);
        let mut points = Vec::with_capacity(2 * signers.len());
        for ((_, commitments), factor) in set.entries().iter().zip(&factors) {
            let (hiding, binding) = secp_points(commitments)?;
            points.push(*hiding);
            points.push(binding.mul_tweak(&tweak_scalar(factor)?).ok()?);
        }
        let points: Vec<_> = points.iter().collect();
        let commitment = PublicKey::combine_keys(&points).ok()?.serialize();
        let challenge = challenge(flavor, &commitment, &form.encoded, message);
        Some(Self {
            signers,
            factors,
            commitment,
            challenge,
        })
    }

    /// Whether the nonces are negated: BIP-340 signs for the even one of R and -R.
    fn negates(&self, flavor: Flavor) -> bool {
        let [sign, ..] = self.commitment;
        flavor == Flavor::Bip340 && sign != EVEN
    }

    fn factor_of(&self, signer: PartyIndex) -> Option<&Scalar> {
        let mut pairs = self.signers.iter().zip(&self.factors);
        pairs
            .find(|(index, _)| **index == signer)
            .map(|(_, factor)| factor)
    }
}

/// `rho_i = H1(key, H4(message), H5(commitments), i)`.
fn binding_factors(flavor: Flavor, form: &Form, set: &SigningSet, message: &[u8]) -> Vec<Scalar> {
    let mut encoded = Vec::with_capacity(98 * set.len());
    for (signer, commitments) in set.entries() {
        encoded.extend_from_slice(&encode_index(*signer));
        encoded.extend_from_slice(commitments.hiding());
        encoded.extend_from_slice(commitments.binding());
    }
    let mut input = Vec::with_capacity(33 + 3 * 32);
    input.extend_from_slice(&form.encoded);
    input.extend_from_slice(&flavor.h4(message));
    input.extend_from_slice(&flavor.h5(&encoded));
    let prefix = input.len();
    set.signers()
        .map(|signer| {
            input.truncate(prefix);
            input.extend_from_slice(&encode_index(signer));
            flavor.h1(&input)
        })
        .collect()
}

fn encode_index(index: PartyIndex) -> [u8; 32] {
    Scalar::from(u64::from(index.number())).to_bytes().into()
}

/// c = H2(R, key, message); BIP-340 takes x coordinates.
fn challenge(flavor: Flavor, commitment: &[u8; 33], key: &[u8; 33], message: &[u8]) -> Scalar {
    let ([_, commitment_x @ ..], [_, key_x @ ..]) = (commitment, key);
    let (commitment, key): (&[u8], &[u8]) = match flavor {
        Flavor::Rfc9591 => (commitment, key),
        Flavor::Bip340 => (commitment_x, key_x),
    };
    flavor.h2(&[commitment, key, message].concat())
}

fn secp_points(commitments: &NonceCommitments) -> Option<(&PublicKey, &PublicKey)> {
    match &commitments.0 {
        Points::Secp {
            hiding, binding, ..
        } => Some((hiding, binding)),
        Points::Edwards { .. } => None,
    }
}

/// `z_i = d_i + e_i·rho_i + lambda_i·s_i·c`, with the nonces negated where R is odd under BIP-340.
pub(super) fn share(
    forms: &Forms,
    form: &Form,
    round: &Round,
    signer: PartyIndex,
    (hiding, binding): (&SecretScalar<Secp>, &SecretScalar<Secp>),
    share: &SecretScalar<Secp>,
) -> Option<ShareBytes> {
    let lambda = lagrange::<Secp>(&round.signers, signer)?;
    let factor = round.factor_of(signer)?;
    let mut nonce = Zeroizing::new(*hiding.expose() + *binding.expose() * factor);
    if round.negates(forms.flavor) {
        *nonce = -*nonce;
    }
    let share = form.share(share.expose());
    let z = *nonce + *share * (lambda * round.challenge);
    Some(z.to_bytes().into())
}

/// Checks `z_i·G = D_i + rho_i·E_i + lambda_i·c·Y_i`.
pub(super) fn share_holds(
    forms: &Forms,
    form: &Form,
    round: &Round,
    (signer, commitments): (PartyIndex, &NonceCommitments),
    verifying_share: &PublicKey,
    share: &ShareBytes,
) -> bool {
    let check = || {
        let z = read_share(share)?;
        let (hiding, binding) = secp_points(commitments)?;
        let factor = tweak_scalar(round.factor_of(signer)?)?;
        let mut nonce = hiding.combine(&binding.mul_tweak(&factor).ok()?).ok()?;
        if round.negates(forms.flavor) {
            nonce = nonce.negate();
        }
        let lambda = lagrange::<Secp>(&round.signers, signer)?;
        let factor = tweak_scalar(&(lambda * round.challenge))?;
        let share = form
            .verifying_share(verifying_share)?
            .mul_tweak(&factor)
            .ok()?;
        let rest = share.negate().add_exp_tweak(&tweak_scalar(&z)?).ok()?;
        Some(rest == nonce)
    };
    check().unwrap_or(false)
}

/// Reads a share; none if it is not below the order.
pub(super) fn read_share(share: &ShareBytes) -> Option<Scalar> {
    Option::from(Scalar::from_repr((*share).into()))
}

/// The signature (R, z).
pub(super) fn signature(flavor: Flavor, round: &Round, shares: &[Scalar]) -> Vec<u8> {
    let z: Scalar = shares.iter().sum();
    let [_, x @ ..] = &round.commitment;
    let commitment: &[u8] = match flavor {
        Flavor::Rfc9591 => &round.commitment,
        Flavor::Bip340 => x,
    };
    [commitment, &z.to_bytes()].concat()
}
