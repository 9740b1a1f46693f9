//! Nodes whose disks were put back, or that run twice, and what the others make of it (P35).

use quorate_model::{Refusal, audit::PeerRolledBack, command::SignedCommand};

use super::{quarantine::RESTORE, *};

/// The node whose disk is put back.
const BACK: usize = 2;

impl Cluster {
    fn new_key(&mut self, name: &str) -> SignedCommand {
        self.create_command(name, Scheme::Ed25519, 2, &[KeyPurpose::Messages])
    }

    /// A key by all nodes, up to PREPARED.
    fn make(&mut self, name: &str, attempt: u8) -> Result<(), Refusal> {
        let command = self.new_key(name);
        self.prepare(&command, Epoch(1), attempt).map(drop)
    }

    fn start_again(&mut self, at: usize) {
        self.start_on(at, self.disks[at].clone());
    }

    fn hello(&mut self, at: usize, command: &SignedCommand, attempt: u8) -> NodeReply {
        let request = NodeRequest::BeginCeremony {
            attempt: [attempt; 16],
            command: command.clone(),
            epoch: Epoch(1),
            source: None,
        };
        self.ask(at, request).unwrap()
    }

    fn carry_round(
        &mut self,
        at: usize,
        attempt: u8,
        round: u8,
        replies: &[NodeReply],
    ) -> Result<NodeReply, Refusal> {
        let said: Vec<_> = replies.iter().cloned().map(ceremony).collect();
        let request = NodeRequest::AdvanceCeremony {
            attempt: [attempt; 16],
            round,
            envelopes: inbox(&said, index(at + 1)),
        };
        self.ask(at, request)
    }

    fn incidents(&self, at: usize) -> Vec<PeerRolledBack> {
        entries(self, at)
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::PeerRolledBack(incident) => Some(incident),
                _ => None,
            })
            .collect()
    }

    /// A cluster in which a node has proven more than its disk holds by now.
    fn put_back() -> Self {
        let mut cluster = Self::new(3);
        cluster.create("first", Scheme::Ed25519, 2);
        let old = cluster.disks[BACK].fork();
        // Enough for what a restoration records not to reach as far.
        for name in ["second", "third", "another"] {
            cluster.create(name, Scheme::Ed25519, 2);
        }
        cluster.make("last", 3).unwrap();
        cluster.start_on(BACK, old);
        cluster
    }
}

#[test]
fn a_disk_that_was_put_back_is_noticed_in_the_next_ceremony() {
    let mut cluster = Cluster::put_back();

    assert_eq!(cluster.make("fourth", 4), Ok(()));

    for judge in [0, 1] {
        let [incident] = &cluster.incidents(judge)[..] else {
            panic!("not one incident");
        };
        assert_eq!(incident.node, node_id(BACK));
        assert!(incident.shown.sequence < incident.before.sequence);
        let told = cluster.cores[judge].take_rollbacks();
        assert_eq!(told, std::slice::from_ref(incident));
    }
    assert_eq!(cluster.incidents(BACK), []);
    // It is told once.
    assert_eq!(cluster.make("fifth", 5), Ok(()));
    assert_eq!(cluster.incidents(0).len(), 1);
    assert_eq!(cluster.cores[0].take_rollbacks(), []);
}

#[test]
fn a_copy_that_runs_beside_the_node_is_noticed_at_the_same_record() {
    let mut cluster = Cluster::new(3);
    cluster.create("first", Scheme::Ed25519, 2);
    let (one, other) = (cluster.disks[BACK].fork(), cluster.disks[BACK].fork());
    cluster.start_on(BACK, one);
    cluster.make("second", 2).unwrap();
    cluster.start_on(BACK, other);

    assert_eq!(cluster.make("third", 3), Ok(()));

    let [incident] = &cluster.incidents(0)[..] else {
        panic!("no incident");
    };
    assert_eq!(incident.shown.sequence, incident.before.sequence);
    assert_ne!(incident.shown.head, incident.before.head);
}

#[test]
fn a_replayed_old_hello_frames_nobody() {
    let mut cluster = Cluster::new(3);
    cluster.create("first", Scheme::Ed25519, 2);
    let command = cluster.new_key("second");
    let old = cluster.hello(BACK, &command, 2);
    cluster.start_again(BACK);
    cluster.make("third", 3).unwrap();

    let hellos: Vec<_> = (0..3).map(|at| cluster.hello(at, &command, 4)).collect();
    let lies = [hellos[0].clone(), hellos[1].clone(), old];
    let commits = [
        cluster.carry_round(0, 4, 0, &lies).unwrap(),
        cluster.carry_round(1, 4, 0, &lies).unwrap(),
        cluster.carry_round(BACK, 4, 0, &hellos).unwrap(),
    ];
    let refusal = cluster.carry_round(0, 4, 1, &commits).unwrap_err();

    assert_eq!(refusal.reason, Reason::ProtocolViolation);
    assert_eq!(cluster.incidents(0), []);
    assert!(cluster.prepare(&command, Epoch(1), 5).is_ok());
}

#[test]
fn a_hello_that_waited_for_a_later_ceremony_frames_nobody() {
    let mut cluster = Cluster::new(3);
    cluster.create("first", Scheme::Ed25519, 2);
    let command = cluster.new_key("second");
    // It says hello, goes on in another ceremony, and the others begin only then.
    cluster.hello(BACK, &command, 2);
    cluster.create("third", Scheme::Ed25519, 2);
    cluster.make("fourth", 4).unwrap();

    assert!(cluster.prepare(&command, Epoch(1), 2).is_ok());
    assert_eq!(cluster.incidents(0), []);
}

#[test]
fn a_node_that_only_starts_again_is_not_judged() {
    let mut cluster = Cluster::new(3);
    cluster.create("first", Scheme::Ed25519, 2);
    cluster.make("second", 2).unwrap();
    cluster.start_again(BACK);

    assert_eq!(cluster.make("third", 3), Ok(()));
}

#[test]
fn a_node_that_was_restored_and_readmitted_is_not_judged() {
    let mut cluster = Cluster::put_back();
    cluster.quarantine(BACK, RESTORE);
    let status = cluster.status_of(BACK);
    let pages = [0, 1].map(|at| cluster.heads(at, &status).unwrap());
    assert_eq!(cluster.readmit(BACK, &pages).unwrap().missing, []);

    assert_eq!(cluster.make("fourth", 4), Ok(()));
    assert_eq!(cluster.incidents(0), []);
}

#[test]
fn a_resharing_shows_who_went_back() {
    let mut cluster = Cluster::put_back();
    let held = cluster.born("fourth", Scheme::Ed25519, 2, &[0, 1]);
    assert_eq!(cluster.incidents(0), []);

    let run = cluster.run(&held, 2, &[0, 1, BACK]);

    assert!(cluster.certify(&held, &run).is_ok());
    assert_eq!(cluster.incidents(0).len(), 1);
}

#[test]
fn a_disk_that_was_put_back_is_noticed_when_pairings_are_set_up() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let old = cluster.disks[BACK].fork();
    for attempt in [2, 3, 4] {
        cluster.pair(&certificate, &[0, BACK], attempt).unwrap();
    }
    cluster.start_on(BACK, old);

    assert!(cluster.pair(&certificate, &[0, BACK], 5).is_ok());

    assert_eq!(cluster.incidents(0).len(), 1);
}
