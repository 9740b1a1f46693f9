//! Round 5: every dealer has sent its share to every receiver, and the new sharing exists.

use std::collections::BTreeMap;

use quorate_model::PartyIndex;
use rand_core::CryptoRngCore;

use super::{
    checks::{check_sealed, check_share},
    outcome::Outcome,
    party::Party,
    reveals::check_follows,
    round,
    terms::dealers,
};
use crate::{
    abort::{Abort, Fault},
    envelope::{Envelope, SessionSecretKey},
    evidence::{Complaint, Evidence},
    rounds::{Inbox, Round},
    sharing::{Commitment, SecretScalar},
    suite::{Suite, zero},
};

/// Waits for every dealer's share.
pub(super) struct AwaitShares<C: Suite> {
    /// What this party dealt to itself, if it deals.
    pub(super) own: Option<SecretScalar<C>>,
    pub(super) keys: BTreeMap<PartyIndex, SessionSecretKey>,
    pub(super) commitments: Vec<Commitment<C>>,
}

impl<C: Suite> Round for AwaitShares<C> {
    type Context = Party;
    type Message = Envelope;
    type Next = Outcome;

    fn finish(
        self,
        party: &mut Party,
        inbox: Inbox<Envelope>,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Outcome, Abort> {
        let Self {
            own,
            mut keys,
            commitments,
        } = self;
        let mut sum = own.unwrap_or_else(|| SecretScalar::new(zero::<C>()));
        let dealers: BTreeMap<_, _> = dealers(&party.binding).zip(&commitments).collect();
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
        Outcome::of(party, &commitments, Some(&sum))
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
