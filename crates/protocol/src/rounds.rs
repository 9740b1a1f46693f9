//! What every round is made of: the messages of all expected parties, gathered exactly once each,
//! and a state that is consumed by them.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::PartyIndex;
use rand_core::CryptoRngCore;

use crate::abort::Abort;

/// One message from every expected party, exactly.
#[derive(Debug)]
pub struct Inbox<M>(BTreeMap<PartyIndex, M>);

impl<M> Inbox<M> {
    /// The messages in order of their senders.
    pub fn iter(&self) -> impl Iterator<Item = (PartyIndex, &M)> {
        self.0.iter().map(|(from, message)| (*from, message))
    }

    /// The same messages in another form.
    pub fn map<N>(self, mut form: impl FnMut(M) -> N) -> Inbox<N> {
        Inbox(
            self.0
                .into_iter()
                .map(|(from, message)| (from, form(message)))
                .collect(),
        )
    }

    /// The messages in order of their senders, by value.
    pub fn into_messages(self) -> Vec<M> {
        self.0.into_values().collect()
    }
}

/// What became of one message.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The first of its sender.
    Kept,
    /// The same again: harmless, ignored.
    Repeated,
    /// Another one from the same sender for the same round.
    Equivocated,
    /// From nobody who is expected.
    Stranger,
}

/// Gathers one round. Identical repeats are ignored; different ones are equivocation.
#[derive(Debug)]
pub struct Collector<M> {
    expected: BTreeSet<PartyIndex>,
    received: BTreeMap<PartyIndex, M>,
}

impl<M: PartialEq> Collector<M> {
    /// Expects one message from each of these parties.
    pub fn new(expected: BTreeSet<PartyIndex>) -> Self {
        Self {
            expected,
            received: BTreeMap::new(),
        }
    }

    /// Takes a message.
    pub fn insert(&mut self, from: PartyIndex, message: M) -> Receipt {
        if !self.expected.contains(&from) {
            return Receipt::Stranger;
        }
        match self.received.get(&from) {
            Some(first) if *first == message => Receipt::Repeated,
            Some(_) => Receipt::Equivocated,
            None => {
                self.received.insert(from, message);
                Receipt::Kept
            }
        }
    }

    /// The first message of a party, if it has come.
    pub fn received(&self, from: PartyIndex) -> Option<&M> {
        self.received.get(&from)
    }

    /// Whose message is missing.
    pub fn awaiting(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        self.expected
            .iter()
            .copied()
            .filter(|from| !self.received.contains_key(from))
    }

    /// The whole round, or the collector back while a message is missing.
    pub fn complete(self) -> Result<Inbox<M>, Self> {
        if self.awaiting().next().is_none() {
            Ok(Inbox(self.received))
        } else {
            Err(self)
        }
    }
}

/// What a party holds while it waits for one round of messages.
///
/// `finish` takes `self`: the round's secrets cannot outlive it.
pub trait Round {
    /// What is known to the party in every round.
    type Context;
    /// What every expected party sends.
    type Message;
    /// What follows.
    type Next;

    /// Ends the round with everybody's message.
    fn finish(
        self,
        context: &mut Self::Context,
        inbox: Inbox<Self::Message>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self::Next, Abort>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(index: u16) -> PartyIndex {
        PartyIndex::new(index).unwrap()
    }

    #[test]
    fn a_round_is_complete_when_everybody_has_spoken_once() {
        let mut collector = Collector::new(PartyIndex::first(2).collect());

        assert_eq!(collector.insert(party(1), "a"), Receipt::Kept);
        assert_eq!(collector.insert(party(1), "a"), Receipt::Repeated);
        assert_eq!(collector.insert(party(1), "b"), Receipt::Equivocated);
        assert_eq!(collector.insert(party(3), "c"), Receipt::Stranger);
        assert_eq!(collector.received(party(1)), Some(&"a"));
        let mut collector = collector.complete().unwrap_err();
        assert_eq!(collector.awaiting().collect::<Vec<_>>(), [party(2)]);
        assert_eq!(collector.insert(party(2), "b"), Receipt::Kept);
        assert_eq!(collector.complete().unwrap().into_messages(), ["a", "b"]);
    }
}
