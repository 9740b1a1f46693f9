//! The proof of possession (P20): one signature under the group key by *all* holders, in which
//! every single share is checked against its holder's public share.
//!
//! A sum of shares can hold although two shares in it are wrong and cancel out. Only the check of
//! each share by itself shows that each holder has its own.

use quorate_model::{
    KeyRecord, Reason, Refusal, certificate::PossessionProof, payload::pop_message,
    roster::PinnedRoster,
};

use crate::frost::{PublicKeys, SigningSet, Tweak, aggregate, verify_share};

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
    let fails = |what: String| {
        Refusal::new(
            Reason::ProtocolViolation,
            format!("proof of possession fails: {what}"),
        )
    };
    let shares = proof.verify_receipts(pinned, record)?;
    let set = SigningSet::from_received(record.scheme, &proof.set)
        .map_err(|error| fails(error.to_string()))?;
    let message = pop_message(&record.certificate);
    let mut named = Vec::with_capacity(shares.len());
    for (participant, share) in record.participants.iter().zip(shares) {
        verify_share(keys, &set, &message, Tweak::None, participant.index, &share).map_err(
            |_| {
                fails(format!(
                    "the share of node {} does not hold",
                    participant.node
                ))
            },
        )?;
        named.push((participant.index, share));
    }
    let signature = aggregate(keys, &set, &message, Tweak::None, &named)
        .map_err(|error| fails(error.to_string()))?;
    if signature != proof.signature {
        return Err(fails("its signature is another one".to_owned()));
    }
    Ok(())
}
