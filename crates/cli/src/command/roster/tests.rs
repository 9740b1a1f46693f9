use ed25519_dalek::SigningKey;
use quorate_client::model::{
    Digest, IdentityKey, Reason, Refusal, Signature,
    roster::{CoordinatorCard, NodeCard, Principal, Role, RosterReceipt, SignedRoster},
};

use super::*;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// The card of the node with this number: 1 is node-a.
pub(in crate::command) fn card(number: u8) -> NodeCard {
    NodeCard {
        id: format!("node-{}", char::from(b'`'.saturating_add(number)))
            .parse()
            .unwrap(),
        identity_key: IdentityKey::of(&key(number)),
        tls_key_hash: Digest::new([number; 32]),
        region: format!("region-{number}"),
        organisation: "org".to_owned(),
    }
}

/// A cluster of three nodes and one admin.
pub(in crate::command) fn pinned() -> PinnedRoster {
    let admin = key(11);
    let principal = Principal {
        id: "ann".parse().unwrap(),
        person: "Ann".to_owned(),
        roles: vec![Role::Admin],
        identity_key: IdentityKey::of(&admin),
        tls_key_hash: Digest::new([11; 32]),
    };
    let coordinator = CoordinatorCard {
        id: "coordinator".parse().unwrap(),
        tls_key_hash: Digest::new([9; 32]),
    };
    let nodes = [1, 2, 3].map(card).to_vec();
    let roster = command::cluster::assemble(
        "test",
        nodes,
        vec![coordinator],
        vec![principal],
        None,
        (1, 10),
    );
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&"ann".parse().unwrap(), &admin);
    signed.verify_first().unwrap()
}

struct Add(NodeCard);

impl Edit for Add {
    fn apply(&self, next: &mut Roster) -> Result<(), CliError> {
        next.nodes.push(self.0.clone());
        Ok(())
    }
}

#[test]
fn the_next_roster_follows_the_one_in_force() {
    let pinned = pinned();

    let made = next(&pinned, &Add(card(4))).unwrap();

    assert_eq!(made.version, 2);
    assert_eq!(made.parents, [pinned.hash()]);
    assert_eq!(made.nodes.len(), 4);
}

#[test]
fn whoever_approves_sees_every_change_with_its_key() {
    let pinned = pinned();
    let mut after = next(&pinned, &Add(card(4))).unwrap();
    after.nodes.remove(0);
    after.drained.insert(card(2).id);
    after.lifecycle_delay_seconds = Some(60);
    after.placement.spread_regions = true;

    let text = difference_table(pinned.roster(), &after).to_string();
    let json = difference_json(pinned.roster(), &after);
    let back = difference_table(&after, pinned.roster()).to_string();

    let key = card(4).identity_key.to_string();
    for expected in [
        "roster 2 after roster 1",
        "node-d (region-4, org)",
        &key,
        "remove node",
        "node-a",
        "drain node",
        "10 s -> 60 s",
        "spread regions",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(json["removed"][0], "node-a");
    assert_eq!(json["added"][0]["id"], "node-d");
    assert_eq!(json["rules"][1]["rule"], "spread regions");
    assert!(back.contains("end draining of"), "{back}");
}

#[test]
fn progress_says_how_many_act_by_it_and_who_is_missing() {
    let receipt = RosterReceipt {
        node: card(1).id,
        roster: Digest::ZERO,
        in_force: Digest::ZERO,
        command: Digest::ZERO,
        record: 3,
        signature: Signature([0; 64]),
    };
    let refusal = Refusal::new(Reason::RosterForked, "another is in force");
    let progress = RosterProgress {
        version: 2,
        roster: Digest::ZERO,
        acting: vec![receipt],
        missing: vec![(card(2).id, Some(refusal)), (card(3).id, None)],
        removed: Vec::new(),
    };

    let text = progress_table(&progress).to_string();
    let json = progress_json(&progress);

    for expected in [
        "1 of 3 nodes act by roster 2 (node-a)",
        "node-b: another is in force (ROSTER_FORKED)",
        "node-c: no answer",
        "they follow when they connect",
        "n-t+1 honest holders",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(json["missing"][0]["reason"], "ROSTER_FORKED");
    assert_eq!(json["acknowledged_by"][0], "node-a");
}

#[test]
fn what_becomes_of_a_key_is_said_by_how_many_holders_are_left() {
    let text = |left| {
        let holding = Holding {
            key: "hot".to_owned(),
            threshold: 2,
            holders: 4,
            left,
        };
        (holding.is_lost(), holding.consequence())
    };

    let (lost, gone) = text(1);
    assert!(
        lost && gone.contains("never sign or be reshared again"),
        "{gone}"
    );
    let (lost, edge) = text(2);
    assert!(!lost && edge.contains("lost with one more"), "{edge}");
    let (lost, fine) = text(3);
    assert!(!lost && fine.contains("signs on"), "{fine}");
}

#[test]
fn placement_rules_are_told_in_words_and_none_where_there_are_none() {
    let rules = Placement {
        spread_organisations: true,
        least_nodes: 3,
        ..Placement::default()
    };

    assert_eq!(
        placement_texts(&rules),
        [
            "fewer holders of one organisation than sign",
            "nodes 3 or more"
        ]
    );
    assert!(placement_texts(&Placement::default()).is_empty());
}
