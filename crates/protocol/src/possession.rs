//! The proof of possession (P20): one signature under the group key by *all* holders, in which
//! every single share is checked against its holder's public share.
//!
//! A sum of shares can hold although two shares in it are wrong and cancel out. Only the check of
//! each share by itself shows that each holder has its own.

use quorate_model::{
    KeyRecord, Reason, Refusal, certificate::PossessionProof, payload::pop_message,
    roster::PinnedRoster,
};

use crate::frost::{PublicKeys, ShareBytes, SigningSet, Tweak, verify_share};

/// Checks a proof whole: who took part, every share, and the signature.
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
    let shares = proof.verify_receipts(pinned, record)?;
    verify_shares(record, keys, proof, &shares)
}

/// Checks the mathematics of a proof whose receipts hold: `shares` are those of all holders.
fn verify_shares(
    record: &KeyRecord,
    keys: &PublicKeys,
    proof: &PossessionProof,
    shares: &[ShareBytes],
) -> Result<(), Refusal> {
    let fails = |what: String| {
        Refusal::new(Reason::ProtocolViolation, format!("proof of possession fails: {what}"))
    };
    let set = SigningSet::from_received(record.scheme, &proof.set)
        .map_err(|error| fails(error.to_string()))?;
    let message = pop_message(&record.certificate);
    for (participant, share) in record.participants.iter().zip(shares) {
        verify_share(keys, &set, &message, Tweak::None, participant.index, share)
            .map_err(|_| fails(format!("the share of node {} does not hold", participant.node)))?;
    }
    let verifier = keys
        .verifier(Tweak::None)
        .ok_or_else(|| fails("there is no verifier of its scheme".to_owned()))?;
    verifier
        .verify(&message, &proof.signature)
        .map_err(|_| fails("its signature does not hold".to_owned()))
}
