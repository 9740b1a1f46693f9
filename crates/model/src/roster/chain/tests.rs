use ed25519_dalek::SigningKey;
use uuid::Uuid;

use super::*;
use crate::{
    CommandId, PrincipalId, UnixMillis,
    roster::{CoordinatorCard, Placement},
};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn node(id: &str, seed: u8) -> NodeCard {
    NodeCard {
        id: id.parse().unwrap(),
        identity_key: IdentityKey::of(&key(seed)),
        tls_key_hash: Digest::new([seed; 32]),
        region: format!("region-{seed}"),
        organisation: "org".to_owned(),
    }
}

const ADMINS: [(&str, u8); 3] = [("ada", 11), ("bob", 12), ("cyd", 13)];

fn first() -> PinnedRoster {
    let principal = |(id, seed): (&str, u8)| Principal {
        id: id.parse().unwrap(),
        person: id.to_owned(),
        roles: vec![Role::Admin],
        identity_key: IdentityKey::of(&key(seed)),
        tls_key_hash: Digest::new([seed; 32]),
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: vec![],
        nodes: vec![node("node-a", 1), node("node-b", 2), node("node-c", 3)],
        coordinators: vec![CoordinatorCard {
            id: "coordinator-1".parse().unwrap(),
            tls_key_hash: Digest::new([9; 32]),
        }],
        principals: ADMINS.map(principal).to_vec(),
        admin_quorum: 2,
        lifecycle_quorum: 2,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: Some(60),
        drained: BTreeSet::new(),
        placement: Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    for (id, seed) in ADMINS {
        signed.sign(&id.parse().unwrap(), &key(seed));
    }
    signed.verify_first().unwrap()
}

/// The roster after the one in force, with a change.
fn next(pinned: &PinnedRoster, change: impl FnOnce(&mut Roster)) -> Roster {
    let mut roster = pinned.roster().clone();
    roster.version = roster.version.saturating_add(1);
    roster.parents = vec![pinned.hash()];
    change(&mut roster);
    roster
}

fn with_d(pinned: &PinnedRoster) -> Roster {
    next(pinned, |roster| roster.nodes.push(node("node-d", 4)))
}

fn command(pinned: &PinnedRoster, roster: &[u8]) -> Command {
    Command {
        cluster: pinned.cluster(),
        roster: pinned.hash(),
        id: CommandId(Uuid::nil()),
        created: UnixMillis(1),
        expires: UnixMillis(2),
        body: CommandBody::ChangeRoster(ChangeRoster {
            roster: roster.to_vec(),
        }),
    }
}

/// What these admins say of a command; its bytes stand for themselves here.
fn endorsed(pinned: &PinnedRoster, roster: &[u8], by: &[(&str, u8)]) -> SignedCommand {
    let cluster = pinned.cluster();
    let id = |name: &str| name.parse::<PrincipalId>().unwrap();
    let (proposer, seed) = by[0];
    let by_key = key(seed);
    let mut signed = SignedCommand::propose(
        roster.to_vec(),
        &cluster,
        &id(proposer),
        Role::Admin,
        &by_key,
    );
    for (name, seed) in &by[1..] {
        let kind = EndorsementKind::Approve;
        signed.endorse(&cluster, kind, &id(name), Role::Admin, &key(*seed));
    }
    signed
}

fn bytes(roster: &Roster) -> Vec<u8> {
    serde_json::to_vec(roster).unwrap()
}

fn follow_by(
    pinned: &PinnedRoster,
    roster: &Roster,
    by: &[(&str, u8)],
) -> Result<Followed, Refusal> {
    let bytes = bytes(roster);
    pinned.follow(&endorsed(pinned, &bytes, by), &command(pinned, &bytes))
}

fn follow(pinned: &PinnedRoster, roster: &Roster) -> Result<Followed, Refusal> {
    follow_by(pinned, roster, &ADMINS[..2])
}

fn in_force(pinned: &PinnedRoster, roster: &Roster) -> PinnedRoster {
    match follow(pinned, roster).unwrap() {
        Followed::InForce(next) => next,
        other @ (Followed::Aside(_) | Followed::Known) => panic!("{other:?}"),
    }
}

fn refused(pinned: &PinnedRoster, roster: &Roster, reason: Reason, says: &str) {
    let refusal = follow(pinned, roster).unwrap_err();
    assert_eq!(refusal.reason, reason, "{refusal}");
    assert!(refusal.message.contains(says), "{refusal}");
}

#[test]
fn a_roster_that_the_quorum_endorses_is_in_force_and_the_earlier_one_is_remembered() {
    let first = first();

    let second = in_force(&first, &with_d(&first));

    assert_eq!(second.roster().version, 2);
    assert_eq!(second.cluster(), first.cluster());
    assert!(second.follows(&first.hash()) && second.follows(&second.hash()));
    assert!(!first.follows(&second.hash()));
    assert_eq!(second.at(&first.hash()).unwrap().roster(), first.roster());
    assert!(first.at(&second.hash()).is_none());
    assert!(second.since(&second.hash()).is_empty());
    assert_eq!(second.since(&first.hash()).len(), 1);
}

#[test]
fn a_removed_node_is_still_known_by_its_card() {
    let first = first();
    let second = in_force(&first, &next(&first, |roster| drop(roster.nodes.remove(0))));

    assert!(second.roster().node(&"node-a".parse().unwrap()).is_none());
    assert_eq!(
        second.card(&"node-a".parse().unwrap()),
        Some(&node("node-a", 1))
    );
    assert!(first.card(&"node-z".parse().unwrap()).is_none());
}

#[test]
fn too_few_persons_or_a_rejection_or_a_stranger_carry_no_roster() {
    let first = first();
    let roster = with_d(&first);
    let reason = |by: &[(&str, u8)]| follow_by(&first, &roster, by).unwrap_err().reason;

    assert_eq!(reason(&ADMINS[..1]), Reason::EndorsementsMissing);
    assert_eq!(
        reason(&[ADMINS[0], ("bob", 13)]),
        Reason::EndorsementInvalid
    );
    assert_eq!(reason(&[ADMINS[0], ADMINS[0]]), Reason::EndorsementInvalid);
    assert_eq!(reason(&[ADMINS[0], ("eve", 66)]), Reason::PrincipalUnknown);

    let bytes = bytes(&roster);
    let mut rejected = endorsed(&first, &bytes, &ADMINS[..2]);
    let (cluster, id) = (first.cluster(), "cyd".parse().unwrap());
    rejected.endorse(
        &cluster,
        EndorsementKind::Reject,
        &id,
        Role::Admin,
        &key(13),
    );
    let refusal = first.follow(&rejected, &command(&first, &bytes));
    assert_eq!(refusal.unwrap_err().reason, Reason::CommandRejected);
}

#[test]
fn one_person_with_two_keys_counts_once() {
    let mut roster = first().roster().clone();
    roster.principals[1].person = "ada".to_owned();
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    for (id, seed) in ADMINS {
        signed.sign(&id.parse().unwrap(), &key(seed));
    }
    let first = signed.verify_first().unwrap();
    let next = with_d(&first);

    let alone = follow_by(&first, &next, &ADMINS[..2]).unwrap_err();

    assert_eq!(alone.reason, Reason::EndorsementsMissing);
    assert!(follow_by(&first, &next, &ADMINS[1..]).is_ok());
}

#[test]
fn a_roster_names_its_place_in_the_chain() {
    let first = first();
    let elsewhere = Digest::new([7; 32]);
    let with = |change: fn(&mut Roster)| {
        let mut roster = with_d(&first);
        change(&mut roster);
        roster
    };

    let mut unknown = with_d(&first);
    unknown.parents = vec![elsewhere];
    refused(&first, &unknown, Reason::RosterBehind, "bring the rosters");
    let invalid = Reason::RosterInvalid;
    refused(
        &first,
        &with(|r| r.parents.clear()),
        invalid,
        "follows one other",
    );
    refused(&first, &with(|r| r.version = 3), invalid, "expected 2");
    refused(&first, &with(|r| r.version = 1), invalid, "expected 2");
    let twice = with(|r| r.parents.push(r.parents[0]));
    refused(&first, &twice, invalid, "follows one other");

    let bytes = bytes(&with_d(&first));
    let signed = endorsed(&first, &bytes, &ADMINS[..2]);
    let mut other = command(&first, &bytes);
    other.roster = elsewhere;
    assert_eq!(first.follow(&signed, &other).unwrap_err().reason, invalid);
    let mut other = command(&first, &bytes);
    other.cluster = elsewhere;
    let refusal = first.follow(&signed, &other).unwrap_err();
    assert_eq!(refusal.reason, Reason::WrongCluster);
}

#[test]
fn what_loosens_the_rules_is_refused() {
    let first = first();
    let strict = in_force(
        &first,
        &next(&first, |roster| {
            roster.placement.spread_regions = true;
            roster.placement.least_threshold = 2;
            roster.lifecycle_delay_seconds = Some(120);
        }),
    );
    let invalid = |change: fn(&mut Roster), says: &str| {
        refused(&strict, &next(&strict, change), Reason::RosterInvalid, says);
    };

    invalid(|r| r.lifecycle_quorum = 1, "lifecycle quorum");
    invalid(|r| r.lifecycle_delay_seconds = Some(119), "delay");
    invalid(|r| r.placement.spread_regions = false, "placement");
    invalid(|r| r.placement.least_threshold = 1, "placement");
    invalid(|r| r.policy_hash = Digest::new([1; 32]), "policy");
    invalid(|r| r.cluster_name.push('!'), "name of the cluster");
    invalid(
        |r| r.coordinators[0].tls_key_hash = Digest::new([8; 32]),
        "coordinators",
    );
    invalid(|r| r.principals[0].roles.push(Role::Client), "principals");
    invalid(
        |r| r.principals[0].identity_key = IdentityKey::of(&key(77)),
        "principals",
    );
    invalid(|r| r.principals[0].person = "eve".to_owned(), "principals");
    invalid(|_| {}, "changes nothing");
    invalid(|r| r.nodes.truncate(1), "2 to 255");
    invalid(|r| r.drained = ["node-z".parse().unwrap()].into(), "node-z");

    let fewer = next(&strict, |roster| drop(roster.principals.pop()));
    assert!(follow(&strict, &fewer).is_ok());
}

#[test]
fn an_id_and_a_key_name_one_node_for_ever() {
    let first = first();
    let gone = in_force(&first, &next(&first, |roster| drop(roster.nodes.remove(0))));
    let add = |card: NodeCard| next(&gone, move |roster| roster.nodes.push(card));
    let renamed = NodeCard {
        id: "node-d".parse().unwrap(),
        ..node("node-a", 1)
    };
    let other_tls = NodeCard {
        tls_key_hash: Digest::new([44; 32]),
        ..node("node-a", 1)
    };
    let of_an_admin = NodeCard {
        identity_key: IdentityKey::of(&key(11)),
        ..node("node-d", 4)
    };

    for card in [node("node-a", 5), renamed, other_tls] {
        refused(
            &gone,
            &add(card),
            Reason::RosterInvalid,
            "an earlier roster gave",
        );
    }
    refused(
        &gone,
        &add(of_an_admin),
        Reason::RosterInvalid,
        "identity key",
    );
    assert!(
        follow(&gone, &add(node("node-a", 1))).is_ok(),
        "it may come back as it was"
    );
}

#[test]
fn a_fork_stands_aside_until_a_roster_names_both() {
    let first = first();
    let one = in_force(&first, &with_d(&first));
    let mut other = next(&first, |roster| roster.nodes.push(node("node-e", 5)));
    other.placement.spread_regions = true;

    let Ok(Followed::Aside(forked)) = one.follow(
        &endorsed(&first, &bytes(&other), &ADMINS[..2]),
        &command(&first, &bytes(&other)),
    ) else {
        panic!("the fork is known and not in force")
    };
    let aside = other_hash(&other);
    assert_eq!(forked.hash(), one.hash());
    assert!(forked.knows(&aside) && !forked.follows(&aside));
    // What stands aside comes after what is in force, whatever was heard first.
    let third = next(&forked, |roster| roster.nodes.push(node("node-f", 6)));
    let on = in_force(&forked, &third);
    let told: Vec<_> = on
        .since(&first.hash())
        .into_iter()
        .map(|one| one.bytes.clone())
        .collect();
    assert_eq!(told, [bytes(one.roster()), bytes(&third), bytes(&other)]);
    assert_eq!(follow(&forked, &with_d(&first)), Ok(Followed::Known));

    let mut healed = next(&forked, |roster| roster.nodes.push(node("node-e", 5)));
    healed.parents.push(aside);
    refused(&forked, &healed, Reason::RosterInvalid, "placement");
    healed.placement.spread_regions = true;
    let healed = in_force(&forked, &healed);
    assert!(healed.follows(&aside) && healed.follows(&one.hash()));
    assert_eq!(healed.since(&first.hash()).len(), 3);
    assert_eq!(healed.history().count(), 4);
}

fn other_hash(roster: &Roster) -> Digest {
    digest_of(Tag::Roster, &bytes(roster))
}

#[test]
fn a_chain_survives_its_file() {
    let first = first();
    let second = in_force(&first, &with_d(&first));

    let text = serde_json::to_string(&second.to_file()).unwrap();
    let file: SignedRoster = serde_json::from_str(&text).unwrap();

    assert_eq!(file, second.to_file());
    assert_eq!(file.hash(), first.hash());
    assert_eq!(file.successors.len(), 1);
    let damaged = text.replace("\"successors\":[\"", "\"successors\":[\"zz");
    assert!(serde_json::from_str::<SignedRoster>(&damaged).is_err());
}

#[test]
fn a_receipt_counts_for_its_node_and_roster_alone() {
    let receipt = RosterReceipt {
        node: "node-a".parse().unwrap(),
        roster: Digest::new([5; 32]),
        in_force: Digest::new([5; 32]),
        command: Digest::new([6; 32]),
        record: 9,
        signature: Signature([0; 64]),
    }
    .sign(&key(1));
    let roster = Digest::new([5; 32]);

    assert_eq!(receipt.verify(&node("node-a", 1), &roster), Ok(()));
    assert!(receipt.verify(&node("node-b", 1), &roster).is_err());
    assert!(receipt.verify(&node("node-a", 2), &roster).is_err());
    assert!(receipt.verify(&node("node-a", 1), &Digest::ZERO).is_err());
    let mut later = receipt;
    later.record = 10;
    assert!(later.verify(&node("node-a", 1), &roster).is_err());
}
