//! Keys that a test deals to itself, and one signing by all of a set.

use quorate_model::{PartyIndex, Scheme};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::super::{
    Hedge, NonceCommitments, NoncePair, PublicKeys, ShareBytes, SigningKeyShare, SigningSet, Tweak,
    sign_share,
};
use crate::{
    sharing::{Polynomial, SigningShare},
    suite::{Curve, Edwards, Secp, Suite, encode_element},
};

pub(super) fn party(index: u16) -> PartyIndex {
    PartyIndex::new(index).unwrap()
}

pub(super) struct Dealt {
    pub(super) scheme: Scheme,
    pub(super) threshold: u16,
    pub(super) group_key: Vec<u8>,
    pub(super) verifying_shares: Vec<Vec<u8>>,
    pub(super) shares: Vec<[u8; 32]>,
    pub(super) rng: ChaCha20Rng,
}

pub(super) fn deal(scheme: Scheme, threshold: u16, count: u16, seed: u64) -> Dealt {
    match Curve::of(scheme).unwrap() {
        Curve::Secp => deal_on::<Secp>(scheme, threshold, count, seed),
        Curve::Edwards => deal_on::<Edwards>(scheme, threshold, count, seed),
    }
}

fn deal_on<C: Suite>(scheme: Scheme, threshold: u16, count: u16, seed: u64) -> Dealt {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let polynomial = Polynomial::<C>::random(threshold, &mut rng);
    let commitment = polynomial.commit();
    Dealt {
        scheme,
        threshold,
        group_key: encode_element::<C>(&commitment.constant()).unwrap(),
        verifying_shares: PartyIndex::first(count)
            .map(|index| encode_element::<C>(&commitment.evaluate(index)).unwrap())
            .collect(),
        shares: PartyIndex::first(count)
            .map(|index| *polynomial.evaluate(index).to_bytes())
            .collect(),
        rng,
    }
}

impl Dealt {
    pub(super) fn key(&self, index: PartyIndex) -> SigningKeyShare {
        let at = usize::from(index.number()) - 1;
        SigningKeyShare::new(
            self.scheme,
            index,
            self.threshold,
            &SigningShare::from_bytes(self.shares[at]),
            &self.group_key,
            &self.verifying_shares[at],
        )
        .unwrap()
    }

    pub(super) fn keys(&self) -> PublicKeys {
        let Self {
            scheme,
            threshold,
            group_key,
            verifying_shares,
            ..
        } = self;
        PublicKeys::new(*scheme, *threshold, group_key, verifying_shares).unwrap()
    }

    pub(super) fn nonces(&mut self) -> (NoncePair, NonceCommitments) {
        NoncePair::generate(self.scheme, &Hedge::new([9; 32]), &mut self.rng).unwrap()
    }

    pub(super) fn set(&mut self, signers: &[u16]) -> (Vec<NoncePair>, SigningSet) {
        let (nonces, entries) = signers
            .iter()
            .map(|signer| {
                let (nonces, commitments) = self.nonces();
                (nonces, (party(*signer), commitments))
            })
            .unzip();
        (nonces, SigningSet::new(entries).unwrap())
    }

    pub(super) fn sign(
        &mut self,
        signers: &[u16],
        message: &[u8],
        tweak: Tweak,
    ) -> (SigningSet, Vec<(PartyIndex, ShareBytes)>) {
        let (nonces, set) = self.set(signers);
        let shares = set
            .signers()
            .zip(nonces)
            .map(|(signer, nonces)| {
                let share = sign_share(&self.key(signer), nonces, &set, message, tweak);
                (signer, share.unwrap())
            })
            .collect();
        (set, shares)
    }
}

/// Every scheme with every tweak that it has.
pub(super) fn kinds() -> Vec<(Scheme, Tweak)> {
    let mut kinds: Vec<_> = Scheme::FROST.map(|scheme| (scheme, Tweak::None)).to_vec();
    kinds.push((Scheme::Bip340, Tweak::TaprootKeyPath));
    kinds
}
