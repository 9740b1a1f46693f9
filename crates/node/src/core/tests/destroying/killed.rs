//! A process dies, or a machine loses power, at any step that the end of a key writes (P34, I5).

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{
    super::resharing::harness::{Held, Run},
    epochs::{HOLDERS, Last},
    opened::Thief,
    *,
};
use crate::disk::{Fault, MemoryDisk, Survival};

const VICTIM: usize = 0;

/// What dies, and what is left of what was not made durable.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// The process, between two writes.
    Process,
    /// The process, in the middle of a write.
    Midway,
    /// The machine.
    Machine,
    /// The machine, with writes torn by a seed.
    Torn(u64),
}

impl Death {
    const fn fault(self) -> Fault {
        match self {
            Self::Midway => Fault::Half,
            Self::Process | Self::Machine | Self::Torn(_) => Fault::Stop,
        }
    }

    const fn survival(self) -> Survival {
        match self {
            Self::Process | Self::Midway => Survival::Everything,
            Self::Machine => Survival::Nothing,
            Self::Torn(seed) => Survival::Torn(seed),
        }
    }
}

/// Nodes at which a key of three epochs is retired, and the commands that end it.
struct Scene {
    cluster: Cluster,
    disks: Vec<MemoryDisk>,
    held: Held,
    announcement: SignedCommand,
    order: SignedCommand,
    /// What was acknowledged before the death.
    heard: Option<DestructionReceipt>,
}

impl Scene {
    fn new(scheme: Scheme) -> Self {
        let mut cluster = Cluster::new(3);
        cluster.born("other", Scheme::Bip340, 2, &HOLDERS);
        let held = cluster.of_three_epochs(scheme, Last::Prepared);
        cluster.retire("notes");
        let announcement = cluster.step("notes", Announce);
        cluster.monotonic_ms = DELAY_MS;
        let order = cluster.step("notes", confirm(announcement.digest()));
        Self {
            disks: cluster.disks_as_they_are(),
            cluster,
            held,
            announcement,
            order,
            heard: None,
        }
    }

    fn start_again(&mut self) {
        self.cluster.monotonic_ms = 0;
        self.heard = None;
        for (at, disk) in self.disks.iter().enumerate() {
            self.cluster.start_on(at, disk.fork());
        }
    }

    fn announce(&mut self) {
        let heard = self.cluster.destroy(VICTIM, &self.announcement).unwrap();
        self.heard = Some(heard);
        self.cluster.monotonic_ms = DELAY_MS;
    }

    fn carry(&mut self) -> DestructionReceipt {
        self.announce();
        self.cluster.destroy(VICTIM, &self.order).unwrap()
    }

    fn revive(&mut self, survival: Survival) {
        let disk = self.cluster.disks[VICTIM].clone();
        disk.crash(survival);
        self.cluster.start_on(VICTIM, disk);
    }

    fn has_tombstone(&self) -> bool {
        let records = entries(&self.cluster, VICTIM);
        let mut ends = records
            .iter()
            .filter(|entry| matches!(entry, Entry::KeyDestroyed(_)));
        let first = ends.next().is_some();
        assert!(ends.next().is_none());
        first
    }

    /// The node has the key as it had it, and what it acknowledged: another resharing in which it
    /// deals and receives succeeds.
    fn goes_on(&mut self, what: &str) {
        let held = self.held.clone();
        let listed = self.cluster.listed(VICTIM, "notes");
        assert_eq!(listed.state, KeyState::Deactivated, "{what}");
        if let Some(heard) = &self.heard {
            assert_eq!(
                &listed.destruction.receipts,
                std::slice::from_ref(heard),
                "{what}"
            );
        }
        let (disk, now) = (
            self.cluster.disks[VICTIM].clone(),
            self.cluster.monotonic_ms,
        );
        self.cluster.monotonic_ms = 0;
        for at in HOLDERS {
            let disk = if at == VICTIM { &disk } else { &self.disks[at] };
            self.cluster.start_on(at, disk.fork());
        }
        let epoch = Epoch(4);
        let run = Run {
            command: self.cluster.reshare_command_from(&held, 2, &HOLDERS, epoch),
            epoch,
            dealers: vec![0, 1],
            receivers: HOLDERS.to_vec(),
        };
        let next = self.cluster.prove_run(&held, &run);
        assert_eq!(next.epoch(), epoch, "{what}");
        self.cluster.start_on(VICTIM, disk);
        self.cluster.monotonic_ms = now;
    }
}

/// What a receipt says. Where the log stood before it depends on how often the node was started.
fn told(receipt: &DestructionReceipt) -> (Digest, Said, u64) {
    (receipt.command, receipt.said.clone(), receipt.record)
}

/// Stops a node at every operation that changes its disk, from the announcement to the receipt. It
/// has the key as before or it has none, and whoever asks again gets the receipt.
fn dies_at_every_step(scheme: Scheme, death: Death) {
    let mut scene = Scene::new(scheme);
    let (notes, other) = ("notes".parse().unwrap(), "other".parse().unwrap());
    let thief = Thief::new(&scene.disks[VICTIM]);
    let all = BTreeSet::from([1, 2, 3].map(Epoch));
    assert_eq!(thief.opens(VICTIM, &scene.disks[VICTIM], &notes), all);
    scene.start_again();
    let undisturbed = scene.carry();
    // How often the node was found before and after its tombstone.
    let (mut before, mut after) = (0, 0);
    for step in 0.. {
        scene.start_again();
        let disk = scene.cluster.disks[VICTIM].clone();
        disk.fail_at(disk.operations() + step, death.fault());
        if catch_unwind(AssertUnwindSafe(|| scene.carry())).is_ok() {
            break;
        }
        let what = format!("{death:?} at step {step}");
        scene.revive(death.survival());

        let recorded = scene.has_tombstone();
        if recorded {
            after += 1;
            scene.cluster.must_be_bare(VICTIM, &thief, &what);
            let listed = scene.cluster.listed(VICTIM, "notes").destruction;
            let said: Vec<_> = listed.receipts.iter().map(told).collect();
            assert_eq!(said, [told(&undisturbed)], "{what}");
        } else {
            before += 1;
            let opened = thief.opens(VICTIM, &scene.cluster.disks[VICTIM], &notes);
            assert_eq!(opened, all, "{what}");
            scene.goes_on(&what);
            if scene.heard.is_none() {
                scene.announce();
            }
        }
        let receipt = scene.cluster.destroy(VICTIM, &scene.order).expect(&what);

        if recorded {
            assert_eq!(told(&receipt), told(&undisturbed), "{what}");
        }
        assert!(
            matches!(&receipt.said, Said::Destroyed { epochs, .. }
                if epochs.iter().copied().collect::<BTreeSet<_>>() == all),
            "{what}: {receipt:?}"
        );
        scene.cluster.must_be_bare(VICTIM, &thief, &what);
        let again = scene.cluster.destroy(VICTIM, &scene.order).expect(&what);
        assert_eq!(again, receipt, "{what}");
        assert!(scene.has_tombstone(), "{what}");
        // What is not destroyed stays.
        let kept = thief.opens(VICTIM, &scene.cluster.disks[VICTIM], &other);
        assert_eq!(kept, BTreeSet::from([Epoch(1)]), "{what}");
    }
    assert!(before > 2 && after > 4, "{before} before, {after} after");
}

fn dies_in_every_way(scheme: Scheme) {
    for death in [Death::Process, Death::Midway, Death::Machine] {
        dies_at_every_step(scheme, death);
    }
    for seed in 0..4 {
        dies_at_every_step(scheme, Death::Torn(seed));
    }
}

#[test]
fn a_holder_dies_at_every_step_of_its_destruction() {
    dies_in_every_way(Scheme::Bip340);
}

#[test]
fn a_holder_of_an_ecdsa_key_dies_at_every_step_of_its_destruction() {
    dies_in_every_way(Scheme::EcdsaSecp256k1);
}
