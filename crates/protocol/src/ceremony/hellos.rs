//! Round 0: everybody says hello, and the session gets its id.

use std::collections::BTreeMap;

use quorate_model::{Nonce32, PartyIndex};
use rand_core::CryptoRngCore;

use super::{
    checks::check_hello,
    commits::AwaitCommits,
    messages::{Commit, Hello, HelloState, Package, Reveal},
    party::{Draft, Party},
    round,
    terms::senders_to,
};
use crate::{
    abort::Abort,
    envelope::{Envelope, SessionSecretKey},
    rounds::{Inbox, Round},
    sharing::{Polynomial, ProofOfKnowledge},
    suite::Suite,
};

/// The keys of this session: our own, one for every dealer, and those that receivers made for us.
pub(super) struct SessionKeys {
    pub(super) own: BTreeMap<PartyIndex, SessionSecretKey>,
    pub(super) theirs: BTreeMap<PartyIndex, [u8; 32]>,
}

/// What a dealer deals: its polynomial, and the package that it has committed to.
pub(super) struct Dealing<C: Suite> {
    pub(super) polynomial: Polynomial<C>,
    pub(super) reveal: Reveal,
}

/// Waits for everybody's hello.
pub(super) struct AwaitHellos<C: Suite> {
    polynomial: Option<Polynomial<C>>,
    keys: SessionKeys,
}

impl<C: Suite> AwaitHellos<C> {
    /// Begins a run: the state, and the body of the first message. A dealer brings what it deals.
    pub(super) fn begin(
        party: &Party,
        polynomial: Option<Polynomial<C>>,
        state: HelloState,
        rng: &mut dyn CryptoRngCore,
    ) -> (Self, Hello) {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let own: BTreeMap<_, _> = senders_to(&party.binding, party.me)
            .map(|sender| (sender, SessionSecretKey::generate(&mut *rng)))
            .collect();
        let session_keys = own
            .iter()
            .map(|(sender, key)| (*sender, key.public()))
            .collect();
        let keys = SessionKeys {
            own,
            theirs: BTreeMap::new(),
        };
        (
            Self { polynomial, keys },
            Hello {
                nonce: Nonce32(nonce),
                session_keys,
                state,
            },
        )
    }
}

impl<C: Suite> Round for AwaitHellos<C> {
    type Context = Party;
    type Message = Envelope;
    type Next = (AwaitCommits<C>, Option<Draft>);

    fn finish(
        self,
        party: &mut Party,
        inbox: Inbox<Envelope>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self::Next, Abort> {
        let Self {
            polynomial,
            mut keys,
        } = self;
        let mut hellos = Vec::new();
        for (sender, envelope) in inbox.iter() {
            let hello =
                check_hello(&party.binding, envelope).map_err(|_| party.malformed(envelope))?;
            let for_us = hello
                .session_keys
                .iter()
                .find(|(from, _)| *from == party.me);
            if let Some((_, key)) = for_us {
                keys.theirs.insert(sender, *key);
            }
            party.states.insert(sender, hello.state.clone());
            hellos.push(hello);
        }
        party.open_session(&hellos)?;
        party.keep(round::HELLO, inbox);

        let Some(polynomial) = polynomial else {
            return Ok((
                AwaitCommits {
                    dealing: None,
                    keys,
                },
                None,
            ));
        };
        let dealing = Dealing::new(party, polynomial, rng)?;
        let commit = Commit {
            commitment: dealing.reveal.commitment(&party.terms()?.session, party.me),
        };
        let draft = party.broadcast(round::COMMIT, &commit)?;
        let dealing = Some(dealing);
        Ok((AwaitCommits { dealing, keys }, Some(draft)))
    }
}

impl<C: Suite> Dealing<C> {
    fn new(
        party: &Party,
        polynomial: Polynomial<C>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, Abort> {
        let session = party.terms()?.session;
        let commitments = polynomial.commit().encode().ok_or(Abort::Invariant(
            "no coefficient of a fresh polynomial is zero",
        ))?;
        // A share that is dealt again is proven by its verifying share (P27).
        let proof = if party.source.is_none() {
            Some(
                ProofOfKnowledge::prove(&session, party.me, &polynomial, rng).ok_or(
                    Abort::Invariant("a constant term that is not zero can be proven"),
                )?,
            )
        } else {
            None
        };
        let mut opening = [0; 32];
        rng.fill_bytes(&mut opening);
        let reveal = Reveal {
            package: Package { commitments, proof },
            opening,
        };
        Ok(Self { polynomial, reveal })
    }
}
