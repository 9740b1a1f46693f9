//! A node that was restored: what it refuses, what brings it back, and what does not.

use ed25519_dalek::SigningKey;
use quorate_model::{
    Refusal, Signature,
    audit::Refused,
    backup::{BackupId, RestoreId},
    bytes::Nonce32,
    command::{CommandBody, EndorsementKind, SignedCommand},
    destruction::DestroyStep,
    identity::sign_digest,
    node_api::NodeStatus,
    quarantine::{HeadsAttestation, KeyHead, Readmission, ReadmitNode},
    roster::Role,
    standing::{SetKeyState, Standing, StateChange, StateMark},
};

use super::*;

const KEY: &str = "treasury";
const BACKUP: BackupId = BackupId([1; 16]);
pub(super) const RESTORE: RestoreId = RestoreId([2; 16]);

impl Cluster {
    /// Has a node find out that it was restored, as its first start does.
    pub(super) fn quarantine(&self, at: usize, restore: RestoreId) {
        let entry = Entry::Restored {
            backup: BACKUP,
            restore,
        };
        let core = &self.cores[at];
        let appended = core.begin(self.reading(), vec![entry]).unwrap();
        core.journal().commit(&appended).unwrap();
    }

    pub(super) fn status_of(&mut self, at: usize) -> NodeStatus {
        let nonce = Nonce32([3; 32]);
        match self.ask(at, NodeRequest::Status { nonce }) {
            Ok(NodeReply::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn heads(
        &mut self,
        at: usize,
        status: &NodeStatus,
    ) -> Result<HeadsAttestation, Refusal> {
        let request = NodeRequest::AttestHeads {
            status: Box::new(status.clone()),
            after: None,
        };
        self.ask(at, request).map(|reply| match reply {
            NodeReply::Heads(page) => page,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn readmit(
        &mut self,
        at: usize,
        pages: &[HeadsAttestation],
    ) -> Result<Readmission, Refusal> {
        self.readmit_by(at, pages, None)
    }

    /// With the word of the admins.
    fn readmit_by(
        &mut self,
        at: usize,
        pages: &[HeadsAttestation],
        command: Option<&SignedCommand>,
    ) -> Result<Readmission, Refusal> {
        let request = NodeRequest::Readmit {
            attestations: pages.to_vec(),
            command: command.cloned(),
        };
        self.ask(at, request).map(|reply| match reply {
            NodeReply::Readmission(readmission) => readmission,
            other => panic!("{other:?}"),
        })
    }

    /// A command that takes the first node back without others, by the first admin alone.
    fn readmission(&mut self, restore: RestoreId, without: &[usize]) -> SignedCommand {
        let body = CommandBody::ReadmitNode(ReadmitNode {
            node: node_id(0),
            restore,
            without: without.iter().map(|at| node_id(*at)).collect(),
            reason: "they are lost".to_owned(),
        });
        let id = self.command_id();
        self.signed(id, Role::Admin, body)
    }

    fn by_both(&self, mut command: SignedCommand) -> SignedCommand {
        let key = self.second_admin.clone();
        let kind = EndorsementKind::Approve;
        self.word(&mut command, kind, "the-second-admin", &key);
        command
    }

    fn forge(&self, by: usize, page: &HeadsAttestation) -> HeadsAttestation {
        let mut page = page.clone();
        page.signature = sign_digest(&self.keys[by], &page.digest());
        page
    }

    /// The last record of the first node is of a refusal, of this key (P7).
    fn has_recorded(&self, reason: Reason) -> Refused {
        let last = self.cores[0].checkpoint_now(self.reading()).unwrap();
        self.cores[0].journal().commit(&last).unwrap();
        let mut records = entries(self, 0);
        records.retain(|entry| !matches!(entry, Entry::Checkpoint(_)));
        let Some(Entry::Refused(refused)) = records.pop() else {
            panic!("nothing is recorded of a refusal")
        };
        assert_eq!(refused.reason, reason.as_str());
        assert_eq!(refused.key, Some(KEY.parse().unwrap()));
        refused
    }

    fn first_key(&mut self, at: usize) -> quorate_model::node_api::KeyListing {
        let request = NodeRequest::ListKeys {
            after: None,
            limit: 10,
        };
        match self.ask(at, request) {
            Ok(NodeReply::Keys(mut keys)) => keys.remove(0),
            other => panic!("{other:?}"),
        }
    }
}

fn node_key(cluster: &Cluster, at: usize) -> SigningKey {
    cluster.keys[at].clone()
}

#[test]
fn a_restored_node_answers_where_it_stands_and_refuses_what_rests_on_a_promise() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create(KEY, Scheme::Ed25519, 2);
    let command = cluster.sign_command(KEY, vec![Payload::message(b"x")]);
    let create = cluster.create_command("other", Scheme::Ed25519, 2, &[KeyPurpose::Messages]);
    cluster.quarantine(0, RESTORE);

    for request in [
        NodeRequest::MakeTickets {
            scheme: Scheme::Ed25519,
            count: 1,
        },
        NodeRequest::SignShares { requests: vec![] },
        NodeRequest::Validate {
            command: command.clone(),
        },
        NodeRequest::BeginCeremony {
            attempt: [1; 16],
            command: create,
            epoch: Epoch(1),
            source: None,
        },
        NodeRequest::AdvanceCeremony {
            attempt: [1; 16],
            round: 1,
            envelopes: vec![],
        },
        NodeRequest::ActivateKey {
            key: KEY.parse().unwrap(),
            epoch: Epoch(1),
            certificate: certificate.to_bytes().unwrap(),
            proof: vec![],
        },
        NodeRequest::EraseEpochs { erasures: vec![] },
        NodeRequest::BeginPairing {
            attempt: [1; 16],
            certificate: vec![],
            holders: vec![],
        },
        NodeRequest::SetKeyState { command },
    ] {
        let refusal = cluster.ask(0, request).unwrap_err();
        assert_eq!(refusal.reason, Reason::NodeQuarantined);
        assert!(refusal.message.contains("all other nodes"), "{refusal}");
    }
    assert!(cluster.cores[0].is_quarantined());
    let shown = cluster.status_of(0).quarantine.unwrap();
    assert_eq!((shown.backup, shown.restore), (BACKUP, RESTORE));
    assert_eq!(cluster.first_key(0).epoch, Epoch(1));
    assert!(
        cluster
            .ask(0, NodeRequest::ReadAudit { from: 1, limit: 1 })
            .is_ok()
    );
    assert!(cluster.sign(&certificate, &[1, 2], b"x").is_ok());
}

#[test]
fn a_quarantine_ends_with_the_word_of_all_others_and_is_on_the_record() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create(KEY, Scheme::Ed25519, 2);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let pages = [1, 2].map(|at| cluster.heads(at, &status).unwrap());

    let half = cluster.readmit(0, &pages[..1]).unwrap();
    assert_eq!(half.missing, [node_id(2)]);
    assert!(cluster.cores[0].is_quarantined());
    let whole = cluster.readmit(0, &pages[1..]).unwrap();

    assert_eq!(whole.missing, []);
    assert!(!cluster.cores[0].is_quarantined());
    assert_eq!(cluster.status_of(0).quarantine, None);
    assert!(cluster.sign(&certificate, &[0, 1], b"again").is_ok());
    let Some(Entry::Readmitted { witnesses, restore }) = entries(&cluster, 0)
        .into_iter()
        .find(|entry| entry.kind() == "readmitted")
    else {
        panic!()
    };
    assert_eq!(
        (witnesses, restore),
        (vec![node_id(1), node_id(2)], RESTORE)
    );
    assert_eq!(reason(cluster.readmit(0, &pages)), Reason::RequestInvalid);
    for at in [1, 2] {
        let kinds: Vec<_> = entries(&cluster, at).iter().map(Entry::kind).collect();
        assert_eq!(
            kinds
                .iter()
                .filter(|kind| **kind == "peer-restored")
                .count(),
            1
        );
    }
}

#[test]
fn a_quarantine_outlives_the_process_and_its_nonce_does_not() {
    let mut cluster = Cluster::new(2);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let page = cluster.heads(1, &status).unwrap();

    // The next process begins with what the journal says.
    let core = &cluster.cores[0];
    let _appended = core.begin(cluster.reading(), vec![]).unwrap();

    assert!(core.is_quarantined());
    let refused = cluster.readmit(0, std::slice::from_ref(&page)).unwrap_err();
    assert_eq!(refused.reason, Reason::ProtocolViolation);
    assert_ne!(cluster.status_of(0).quarantine, status.quarantine);
    // And one that is not used for a minute is replaced.
    let shown = cluster.status_of(0).quarantine;
    cluster.monotonic_ms += 60_001;
    assert_ne!(cluster.status_of(0).quarantine, shown);
}

#[test]
fn the_word_of_others_counts_only_for_this_node_this_restoration_and_this_nonce() {
    let mut cluster = Cluster::new(3);
    cluster.create(KEY, Scheme::Ed25519, 2);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let page = cluster.heads(1, &status).unwrap();

    for change in [
        |p: &mut HeadsAttestation| p.about = node_id(2),
        |p: &mut HeadsAttestation| p.quarantine.nonce = Nonce32([9; 32]),
        |p: &mut HeadsAttestation| p.quarantine.restore = RestoreId([9; 16]),
        |p: &mut HeadsAttestation| p.quarantine.backup = BackupId([9; 16]),
        |p: &mut HeadsAttestation| p.roster = Digest::ZERO,
        |p: &mut HeadsAttestation| p.is_quarantined = true,
        |p: &mut HeadsAttestation| p.after = Some("abc".parse().unwrap()),
        |p: &mut HeadsAttestation| p.heads.push(p.heads[0].clone()),
        |p: &mut HeadsAttestation| {
            p.heads.clear();
            p.is_last = false;
        },
        |p: &mut HeadsAttestation| p.node = "node-9".parse().unwrap(),
        |p: &mut HeadsAttestation| p.node = node_id(0),
    ] {
        let mut changed = page.clone();
        change(&mut changed);
        let changed = cluster.forge(1, &changed);
        let refusal = cluster.readmit(0, &[changed]).unwrap_err();
        assert_eq!(refusal.reason, Reason::ProtocolViolation, "{refusal}");
    }
    let by_another = cluster.forge(2, &page);
    assert_eq!(
        reason(cluster.readmit(0, &[by_another])),
        Reason::ProtocolViolation
    );
    assert_eq!(cluster.readmit(0, &[page]).unwrap().missing, [node_id(2)]);
    assert!(cluster.cores[0].is_quarantined());
}

#[test]
fn the_same_backup_on_two_machines_is_refused_for_good_and_audited() {
    let mut cluster = Cluster::new(2);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    cluster.heads(1, &status).unwrap();
    cluster.heads(1, &status).unwrap();

    cluster.quarantine(0, RestoreId([5; 16]));
    let second = cluster.status_of(0);
    let refusal = cluster.heads(1, &second).unwrap_err();

    assert_eq!(refusal.reason, Reason::BackupRestoredTwice);
    assert!(
        refusal.message.contains("stop every copy but one"),
        "{refusal}"
    );
    let last = cluster.cores[1].checkpoint_now(cluster.reading()).unwrap();
    cluster.cores[1].journal().commit(&last).unwrap();
    let audited = entries(&cluster, 1).into_iter().any(|entry| {
        matches!(entry, Entry::Refused(refused) if refused.reason == "BACKUP_RESTORED_TWICE")
    });
    assert!(audited);
    assert!(cluster.heads(1, &status).is_ok());
}

#[test]
fn nobody_but_the_restored_node_can_say_that_it_was_restored() {
    let mut cluster = Cluster::new(3);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let signed_by = |key: &SigningKey, status: &NodeStatus| {
        let mut status = status.clone();
        status.signature = sign_digest(key, &status.digest());
        status
    };
    let (own, other) = (node_key(&cluster, 0), node_key(&cluster, 2));
    let mut made_up = status.clone();
    made_up.quarantine.as_mut().unwrap().restore = RestoreId([9; 16]);
    let mut stranger = status.clone();
    stranger.node = "node-9".parse().unwrap();
    let mut itself = status.clone();
    itself.node = node_id(1);
    let mut well = status.clone();
    well.quarantine = None;
    let mut elsewhere = status.clone();
    elsewhere.roster = Digest::ZERO;

    for (status, expected) in [
        (made_up.clone(), Reason::ProtocolViolation),
        (signed_by(&other, &made_up), Reason::ProtocolViolation),
        (signed_by(&own, &stranger), Reason::NodeUnknown),
        (signed_by(&own, &itself), Reason::NodeUnknown),
        (signed_by(&own, &well), Reason::RequestInvalid),
        (signed_by(&own, &elsewhere), Reason::ProtocolViolation),
    ] {
        assert_eq!(reason(cluster.heads(1, &status)), expected);
    }
    let kinds: Vec<_> = entries(&cluster, 1).iter().map(Entry::kind).collect();
    assert!(!kinds.contains(&"peer-restored"));
    assert!(cluster.heads(1, &status).is_ok());
}

#[test]
fn a_node_in_quarantine_says_so_where_it_tells_what_it_knows() {
    let mut cluster = Cluster::new(2);
    cluster.quarantine(0, RESTORE);
    cluster.quarantine(1, RestoreId([5; 16]));
    let status = cluster.status_of(0);

    let page = cluster.heads(1, &status).unwrap();

    assert!(page.is_quarantined);
    let refusal = cluster.readmit(0, &[page]).unwrap_err();
    assert!(
        refusal.message.contains("in quarantine itself"),
        "{refusal}"
    );
}

/// A page of somebody who says that an epoch is in use.
fn says(page: &HeadsAttestation, epoch: u32, next: u32) -> HeadsAttestation {
    let head = KeyHead {
        key: KEY.parse().unwrap(),
        epoch: Epoch(epoch),
        certificate: Some(Digest::new([7; 32])),
        next_epoch: Epoch(next),
        standing: Standing::default(),
        destroyed: false,
    };
    HeadsAttestation {
        heads: vec![head],
        signature: Signature([0; 64]),
        ..page.clone()
    }
}

#[test]
fn a_stale_epoch_signs_nothing_and_no_known_number_is_prepared_again() {
    let mut cluster = Cluster::new(2);
    let certificate = cluster.create(KEY, Scheme::Ed25519, 2);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let page = cluster.heads(1, &status).unwrap();
    let page = cluster.forge(1, &says(&page, 4, 9));

    cluster.readmit(0, &[page]).unwrap();

    let refusal = cluster.sign(&certificate, &[0, 1], b"x").unwrap_err();
    assert_eq!(refusal.reason, Reason::EpochChanged);
    assert!(refusal.message.contains("epoch 4"), "{refusal}");
    cluster.has_recorded(Reason::EpochChanged);
    let listing = cluster.first_key(0);
    assert_eq!(listing.next_epoch, Epoch(9 + 1_000));
    // One liar does not take the share.
    let share = (KEY.parse().unwrap(), Epoch(1));
    assert!(cluster.cores[0].vault.keyring().contains(&share));
    // What others said outlives the process.
    let _appended = cluster.cores[0].begin(cluster.reading(), vec![]).unwrap();
    assert_eq!(
        reason(cluster.sign(&certificate, &[0, 1], b"x")),
        Reason::EpochChanged
    );
}

#[test]
fn a_liar_uses_up_a_bounded_part_of_the_numbers() {
    let mut cluster = Cluster::new(2);
    cluster.create(KEY, Scheme::Ed25519, 2);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let page = cluster.heads(1, &status).unwrap();
    let page = cluster.forge(1, &says(&page, 1, u32::MAX));

    cluster.readmit(0, &[page]).unwrap();

    assert_eq!(
        cluster.first_key(0).next_epoch,
        Epoch(1 + (1 << 20) + 1_000)
    );
}

#[test]
fn commands_about_states_that_the_node_has_forgotten_hold_before_it_signs() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create(KEY, Scheme::Ed25519, 2);
    let id = cluster.command_id();
    let set = SetKeyState {
        key: KEY.parse().unwrap(),
        key_id: cluster.created[KEY],
        sequence: 1,
        change: StateChange::Suspend,
        reason: "a drill".to_owned(),
    };
    let command = cluster.signed(id, Role::Admin, CommandBody::SetKeyState(set));
    cluster
        .ask(1, NodeRequest::SetKeyState { command })
        .unwrap();
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let pages = [1, 2].map(|at| cluster.heads(at, &status).unwrap());

    cluster.readmit(0, &pages).unwrap();

    assert_eq!(cluster.first_key(0).state, KeyState::Suspended);
    assert_eq!(
        reason(cluster.sign(&certificate, &[0, 2], b"x")),
        Reason::KeySuspended
    );
}

/// P34: tombstones survive restores, because the others have them.
#[test]
fn a_key_that_was_destroyed_since_the_backup_is_not_used_again() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create(KEY, Scheme::Ed25519, 2);
    for at in [1, 2] {
        cluster.change(at, KEY, 1, StateChange::Deactivate).unwrap();
        let order = cluster.step(KEY, DestroyStep::AtOnce);
        cluster.destroy(at, &order).unwrap();
    }
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let pages: Vec<_> = [1, 2].map(|at| cluster.heads(at, &status).unwrap()).into();
    assert!(pages.iter().all(|page| page.heads[0].destroyed));

    cluster.readmit(0, &pages).unwrap();

    let set = cluster.set(&[0], Scheme::Ed25519);
    let command = cluster.sign_command(KEY, vec![Payload::message(b"x")]);
    let request = cluster.share_request(&command, &certificate, &[set]);
    let refused = cluster.shares(0, &request).unwrap_err();
    assert_eq!(refused.reason, Reason::KeyDestroyed);
    let recorded = cluster.has_recorded(Reason::KeyDestroyed);
    assert_eq!(recorded.command, Some(command.digest()));
    // It has heard that the time of the key is over, so it destroys its share when it is told.
    let order = cluster.step(KEY, DestroyStep::AtOnce);
    assert!(cluster.destroy(0, &order).unwrap().is_destroyed());
}

/// One liar keeps no honest node from using its share for good.
#[test]
fn fewer_than_sign_do_not_make_a_restored_node_give_a_key_up() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create(KEY, Scheme::Ed25519, 2);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let mut lie = cluster.heads(1, &status).unwrap();
    lie.heads[0].destroyed = true;
    let lie = cluster.forge(1, &lie);
    let truth = cluster.heads(2, &status).unwrap();

    cluster.readmit(0, &[lie, truth]).unwrap();

    assert!(cluster.sign(&certificate, &[0, 2], b"x").is_ok());
}

#[test]
fn a_node_in_quarantine_makes_no_backup() {
    let cluster = Cluster::new(2);
    cluster.quarantine(0, RESTORE);
    let key = age::x25519::Identity::generate().to_public().to_string();
    let recipients = crate::backup::Recipients::parse(&[key]).unwrap();

    let made = crate::backup::write(
        &cluster.cores[0],
        cluster.reading(),
        &recipients,
        Vec::new(),
        &mut rand_core::OsRng,
    );

    let error = made.unwrap_err();
    assert!(matches!(error, crate::backup::BackupError::Quarantined));
}

impl Cluster {
    /// Restores the first node, has the others tell what they know, and a liar change its pages.
    fn restored(&mut self, lie: impl Fn(&mut HeadsAttestation)) {
        self.restored_in_order(false, lie);
    }

    fn restored_in_order(&mut self, liar_first: bool, lie: impl Fn(&mut HeadsAttestation)) {
        self.quarantine(0, RESTORE);
        let status = self.status_of(0);
        let honest = self.heads(1, &status).unwrap();
        let mut lying = self.heads(2, &status).unwrap();
        lie(&mut lying);
        let lying = self.forge(2, &lying);
        let mut pages = [honest, lying];
        if liar_first {
            pages.reverse();
        }
        let readmitted = self.readmit(0, &pages).unwrap();
        assert_eq!(readmitted.missing, []);
    }
}

fn marks_of(cluster: &Cluster, at: usize, key: &str) -> Standing {
    let state = crate::core::lock(&cluster.cores[at].state);
    let row = crate::core::ledger::standing(&*state.index, &key.parse().unwrap()).unwrap();
    row.standing
}

/// P33: a key that comes to the node later was stopped before it came.
#[test]
fn what_stops_a_key_of_which_the_node_has_not_heard_is_remembered() {
    let mut cluster = Cluster::new(3);
    let set = SetKeyState {
        key: "young".parse().unwrap(),
        key_id: KeyId([7; 32]),
        sequence: 1,
        change: StateChange::Suspend,
        reason: "a drill".to_owned(),
    };
    let id = cluster.command_id();
    let command = cluster.signed(id, Role::Admin, CommandBody::SetKeyState(set.clone()));
    let mut standing = Standing::default();
    standing.take(StateMark::new(&set, command));

    cluster.restored(|page| {
        page.heads.push(KeyHead {
            key: "young".parse().unwrap(),
            epoch: Epoch(1),
            certificate: None,
            next_epoch: Epoch(2),
            standing: standing.clone(),
            destroyed: false,
        });
    });

    assert_eq!(
        marks_of(&cluster, 0, "young").state(true),
        KeyState::Suspended
    );
}

/// P8: the node may have carried it out, or heard that it was rejected.
#[test]
fn what_was_commanded_before_the_return_is_not_carried_out_again() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create(KEY, Scheme::Ed25519, 2);
    let before = cluster.sign_command(KEY, vec![Payload::message(b"before")]);
    cluster.monotonic_ms += 5_000;
    cluster.restored(|_| {});

    let set = cluster.set(&[0, 1], Scheme::Ed25519);
    let request = cluster.share_request(&before, &certificate, &[set]);
    let refusal = cluster.shares(0, &request).unwrap_err();

    assert_eq!(refusal.reason, Reason::CommandTimeInvalid);
    assert!(refusal.message.contains("restored"), "{refusal}");
    // What stops is heard whenever it was made.
    cluster.change(0, KEY, 1, StateChange::Suspend).unwrap();
}

/// One liar's word that a key goes on is not enough, whoever else signed it once.
#[test]
fn a_resumption_is_heard_from_as_many_as_sign() {
    for (liars_word, stands) in [(true, KeyState::Suspended), (false, KeyState::Active)] {
        let mut cluster = Cluster::new(3);
        cluster.create(KEY, Scheme::Ed25519, 2);
        for at in 0..3 {
            cluster.change(at, KEY, 1, StateChange::Suspend).unwrap();
        }
        let acting: &[usize] = if liars_word { &[2] } else { &[1, 2] };
        let set = cluster.state_set(KEY, 2, StateChange::Resume);
        let resumption = cluster.approved(set);
        for at in acting {
            cluster.bring(*at, &resumption).unwrap();
        }

        cluster.restored(|_| {});

        assert_eq!(marks_of(&cluster, 0, KEY).state(true), stands);
    }
}

/// Whoever was removed still signs, with any date: one node that shows it proves nothing.
#[test]
fn what_removed_admins_stopped_is_heard_from_as_many_as_sign() {
    for (acting, stands) in [
        (vec![2], KeyState::Active),
        (vec![1, 2], KeyState::Suspended),
    ] {
        let mut cluster = Cluster::new(3);
        cluster.create(KEY, Scheme::Ed25519, 2);
        let set = cluster.state_set(KEY, 1, StateChange::Suspend);
        let suspension = cluster.proposed(set);
        for at in acting {
            cluster.bring(at, &suspension).unwrap();
        }
        cluster.changed(|roster| roster.principals.retain(|p| p.id.as_str() != "the-admin"));

        cluster.restored(|_| {});

        assert_eq!(marks_of(&cluster, 0, KEY).state(true), stands);
    }
}

/// Whoever replays what a node said before does not make it begin again.
#[test]
fn a_page_that_comes_again_takes_nothing_back() {
    let mut cluster = Cluster::new(3);
    for key in ["key-a", "key-b", "key-c"] {
        cluster.create(key, Scheme::Ed25519, 2);
    }
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let all = cluster.heads(1, &status).unwrap();
    let part = |cluster: &Cluster, from: usize| {
        let mut page = all.clone();
        page.after = from.checked_sub(1).map(|last| all.heads[last].key.clone());
        page.heads = vec![all.heads[from].clone()];
        page.is_last = from == 2;
        cluster.forge(1, &page)
    };
    let [first, second, third] = [0, 1, 2].map(|from| part(&cluster, from));

    let gap = cluster
        .readmit(0, &[first.clone(), third.clone()])
        .unwrap_err();
    assert!(gap.message.contains("out of order"), "{gap}");
    let said = cluster
        .readmit(0, &[first.clone(), second, first, third])
        .unwrap();

    assert_eq!(said.missing, [cluster.cores[2].me.clone()]);
}

/// Whoever tells first cannot spoil what the others tell of the same command.
#[test]
fn a_liar_that_tells_first_hides_no_stop() {
    for hide in [false, true] {
        let mut cluster = Cluster::new(4);
        cluster.create(KEY, Scheme::Ed25519, 2);
        let set = cluster.state_set(KEY, 1, StateChange::Suspend);
        let suspension = cluster.proposed(set.clone());
        for at in 1..4 {
            cluster.bring(at, &suspension).unwrap();
        }
        cluster.changed(|roster| roster.principals.retain(|p| p.id.as_str() != "the-admin"));
        cluster.quarantine(0, RESTORE);
        let status = cluster.status_of(0);
        let mut pages: Vec<_> = (1..4)
            .map(|at| cluster.heads(at, &status).unwrap())
            .collect();
        let mut spoiled = suspension.clone();
        let as_what = if hide {
            SetKeyState {
                change: StateChange::Resume,
                ..set
            }
        } else {
            spoiled.endorsements[0].signature = Signature([7; 64]);
            set
        };
        let mut standing = Standing::default();
        standing.take(StateMark::new(&as_what, spoiled));
        pages[0].heads[0].standing = standing;
        pages[0] = cluster.forge(1, &pages[0]);

        let readmitted = cluster.readmit(0, &pages).unwrap();

        assert_eq!(readmitted.missing, []);
        assert_eq!(marks_of(&cluster, 0, KEY).state(true), KeyState::Suspended);
    }
}

/// A command counts for the key that it is about, by those who hold that key.
#[test]
fn a_command_counts_for_no_other_key_and_by_no_other_nodes() {
    let mut cluster = Cluster::new(4);
    cluster.create("small", Scheme::Ed25519, 2);
    cluster.create("great", Scheme::Ed25519, 3);
    let set = cluster.state_set("great", 1, StateChange::Suspend);
    let suspension = cluster.proposed(set);
    for at in 0..4 {
        cluster.bring(at, &suspension).unwrap();
    }
    let set = cluster.state_set("great", 2, StateChange::Resume);
    let resumption = cluster.approved(set.clone());
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let mut pages: Vec<_> = (1..4)
        .map(|at| cluster.heads(at, &status).unwrap())
        .collect();
    for (page, liar) in pages.iter_mut().zip([1, 2]) {
        let mut standing = Standing::default();
        standing.take(StateMark::new(&set, resumption.clone()));
        for head in &mut page.heads {
            if head.key.as_str() == "small" {
                head.standing = standing.clone();
            }
        }
        *page = cluster.forge(liar, page);
    }

    cluster.readmit(0, &pages).unwrap();

    assert_eq!(
        marks_of(&cluster, 0, "great").state(true),
        KeyState::Suspended
    );
    assert_eq!(marks_of(&cluster, 0, "small").state(true), KeyState::Active);
}

/// The last suspension is of its time only beside a resumption that the node has forgotten, whether
/// that counts or not.
#[test]
fn a_suspension_holds_beside_a_resumption_that_does_not_count() {
    for knows_both in [2..3, 1..3] {
        let mut cluster = Cluster::new(3);
        cluster.create(KEY, Scheme::Ed25519, 2);
        let mut commands = Vec::new();
        for (sequence, change) in [
            (1_024, StateChange::Suspend),
            (1_025, StateChange::Resume),
            (1_026, StateChange::Suspend),
        ] {
            let set = cluster.state_set(KEY, sequence, change);
            commands.push(cluster.approved(set));
        }
        for at in knows_both {
            for command in &commands {
                cluster.bring(at, command).unwrap();
            }
        }

        cluster.restored(|_| {});

        assert_eq!(marks_of(&cluster, 0, KEY).state(true), KeyState::Suspended);
    }
}

/// A suspension by one admin that cannot be taken does not smuggle a resumption in that nobody counts.
#[test]
fn a_resumption_that_does_not_count_is_taken_only_where_it_is_outdone() {
    let too_far = |cluster: &Cluster| cluster.state_set(KEY, 5_000, StateChange::Suspend);
    let of_another = |cluster: &Cluster| SetKeyState {
        key_id: KeyId([9; 32]),
        ..cluster.state_set(KEY, 4, StateChange::Suspend)
    };
    for of_the_liar in [&too_far as &dyn Fn(&Cluster) -> SetKeyState, &of_another] {
        let mut cluster = Cluster::new(3);
        cluster.create(KEY, Scheme::Ed25519, 2);
        for at in 0..3 {
            cluster.change(at, KEY, 1, StateChange::Suspend).unwrap();
        }
        let resume = cluster.state_set(KEY, 3, StateChange::Resume);
        let resumption = cluster.approved(resume.clone());
        let suspend = of_the_liar(&cluster);
        let suspension = cluster.proposed(suspend.clone());

        cluster.restored(|page| {
            let mut standing = Standing::default();
            standing.take(StateMark::new(&resume, resumption.clone()));
            standing.take(StateMark::new(&suspend, suspension.clone()));
            page.heads[0].standing = standing;
        });

        assert_eq!(marks_of(&cluster, 0, KEY).state(true), KeyState::Suspended);
    }
}

/// What somebody endorsed besides, who was removed since, takes nothing from a command in force.
#[test]
fn an_endorsement_too_many_does_not_hide_a_suspension_in_force() {
    let mut cluster = Cluster::new(4);
    cluster.create(KEY, Scheme::Ed25519, 3);
    let set = cluster.state_set(KEY, 1_024, StateChange::Suspend);
    let first = cluster.proposed(set);
    let set = cluster.state_set(KEY, 1_025, StateChange::Resume);
    let resumption = cluster.approved(set);
    let last = cluster.state_set(KEY, 1_026, StateChange::Suspend);
    let mut suspension = cluster.proposed(last.clone());
    for at in 1..3 {
        for command in [&first, &resumption, &suspension] {
            cluster.bring(at, command).unwrap();
        }
    }
    let mut besides = suspension.clone();
    let key = cluster.phone.clone();
    cluster.word(&mut besides, EndorsementKind::Approve, "the-phone", &key);
    suspension = besides;
    cluster.changed(|roster| roster.principals.retain(|p| p.id.as_str() != "the-phone"));
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let mut pages: Vec<_> = (1..4)
        .map(|at| cluster.heads(at, &status).unwrap())
        .collect();
    let mut standing = Standing::default();
    standing.take(StateMark::new(&last, suspension));
    pages[2].heads[0].standing = standing;
    pages[2] = cluster.forge(3, &pages[2]);
    pages.rotate_right(1);

    cluster.readmit(0, &pages).unwrap();

    assert_eq!(marks_of(&cluster, 0, KEY).state(true), KeyState::Suspended);
}

/// P35: where others are lost, the admin quorum answers for what they knew.
#[test]
fn the_admin_quorum_takes_a_node_back_without_those_that_are_lost() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create(KEY, Scheme::Ed25519, 2);
    cluster.change(1, KEY, 1, StateChange::Suspend).unwrap();
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let page = cluster.heads(1, &status).unwrap();
    let command = cluster.readmission(RESTORE, &[2]);
    let command = cluster.by_both(command);

    // Whoever is not left out is heard first.
    let waits = cluster.readmit_by(0, &[], Some(&command)).unwrap();
    assert_eq!(waits.missing, [node_id(1)]);
    assert!(cluster.cores[0].is_quarantined());
    let without = cluster.readmit_by(0, &[page], None).unwrap();
    assert_eq!(without.missing, [node_id(2)]);
    // And again, for whoever lost the answer.
    for _ in 0..2 {
        let back = cluster.readmit_by(0, &[], Some(&command)).unwrap();
        assert_eq!(back.missing, []);
    }

    assert!(!cluster.cores[0].is_quarantined());
    assert_eq!(marks_of(&cluster, 0, KEY).state(true), KeyState::Suspended);
    let recorded = entries(&cluster, 0);
    let [
        ..,
        Entry::ReadmissionOrdered {
            command: ordered, ..
        },
        Entry::Readmitted { witnesses, .. },
    ] = recorded.as_slice()
    else {
        panic!("{recorded:?}")
    };
    assert_eq!(*ordered, command);
    assert_eq!(*witnesses, [node_id(1)]);
    let refusal = cluster.sign(&certificate, &[0, 1], b"x").unwrap_err();
    assert_eq!(refusal.reason, Reason::KeySuspended);
}

#[test]
fn a_readmission_is_by_the_admin_quorum_for_one_restoration_of_one_node() {
    let mut cluster = Cluster::new(3);
    cluster.create(KEY, Scheme::Ed25519, 2);
    cluster.quarantine(0, RESTORE);
    let other = RestoreId([9; 16]);
    let refused = |cluster: &mut Cluster, at, command: &SignedCommand| {
        let refusal = cluster.readmit_by(at, &[], Some(command)).unwrap_err();
        assert!(cluster.cores[0].is_quarantined());
        refusal.reason
    };

    let alone = cluster.readmission(RESTORE, &[1, 2]);
    assert_eq!(
        refused(&mut cluster, 0, &alone),
        Reason::EndorsementsMissing
    );
    let mut rejected = cluster.by_both(alone.clone());
    let key = cluster.second_admin.clone();
    rejected.endorsements.pop();
    cluster.word(
        &mut rejected,
        EndorsementKind::Reject,
        "the-second-admin",
        &key,
    );
    assert_eq!(refused(&mut cluster, 0, &rejected), Reason::CommandRejected);
    for (restore, without, reason) in [
        (other, vec![1, 2], Reason::RequestInvalid),
        (RESTORE, vec![], Reason::RequestInvalid),
        (RESTORE, vec![2, 1], Reason::RequestInvalid),
        (RESTORE, vec![0, 1], Reason::RequestInvalid),
        (RESTORE, vec![1, 7], Reason::NodeUnknown),
    ] {
        let command = cluster.readmission(restore, &without);
        let command = cluster.by_both(command);
        assert_eq!(refused(&mut cluster, 0, &command), reason, "{without:?}");
    }
    let elsewhere = cluster.by_both(alone);
    assert_eq!(refused(&mut cluster, 1, &elsewhere), Reason::RequestInvalid);
    let other_kind = cluster.state_set(KEY, 1, StateChange::Suspend);
    let other_kind = cluster.proposed(other_kind);
    assert_eq!(
        refused(&mut cluster, 0, &other_kind),
        Reason::RequestInvalid
    );

    // The rejection is final for the id, with whatever words the command comes (P8).
    let forgiven = elsewhere.clone();
    assert_eq!(refused(&mut cluster, 0, &forgiven), Reason::CommandRejected);

    let expired = cluster.readmission(RESTORE, &[1, 2]);
    let expired = cluster.by_both(expired);
    cluster.monotonic_ms = 7_200_000;
    assert_eq!(refused(&mut cluster, 0, &expired), Reason::CommandExpired);
}

/// What carries a page must not leave endorsements out of it.
#[test]
fn the_words_under_a_command_are_signed_with_the_page() {
    let mut cluster = Cluster::new(3);
    cluster.create(KEY, Scheme::Ed25519, 2);
    cluster.change(1, KEY, 1, StateChange::Suspend).unwrap();
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let mut page = cluster.heads(1, &status).unwrap();
    let mark = page.heads[0].standing.marks().next().unwrap().clone();
    let mut command = mark.command.clone();
    command.endorsements.clear();
    let set = SetKeyState {
        key: KEY.parse().unwrap(),
        key_id: cluster.created[KEY],
        sequence: 1,
        change: StateChange::Suspend,
        reason: mark.reason.clone(),
    };
    let mut stripped = Standing::default();
    stripped.take(StateMark::new(&set, command));
    page.heads[0].standing = stripped;

    let refusal = cluster.readmit(0, &[page]).unwrap_err();

    assert_eq!(refusal.reason, Reason::ProtocolViolation);
}

/// DESIGN 7: a check that failed after the backup is forgotten, and its pairings are not.
#[test]
fn no_pairing_from_a_backup_is_used_before_it_is_set_up_afresh() {
    let mut cluster = Cluster::new(3);
    cluster.create_ecdsa("coins", 2);
    let name = "coins".parse().unwrap();
    let suspended = |cluster: &Cluster| {
        let state = crate::core::lock(&cluster.cores[0].state);
        crate::core::ledger::suspended(&*state.index, &name, Epoch(1)).unwrap()
    };
    assert!(suspended(&cluster).is_empty());

    cluster.quarantine(0, RESTORE);

    assert!(suspended(&cluster).contains(&node_id(1)));
    assert!(suspended(&cluster).contains(&node_id(2)));
}
