//! What makes a message of key generation valid, as functions of public data. The running protocol
//! and the offline verifier of evidence ask the same functions, so blame that one hands out is
//! blame that the other confirms.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use quorate_model::{Digest, PartyIndex, SessionBinding};

use super::{
    messages::{Commit, Echo, Hello, Reveal, Share, decode},
    round,
    terms::{Terms, agreed, parties, view},
};
use crate::{
    abort::Fault,
    envelope::{
        Envelope, Header, ProtocolId, SessionSecretKey, SignedHeader, is_session_key, open,
    },
    sharing::{Commitment, CommitmentError, SecretScalar, decode_share},
    suite::Suite,
};

/// Whether a header stands in this place of this session.
pub(crate) fn stands_in(
    header: &Header,
    session: &Digest,
    round: u8,
    recipient: Option<PartyIndex>,
) -> bool {
    header.session == *session
        && header.protocol == ProtocolId::Dkg
        && header.round == round
        && header.recipient == recipient
}

/// Reads a hello: no past, and a usable session key for every other party, in order.
pub(crate) fn check_hello(binding: &SessionBinding, hello: &Envelope) -> Result<Hello, Fault> {
    let sender = hello.header.sender;
    let read: Hello = decode(round::HELLO, &hello.body).ok_or(Fault::Malformed)?;
    let others = parties(binding).filter(|other| *other != sender);
    let keys = &read.session_keys;
    if hello.header.previous != Digest::ZERO
        || !keys.iter().map(|(from, _)| *from).eq(others)
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

/// Reads an echo: a header of every party in order, each signed by its sender, together what the
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
        .eq(terms.parties())
    {
        return Err(Fault::FalseEcho);
    }
    for statement in &seen {
        let signed = keys
            .get(&statement.header.sender)
            .is_some_and(|key| statement.verify(key).is_ok());
        if !signed || !stands_in(&statement.header, &terms.session, seen_round, None) {
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

/// Reads a package: opens the commitment, has the commanded degree, and proves its constant term.
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
    if !read
        .package
        .proof
        .holds(&terms.session, dealer, &polynomial)
    {
        return Err(Fault::BadProof);
    }
    Ok(polynomial)
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
