//! The proof of possession (P20): one signature under the group key by *all* holders, in which
//! every single share is checked against its holder's public share.
//!
//! A sum of shares can hold although two shares in it are wrong and cancel out. Only the check of
//! each share by itself shows that each holder has its own.

use quorate_model::{
    KeyRecord, Reason, Refusal, certificate::PossessionProof, payload::pop_message,
    roster::PinnedRoster,
};

use crate::{
    frost::{PublicKeys, ShareBytes, SigningSet, Tweak, aggregate, verify_share},
    sharing::check_public_sharing,
};

/// Checks a proof whole: that the public shares make the key, who took part, every share, and the
/// signature.
///
/// # Errors
///
/// A refusal that says what does not hold.
pub fn verify(
    pinned: &PinnedRoster,
    record: &KeyRecord,
    keys: &PublicKeys,
    proof: &PossessionProof,
) -> Result<(), Refusal> {
    check_public_sharing(
        record.scheme,
        record.threshold,
        &record.group_key,
        &record.verifying_shares,
    )
    .map_err(|error| fails(&error.to_string()))?;
    let shares = proof.verify_receipts(pinned, record)?;
    verify_shares(record, keys, proof, &shares)
}

fn fails(what: &str) -> Refusal {
    Refusal::new(
        Reason::ProtocolViolation,
        format!("proof of possession fails: {what}"),
    )
}

/// Checks the mathematics of a proof whose receipts hold: `shares` are those of all holders.
fn verify_shares(
    record: &KeyRecord,
    keys: &PublicKeys,
    proof: &PossessionProof,
    shares: &[ShareBytes],
) -> Result<(), Refusal> {
    let set = SigningSet::from_received(record.scheme.proven_by(), &proof.set)
        .map_err(|error| fails(&error.to_string()))?;
    let message = pop_message(&record.certificate);
    let mut named = Vec::with_capacity(shares.len());
    for (participant, share) in record.participants.iter().zip(shares) {
        verify_share(keys, &set, &message, Tweak::None, participant.index, share).map_err(
            |_| {
                fails(&format!(
                    "the share of node {} does not hold",
                    participant.node
                ))
            },
        )?;
        named.push((participant.index, *share));
    }
    let signature = aggregate(keys, &set, &message, Tweak::None, &named)
        .map_err(|error| fails(&error.to_string()))?;
    if signature != proof.signature {
        return Err(fails("its signature is another one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_model::{
        Digest, Epoch, KeyPurpose, Scheme, TicketId,
        key::Participant,
        scheme::Purposes,
        share::{SetEntry, SetOfSigners},
    };
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::{
        dkg::tests::harness::{Cluster, node},
        frost::{Hedge, SigningKeyShare, generate_batch, sign_share},
    };

    struct Proven {
        record: KeyRecord,
        keys: PublicKeys,
        proof: PossessionProof,
        shares: Vec<ShareBytes>,
    }

    /// A key of three holders, any two of whom could sign, proven by all three.
    fn proven() -> Proven {
        let outputs = Cluster::new(Scheme::Ed25519, 2, 3, 1).finish();
        let first = &outputs[0];
        let record = KeyRecord {
            name: "treasury".parse().unwrap(),
            scheme: Scheme::Ed25519,
            purposes: Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
            epoch: Epoch(1),
            threshold: 2,
            participants: first.session.binding.participants.clone(),
            group_key: first.group_key.clone(),
            verifying_shares: first.verifying_shares.clone(),
            chain_code: first.chain_code,
            command: Digest::ZERO,
            certificate: Digest::new([1; 32]),
        };
        let keys = PublicKeys::of_record(&record).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let pairs = generate_batch(Scheme::Ed25519, 3, &Hedge::new([3; 32]), &mut rng).unwrap();
        let entry = |participant: &Participant, commitments| SetEntry {
            signer: participant.index,
            ticket: TicketId([0; 16]),
            commitments,
        };
        let entries = record
            .participants
            .iter()
            .zip(&pairs)
            .map(|(participant, (_, commitments))| entry(participant, commitments.to_received()))
            .collect();
        let set = SetOfSigners { entries };
        let parsed = SigningSet::from_received(Scheme::Ed25519, &set).unwrap();
        let message = pop_message(&record.certificate);
        let mut named = Vec::new();
        for ((output, participant), (nonces, _)) in
            outputs.iter().zip(&record.participants).zip(pairs)
        {
            let public = record.verifying_share(participant.index).unwrap();
            let group_key = &record.group_key;
            let index = participant.index;
            let key =
                SigningKeyShare::new(Scheme::Ed25519, index, 2, &output.share, group_key, public)
                    .unwrap();
            let share = sign_share(&key, nonces, &parsed, &message, Tweak::None).unwrap();
            named.push((index, share));
        }
        let signature = aggregate(&keys, &parsed, &message, Tweak::None, &named).unwrap();
        let certificate = record.certificate;
        let proof = PossessionProof {
            certificate,
            set,
            receipts: Vec::new(),
            signature,
        };
        let shares = named.into_iter().map(|(_, share)| share).collect();
        Proven {
            record,
            keys,
            proof,
            shares,
        }
    }

    fn verdict(change: impl FnOnce(&mut Proven)) -> Result<(), String> {
        let mut proven = proven();
        change(&mut proven);
        let Proven {
            record,
            keys,
            proof,
            shares,
        } = proven;
        verify_shares(&record, &keys, &proof, &shares).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn the_shares_of_all_holders_prove_a_key() {
        assert_eq!(verdict(|_| ()), Ok(()));
    }

    #[test]
    fn two_wrong_shares_that_cancel_out_prove_nothing() {
        let shift = curve25519_dalek::Scalar::from(5u64);
        let read =
            |share: ShareBytes| curve25519_dalek::Scalar::from_canonical_bytes(share).unwrap();

        let refused = verdict(|proven| {
            proven.shares[0] = (read(proven.shares[0]) + shift).to_bytes();
            proven.shares[1] = (read(proven.shares[1]) - shift).to_bytes();
        });

        let first = node(quorate_model::PartyIndex::new(1).unwrap());
        assert!(
            refused
                .unwrap_err()
                .contains(&format!("share of node {first}"))
        );
    }

    #[test]
    fn a_proof_of_another_certificate_proves_nothing() {
        let refused = verdict(|proven| proven.record.certificate = Digest::ZERO);

        assert!(refused.unwrap_err().contains("does not hold"));
    }

    #[test]
    fn another_signature_than_that_of_the_shares_proves_nothing() {
        let refused = verdict(|proven| proven.proof.signature[0] ^= 1);

        assert!(refused.unwrap_err().contains("another one"));
    }

    #[test]
    fn a_set_that_is_none_proves_nothing() {
        let refused = verdict(|proven| proven.proof.set.entries.swap(0, 1));

        assert!(refused.unwrap_err().contains("not in order"));
    }
}
