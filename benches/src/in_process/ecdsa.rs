//! `dkls23-core` alone: t parties in one process, in its own four phases, with the message bound
//! from the first. Phase 4, which makes the signature and verifies it, runs once, not at each party.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "arithmetic of the field and the curve does not overflow"
)]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, ensure};
use dkls23_core::{
    protocols::{Abort, Parameters, Party, PartyIndex, derivation::DerivData, signing::SignData},
    utilities::{
        multiplication::{MulReceiver, MulSender},
        zero_shares::ZeroShare,
    },
};
use k256_next::{ProjectivePoint, Scalar, Secp256k1, elliptic_curve::PrimeField as _};
use rand_core::{OsRng, RngCore as _};

/// The first t holders of a key that a dealer made: only a yardstick may have that.
pub(super) struct Group {
    signers: Vec<Party<Secp256k1>>,
}

impl Group {
    /// Splits a random key, and sets the pairs of signers up.
    pub(super) fn deal(threshold: u16, nodes: u16) -> Result<Self> {
        let (threshold, nodes) = (u8::try_from(threshold)?, u8::try_from(nodes)?);
        ensure!(
            threshold >= 2 && threshold <= nodes,
            "ECDSA needs from 2 to n signers"
        );
        let polynomial: Vec<Scalar> = (0..threshold).map(|_| random()).collect();
        let secret = polynomial.first().context("a polynomial has a secret")?;
        let key = (ProjectivePoint::GENERATOR * secret).to_affine();
        let parameters = Parameters::new(threshold, nodes).map_err(|error| anyhow!("{error:?}"))?;
        let mut signers = Vec::with_capacity(threshold.into());
        for number in 1..=threshold {
            let at = Scalar::from(u64::from(number));
            let share = polynomial
                .iter()
                .rfold(Scalar::ZERO, |sum, coefficient| sum * at + coefficient);
            signers.push(Party {
                parameters: parameters.clone(),
                party_index: PartyIndex::new(number).map_err(|error| anyhow!("{error:?}"))?,
                session_id: b"bench".to_vec(),
                poly_point: share,
                pk: key,
                zero_share: ZeroShare::initialize(Vec::new()),
                mul_senders: BTreeMap::new(),
                mul_receivers: BTreeMap::new(),
                derivation_data: DerivData {
                    depth: 0,
                    child_number: 0,
                    parent_fingerprint: [0; 4],
                    poly_point: share,
                    pk: key,
                    chain_code: [0; 32],
                },
                address: String::new(),
            });
        }
        set_pairs_up(&mut signers)?;
        Ok(Self { signers })
    }

    /// One signature over a digest, with a number that no other has.
    pub(super) fn sign(&self, number: u64, digest: &[u8; 32]) -> Result<()> {
        let mut begun = Vec::with_capacity(self.signers.len());
        let mut messages = Vec::new();
        for party in &self.signers {
            let others = self.signers.iter().map(|other| other.party_index);
            let data = SignData {
                sign_id: number.to_be_bytes().to_vec(),
                counterparties: others.filter(|other| *other != party.party_index).collect(),
                message_hash: *digest,
            };
            let (unique, kept, sent) = party.sign_phase1(&data).map_err(aborted)?;
            messages.extend(sent);
            begun.push((party, data, unique, kept));
        }
        let mut multiplied = Vec::with_capacity(begun.len());
        let mut answers = Vec::new();
        for (party, data, unique, kept) in begun {
            let received: Vec<_> = messages
                .extract_if(.., |message| message.parties.receiver == party.party_index)
                .collect();
            let (unique, kept, sent) = party
                .sign_phase2(&data, unique, kept, &received)
                .map_err(aborted)?;
            answers.extend(sent);
            multiplied.push((party, data, unique, kept));
        }
        let mut summands = Vec::with_capacity(multiplied.len());
        let mut last = None;
        for (party, data, unique, kept) in multiplied {
            let received: Vec<_> = answers
                .extract_if(.., |message| message.parties.receiver == party.party_index)
                .collect();
            let (x_coordinate, summand) = party
                .sign_phase3(&data, unique, kept, &received)
                .map_err(aborted)?;
            summands.push(summand);
            last = Some((party, data, x_coordinate));
        }
        let (party, data, x_coordinate) = last.context("somebody signs")?;
        party
            .sign_phase4(&data, &x_coordinate, &summands, true)
            .map_err(aborted)?;
        Ok(())
    }
}

/// The library's pairwise initialisation, which leaves the shares as they are.
fn set_pairs_up(signers: &mut [Party<Secp256k1>]) -> Result<()> {
    let indices: Vec<PartyIndex> = signers.iter().map(|party| party.party_index).collect();
    let mut seeds = BTreeMap::new();
    for (at, &one) in indices.iter().enumerate() {
        for &other in indices.iter().skip(at).skip(1) {
            let mut seed = [0; 32];
            OsRng.fill_bytes(&mut seed);
            seeds.insert((one, other), seed);
        }
    }
    for &receiving in &indices {
        for &sending in indices.iter().filter(|other| **other != receiving) {
            let session = [receiving.as_u8(), sending.as_u8()];
            let (base, proof, nonce) = MulReceiver::<Secp256k1>::init_phase1(&session);
            let (transfer, correlation, pads, proofs) =
                MulSender::<Secp256k1>::init_phase1(&session);
            let mut receiver =
                MulReceiver::init_phase2(&base, &session, &transfer.seed, &proofs, &nonce)
                    .map(Some)
                    .map_err(|error| anyhow!(error.description))?;
            let mut sender =
                MulSender::init_phase2(&transfer, &session, correlation, &pads, &proof, &nonce)
                    .map(Some)
                    .map_err(|error| anyhow!(error.description))?;
            for party in &mut *signers {
                if party.party_index == receiving {
                    party
                        .mul_receivers
                        .extend(Some(sending).zip(receiver.take()));
                } else if party.party_index == sending {
                    party.mul_senders.extend(Some(receiving).zip(sender.take()));
                }
            }
        }
    }
    for party in signers {
        let me = party.party_index;
        let pairs = seeds.iter().filter_map(|((one, other), seed)| {
            let peer = match me {
                _ if me == *one => *other,
                _ if me == *other => *one,
                _ => return None,
            };
            Some(ZeroShare::generate_seed_pair(me, peer, seed, &[0; 32]))
        });
        party.zero_share = ZeroShare::initialize(pairs.collect());
    }
    Ok(())
}

fn random() -> Scalar {
    loop {
        let mut bytes = [0; 32];
        OsRng.fill_bytes(&mut bytes);
        if let Some(scalar) = Option::from(Scalar::from_repr(bytes.into())) {
            return scalar;
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn aborted(abort: Abort) -> anyhow::Error {
    anyhow!("the library aborts: {:?}", abort.reason)
}
