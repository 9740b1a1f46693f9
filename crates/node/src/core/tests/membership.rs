//! Rosters that follow each other, as a node follows them (P3, P7, P41).

use ed25519_dalek::SigningKey;
use std::sync::Arc;

use quorate_model::{
    Refusal,
    command::{ChangeRoster, Command, SignedCommand},
    destruction::DestroyStep,
    roster::{Followed, NodeCard, PinnedRoster, Roster, RosterReceipt},
    standing::{SetKeyState, StateChange},
};
use rand_core::OsRng;

use super::*;
use crate::core::{Outcome, ledger, lock};

/// The roster after one, with a change.
fn next(pinned: &PinnedRoster, change: impl FnOnce(&mut Roster)) -> Roster {
    let mut roster = pinned.roster().clone();
    roster.version += 1;
    roster.parents = vec![pinned.hash()];
    change(&mut roster);
    roster
}

fn card(at: usize) -> NodeCard {
    let seed = u8::try_from(at + 1).unwrap();
    NodeCard {
        id: node_id(at),
        identity_key: quorate_model::IdentityKey::of(&SigningKey::from_bytes(&[seed; 32])),
        tls_key_hash: Digest::new([seed; 32]),
        region: "elsewhere".to_owned(),
        organisation: "organisation".to_owned(),
    }
}

impl Cluster {
    /// A command for a roster, by one admin.
    fn roster_of_one(&mut self, under: &PinnedRoster, roster: &Roster) -> SignedCommand {
        let command = Command {
            cluster: under.cluster(),
            roster: under.hash(),
            id: self.command_id(),
            created: START,
            expires: START.plus(3_600_000),
            body: CommandBody::ChangeRoster(ChangeRoster {
                roster: serde_json::to_vec(roster).unwrap(),
            }),
        };
        self.propose(&command, Role::Admin)
    }

    /// The same by the word of both.
    fn roster_command(&mut self, under: &PinnedRoster, roster: &Roster) -> SignedCommand {
        let mut command = self.roster_of_one(under, roster);
        let key = self.second_admin.clone();
        self.word(
            &mut command,
            EndorsementKind::Approve,
            "the-second-admin",
            &key,
        );
        command
    }

    fn follow(&mut self, at: usize, command: &SignedCommand) -> Result<RosterReceipt, Refusal> {
        let command = command.clone();
        self.ask(at, NodeRequest::ChangeRoster { command })
            .map(|reply| match reply {
                NodeReply::RosterChanged(receipt) => receipt,
                other => panic!("{other:?}"),
            })
    }

    /// Has every node follow a change, and goes by it in commands from here on.
    pub(super) fn changed(&mut self, change: impl FnOnce(&mut Roster)) -> PinnedRoster {
        let before = self.pinned.clone();
        let command = self.roster_command(&before, &next(&before, change));
        for at in 0..self.cores.len() {
            self.follow(at, &command).unwrap();
        }
        let Followed::InForce(chain) = quorate_proto::roster::follow(&before, &command).unwrap()
        else {
            panic!("it is in force")
        };
        self.pinned = chain;
        before
    }

    fn listed_rosters(&mut self, at: usize, since: Digest) -> Vec<SignedCommand> {
        match self.ask(at, NodeRequest::ListRosters { since }) {
            Ok(NodeReply::Rosters(commands)) => commands,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_node_follows_what_the_quorum_endorses_and_says_so_once_it_is_durable() {
    let mut cluster = Cluster::new(3);
    let pinned = cluster.pinned.clone();
    let roster = next(&pinned, |roster| roster.nodes.push(card(50)));
    let alone = cluster.roster_of_one(&pinned, &roster);
    let command = cluster.roster_command(&pinned, &roster);

    let refusal = cluster.follow(0, &alone).unwrap_err();
    assert_eq!(refusal.reason, Reason::EndorsementsMissing);
    assert_eq!(cluster.cores[0].pinned().hash(), pinned.hash());

    // Known, and not durable yet: no receipt.
    let request = NodeRequest::ChangeRoster {
        command: command.clone(),
    };
    let Outcome::Pending(pending) = cluster.judge(0, request) else {
        panic!("it is recorded")
    };
    let early = cluster.follow(0, &command).unwrap_err();
    assert_eq!(early.reason, Reason::Overloaded);
    let core = Arc::clone(&cluster.cores[0]);
    let committed = core.journal().commit(pending.appended()).unwrap();
    let reply = pending.release(&committed, &mut OsRng).unwrap().unwrap();

    let NodeReply::RosterChanged(receipt) = reply else {
        panic!("{reply:?}")
    };
    let own = pinned.roster().node(&node_id(0)).unwrap();
    let hash = core.pinned().hash();
    receipt.verify(own, &hash).unwrap();
    assert_eq!(receipt.in_force, hash);
    assert_eq!(core.pinned().roster().version, 2);
    assert_eq!(cluster.follow(0, &command).unwrap(), receipt, "and again");
}

#[test]
fn a_followed_roster_outlives_the_process_and_its_index() {
    let mut cluster = Cluster::new(3);
    let first = cluster.pinned.clone();
    cluster.changed(|roster| roster.nodes.push(card(50)));
    cluster.changed(|roster| roster.drained = [node_id(50)].into());

    let rows = {
        let state = lock(&cluster.cores[0].state);
        ledger::rosters(&*state.index).unwrap()
    };
    let again = quorate_proto::roster::follow_all(first.clone(), &rows).unwrap();

    assert_eq!(again.hash(), cluster.pinned.hash());
    assert_eq!(cluster.listed_rosters(0, first.hash()), rows);
    let latest = cluster.pinned.hash();
    assert!(cluster.listed_rosters(0, latest).is_empty());
}

#[test]
fn a_node_that_was_away_follows_step_by_step_and_no_other_way() {
    let mut cluster = Cluster::new(3);
    let pinned = cluster.pinned.clone();
    let one = cluster.roster_command(&pinned, &next(&pinned, |r| r.nodes.push(card(50))));
    let Followed::InForce(second) = quorate_proto::roster::follow(&pinned, &one).unwrap() else {
        panic!("it follows")
    };
    let two = cluster.roster_command(&second, &next(&second, |r| r.nodes.push(card(51))));

    let refusal = cluster.follow(0, &two).unwrap_err();
    assert_eq!(refusal.reason, Reason::RosterBehind);

    // A year later, after both commands have expired.
    cluster.monotonic_ms += 365 * 24 * 3_600_000;
    cluster.follow(0, &one).unwrap();
    let receipt = cluster.follow(0, &two).unwrap();
    assert_eq!(cluster.cores[0].pinned().roster().version, 3);
    let late = cluster.follow(0, &one).unwrap();
    assert_eq!(late.in_force, receipt.roster, "the later one is in force");
}

#[test]
fn a_fork_is_known_and_not_in_force() {
    let mut cluster = Cluster::new(3);
    let pinned = cluster.pinned.clone();
    let one = cluster.roster_command(&pinned, &next(&pinned, |r| r.nodes.push(card(50))));
    let other = cluster.roster_command(&pinned, &next(&pinned, |r| r.nodes.push(card(51))));

    cluster.follow(0, &one).unwrap();
    let forked = cluster.follow(0, &other).unwrap_err();

    assert_eq!(forked.reason, Reason::RosterForked);
    assert_eq!(
        cluster.follow(0, &other).unwrap_err().reason,
        Reason::RosterForked
    );
    let chain = cluster.cores[0].pinned();
    let mut healed = next(&chain, |r| r.nodes.push(card(51)));
    let Ok(Followed::Known) = quorate_proto::roster::follow(&chain, &other) else {
        panic!("the node remembers it")
    };
    let CommandBody::ChangeRoster(change) =
        quorate_proto::command::decode(&other.bytes).unwrap().body
    else {
        panic!("it changes the roster")
    };
    let aside = change.hash();
    healed.parents.push(aside);
    let healed = cluster.roster_command(&chain, &healed);
    cluster.follow(0, &healed).unwrap();
    assert!(cluster.cores[0].pinned().follows(&aside));
}

#[test]
fn a_key_from_before_signs_after_and_commands_of_both_rosters_are_judged_by_the_one_in_force() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let command = cluster.sign_command("notes", vec![Payload::message(b"made before")]);
    cluster.changed(|roster| roster.nodes.push(card(50)));

    let set = cluster.set(&[0, 1], Scheme::Bip340);
    let request = cluster.share_request(&command, &certificate, &[set]);
    cluster.shares(0, &request).unwrap();
    cluster.sign(&certificate, &[0, 1], b"made after").unwrap();
    let ahead = cluster.sign_body("notes", vec![Payload::message(b"x")]);
    let command = Command {
        cluster: cluster.pinned.cluster(),
        roster: Digest::new([9; 32]),
        id: cluster.command_id(),
        created: START,
        expires: START.plus(3_600_000),
        body: CommandBody::Sign(ahead),
    };
    let command = cluster.propose(&command, Role::Client);
    let refusal = cluster
        .ask(0, NodeRequest::Validate { command })
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::RosterBehind);
}

#[test]
fn a_removed_principal_commands_nothing_more_and_what_it_stopped_stays_stopped() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let stop = |cluster: &mut Cluster, sequence| {
        let set = SetKeyState {
            key: "notes".parse().unwrap(),
            key_id: cluster.created["notes"],
            sequence,
            change: StateChange::Suspend,
            reason: "a drill".to_owned(),
        };
        let id = cluster.command_id();
        cluster.signed(id, Role::Admin, CommandBody::SetKeyState(set))
    };
    let before = stop(&mut cluster, 1);
    let backdated = stop(&mut cluster, 2);
    let set = |cluster: &mut Cluster, at, command: &SignedCommand| {
        let command = command.clone();
        cluster.ask(at, NodeRequest::SetKeyState { command })
    };
    set(&mut cluster, 0, &before).unwrap();
    cluster.changed(|roster| {
        // The person stays, with another key.
        roster.principals.retain(|p| p.id.as_str() != "the-admin");
    });

    let refusal = set(&mut cluster, 0, &backdated).unwrap_err();
    assert_eq!(refusal.reason, Reason::PrincipalUnknown);
    let sign = cluster.sign_command("notes", vec![Payload::message(b"x")]);
    let command = sign;
    let refusal = cluster
        .ask(0, NodeRequest::Validate { command })
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::KeySuspended);
}

#[test]
fn a_removed_node_takes_no_part_and_nobody_signs_with_it() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    cluster.changed(|roster| roster.nodes.retain(|card| card.id != node_id(2)));

    let scheme = Scheme::Bip340;
    let gone = cluster.ask(2, NodeRequest::MakeTickets { scheme, count: 1 });
    assert_eq!(gone.unwrap_err().reason, Reason::NodeUnknown);
    let nonce = quorate_model::bytes::Nonce32([1; 32]);
    assert!(cluster.ask(2, NodeRequest::Status { nonce }).is_ok());

    cluster.sign(&certificate, &[0, 1], b"x").unwrap();
    let mut set = cluster.set(&[0, 1], scheme);
    set.entries[1].signer = index(3);
    let command = cluster.sign_command("notes", vec![Payload::message(b"y")]);
    let request = cluster.share_request(&command, &certificate, &[set]);
    let refusal = cluster.shares(0, &request).unwrap_err();
    assert_eq!(refusal.reason, Reason::SigningSetInvalid);
}

/// P27: where a key is made, and where it is made anew, also for the nodes that hold it.
#[test]
fn a_committee_breaks_no_placement_rule_and_leaves_drained_nodes_out() {
    let rules: [fn(&mut Roster); 6] = [
        |roster| {
            for card in &mut roster.nodes {
                "here".clone_into(&mut card.region);
            }
            roster.placement.spread_regions = true;
        },
        |roster| roster.placement.spread_organisations = true,
        |roster| roster.placement.least_threshold = 3,
        |roster| roster.placement.least_nodes = 4,
        |roster| roster.placement.least_regions = 4,
        |roster| roster.drained = [node_id(1)].into(),
    ];
    for (place, rule) in rules.into_iter().enumerate() {
        let expected = match place {
            5 => Reason::NodeDrained,
            _ => Reason::PlacementViolated,
        };
        let mut cluster = Cluster::new(3);
        let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
        cluster.changed(rule);

        let create = cluster.create_command("other", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
        let refusal = cluster.prepare(&create, Epoch(1), 1).unwrap_err();
        assert_eq!(refusal.reason, expected, "creation, rule {place}");
        let run = cluster.run(&held, 2, &[0, 1, 2]);
        let refusal = cluster.certify(&held, &run).unwrap_err();
        assert_eq!(refusal.reason, expected, "resharing, rule {place}");
        // What holds the key already goes on.
        cluster.sign_by(&held, &[0, 1]).unwrap();
    }
}

/// P27: what keeps a key out of one hand keeps it out after a resharing as well.
#[test]
fn a_key_is_reshared_to_a_committee_that_keeps_the_rules_and_to_no_other() {
    let rules: [fn(&mut Roster); 2] = [
        |roster| {
            for (card, region) in roster.nodes.iter_mut().zip(["a", "b", "b", "c"]) {
                region.clone_into(&mut card.region);
            }
            roster.placement.spread_regions = true;
        },
        |roster| {
            for (card, organisation) in roster.nodes.iter_mut().zip(["a", "b", "b", "c"]) {
                organisation.clone_into(&mut card.organisation);
            }
            roster.placement.spread_organisations = true;
        },
    ];
    for rule in rules {
        let mut cluster = Cluster::new(4);
        let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
        cluster.changed(rule);

        let crowded = cluster.run(&held, 2, &[1, 2, 3]);
        let refusal = cluster.certify(&held, &crowded).unwrap_err();
        let next = cluster.reshare(&held, 2, &[0, 1, 3]);

        assert_eq!(refusal.reason, Reason::PlacementViolated);
        cluster.sign_by(&next, &[1, 3]).unwrap();
    }
}

#[test]
fn a_ceremony_that_a_roster_overtakes_begins_again() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let mut replies = Vec::new();
    for at in 0..3 {
        let request = NodeRequest::BeginCeremony {
            attempt: [1; 16],
            command: command.clone(),
            epoch: Epoch(1),
            source: None,
        };
        replies.push(ceremony(cluster.ask(at, request).unwrap()));
    }
    cluster.changed(|roster| roster.nodes.push(card(50)));

    let refusal = loop {
        let round = replies[0].round;
        let mut next = Vec::new();
        let mut refused = None;
        for at in 0..3 {
            let envelopes = inbox(&replies, index(at + 1));
            let request = NodeRequest::AdvanceCeremony {
                attempt: [1; 16],
                round,
                envelopes,
            };
            match cluster.ask(at, request) {
                Ok(reply) => next.push(ceremony(reply)),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            Some(refusal) => break refusal,
            None => replies = next,
        }
    };

    assert_eq!(refusal.reason, Reason::RosterBehind);
    // The same command, which was made under the roster before.
    let prepared = cluster.prepare(&command, Epoch(1), 2).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    assert_eq!(certificate.statement.roster, cluster.pinned.hash());
    let proof = cluster.prove(&certificate).unwrap();
    for at in 0..3 {
        cluster.activate(at, &certificate, &proof).unwrap();
    }
}

/// P34, decision 0022: an order counts the nodes that it knows of.
#[test]
fn no_end_is_carried_out_by_an_order_that_knows_fewer_nodes_than_there_are() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    for at in 0..3 {
        cluster
            .change(at, "notes", 1, StateChange::Deactivate)
            .unwrap();
    }
    let by_all = |cluster: &mut Cluster| {
        let mut command = cluster.step("notes", DestroyStep::AtOnce);
        let phone = cluster.phone.clone();
        cluster.word(&mut command, EndorsementKind::Approve, "the-phone", &phone);
        command
    };
    let late = by_all(&mut cluster);
    cluster.changed(|roster| roster.nodes.push(card(50)));

    let refusal = cluster.destroy(0, &late).unwrap_err();

    assert_eq!(refusal.reason, Reason::RosterBehind);
    let before_removal = by_all(&mut cluster);
    cluster.changed(|roster| roster.nodes.retain(|card| card.id != node_id(50)));
    let receipt = cluster.destroy(0, &before_removal).unwrap();
    // What was carried out stays carried out, whoever comes later.
    cluster.changed(|roster| roster.nodes.push(card(51)));
    assert_eq!(cluster.destroy(0, &before_removal), Ok(receipt));
}
