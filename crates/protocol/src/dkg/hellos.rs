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
};
use crate::{
    abort::Abort,
    envelope::{Envelope, SessionSecretKey},
    rounds::{Inbox, Round},
    sharing::{Polynomial, ProofOfKnowledge},
    suite::Suite,
};

/// The keys of this session: our own, one for every sender, and those that others made for us.
pub(super) struct SessionKeys {
    pub(super) own: BTreeMap<PartyIndex, SessionSecretKey>,
    pub(super) theirs: BTreeMap<PartyIndex, [u8; 32]>,
}

/// Waits for everybody's hello.
pub(super) struct AwaitHellos<C: Suite> {
    polynomial: Polynomial<C>,
    keys: SessionKeys,
}

impl<C: Suite> AwaitHellos<C> {
    /// Begins a run: the state, and the body of the first message.
    pub(super) fn begin(
        party: &Party,
        state: HelloState,
        rng: &mut dyn CryptoRngCore,
    ) -> (Self, Hello) {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let own: BTreeMap<_, _> = party
            .keys
            .keys()
            .filter(|sender| **sender != party.me)
            .map(|sender| (*sender, SessionSecretKey::generate(&mut *rng)))
            .collect();
        let session_keys = own
            .iter()
            .map(|(sender, key)| (*sender, key.public()))
            .collect();
        let polynomial = Polynomial::random(party.binding.threshold, rng);
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
    type Next = (AwaitCommits<C>, Draft);

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

        let session = party.terms()?.session;
        let commitments = polynomial.commit().encode().ok_or(Abort::Invariant(
            "no coefficient of a fresh polynomial is zero",
        ))?;
        let proof = ProofOfKnowledge::prove(&session, party.me, &polynomial, rng).ok_or(
            Abort::Invariant("a constant term that is not zero can be proven"),
        )?;
        let mut opening = [0; 32];
        rng.fill_bytes(&mut opening);
        let reveal = Reveal {
            package: Package { commitments, proof },
            opening,
        };
        let commit = Commit {
            commitment: reveal.commitment(&session, party.me),
        };
        let draft = party.broadcast(round::COMMIT, &commit)?;
        Ok((
            AwaitCommits {
                polynomial,
                keys,
                reveal,
            },
            draft,
        ))
    }
}
