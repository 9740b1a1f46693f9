#![expect(clippy::arithmetic_side_effects, reason = "test data is small")]

use quorate_model::{
    KeyPurpose, Purposes, Scheme,
    command::{CreateKey, EndorsementKind, SignedCommand},
    roster::{Placement, Role},
};

use super::*;
use crate::{
    Client, Committee, ExitClass, KeyReference,
    fixtures::{
        FakeCluster, cluster, made_key_in, next_roster, node_card, node_id, node_key,
        roster_receipt, signed_roster,
    },
};

#[test]
fn later_rosters_are_followed_and_a_shorter_chain_takes_none_back() {
    let (first, admin) = cluster();
    let (_, second) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let (_, third) = next_roster(&second, &admin, |next| {
        next.drained.insert(node_id(1));
    });
    let rosters = Rosters::new(first.clone());

    assert!(!rosters.follow(&first.to_file()).unwrap());
    assert!(rosters.follow(&third.to_file()).unwrap());
    assert_eq!(*rosters.roster(), third);
    for shorter in [&first, &second, &third] {
        assert!(!rosters.follow(&shorter.to_file()).unwrap());
        assert_eq!(*rosters.roster(), third);
    }
}

#[test]
fn rosters_that_do_not_follow_are_refused_and_nothing_of_them_is_taken() {
    let (first, admin) = cluster();
    let (others, stranger) = cluster();
    let (made, second) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let (later, _) = next_roster(&second, &admin, |next| {
        next.lifecycle_delay_seconds = Some(8 * 24 * 60 * 60);
    });
    let (foreign, _) = next_roster(&others, &stranger, |next| next.nodes.push(node_card(5)));
    let mut unendorsed = made.clone();
    unendorsed.endorsements.clear();
    let mut forged = made.clone();
    forged.endorsements = foreign.endorsements.clone();
    let mut changed = made.clone();
    let at = changed.bytes.len() / 2;
    changed.bytes[at] ^= 1;
    let mut rejected = made.clone();
    let word = admin.endorse(
        &made,
        &first.cluster(),
        EndorsementKind::Reject,
        Role::Admin,
    );
    rejected.endorsements = vec![word];

    for (what, commands, expected) in [
        (
            "without a word",
            vec![unendorsed],
            Reason::EndorsementInvalid,
        ),
        ("by a stranger", vec![forged], Reason::EndorsementInvalid),
        ("changed", vec![changed], Reason::EndorsementInvalid),
        ("rejected", vec![rejected], Reason::CommandRejected),
        ("foreign", vec![foreign], Reason::EndorsementInvalid),
        (
            "without its parent",
            vec![later.clone()],
            Reason::RosterBehind,
        ),
        ("in another order", vec![later, made], Reason::RosterBehind),
    ] {
        let rosters = Rosters::new(first.clone());

        let error = rosters.follow(&with(&first, commands)).unwrap_err();

        let VerificationError::Rosters(refusal) = &error else {
            panic!("{what}: {error}");
        };
        assert_eq!(refusal.reason, expected, "{what}: {error}");
        assert_eq!(*rosters.roster(), first, "{what}");
    }
}

#[test]
fn rosters_of_another_cluster_are_refused() {
    let (first, _) = cluster();
    let (others, stranger) = cluster();
    let (_, second) = next_roster(&others, &stranger, |next| next.nodes.push(node_card(5)));
    let rosters = Rosters::new(first.clone());

    for file in [signed_roster(&stranger), second.to_file()] {
        let error = rosters.follow(&file).unwrap_err();

        assert!(error.to_string().contains("another cluster"), "{error}");
        assert_eq!(*rosters.roster(), first);
    }
}

#[test]
fn the_other_branch_of_a_fork_is_known_and_not_acted_by() {
    let (first, admin) = cluster();
    let (_, own) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let (aside, _) = next_roster(&first, &admin, |next| next.nodes.push(node_card(6)));
    let rosters = Rosters::new(own.clone());

    assert!(rosters.follow(&with(&first, vec![aside.clone()])).unwrap());

    let roster = rosters.roster();
    assert_eq!(roster.hash(), own.hash());
    let hash = roster_hash(&aside);
    assert!(roster.knows(&hash) && !roster.follows(&hash));
}

#[test]
fn receipts_count_by_the_card_of_their_node_and_each_node_once() {
    let (first, admin) = cluster();
    let (_, second) = next_roster(&first, &admin, |next| {
        next.nodes.retain(|card| card.id != node_id(4));
        next.nodes.push(node_card(5));
    });
    let about = (second.roster(), second.hash());
    let verify = |receipts: &[RosterReceipt]| {
        let refusal = Refusal::new(Reason::Overloaded, "busy");
        let refusals = [(node_id(2), Some(refusal)), (node_id(9), None)];
        RosterProgress::verify(&second, about, receipts, &refusals)
    };
    let receipt = |number| roster_receipt(number, &second);

    let progress = verify(&[receipt(1), receipt(5), receipt(4)]).unwrap();

    assert_eq!(progress.nodes(), 4);
    let acting: Vec<_> = progress.acting.iter().map(|one| &one.node).collect();
    assert_eq!(acting, [&node_id(1), &node_id(5)]);
    assert_eq!(progress.removed[0].node, node_id(4));
    let missing: Vec<_> = progress
        .missing
        .iter()
        .map(|(node, refusal)| (node.clone(), refusal.is_some()))
        .collect();
    assert_eq!(missing, [(node_id(2), true), (node_id(3), false)]);

    let mut stolen = receipt(1);
    stolen.node = node_id(2);
    let mut unsigned = receipt(1);
    unsigned.record += 1;
    for (what, receipts) in [
        ("of a stranger", vec![receipt(6)]),
        ("of an earlier roster", vec![earlier(&first, &second)]),
        ("under another name", vec![stolen]),
        ("changed", vec![unsigned]),
        ("twice", vec![receipt(1), receipt(1)]),
    ] {
        let error = verify(&receipts).unwrap_err();

        assert!(
            matches!(error, VerificationError::BadReceipt(_)),
            "{what}: {error}"
        );
    }
}

#[test]
fn a_receipt_of_a_node_in_another_branch_is_refused() {
    let (first, admin) = cluster();
    let (aside, other) = next_roster(&first, &admin, |next| next.nodes.push(node_card(6)));
    let (_, own) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let known = follow_all(own.clone(), [&aside]).unwrap();
    let mut receipt = roster_receipt(1, &own);
    receipt.in_force = other.hash();
    let receipt = receipt.sign(&node_key(1));

    let error = RosterProgress::verify(&known, (own.roster(), own.hash()), &[receipt], &[]);

    assert_eq!(error, Err(VerificationError::BadReceipt(node_id(1))));
}

#[test]
fn a_difference_says_everything_that_changes() {
    let (first, _) = cluster();
    let before = first.roster();
    let mut after = before.clone();
    after.version = 2;
    after.nodes.remove(3);
    after.nodes.push(node_card(5));
    after.nodes[0].region = "moon".to_owned();
    after.drained.insert(node_id(2));
    after.lifecycle_delay_seconds = Some(8 * 24 * 60 * 60);
    after.placement = Placement {
        spread_regions: true,
        ..Placement::default()
    };

    let difference = RosterDifference::between(before, &after);
    let back = RosterDifference::between(&after, before);

    assert_eq!(difference.added, [node_card(5)]);
    assert_eq!(difference.removed, [node_id(4)]);
    assert_eq!(difference.drained, [node_id(2)]);
    assert_eq!(difference.moved, [after.nodes[0].clone()]);
    let rules: Vec<_> = difference.rules.iter().map(|(what, ..)| &**what).collect();
    assert_eq!(rules, ["lifecycle delay", "spread regions"]);
    assert_eq!(back.undrained, [node_id(2)]);
    assert_eq!(
        RosterDifference::between(before, before),
        RosterDifference::default()
    );
}

#[tokio::test]
async fn a_client_follows_what_its_coordinator_shows_and_nothing_that_is_forged() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let (client, admin) = (&cluster.client, cluster.client.identity());
    let first = client.roster();
    let (made, second) = next_roster(&first, admin, |next| next.nodes.push(node_card(5)));
    let (_, third) = next_roster(&second, admin, |next| next.nodes.push(node_card(6)));
    let mut forged = made;
    forged.endorsements.clear();

    assert!(!client.refresh_roster().await.unwrap());
    assert_eq!(client.roster_progress().await.unwrap(), None);
    cluster.show_rosters(Some(with(&first, vec![forged])));
    let error = client.refresh_roster().await.unwrap_err();
    assert_eq!(error.exit_class(), ExitClass::Verification);
    assert_eq!(client.roster(), first);

    cluster.show_rosters(None);
    cluster.act_by(&third, vec![roster_receipt(1, &third)]);
    assert!(client.refresh_roster().await.unwrap());
    assert_eq!(*client.roster(), third);
    let progress = client.roster_progress().await.unwrap().unwrap();
    assert_eq!((progress.acting.len(), progress.missing.len()), (1, 5));

    cluster.act_by(&first, vec![]);
    assert!(!client.refresh_roster().await.unwrap());
    assert_eq!(*client.roster(), third);
}

#[tokio::test]
async fn a_key_of_a_roster_that_is_not_known_has_the_client_fetch_it() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let client = &cluster.client;
    let shown = cluster.shown();
    let (_, second) = next_roster(&shown.roster, client.identity(), |next| {
        next.nodes.push(node_card(5));
    });
    let scheme = Scheme::EcdsaSecp256k1;
    let made = made_key_in(
        second.clone(),
        Arc::clone(&shown.identity),
        scheme,
        &KeyPurpose::ALL,
    );
    let name = made.view.record.name.clone();
    cluster.show_key(made);

    let error = client.look_up(&name.clone().into()).await.unwrap_err();
    assert!(error.to_string().contains("fetch the rosters"), "{error}");

    cluster.act_by(&second, vec![]);
    client.look_up(&name.into()).await.unwrap();
    assert_eq!(*client.roster(), second);
}

/// Who was removed keeps keys that sign, with any date: a name alone does not stand for what only they
/// hold.
#[tokio::test]
async fn a_key_that_too_few_nodes_of_the_roster_hold_is_used_by_its_id_alone() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let client = &cluster.client;
    let record = cluster.key.record().clone();
    let by_name = KeyReference::from(record.name.clone());
    let without = |client: &Client, number: u8| {
        let (_, next) = next_roster(&client.roster(), client.identity(), |next| {
            next.nodes.retain(|card| card.id != node_id(number));
            next.nodes.push(node_card(number + 10));
        });
        next
    };

    cluster.act_by(&without(client, 1), vec![]);
    client.refresh_roster().await.unwrap();
    client.key(&by_name).await.unwrap();
    cluster.act_by(&without(client, 2), vec![]);
    client.refresh_roster().await.unwrap();
    let error = client.key(&by_name).await.unwrap_err();

    assert_eq!(error.exit_class(), ExitClass::Verification);
    let message = error.to_string();
    assert!(message.contains(&record.id().to_string()), "{message}");
    // It is shown, for whoever reshares or retires it.
    client.look_up(&by_name).await.unwrap();
    let by_id = KeyReference {
        id: Some(record.id()),
        ..by_name
    };
    client.key(&by_id).await.unwrap();
}

#[tokio::test]
async fn a_change_of_the_roster_is_made_carried_out_and_proven_by_receipts() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let client = &cluster.client;
    let mut next = following(client);
    next.nodes.push(node_card(5));
    next.drained.insert(node_id(3));

    let prepared = client
        .prepare_roster_change(&next, &CommandOptions::default())
        .unwrap();
    let view = client.carry_out(&prepared).await.unwrap();
    let progress = client.roster_changed(&prepared, &view).await.unwrap();

    assert_eq!(*client.roster().roster(), next);
    assert_eq!((progress.version, progress.nodes()), (2, 5));
    assert_eq!(progress.acting.len(), 2);
    let mut lying = view.clone();
    if let Some(CommandOutcome::RosterChanged(outcome)) = &mut lying.outcome {
        outcome.receipts[1] = outcome.receipts[0].clone();
    }
    let error = client.roster_changed(&prepared, &lying).await.unwrap_err();
    assert_eq!(error.exit_class(), ExitClass::Verification);
    let mut nobody = view;
    if let Some(CommandOutcome::RosterChanged(outcome)) = &mut nobody.outcome {
        outcome.receipts.clear();
    }
    assert!(client.roster_changed(&prepared, &nobody).await.is_err());
}

#[tokio::test]
async fn what_every_node_would_refuse_is_refused_before_it_is_sent() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let client = &cluster.client;
    let mut renamed = node_card(5);
    renamed.id = node_id(1);
    let mut reused = node_card(5);
    reused.identity_key = node_card(2).identity_key;
    let edits: [(&str, Edit); 6] = [
        ("changes nothing", Box::new(|_| ())),
        (
            "\"node-a\" stands more than once",
            Box::new(move |next| next.nodes.push(renamed.clone())),
        ),
        (
            "identity key",
            Box::new(move |next| next.nodes.push(reused.clone())),
        ),
        ("expected 2 to 255", Box::new(|next| next.nodes.truncate(1))),
        (
            "drained node \"node-e\" is not in the roster",
            Box::new(|next| {
                next.drained.insert(node_id(5));
            }),
        ),
        (
            "bring the rosters in between",
            Box::new(|next| next.parents = vec![Digest::ZERO]),
        ),
    ];
    for (expected, edit) in edits {
        let mut next = following(client);
        edit(&mut next);

        let error = client
            .prepare_roster_change(&next, &CommandOptions::default())
            .unwrap_err();

        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn an_id_that_an_earlier_roster_gave_to_another_node_is_refused() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let client = &cluster.client;
    let (_, second) = next_roster(&client.roster(), client.identity(), |next| {
        next.nodes.retain(|card| card.id != node_id(4));
    });
    cluster.act_by(&second, vec![]);
    client.refresh_roster().await.unwrap();
    let mut other = node_card(5);
    other.id = node_id(4);
    let add = |card| {
        let mut next = following(client);
        next.nodes.push(card);
        client.prepare_roster_change(&next, &CommandOptions::default())
    };

    let error = add(other).unwrap_err();

    assert_eq!(error.reason(), Some(Reason::RosterInvalid));
    assert!(error.to_string().contains("never used"), "{error}");
    assert!(add(node_card(4)).is_ok());
}

#[tokio::test]
async fn a_committee_that_the_roster_does_not_allow_is_refused_before_it_is_asked() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let client = &cluster.client;
    let (_, second) = next_roster(&client.roster(), client.identity(), |next| {
        next.drained.insert(node_id(4));
        next.placement.least_nodes = 3;
    });
    cluster.act_by(&second, vec![]);
    client.refresh_roster().await.unwrap();
    let options = CommandOptions::default();

    for (numbers, expected) in [
        (&[1, 2, 3][..], None),
        (&[1, 2], Some(Reason::PlacementViolated)),
        (&[1, 2, 4], Some(Reason::NodeDrained)),
        (&[1, 2, 5], Some(Reason::NodeUnknown)),
    ] {
        let nodes: Vec<_> = numbers.iter().map(|number| node_id(*number)).collect();
        let create = CreateKey {
            key: "cold".parse().unwrap(),
            scheme: Scheme::Bip340,
            threshold: 2,
            nodes: nodes.clone(),
            purposes: Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
            accept_fragile: true,
            life: quorate_model::life::KeyLife::default(),
        };
        let committee = Committee {
            threshold: 2,
            nodes,
            accept_fragile: true,
            first_epoch: None,
        };

        let created = client.prepare_create_key(&create, &options);
        let reshared = client.prepare_reshare(&cluster.key.listed(), committee, &options);

        for refused in [created.err(), reshared.err()] {
            let reason = refused.and_then(|error| error.reason());
            assert_eq!(reason, expected, "{numbers:?}");
        }
    }
}

#[tokio::test]
async fn an_admin_looks_at_the_exact_roster_that_waits() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let client = &cluster.client;
    let mut next = following(client);
    next.nodes.push(node_card(5));
    let prepared = client
        .prepare_roster_change(&next, &CommandOptions::default())
        .unwrap();
    cluster.await_words(&prepared);

    let awaiting = client.awaiting(prepared.id()).await.unwrap();

    assert_eq!(roster_of(awaiting.signed()).unwrap(), next);
    assert_eq!(awaiting.digest(), prepared.digest());
}

type Edit = Box<dyn Fn(&mut Roster)>;

fn following(client: &Client) -> Roster {
    let pinned = client.roster();
    let mut next = pinned.roster().clone();
    next.version += 1;
    next.parents = vec![pinned.hash()];
    next
}

/// A file of roster 1 and these commands.
fn with(first: &PinnedRoster, commands: Vec<SignedCommand>) -> SignedRoster {
    SignedRoster {
        successors: commands.into_iter().map(Successor).collect(),
        ..first.at(&first.cluster()).unwrap().to_file()
    }
}

fn roster_hash(signed: &SignedCommand) -> Digest {
    let command = quorate_proto::command::decode(&signed.bytes).unwrap();
    let CommandBody::ChangeRoster(change) = command.body else {
        panic!("{command:?}");
    };
    change.hash()
}

/// The word of a node about the roster before.
fn earlier(first: &PinnedRoster, second: &PinnedRoster) -> RosterReceipt {
    let receipt = RosterReceipt {
        roster: first.hash(),
        ..roster_receipt(1, second)
    };
    receipt.sign(&node_key(1))
}
