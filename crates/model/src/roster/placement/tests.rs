use ed25519_dalek::SigningKey;

use super::*;
use crate::{
    bytes::Digest,
    identity::IdentityKey,
    roster::{CoordinatorCard, NodeCard},
};

/// Nodes a and b in one region of two organisations, c and d elsewhere.
fn roster(placement: Placement) -> Roster {
    let node = |id: &str, seed: u8, region: &str, organisation: &str| NodeCard {
        id: id.parse().unwrap(),
        identity_key: IdentityKey::of(&SigningKey::from_bytes(&[seed; 32])),
        tls_key_hash: Digest::new([seed; 32]),
        region: region.to_owned(),
        organisation: organisation.to_owned(),
    };
    Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: vec![],
        nodes: vec![
            node("a1", 1, "zurich", "one"),
            node("b2", 2, "zurich", "two"),
            node("c3", 3, "tokyo", "two"),
            node("d4", 4, "lima", "three"),
        ],
        coordinators: vec![CoordinatorCard {
            id: "coordinator-1".parse().unwrap(),
            tls_key_hash: Digest::new([9; 32]),
        }],
        principals: vec![],
        admin_quorum: 1,
        lifecycle_quorum: 1,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement,
    }
}

fn check(roster: &Roster, nodes: &[&str], threshold: u16) -> Result<(), (Reason, String)> {
    let nodes: Vec<NodeId> = nodes.iter().map(|id| id.parse().unwrap()).collect();
    roster
        .check_committee(&nodes, threshold)
        .map_err(|refusal| (refusal.reason, refusal.message))
}

fn violates(roster: &Roster, nodes: &[&str], threshold: u16, says: &str) {
    let (reason, message) = check(roster, nodes, threshold).unwrap_err();
    assert_eq!(reason, Reason::PlacementViolated);
    assert!(message.contains(says), "{message}");
}

#[test]
fn without_rules_every_committee_of_listed_nodes_may_hold_a_key() {
    let roster = roster(Placement::default());

    assert_eq!(check(&roster, &["a1", "b2"], 2), Ok(()));
    let (reason, _) = check(&roster, &["a1", "zz"], 2).unwrap_err();
    assert_eq!(reason, Reason::NodeUnknown);
}

#[test]
fn a_region_or_organisation_that_can_sign_alone_is_refused() {
    let regions = roster(Placement {
        spread_regions: true,
        ..Placement::default()
    });
    violates(
        &regions,
        &["a1", "b2", "c3"],
        2,
        "region \"zurich\" (a1, b2)",
    );
    assert_eq!(check(&regions, &["a1", "b2", "c3", "d4"], 3), Ok(()));
    assert_eq!(check(&regions, &["b2", "c3", "d4"], 2), Ok(()));

    let organisations = roster(Placement {
        spread_organisations: true,
        ..Placement::default()
    });
    violates(
        &organisations,
        &["b2", "c3", "d4"],
        2,
        "organisation \"two\"",
    );
    assert_eq!(check(&organisations, &["a1", "b2", "d4"], 2), Ok(()));
}

#[test]
fn a_committee_below_the_least_is_refused() {
    let least = |threshold, nodes, regions| {
        roster(Placement {
            least_threshold: threshold,
            least_nodes: nodes,
            least_regions: regions,
            ..Placement::default()
        })
    };
    let three = ["a1", "b2", "c3"];

    violates(&least(3, 0, 0), &three, 2, "threshold is 2");
    violates(&least(0, 4, 0), &three, 2, "number of nodes is 3");
    violates(&least(0, 0, 3), &three, 2, "number of regions is 2");
    assert_eq!(check(&least(2, 3, 2), &three, 2), Ok(()));
}

#[test]
fn a_drained_node_receives_no_share() {
    let mut roster = roster(Placement::default());
    roster.drained.insert("b2".parse().unwrap());

    let (reason, message) = check(&roster, &["a1", "b2", "c3"], 2).unwrap_err();

    assert_eq!(reason, Reason::NodeDrained);
    assert!(message.contains("node drain b2 --cancel"), "{message}");
    assert_eq!(check(&roster, &["a1", "c3", "d4"], 2), Ok(()));
}

#[test]
fn rules_are_as_strict_only_where_none_is_looser() {
    let one = Placement {
        spread_regions: true,
        least_nodes: 3,
        ..Placement::default()
    };
    let more = Placement {
        least_regions: 2,
        ..one.clone()
    };

    assert!(more.is_as_strict_as(&one) && one.is_as_strict_as(&one));
    assert!(!one.is_as_strict_as(&more));
    assert!(!Placement::default().is_as_strict_as(&one));
}
