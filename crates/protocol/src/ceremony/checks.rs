//! What makes a message valid, as functions of public data. The running protocol
//! and the offline verifier of evidence ask the same functions, so blame that one hands out is
//! blame that the other confirms.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use frost_core::Element;
use quorate_model::{Digest, PartyIndex, SessionBinding};

use super::{
    messages::{Commit, Echo, Hello, Reveal, Share, decode},
    round,
    terms::{Terms, agreed, senders_to, speakers, view},
};
use crate::{
    abort::Fault,
    envelope::{Envelope, Header, SessionSecretKey, SignedHeader, is_session_key, open},
    sharing::{Commitment, CommitmentError, SecretScalar, decode_share},
    suite::Suite,
};

/// Reads a hello: no past, and of a receiver a usable session key for every other dealer, in order.
pub(crate) fn check_hello(binding: &SessionBinding, hello: &Envelope) -> Result<Hello, Fault> {
    let sender = hello.header.sender;
    let read: Hello = decode(round::HELLO, &hello.body).ok_or(Fault::Malformed)?;
    let keys = &read.session_keys;
    if hello.header.previous != Digest::ZERO
        || !keys
            .iter()
            .map(|(from, _)| *from)
            .eq(senders_to(binding, sender))
        || !keys.iter().all(|(_, key)| is_session_key(key))
    {
        return Err(Fault::Malformed);
    }
    Ok(read)
}

/// Reads a commitment.
pub(crate) fn check_commit(commit: &Envelope) -> Result<Digest, Fault> {
    let Commit { commitment } = decode(round::COMMIT, &commit.body).ok_or(Fault::Malformed)?;
    Ok(commitment)
}

/// Reads an echo: a header of everybody who spoke in order, each signed by its sender, together what the
/// echo's own header says that was seen.
pub(crate) fn check_echo(
    terms: &Terms,
    keys: &BTreeMap<PartyIndex, VerifyingKey>,
    echo: &Envelope,
) -> Result<Vec<SignedHeader>, Fault> {
    let Echo { seen } = decode(echo.header.round, &echo.body).ok_or(Fault::Malformed)?;
    let seen_round = echo.header.round.checked_sub(1).ok_or(Fault::Malformed)?;
    if !seen
        .iter()
        .map(|header| header.header.sender)
        .eq(speakers(terms.binding(), seen_round))
    {
        return Err(Fault::FalseEcho);
    }
    for statement in &seen {
        let signed = keys
            .get(&statement.header.sender)
            .is_some_and(|key| statement.verify(key).is_ok());
        if !signed || !terms.place(&statement.header, seen_round, None) {
            return Err(Fault::FalseEcho);
        }
    }
    let digests: Vec<_> = seen
        .iter()
        .map(|statement| statement.header.digest())
        .collect();
    if view(&terms.session, seen_round, &digests) != echo.header.previous {
        return Err(Fault::FalseEcho);
    }
    Ok(seen)
}

/// Whether the message after an echo round names the past that its sender's echo named.
pub(crate) fn follows(echo: &Header, later: &Header) -> bool {
    later.previous == agreed(&echo.previous)
}

/// Reads a package: opens the commitment, has the commanded degree, and at a key's birth proves its
/// constant term. That of a share that is dealt again needs no proof: it is compared with what the
/// source says of it, see [`check_constant`].
pub(crate) fn check_reveal<C: Suite>(
    terms: &Terms,
    commitment: &Digest,
    reveal: &Envelope,
) -> Result<Commitment<C>, Fault> {
    let dealer = reveal.header.sender;
    let read: Reveal = decode(round::REVEAL, &reveal.body).ok_or(Fault::Malformed)?;
    if read.commitment(&terms.session, dealer) != *commitment {
        return Err(Fault::FalseReveal);
    }
    let polynomial = read_polynomial(terms, &read)?;
    match (&terms.binding().source, &read.package.proof) {
        (None, Some(proof)) if proof.holds(&terms.session, dealer, &polynomial) => Ok(polynomial),
        (None, _) => Err(Fault::BadProof),
        (Some(_), None) => Ok(polynomial),
        (Some(_), Some(_)) => Err(Fault::Malformed),
    }
}

/// Compares the constant term of a package with the dealer's part of the key: `A_0 = λ_i·Y_i` (P27).
pub(crate) fn check_constant<C: Suite>(
    part: &Element<C>,
    polynomial: &Commitment<C>,
) -> Result<(), Fault> {
    if polynomial.constant() == *part {
        Ok(())
    } else {
        Err(Fault::WrongConstant)
    }
}

fn read_polynomial<C: Suite>(terms: &Terms, reveal: &Reveal) -> Result<Commitment<C>, Fault> {
    Commitment::decode(&reveal.package.commitments, terms.threshold()).map_err(
        |error| match error {
            CommitmentError::WrongDegree => Fault::WrongDegree,
            CommitmentError::BadPoint => Fault::BadPoint,
        },
    )
}

/// Reads the commitments of a package that has been checked before.
pub(crate) fn committed_polynomial<C: Suite>(
    terms: &Terms,
    reveal: &Envelope,
) -> Result<Commitment<C>, Fault> {
    let read: Reveal = decode(round::REVEAL, &reveal.body).ok_or(Fault::Malformed)?;
    read_polynomial(terms, &read)
}

/// Reads the sealed form of a share.
pub(crate) fn check_sealed(share: &Envelope) -> Result<Share, Fault> {
    decode(round::SHARE, &share.body).ok_or(Fault::Malformed)
}

/// Opens a share and compares it with its dealer's commitments.
pub(crate) fn check_share<C: Suite>(
    key: &SessionSecretKey,
    recipient: PartyIndex,
    polynomial: &Commitment<C>,
    share: &Envelope,
    read: &Share,
) -> Result<SecretScalar<C>, Fault> {
    let opened = open(key, &share.header.slot(), &read.sealed).map_err(|_| Fault::BadSubShare)?;
    let share = decode_share::<C>(&opened).ok_or(Fault::BadSubShare)?;
    if polynomial.fits(recipient, &share) {
        Ok(share)
    } else {
        Err(Fault::BadSubShare)
    }
}
