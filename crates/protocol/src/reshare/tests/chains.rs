//! One key through many epochs, with signatures by every quorum of each, and no two epochs together.

use quorate_model::{PartyIndex, Scheme};

use super::harness::{Held, party, sign, subsets};
use crate::{frost::Tweak, verify};

/// Every quorum of an epoch signs under the key of the first.
fn check_every_quorum(held: &Held, key: &[u8]) {
    let statement = &held.source.statement;
    assert_eq!(statement.group_key, key);
    let count = u16::try_from(held.shares.len()).unwrap();
    let scheme = statement.scheme.proven_by();
    let mut quorums = 0;
    for signers in subsets(count, statement.threshold) {
        let signature = held.sign(&signers, b"payment");
        assert!(verify::signature(scheme, key, b"payment", Tweak::None, &signature).is_ok());
        quorums += 1;
    }
    assert!(quorums >= 3);
}

#[test]
fn a_key_of_every_scheme_survives_a_chain_of_committees() {
    for scheme in Scheme::ALL {
        let first = Held::born(scheme, 2, 3, 1);
        let key = first.source.statement.group_key.clone();
        check_every_quorum(&first, &key);
        let second = first.reshare(&[1, 3], &[1, 2, 3, 4, 5], 3, 2);
        check_every_quorum(&second, &key);
        let third = second.reshare(&[5, 2, 4], &[6, 5, 1, 2], 2, 3);
        check_every_quorum(&third, &key);
        let fourth = third.reshare(&[6, 2], &[1, 2, 3], 2, 4);
        check_every_quorum(&fourth, &key);
        let refreshed = fourth.reshare(&[2, 3], &[1, 2, 3], 2, 5);
        check_every_quorum(&refreshed, &key);

        assert_eq!(refreshed.source.statement.epoch.0, 5);
        assert_eq!(
            refreshed.source.statement.chain_code,
            first.source.statement.chain_code
        );
    }
}

/// Signs with one share of each epoch, under the public sharing of either.
fn mixed_signatures_fail(old: &Held, new: &Held) {
    for (one, two) in [(1, 2), (2, 1), (1, 3), (3, 2)] {
        let (one, two): (PartyIndex, PartyIndex) = (party(one), party(two));
        let mut parts = [(old, one), (new, two)];
        parts.sort_by_key(|(_, index)| *index);
        for under in [old, new] {
            assert!(sign(under, &parts, b"payment").is_err());
        }
    }
}

#[test]
fn shares_of_two_epochs_do_not_sign_together() {
    for scheme in Scheme::ALL {
        let old = Held::dealt(scheme, 2, 3, 1);
        let new = old.reshare(&[1, 2], &[1, 2, 3], 2, 1);
        let other = old.reshare(&[1, 2], &[1, 2, 3], 2, 2);

        mixed_signatures_fail(&old, &new);
        mixed_signatures_fail(&new, &other);
    }
}
