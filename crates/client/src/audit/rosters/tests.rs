use quorate_model::{
    CommandId, UnixMillis,
    command::EndorsementKind,
    roster::{Role, Successor},
};

use super::*;
use crate::fixtures::{cluster, next_roster, node_card, node_id};

/// What a node records of the roster that a command makes.
fn followed(signed: &SignedCommand, in_force: bool) -> Entry {
    let command = quorate_proto::command::decode(&signed.bytes).unwrap();
    let CommandBody::ChangeRoster(change) = &command.body else {
        panic!("{command:?}");
    };
    Entry::RosterFollowed {
        judgment: Judgment {
            command: signed.digest(),
            command_id: command.id,
            endorsements: Digest::ZERO,
            policy: Digest::ZERO,
            rule: "quorum:admin".to_owned(),
        },
        version: Roster::parse(&change.roster).unwrap().version,
        roster: change.hash(),
        in_force,
        command: signed.clone(),
    }
}

fn pinned(chain: &PinnedRoster) -> Entry {
    let roster = serde_json::to_vec_pretty(&chain.to_file()).unwrap();
    Entry::RosterPinned { roster }
}

fn record(entry: Entry) -> Record {
    Record {
        sequence: 5,
        previous: Digest::ZERO,
        time: UnixMillis(7),
        boot: [0; 16],
        entry,
    }
}

/// Judges the journal of one node, and answers with the chain at its end.
fn judge(roster: &PinnedRoster, entries: Vec<Entry>) -> Result<PinnedRoster, String> {
    let mut followings = Followings::default();
    let mut chain = roster.clone();
    for entry in entries {
        if let Some(next) = followings.record(&chain, &node_id(1), &record(entry))? {
            chain = next;
        }
    }
    Ok(chain)
}

#[test]
fn a_journal_brings_the_rosters_that_it_followed() {
    let (first, admin) = cluster();
    let (two, second) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let (three, third) = next_roster(&second, &admin, |next| {
        next.nodes.retain(|card| card.id != node_id(1));
    });
    let all = || vec![pinned(&first), followed(&two, true), followed(&three, true)];

    assert_eq!(judge(&first, all()), Ok(third.clone()));
    assert_eq!(judge(&third, all()), Ok(third.clone()));
    let late = vec![pinned(&second), followed(&three, true)];
    assert_eq!(judge(&first, late), Ok(third));
}

#[test]
fn a_roster_that_its_admins_did_not_carry_proves_the_fault_of_whoever_acts_by_it() {
    let (first, admin) = cluster();
    let (others, stranger) = cluster();
    let (two, _) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let (foreign, _) = next_roster(&others, &stranger, |next| next.nodes.push(node_card(5)));
    let mut forged = two.clone();
    forged.endorsements = foreign.endorsements.clone();
    let mut rejected = two.clone();
    let cluster = first.cluster();
    let word = admin.endorse(&two, &cluster, EndorsementKind::Reject, Role::Admin);
    rejected.endorsements = vec![word];

    for signed in [forged, rejected, foreign] {
        let error = judge(&first, vec![pinned(&first), followed(&signed, true)]).unwrap_err();

        assert!(error.contains("node-a"), "{error}");
        assert!(error.contains("proves its fault"), "{error}");
    }
}

#[test]
fn a_record_that_says_something_else_than_its_command_proves_a_fault() {
    let (first, admin) = cluster();
    let (two, _) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let edits: [fn(&mut Entry); 4] = [
        |entry| {
            if let Entry::RosterFollowed { version, .. } = entry {
                *version = 9;
            }
        },
        |entry| {
            if let Entry::RosterFollowed { roster, .. } = entry {
                *roster = Digest::ZERO;
            }
        },
        |entry| {
            if let Entry::RosterFollowed { judgment, .. } = entry {
                judgment.command = Digest::ZERO;
            }
        },
        |entry| {
            if let Entry::RosterFollowed { judgment, .. } = entry {
                judgment.command_id = CommandId::from_random([1; 16]);
            }
        },
    ];
    for edit in edits {
        let mut entry = followed(&two, true);
        edit(&mut entry);

        let error = judge(&first, vec![entry]).unwrap_err();

        assert!(error.contains("something else"), "{error}");
    }
}

#[test]
fn what_lies_between_is_asked_for_and_nobody_is_accused() {
    let (first, admin) = cluster();
    let (_, second) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let (three, _) = next_roster(&second, &admin, |next| next.nodes.push(node_card(6)));

    let error = judge(&first, vec![followed(&three, true)]).unwrap_err();

    assert!(error.contains("bring the rosters in between"), "{error}");
    assert!(!error.contains("fault"), "{error}");
}

#[test]
fn a_node_keeps_to_one_branch_of_a_fork() {
    let (first, admin) = cluster();
    let (one, own) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    let (other, aside) = next_roster(&first, &admin, |next| next.nodes.push(node_card(6)));
    let (later, _) = next_roster(&aside, &admin, |next| next.nodes.push(node_card(5)));
    let known = quorate_proto::roster::follow_all(own.clone(), [&other]).unwrap();
    let (healing, healed) = next_roster(&known, &admin, |next| {
        next.nodes.push(node_card(6));
        next.parents.push(aside.hash());
    });
    let begin = || vec![pinned(&first), followed(&one, true)];
    let with = |more: Vec<Entry>| judge(&first, [begin(), more].concat());

    assert!(with(vec![followed(&other, false)]).is_ok());
    let united = with(vec![followed(&other, false), followed(&healing, true)]);
    assert_eq!(united.unwrap().hash(), healed.hash());
    for strays in [
        vec![followed(&other, true)],
        vec![followed(&other, false), followed(&later, true)],
    ] {
        let error = with(strays).unwrap_err();

        assert!(error.contains("does not follow from"), "{error}");
        assert!(error.contains("proves its fault"), "{error}");
    }
}

#[test]
fn a_node_that_pinned_another_cluster_or_a_chain_that_does_not_hold_is_refused() {
    let (first, admin) = cluster();
    let (others, _) = cluster();
    let (mut two, _) = next_roster(&first, &admin, |next| next.nodes.push(node_card(5)));
    two.endorsements.clear();
    let forged = SignedRoster {
        successors: vec![Successor(two)],
        ..first.to_file()
    };
    let forged = Entry::RosterPinned {
        roster: serde_json::to_vec(&forged).unwrap(),
    };
    let garbage = Entry::RosterPinned {
        roster: b"{".to_vec(),
    };

    for entry in [pinned(&others), forged, garbage] {
        assert!(judge(&first, vec![entry]).is_err());
    }
}
