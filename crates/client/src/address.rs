//! Addresses that holders of a key attest.
//!
//! This side derives every address by itself from the verified certificate. That t holders state
//! the same says that the machines which are to sign derive it too: a fault of derivation, here or
//! there, shows before anything is paid.

use std::collections::BTreeSet;

use quorate_intent::address_of_kind;
use quorate_model::{
    DerivationPath, KeyRecord, NodeId, Reason, Refusal,
    address::{AddressClaim, AddressKind, AddressStatement},
    roster::PinnedRoster,
};

use crate::{error::ClientError, key::CertifiedKey, verify::VerificationError};

/// An address that this side derived, and that holders of the key have stated alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedAddress {
    claim: AddressClaim,
    statements: Vec<AddressStatement>,
}

impl AttestedAddress {
    /// The address.
    pub fn address(&self) -> &str {
        &self.claim.address
    }

    /// What was stated.
    pub fn claim(&self) -> &AddressClaim {
        &self.claim
    }

    /// The holders who stated it, at least as many as sign.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.statements.iter().map(|statement| &statement.node)
    }

    /// Their statements, which anybody can verify who has the roster and the certificate.
    pub fn statements(&self) -> &[AddressStatement] {
        &self.statements
    }

    /// Checks what came back for an address of a key.
    pub(crate) fn verify(
        claim: AddressClaim,
        record: &KeyRecord,
        roster: &PinnedRoster,
        statements: Vec<AddressStatement>,
    ) -> Result<Self, ClientError> {
        let mut nodes = BTreeSet::new();
        for statement in &statements {
            statement
                .verify(&claim, record, roster.roster())
                .map_err(|why| VerificationError::FalseAddress {
                    node: statement.node.clone(),
                    why,
                })?;
            if !nodes.insert(&statement.node) {
                return Err(VerificationError::StatedTwice(statement.node.clone()).into());
            }
        }
        if nodes.len() < usize::from(record.threshold) {
            let (found, threshold) = (nodes.len(), record.threshold);
            let message = format!(
                "{found} holders of key \"{}\" state the address, expected {threshold}",
                record.name
            );
            let refusal = Refusal::new(Reason::QuorumUnavailable, message);
            return Err(refusal.with("key", &record.name).into());
        }
        Ok(Self { claim, statements })
    }
}

/// The address as this side derives it.
pub(crate) fn derive(
    key: &CertifiedKey,
    path: &DerivationPath,
    kind: AddressKind,
) -> Result<AddressClaim, Refusal> {
    let record = key.record();
    let address =
        address_of_kind(&key.facts(), path, kind).map_err(|error| Refusal::from(&error))?;
    Ok(AddressClaim {
        key: record.name.clone(),
        epoch: record.epoch,
        certificate: record.certificate,
        path: path.clone(),
        kind,
        address,
    })
}

#[cfg(test)]
mod tests {
    use quorate_model::{
        Epoch, Scheme,
        address::{AddressType, FalseStatement, Network},
    };

    use super::*;
    use crate::{
        ExitClass, ListedKey,
        fixtures::{FakeCluster, MadeKey, made_key, node_id, stated},
    };

    const KIND: AddressKind = AddressKind::Bitcoin {
        network: Network::Regtest,
        form: AddressType::P2wpkh,
    };

    struct Asked {
        made: MadeKey,
        claim: AddressClaim,
    }

    impl Asked {
        fn new() -> Self {
            let made = made_key(Scheme::EcdsaSecp256k1);
            let key = ListedKey::verify(&made.view, &made.roster).unwrap();
            let path = "m/0/5".parse().unwrap();
            let claim = derive(&key.certified().unwrap(), &path, KIND).unwrap();
            Self { made, claim }
        }

        fn stated(&self, number: u8, change: impl FnOnce(&mut AddressClaim)) -> AddressStatement {
            let mut claim = self.claim.clone();
            change(&mut claim);
            stated(number, claim)
        }

        fn honest(&self, number: u8) -> AddressStatement {
            self.stated(number, |_| ())
        }

        fn verify(&self, stated: Vec<AddressStatement>) -> Result<AttestedAddress, ClientError> {
            let (record, roster) = (&self.made.view.record, &self.made.roster);
            AttestedAddress::verify(self.claim.clone(), record, roster, stated)
        }

        fn lie(&self, second: AddressStatement) -> VerificationError {
            let error = self.verify(vec![self.honest(1), second]).unwrap_err();
            assert_eq!(error.exit_class(), ExitClass::Verification);
            let ClientError::Unverified(error) = error else {
                panic!("{error}");
            };
            error
        }
    }

    #[test]
    fn an_address_is_attested_when_enough_holders_state_what_was_derived() {
        let asked = Asked::new();

        let two = asked
            .verify(vec![asked.honest(3), asked.honest(1)])
            .unwrap();
        let all = (1..=3).map(|number| asked.honest(number)).collect();

        assert!(two.address().starts_with("bcrt1q"), "{}", two.address());
        assert!(two.nodes().eq(&[node_id(3), node_id(1)]));
        assert_eq!(asked.verify(all).unwrap().statements().len(), 3);
    }

    #[tokio::test]
    async fn a_client_asks_for_an_address_and_believes_no_other() {
        let path = "m/0/5".parse().unwrap();
        let honest = FakeCluster::start_restating(|_| {}).await;
        let lying = FakeCluster::start_restating(|stated_by| {
            let mut claim = stated_by[1].claim.clone();
            claim.address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".to_owned();
            stated_by[1] = stated(2, claim);
        })
        .await;
        let alone = FakeCluster::start_restating(|stated_by| stated_by.truncate(1)).await;

        let attested = honest
            .client
            .address(&honest.key, &path, KIND)
            .await
            .unwrap();
        let lie = lying
            .client
            .address(&lying.key, &path, KIND)
            .await
            .unwrap_err();
        let few = alone
            .client
            .address(&alone.key, &path, KIND)
            .await
            .unwrap_err();
        let unfit = honest
            .client
            .address(&honest.key, &path, AddressKind::Solana)
            .await;

        assert!(attested.nodes().eq(&[node_id(1), node_id(2)]));
        assert_eq!(lie.exit_class(), ExitClass::Verification);
        assert_eq!(few.reason(), Some(Reason::QuorumUnavailable));
        assert_eq!(unfit.unwrap_err().reason(), Some(Reason::SchemeMismatch));
    }

    #[test]
    fn too_few_holders_are_no_quorum() {
        let asked = Asked::new();
        for stated in [vec![], vec![asked.honest(2)]] {
            let error = asked.verify(stated).unwrap_err();

            assert_eq!(error.reason(), Some(Reason::QuorumUnavailable));
            assert_eq!(error.exit_class(), ExitClass::QuorumUnavailable);
        }
    }

    #[test]
    fn one_holder_twice_is_not_two() {
        let asked = Asked::new();

        let error = asked.lie(asked.honest(1));

        assert_eq!(error, VerificationError::StatedTwice(node_id(1)));
    }

    #[test]
    fn a_node_that_states_something_else_is_named() {
        let asked = Asked::new();
        let lies: [fn(&mut AddressClaim); 2] = [
            |claim| claim.address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".to_owned(),
            |claim| claim.address.make_ascii_uppercase(),
        ];
        for lie in lies {
            let error = asked.lie(asked.stated(2, lie));

            let (node, why) = (node_id(2), FalseStatement::OtherAddress);
            assert_eq!(error, VerificationError::FalseAddress { node, why });
        }
    }

    #[test]
    fn the_answer_to_another_question_is_not_held_against_the_node() {
        let asked = Asked::new();
        let others: [fn(&mut AddressClaim); 5] = [
            |claim| claim.path = "m/0/6".parse().unwrap(),
            |claim| claim.kind = AddressKind::Ethereum,
            |claim| claim.key = "other".parse().unwrap(),
            |claim| claim.epoch = Epoch(2),
            |claim| claim.certificate = quorate_model::Digest::ZERO,
        ];
        for other in others {
            let error = asked.lie(asked.stated(2, other));

            let (node, why) = (node_id(2), FalseStatement::OtherQuestion);
            assert_eq!(error, VerificationError::FalseAddress { node, why });
        }
    }

    #[test]
    fn a_lie_that_the_node_did_not_sign_is_not_its_own() {
        let asked = Asked::new();
        let mut made_up = asked.honest(2);
        made_up.claim.address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".to_owned();

        let (node, why) = (node_id(2), FalseStatement::BadSignature);
        assert_eq!(
            asked.lie(made_up),
            VerificationError::FalseAddress { node, why }
        );
    }

    #[test]
    fn statements_under_swapped_names_do_not_hold() {
        let asked = Asked::new();
        let mut swapped = asked.honest(2);
        swapped.node = node_id(3);
        let mut borrowed = asked.honest(2);
        borrowed.signature = asked.honest(1).signature;

        for (statement, number) in [(swapped, 3), (borrowed, 2)] {
            let why = FalseStatement::BadSignature;
            let node = node_id(number);
            let expected = VerificationError::FalseAddress { node, why };
            assert_eq!(asked.lie(statement), expected);
        }
    }

    #[test]
    fn what_no_holder_states_counts_for_nothing() {
        let asked = Asked::new();

        let stranger = asked.lie(asked.stated(9, |_| ()));

        let (node, why) = (node_id(9), FalseStatement::NoHolder);
        assert_eq!(stranger, VerificationError::FalseAddress { node, why });
    }

    #[test]
    fn a_holder_of_another_key_is_no_holder_of_this_one() {
        let mut asked = Asked::new();
        asked.made.view.record.participants.truncate(2);

        let other = asked.lie(asked.honest(3));

        let (node, why) = (node_id(3), FalseStatement::NoHolder);
        assert_eq!(other, VerificationError::FalseAddress { node, why });
    }
}
