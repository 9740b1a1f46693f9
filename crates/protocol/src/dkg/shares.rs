//! Round 5: everybody has sent its share to everybody, and the key exists.

use std::collections::BTreeMap;

use frost_core::Group as _;
use quorate_model::PartyIndex;
use rand_core::CryptoRngCore;

use super::{
    checks::{check_sealed, check_share},
    output::DkgOutput,
    party::Party,
    reveals::check_follows,
    round,
};
use crate::{
    abort::{Abort, Fault},
    envelope::{Envelope, SessionSecretKey},
    evidence::{Complaint, Evidence},
    rounds::{Inbox, Round},
    sharing::{Commitment, SecretScalar, SigningShare, check_public_sharing},
    suite::{Suite, encode_element},
};

/// Waits for everybody's share.
pub(super) struct AwaitShares<C: Suite> {
    pub(super) own: SecretScalar<C>,
    pub(super) keys: BTreeMap<PartyIndex, SessionSecretKey>,
    pub(super) commitments: Vec<Commitment<C>>,
}

impl<C: Suite> Round for AwaitShares<C> {
    type Context = Party;
    type Message = Envelope;
    type Next = DkgOutput;

    fn finish(
        self,
        party: &mut Party,
        inbox: Inbox<Envelope>,
        _: &mut dyn CryptoRngCore,
    ) -> Result<DkgOutput, Abort> {
        let Self {
            own: mut sum,
            mut keys,
            commitments,
        } = self;
        let dealers: BTreeMap<_, _> = party.terms()?.parties().zip(&commitments).collect();
        for (dealer, envelope) in inbox.iter() {
            check_follows(party, round::REVEAL_ECHO, envelope)?;
            let read = check_sealed(envelope).map_err(|_| party.malformed(envelope))?;
            let (Some(key), Some(polynomial)) = (keys.remove(&dealer), dealers.get(&dealer)) else {
                return Err(Abort::Invariant("every dealer has a key and commitments"));
            };
            match check_share(&key, party.me, polynomial, envelope, &read) {
                Ok(share) => sum.add(&share),
                Err(fault) => return Err(complain(party, fault, key, envelope)),
            }
        }
        let combined = commitments
            .into_iter()
            .reduce(|sum, next| sum.plus(&next))
            .ok_or(Abort::Invariant("a session has dealers"))?;
        if !combined.fits(party.me, &sum) {
            return Err(Abort::Invariant(
                "the sum of shares fits the sum of commitments",
            ));
        }
        output(party, &combined, &sum)
    }
}

/// A complaint reveals the session key for the accused dealer, and that key only (P21).
fn complain(party: &Party, fault: Fault, key: SessionSecretKey, share: &Envelope) -> Abort {
    let dealer = share.header.sender;
    let complaint = || -> Result<Complaint, Abort> {
        Ok(Complaint {
            session: party.preimage(),
            hellos: party.digests(round::HELLO)?,
            hello: party.said_by(round::HELLO, party.me)?.clone(),
            commit: party.said_by(round::COMMIT, dealer)?.signed_header(),
            reveal: party.said_by(round::REVEAL, dealer)?.clone(),
            share: share.clone(),
            revealed: key.reveal(),
        })
    };
    match complaint() {
        Ok(complaint) => Abort::proven(dealer, fault, Evidence::BadSubShare(Box::new(complaint))),
        Err(abort) => abort,
    }
}

fn output<C: Suite>(
    party: &Party,
    combined: &Commitment<C>,
    sum: &SecretScalar<C>,
) -> Result<DkgOutput, Abort> {
    let terms = party.terms()?;
    let group_key = encode_element::<C>(&combined.constant())
        .ok_or(Abort::Invariant("the group key is not the identity"))?;
    let verifying_shares = terms
        .parties()
        .map(|index| encode_element::<C>(&combined.evaluate(index)))
        .collect::<Option<Vec<_>>>()
        .ok_or(Abort::Invariant("no verifying share is the identity"))?;
    let own = C::mul_base(sum.expose());
    if own == C::Group::identity() || own != combined.evaluate(party.me) {
        return Err(Abort::Invariant("a share makes its verifying share"));
    }
    check_public_sharing(
        terms.scheme,
        terms.threshold(),
        &group_key,
        &verifying_shares,
    )
    .map_err(|_| Abort::Invariant("verifying shares interpolate to the group key"))?;
    Ok(DkgOutput {
        share: SigningShare::from_bytes(*sum.to_bytes()),
        scheme: terms.scheme,
        threshold: terms.threshold(),
        group_key,
        verifying_shares,
        chain_code: party.chain_code()?,
        session: party.preimage(),
        transcript: party.transcript()?,
    })
}
