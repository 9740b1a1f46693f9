use quorate_model::{
    KeyId, KeyPurpose, Scheme,
    life::{KeyLife, Predecessor},
};

use super::*;
use crate::fixtures::{FakeCluster, MadeKey, made_beside, made_key, next_roster};

fn listed(made: &MadeKey) -> ListedKey {
    ListedKey::verify(&made.view, &made.roster).unwrap()
}

fn replacing(before: &MadeKey) -> KeyLife {
    let record = &before.view.record;
    KeyLife {
        replaces: Some(Predecessor {
            key: record.name.clone(),
            key_id: record.id(),
        }),
        ..KeyLife::default()
    }
}

fn named(made: &MadeKey) -> Successor {
    Successor {
        key: made.view.record.name.clone(),
        key_id: made.view.record.id(),
    }
}

#[test]
fn times_that_no_honest_node_has_are_left_out() {
    let made = made_key(Scheme::Bip340);
    let created = listed(&made).created();
    let told = |activated: UnixMillis, used: UnixMillis| {
        let view = KeyView {
            activated: Some(activated),
            used: Some(used),
            ..made.view.clone()
        };
        let key = ListedKey::verify(&view, &made.roster).unwrap();
        (key.activated(), key.last_used())
    };
    let earliest = UnixMillis(created.0 - MAX_CREATED_AHEAD_MS);
    let soon = created.plus(60_000);

    assert_eq!(told(created, soon), (Some(created), Some(soon)));
    assert_eq!(told(earliest, earliest), (Some(earliest), Some(earliest)));
    let too_early = UnixMillis(earliest.0 - 1);
    assert_eq!(told(too_early, soon), (None, Some(soon)));
    let to_come = created.plus(3_600_000);
    assert_eq!(told(created, to_come), (Some(created), None));
    assert_eq!(told(UnixMillis(u64::MAX), UnixMillis(0)), (None, None));
    let key = listed(&made);
    assert_eq!((key.activated(), key.last_used()), (None, None));
}

#[test]
fn a_list_shows_the_first_active_key_in_the_place_of_another_and_after_its_time_too() {
    let old = made_key(Scheme::Bip340);
    let first = made_beside(&old, "hot-3", replacing(&old));
    let second = made_beside(&old, "hot-2", replacing(&old));
    let other = made_beside(&old, "other", KeyLife::default());
    let before = listed(&old);
    let replaced_by = |keys: &[ListedKey]| {
        let next = before.replaced_by(keys, &old.roster)?;
        Some(next.record().name.to_string())
    };
    let all = [&old, &second, &first, &other].map(listed);

    assert_eq!(replaced_by(&all).as_deref(), Some("hot-3"));
    assert_eq!(replaced_by(&[listed(&old), listed(&other)]), None);
    let mut unproven = first.view.clone();
    unproven.evidence.proof = None;
    unproven.state = KeyState::PreActive;
    let unproven = ListedKey::verify(&unproven, &old.roster).unwrap();
    assert_eq!(replaced_by(&[unproven]), None);
}

#[test]
fn keys_that_removed_nodes_can_make_take_no_place() {
    let old = made_key(Scheme::Bip340);
    let next = made_beside(&old, "hot-2", replacing(&old));
    let (_, chain) = next_roster(&old.roster, &old.identity, |roster| {
        roster.nodes.drain(..2);
    });
    let next = ListedKey::verify(&next.view, &chain).unwrap();

    assert!(next.takes_place_of(&listed(&old)));
    assert!(listed(&old).replaced_by(&[next], &chain).is_none());
}

#[tokio::test]
async fn the_key_that_is_named_is_fetched_and_says_itself_what_it_replaces() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let old = cluster.shown();
    let next = made_beside(&old, "hot-2", replacing(&old));
    let look_up = async || {
        let reference = KeyReference::from(old.view.record.name.clone());
        cluster.client.look_up(&reference).await.unwrap()
    };
    let alone = look_up().await;
    assert!(cluster.client.successor(&alone).await.unwrap().is_none());

    cluster.name_successor(named(&next), next.view.clone());

    let key = look_up().await;
    let found = cluster.client.successor(&key).await.unwrap().unwrap();
    assert_eq!(found.record().id(), next.view.record.id());
    assert!(found.takes_place_of(&key));
}

#[tokio::test]
async fn a_key_that_is_named_wrongly_is_no_successor() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let old = cluster.shown();
    let plain = made_beside(&old, "hot-2", KeyLife::default());
    let mut other = replacing(&old);
    other.replaces.as_mut().unwrap().key_id = KeyId([7; 32]);
    let of_other = made_beside(&old, "hot-2", other);
    let next = made_beside(&old, "hot-2", replacing(&old));
    let refused = async |named: Successor, shown: &MadeKey| {
        cluster.name_successor(named, shown.view.clone());
        let reference = KeyReference::from(old.view.record.name.clone());
        let key = cluster.client.look_up(&reference).await.unwrap();
        cluster.client.successor(&key).await.unwrap_err()
    };

    for wrong in [&plain, &of_other] {
        let error = refused(named(wrong), wrong).await;

        assert_eq!(error.exit_class(), crate::ExitClass::Verification);
        assert!(error.to_string().contains("does not say so"), "{error}");
    }
    // The true one, with the id of another.
    let error = refused(named(&plain), &next).await;
    assert!(error.to_string().contains("is shown with id"), "{error}");
    // The key itself.
    let error = refused(named(&old), &next).await;
    assert!(error.to_string().contains("does not say so"), "{error}");
}
