//! When old shares go, and when they stay.

use quorate_model::node_api::EraseCertificate;
use rand_core::OsRng;

use super::super::*;
use crate::core::Outcome;

#[test]
fn shares_of_old_epochs_are_gone_once_every_new_holder_has_vouched() {
    let mut cluster = Cluster::new(4);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let new = cluster.reshare(&old, 2, &[1, 2, 3]);
    let erase = cluster.vouch(&new);
    assert!(cluster.has_share(1, &old) && cluster.listing(1).keeps_old);

    // A holder that leaves hears of the new epoch first.
    assert_eq!(reason(cluster.erase_at(0, &erase)), Reason::EpochChanged);
    cluster.activate_at(0, &new).unwrap();
    assert_eq!(cluster.listing(0).epoch, new.epoch());
    assert_eq!(reason(cluster.sign_by(&old, &[0, 1])), Reason::EpochChanged);
    let first = cluster.erase_at(0, &erase).unwrap();
    let again = cluster.erase_at(0, &erase).unwrap();
    for at in [1, 2, 3] {
        cluster.erase_at(at, &erase).unwrap();
    }

    assert_eq!(first.digest(), again.digest());
    for at in 0..3 {
        assert!(!cluster.has_share(at, &old));
        assert!(!cluster.listing(at).keeps_old);
    }
    assert!(cluster.has_share(3, &new));
    cluster.sign_by(&new, &[1, 3]).unwrap();
}

#[test]
fn nothing_is_erased_on_less_than_the_word_of_every_new_holder() {
    let mut cluster = Cluster::new(4);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let new = cluster.reshare(&old, 2, &[1, 2, 3]);
    let good = cluster.vouch(&new);
    let changes: [fn(&mut EraseCertificate); 7] = [
        |erase| erase.receipts.truncate(2),
        |erase| erase.receipts.swap(0, 1),
        |erase| erase.receipts[2] = erase.receipts[1].clone(),
        |erase| erase.receipts[2].sequence += 1,
        |erase| erase.receipts[0].certificate = Digest::ZERO,
        |erase| erase.epoch = Epoch(3),
        |erase| erase.key = "other-key".parse().unwrap(),
    ];
    for change in changes {
        let mut erase = good.clone();
        change(&mut erase);

        let refused = reason(cluster.erase_at(1, &erase));

        assert!(matches!(
            refused,
            Reason::ProtocolViolation | Reason::EpochChanged | Reason::KeyUnknown
        ));
        assert!(cluster.has_share(1, &old));
    }
    // The word of those that hold nothing in the new epoch is no word.
    let stranger = cluster.activate_at(0, &new).unwrap();
    let mut erase = good;
    erase.receipts[0] = stranger;
    assert_eq!(
        reason(cluster.erase_at(1, &erase)),
        Reason::ProtocolViolation
    );
}

#[test]
fn a_node_that_dies_between_the_record_and_the_erasure_erases_when_it_starts_again() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let new = cluster.reshare(&old, 2, &[0, 1, 2]);
    let erase = cluster.vouch(&new);
    let request = NodeRequest::EraseEpochs {
        erasures: vec![erase.clone()],
    };
    let Outcome::Pending(pending) = cluster.judge(0, request) else {
        panic!("nothing is recorded");
    };
    cluster.cores[0]
        .journal()
        .commit(pending.appended())
        .unwrap();
    drop(pending);
    assert!(cluster.has_share(0, &old));

    let erased = cluster.cores[0].finish_erasures(&mut OsRng).unwrap();

    assert_eq!(erased, 1);
    assert!(!cluster.has_share(0, &old) && cluster.has_share(0, &new));
    let boot = Entry::Boot {
        version: "test".to_owned(),
        node: node_id(0),
    };
    let _appended = cluster.cores[0]
        .begin(cluster.reading(), vec![boot])
        .unwrap();
    assert_eq!(cluster.cores[0].finish_erasures(&mut OsRng).unwrap(), 0);
}

/// What an erasure costs the disk beside its two operations for each share: the removal of the file
/// and the end of the directory's change.
fn cost_beside_files(keys: u16) -> u64 {
    let mut cluster = Cluster::new(2);
    let erasures: Vec<_> = (0..keys)
        .map(|number| {
            let name = format!("notes-{number}");
            let old = cluster.born(&name, Scheme::Bip340, 2, &[0, 1]);
            let new = cluster.reshare(&old, 2, &[0, 1]);
            cluster.vouch(&new)
        })
        .collect();
    let before = cluster.disks[0].operations();

    let reply = cluster.ask(0, NodeRequest::EraseEpochs { erasures });

    let cost = cluster.disks[0].operations() - before;
    let Ok(NodeReply::Erased(outcomes)) = reply else {
        panic!("nothing is erased")
    };
    assert!(outcomes.len() == usize::from(keys) && outcomes.iter().all(Result::is_ok));
    assert_eq!(
        cluster.cores[0].vault.list().unwrap().len(),
        usize::from(keys)
    );
    cost - 2 * u64::from(keys)
}

/// All keys of a fleet are refreshed in one night: each erasure by itself would write the data keys of
/// all of them anew.
#[test]
fn the_old_shares_of_many_keys_go_with_one_rewrite_of_the_keyring() {
    let [one, ten] = [1, 10].map(cost_beside_files);

    // The record with its fsync, and the keyring: written, durable, in place, and that durable.
    assert_eq!((one, ten), (6, 6));
}
