//! The next roster: who hears of it, who acts by it, and what is learned from nodes (P3, P41).

use quorate_model::{
    Digest, IdentityKey, KeyName, KeyState, NodeId, Reason, Refusal, Scheme,
    command::{ChangeRoster, CommandBody, EndorsementKind, SignedCommand},
    destruction::DestroyStep,
    node_api::NodeRequest,
    operation::{CommandOutcome, CommandState, RosterOutcome},
    roster::{NodeCard, PinnedRoster, Roster},
    standing::{StateChange, StateMark},
};

use super::{
    super::{Notice, StoreItem},
    fake_node::FakeNode,
    world::{World, signing_key},
};

fn card(id: &str, seed: u8) -> NodeCard {
    NodeCard {
        id: id.parse().unwrap(),
        identity_key: IdentityKey::of(&signing_key(seed)),
        tls_key_hash: Digest::new([seed; 32]),
        region: "elsewhere".to_owned(),
        organisation: "org".to_owned(),
    }
}

fn add(id: &'static str, seed: u8) -> impl FnOnce(&mut Roster) {
    move |roster| roster.nodes.push(card(id, seed))
}

pub(super) fn remove(id: NodeId) -> impl FnOnce(&mut Roster) {
    move |roster| roster.nodes.retain(|card| card.id != id)
}

impl World {
    /// The next roster, proposed by ada.
    fn roster_of_one(&mut self, change: impl FnOnce(&mut Roster)) -> SignedCommand {
        let mut roster = self.pinned.roster().clone();
        roster.version += 1;
        roster.parents = vec![self.pinned.hash()];
        change(&mut roster);
        let roster = serde_json::to_vec(&roster).unwrap();
        self.command(CommandBody::ChangeRoster(ChangeRoster { roster }))
            .1
    }

    /// The same with the word of bob.
    fn next_roster(&mut self, change: impl FnOnce(&mut Roster)) -> SignedCommand {
        let mut signed = self.roster_of_one(change);
        let approval = self.word_of_bob(&signed, EndorsementKind::Approve);
        signed.endorsements.push(approval);
        signed
    }

    /// Commands are made under what the coordinator has in force from here on.
    fn catch_up(&mut self) {
        self.pinned = self.core.pinned().clone();
    }

    /// Carries a change out at every node that answers.
    pub(super) fn change_roster(
        &mut self,
        change: impl FnOnce(&mut Roster),
    ) -> (SignedCommand, u64) {
        let command = self.next_roster(change);
        let handle = self.submit(&command);
        self.run();
        self.pass(50);
        self.catch_up();
        (command, handle)
    }

    fn versions(&self) -> Vec<u32> {
        let version = |node: &FakeNode| node.pinned().roster().version;
        self.nodes.values().map(version).collect()
    }

    fn join(&mut self, id: &str, seed: u8, pinned: PinnedRoster) {
        let id: NodeId = id.parse().unwrap();
        let node = FakeNode::new(&id, signing_key(seed), pinned, u64::from(seed));
        self.nodes.insert(id.clone(), node);
        self.push(super::super::Event::LinkUp { node: id });
        self.run();
    }
}

fn outcome(world: &World, handle: u64) -> RosterOutcome {
    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Succeeded, "{:?}", view.error);
    match &view.outcome {
        Some(CommandOutcome::RosterChanged(outcome)) => outcome.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_roster_waits_for_the_admin_quorum_and_then_reaches_every_node() {
    let mut world = World::new(3);
    let command = world.roster_of_one(add("node-z", 90));
    let first = world.submit(&command);
    world.run();
    assert_eq!(world.view(first).state, CommandState::AwaitingEndorsement);
    assert_eq!(world.versions(), [1, 1, 1]);

    let id = world.admitted(&command).command().id;
    let approval = world.word_of_bob(&command, EndorsementKind::Approve);
    let handle = world.endorse(id, approval);
    world.run();
    world.pass(50);

    // The new node is not connected yet.
    let outcome = outcome(&world, handle);
    assert_eq!((outcome.version, outcome.receipts.len()), (2, 3));
    assert_eq!(outcome.missing, [("node-z".parse().unwrap(), None)]);
    assert_eq!(world.versions(), [2, 2, 2]);
    assert_eq!(world.core.pinned().roster().version, 2);
    let view = world.core.roster_view(None);
    assert_eq!((view.file.successors.len(), view.receipts.len()), (1, 3));
    let known = world.core.pinned().hash();
    let news = world.core.roster_view(Some(&known));
    assert!(news.file.successors.is_empty());
}

#[test]
fn a_new_node_joins_and_holds_keys() {
    let mut world = World::new(3);
    world.change_roster(add("node-z", 90));
    let pinned = world.pinned.clone();
    world.join("node-z", 90, pinned);
    world.pass(50);

    let nodes = world.ids();
    assert_eq!(nodes.len(), 4);
    world.key_on("vault", Scheme::Bip340, 3, nodes);
    assert_eq!(world.core.roster_view(None).receipts.len(), 4);
}

#[test]
fn who_was_away_follows_when_it_is_back_step_by_step() {
    let mut world = World::new(3);
    world.disconnect(2);
    let (_, handle) = world.change_roster(add("node-z", 90));
    let missing: Vec<NodeId> = outcome(&world, handle)
        .missing
        .into_iter()
        .map(|m| m.0)
        .collect();
    assert_eq!(missing, [world.id(2), "node-z".parse().unwrap()]);
    world.change_roster(add("node-y", 91));
    world.change_roster(add("node-x", 92));
    assert_eq!(world.versions(), [4, 4, 1]);

    world.connect(2);
    world.pass(50);

    assert_eq!(world.versions(), [4, 4, 4]);
    assert_eq!(world.core.roster_view(None).receipts.len(), 3);
}

#[test]
fn a_removed_node_hears_of_it_and_is_asked_nothing_more() {
    let mut world = World::new(4);
    let gone = world.id(3);
    world.change_roster(remove(gone.clone()));
    assert_eq!(world.versions(), [2, 2, 2, 2]);
    world.requests.clear();

    let nodes = world.ids().into_iter().filter(|id| *id != gone).collect();
    world.key_on("vault", Scheme::Bip340, 2, nodes);
    world.pass(5_000);

    assert!(world.requests.iter().all(|(node, _)| *node != gone));
    assert_eq!(world.core.nodes().len(), 3);
    world.disconnect(3);
    world.connect(3);
    world.pass(5_000);
    assert!(world.requests.iter().all(|(node, _)| *node != gone));
}

#[test]
fn a_signature_that_too_few_holders_are_left_for_fails_once_all_nodes_were_heard() {
    let mut world = World::new(4);
    let holders = world.ids().into_iter().take(3).collect();
    world.key_on("vault", Scheme::Bip340, 2, holders);
    for gone in [1, 2] {
        let id = world.id(gone);
        world.change_roster(remove(id));
    }
    let signed = world.signature("vault", &["a"]);

    let handle = world.submit(&signed);
    world.pass(2_000);

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Failed);
    let refusal = view.error.as_ref().unwrap();
    assert_eq!(refusal.reason, Reason::NodeUnknown);
    assert_eq!(refusal.get("missing"), Some("node-b, node-c"));
}

#[test]
fn a_change_that_another_one_overtook_is_denied() {
    let mut world = World::new(3);
    let late = world.next_roster(add("node-y", 91));
    let waiting = world.roster_of_one(add("node-x", 92));
    let first = world.submit(&waiting);
    world.run();
    assert_eq!(world.view(first).state, CommandState::AwaitingEndorsement);
    world.change_roster(add("node-z", 90));

    let refusal = super::super::admit(world.core.pinned(), late).unwrap_err();
    assert_eq!(refusal.reason, Reason::RosterForked);
    let id = quorate_proto::command::decode(&waiting.bytes).unwrap().id;
    let approval = world.word_of_bob(&waiting, EndorsementKind::Approve);
    let handle = world.endorse(id, approval);
    world.run();
    world.pass(50);
    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Denied);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::RosterForked);
    assert_eq!(world.versions(), [2, 2, 2]);
}

#[test]
fn a_coordinator_that_forgot_learns_the_rosters_and_keys_under_them_from_nodes() {
    let mut world = World::new(3);
    world.change_roster(add("node-z", 90));
    let pinned = world.pinned.clone();
    world.join("node-z", 90, pinned.clone());
    world.pass(50);
    let nodes = world.ids();
    let key = world.key_on("vault", Scheme::Bip340, 3, nodes);
    let first = pinned.history().last().unwrap().1;
    let stored = world.store.clone();

    world.pinned = pinned.at(&first).unwrap();
    let first_only = PinnedRoster::clone(&world.pinned)
        .to_file()
        .verify_first()
        .unwrap();
    world.pinned = first_only.clone();
    world.notices.clear();
    world.restart_coordinator(vec![]);
    world.pass(20_000);

    assert_eq!(world.core.pinned().hash(), pinned.hash());
    assert!(world.core.key(&key).is_some());
    let blamed =
        |notice: &Notice| matches!(notice, Notice::Misbehaved { .. } | Notice::FalseKey { .. });
    assert!(!world.notices.iter().any(blamed), "{:?}", world.notices);

    // Its store says the same.
    world.pinned = first_only;
    world.restart_coordinator(stored);
    assert_eq!(world.core.pinned().hash(), pinned.hash());
}

/// A command names the roster that its proposer knew; the ceremony runs under the one in force.
#[test]
fn an_epoch_that_was_made_under_a_roster_not_known_yet_blames_nobody() {
    let mut world = World::new(3);
    let before = world.pinned.clone();
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.change_roster(add("node-z", 90));
    let handle = world.submit(&signed);
    world.run();
    world.pass(50);
    assert_eq!(world.view(handle).state, CommandState::Succeeded);
    let key: KeyName = "vault".parse().unwrap();
    let evidence = world.core.keys.get(&world.pinned, &key).unwrap().evidence();
    assert!(!world.core.is_key_ahead(&evidence));

    // A coordinator that hears of the key before it hears of the roster.
    for node in 0..3 {
        world.silence(node);
    }
    world.pinned = before;
    world.restart_coordinator(vec![]);

    assert!(world.core.is_key_ahead(&evidence));
}

#[test]
fn a_roster_is_kept() {
    let mut world = World::new(3);
    let (command, _) = world.change_roster(add("node-z", 90));

    let kept = |item: &StoreItem| *item == StoreItem::Roster(2, command.clone());
    assert_eq!(world.store.iter().filter(|item| kept(item)).count(), 1);
}

#[test]
fn a_node_that_knows_more_tells_the_others_through_the_coordinator() {
    let mut world = World::new(3);
    let command = world.next_roster(add("node-z", 90));
    world.node(0).go_by(&command);

    world.pass(20_000);

    assert_eq!(world.versions(), [2, 2, 2]);
    assert_eq!(world.core.pinned().roster().version, 2);
}

#[test]
fn a_false_receipt_counts_for_nothing_and_a_refusal_is_told() {
    let mut world = World::new(3);
    world.node(0).key = signing_key(77);
    world.node(1).manners.refuses_rosters = Some(Refusal::new(
        Reason::RosterInvalid,
        "for reasons of its own",
    ));

    let (_, handle) = world.change_roster(add("node-z", 90));
    world.pass(60_000);

    let outcome = outcome(&world, handle);
    let acting: Vec<&NodeId> = outcome
        .receipts
        .iter()
        .map(|receipt| &receipt.node)
        .collect();
    assert_eq!(acting, [&world.id(2)]);
    let refused: Vec<&NodeId> = outcome
        .missing
        .iter()
        .filter(|(_, refusal)| refusal.is_some())
        .map(|(node, _)| node)
        .collect();
    assert_eq!(refused, [&world.id(1)]);
}

#[test]
fn nobody_is_connected_that_could_act_by_it() {
    let mut world = World::new(3);
    for at in 0..3 {
        world.disconnect(at);
    }
    let command = world.next_roster(add("node-z", 90));
    let handle = world.submit(&command);
    world.run();
    world.pass(60_000);

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Failed);
    assert_eq!(
        view.error.as_ref().unwrap().reason,
        Reason::QuorumUnavailable
    );
    // It holds all the same, and the same command tells who acts by it later.
    for at in 0..3 {
        world.connect(at);
    }
    world.pass(50);
    assert_eq!(world.versions(), [2, 2, 2]);
    let again = world.submit(&command);
    world.run();
    world.pass(50);
    assert_eq!(outcome(&world, again).receipts.len(), 3);
}

#[test]
fn a_roster_in_force_is_not_rejected_any_more() {
    let mut world = World::new(3);
    world.silent.extend([world.id(0), world.id(1), world.id(2)]);
    let command = world.next_roster(add("node-z", 90));
    let first = world.submit(&command);
    world.run();
    assert!(!world.answers.contains_key(&first));

    let id = world.admitted(&command).command().id;
    let approval = world.rejection(&command);
    let handle = world.endorse(id, approval);
    world.run();

    let refusal = world.refusal(handle);
    assert_eq!(refusal.reason, Reason::RequestInvalid);
    assert!(matches!(
        world.held_calls.last().unwrap().2,
        NodeRequest::ChangeRoster { .. } | NodeRequest::Status { .. }
    ));
}

#[test]
fn a_roster_aside_holds_nothing_up_and_one_that_names_both_reaches_everybody() {
    let mut world = World::new(3);
    let aside = world.next_roster(add("node-y", 91));
    let CommandBody::ChangeRoster(change) =
        quorate_proto::command::decode(&aside.bytes).unwrap().body
    else {
        panic!("it changes the roster")
    };
    // One node heard the other roster first, and tells the coordinator of it.
    world.node(2).go_by(&aside);
    world.silent.insert(world.id(2));
    world.change_roster(add("node-z", 90));
    world.connect(2);
    world.pass(20_000);
    assert!(world.core.pinned().knows(&change.hash()));

    world.change_roster(add("node-x", 92));
    world.pass(20_000);
    assert_eq!(world.versions(), [3, 3, 2]);

    world.change_roster(|roster| {
        roster.nodes.push(card("node-y", 91));
        roster.parents.push(change.hash());
    });
    world.pass(20_000);
    assert_eq!(world.versions(), [4, 4, 4]);
    let stored = world.store.clone();
    let head = world.core.pinned().hash();
    let first = world.core.pinned().history().last().unwrap().1;
    world.pinned = world.core.pinned().at(&first).unwrap();
    world.pinned = world.pinned.to_file().verify_first().unwrap();
    world.restart_coordinator(stored);
    assert_eq!(world.core.pinned().hash(), head);
}

fn remove_bob(roster: &mut Roster) {
    roster
        .principals
        .retain(|principal| principal.id.as_str() != "bob");
}

fn is_anybody_blamed(world: &World) -> bool {
    let mut notices = world.notices.iter();
    notices.any(|notice| matches!(notice, Notice::Misbehaved { .. }))
}

/// A key of three nodes, of which two sign, under a roster that bob is not in any more, and a command
/// by him and ada of the time before.
fn with_a_word_of_the_past(
    make: impl FnOnce(&mut World, &KeyName) -> SignedCommand,
) -> (World, KeyName, SignedCommand) {
    let mut world = World::with_three_admins(3);
    let key = world.key("vault", Scheme::Bip340, 2);
    let mut old = make(&mut world, &key);
    old.endorsements
        .push(world.word_of_bob(&old, EndorsementKind::Approve));
    world.change_roster(remove_bob);
    assert_eq!(world.versions(), [2, 2, 2]);
    (world, key, old)
}

/// Whoever was removed still signs, with any date: one node that lists it proves nothing, as many as
/// sign with the key do.
#[test]
fn a_state_by_removed_admins_counts_once_enough_holders_list_it() {
    let change =
        |world: &mut World, key: &KeyName| world.state_change(key, 7, StateChange::Compromise);
    let (mut world, key, old) = with_a_word_of_the_past(change);
    let CommandBody::SetKeyState(set) = quorate_proto::command::decode(&old.bytes).unwrap().body
    else {
        panic!("no change of state")
    };
    let list = |world: &mut World, node: usize| {
        let node = world.node(node);
        let mark = StateMark::new(&set, old.clone());
        node.standings.entry(key.clone()).or_default().take(mark);
    };
    list(&mut world, 0);
    world.restart_coordinator(vec![]);
    world.pass(300);
    // Listed again, it is still the word of one.
    world.disconnect(0);
    world.connect(0);
    world.pass(300);

    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Active);
    assert!(world.node(1).standings.is_empty());
    assert!(!is_anybody_blamed(&world), "{:?}", world.notices);

    list(&mut world, 2);
    world.disconnect(2);
    world.connect(2);
    world.pass(300);

    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Compromised);
    let told = |(_, request): &(_, NodeRequest)| matches!(request, NodeRequest::SetKeyState { .. });
    assert!(
        !world.requests.iter().any(told),
        "nodes obey nobody who was removed"
    );
}

#[test]
fn an_order_by_removed_admins_counts_once_enough_nodes_act_by_it() {
    let end = |world: &mut World, key: &KeyName| world.end_step(key, DestroyStep::Announce);
    let (mut world, key, old) = with_a_word_of_the_past(end);
    let id = world.created[&key];
    world.node(0).make_up_an_end(&key, id, &old);
    world.restart_coordinator(vec![]);
    world.pass(300);
    world.disconnect(0);
    world.connect(0);
    world.pass(300);

    let shown = world.core.key(&key).unwrap().destruction;
    assert!(shown.is_empty(), "{shown:?}");
    assert!(!is_anybody_blamed(&world), "{:?}", world.notices);

    world.node(2).make_up_an_end(&key, id, &old);
    world.disconnect(2);
    world.connect(2);
    world.pass(300);

    let shown = world.core.key(&key).unwrap().destruction;
    assert_eq!(shown.orders, [old]);
    assert_eq!(shown.receipts.len(), 2);
}

/// Where nobody is left who was asked, nobody in service says that a key is destroyed.
#[test]
fn a_key_of_nodes_that_are_all_gone_is_not_shown_as_destroyed() {
    let mut world = World::new(3);
    let key = world.key("vault", Scheme::Bip340, 2);
    let ids = world.ids();
    let words = |world: &mut World, mut command: SignedCommand| {
        let approval = world.word_of_bob(&command, EndorsementKind::Approve);
        command.endorsements.push(approval);
        let handle = world.submit(&command);
        world.run();
        world.pass(50);
        assert_eq!(world.view(handle).state, CommandState::Succeeded);
        command
    };
    let retire = world.state_change(&key, 1, StateChange::Deactivate);
    words(&mut world, retire);
    // One holder is away and destroys nothing.
    world.disconnect(2);
    let announce = world.end_step(&key, DestroyStep::Announce);
    let announced = words(&mut world, announce).digest();
    let confirm = world.end_step(
        &key,
        DestroyStep::Confirm {
            announcement: announced,
        },
    );
    words(&mut world, confirm);
    world.change_roster(|roster| {
        roster.nodes.retain(|card| !ids.contains(&card.id));
        roster
            .nodes
            .extend([card("node-x", 91), card("node-y", 92), card("node-z", 93)]);
    });

    assert_eq!(world.core.pinned().roster().version, 2);
    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Deactivated);
}
