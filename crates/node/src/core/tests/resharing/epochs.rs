//! Which epoch signs.

use quorate_model::command::SignedCommand;

use super::{super::*, harness::*};

/// As long as a command may live (P6).
const WEEK_MS: u64 = 7 * 24 * 3_600_000;

impl Cluster {
    /// A command as it is made at this moment, for a week.
    fn made_now(&self, command: &SignedCommand, role: Role) -> SignedCommand {
        let mut command = quorate_proto::command::decode(&command.bytes).unwrap();
        command.created = START.plus(self.monotonic_ms);
        command.expires = command.created.plus(WEEK_MS);
        self.propose(&command, role)
    }

    fn sign_now(
        &mut self,
        held: &Held,
        signers: &[usize],
    ) -> Result<Vec<u8>, quorate_model::Refusal> {
        let command = self.sign_command("notes", vec![Payload::message(b"x")]);
        let command = self.made_now(&command, Role::Client);
        self.sign_as_commanded(held, signers, &command)
    }

    fn run_now(&mut self, held: &Held, receivers: &[usize]) -> Run {
        let run = self.run(held, 2, receivers);
        let command = self.made_now(&run.command, Role::Admin);
        Run {
            command: self.endorsed(command),
            ..run
        }
    }
}

#[test]
fn a_key_goes_from_committee_to_committee_and_back_and_signs_in_every_epoch() {
    for scheme in [Scheme::Bip340, Scheme::Ed25519, Scheme::FrostSecp256k1] {
        let mut cluster = Cluster::new(6);
        let born = cluster.born("notes", scheme, 2, &[0, 1, 2]);
        let key = born.certificate.statement.group_key.clone();
        let mut held = born.clone();
        for (threshold, nodes, signers) in [
            (2, vec![0, 1, 2], vec![0, 2]),
            (3, vec![5, 3, 0, 1, 4], vec![1, 3, 4]),
            (2, vec![2, 3, 4, 5], vec![2, 4]),
            (2, vec![0, 1, 2], vec![0, 1]),
        ] {
            let before = held.holders.clone();
            held = cluster.reshare(&held, threshold, &nodes);
            let statement = &held.certificate.statement;
            assert_eq!(statement.group_key, key);
            assert_eq!(statement.chain_code, born.certificate.statement.chain_code);
            cluster.sign_by(&held, &signers).unwrap();

            let erase = cluster.vouch(&held);
            for at in before {
                cluster.activate_at(at, &held).unwrap();
                cluster.erase_at(at, &erase).unwrap();
            }
            cluster.sign_by(&held, &signers).unwrap();
        }
        assert_eq!(held.epoch(), Epoch(5));
    }
}

/// No committee has a node of the one before it, and its nodes make pairings of their own.
#[test]
fn an_ecdsa_key_goes_to_committees_without_any_holder_before_and_signs_in_every_epoch() {
    let mut cluster = Cluster::new(6);
    let born = cluster.born("hot", Scheme::EcdsaSecp256k1, 2, &[0, 1]);
    let mut held = born.clone();
    for (threshold, nodes) in [(2, vec![3, 2]), (2, vec![0, 4]), (3, vec![2, 5, 3])] {
        let before = held;
        let run = cluster.run(&before, threshold, &nodes);
        held = cluster.prove_run(&before, &run);
        cluster.sign_by(&before, &before.holders).unwrap();
        for at in &nodes {
            cluster.activate_at(*at, &held).unwrap();
        }
        let statement = &held.certificate.statement;
        assert_eq!(statement.group_key, born.certificate.statement.group_key);
        assert_eq!(statement.chain_code, born.certificate.statement.chain_code);

        let erase = cluster.vouch(&held);
        for at in before.holders.clone() {
            cluster.activate_at(at, &held).unwrap();
            cluster.erase_at(at, &erase).unwrap();
            assert!(!cluster.has_share(at, &before));
            assert!(!cluster.has_share(at, &held));
        }
        assert_eq!(
            reason(cluster.sign_by(&before, &before.holders)),
            Reason::EpochChanged
        );
        cluster.sign_by(&held, &nodes).unwrap();
    }
    assert_eq!(held.epoch(), Epoch(4));
}

#[test]
fn a_resharing_puts_no_key_in_use_and_a_newcomer_knows_of_no_use_before_its_own() {
    let mut cluster = Cluster::new(4);
    let born = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let at_birth = START.plus(cluster.monotonic_ms);
    cluster.monotonic_ms += 60_000;
    let before = START.plus(cluster.monotonic_ms);
    cluster.sign_by(&born, &[0, 1]).unwrap();

    cluster.monotonic_ms += 60_000;
    let held = cluster.reshare(&born, 2, &[0, 2, 3]);
    let erase = cluster.vouch(&held);
    for at in [0, 1, 2, 3] {
        cluster.activate_at(at, &held).unwrap();
    }
    for at in [0, 1, 2] {
        cluster.erase_at(at, &erase).unwrap();
    }
    let uses = |cluster: &Cluster, at: usize| {
        let listing = cluster.listing(at);
        (listing.activated, listing.used)
    };

    assert_eq!(uses(&cluster, 0), (Some(at_birth), Some(before)));
    assert_eq!(uses(&cluster, 1), (Some(at_birth), Some(before)));
    assert_eq!(uses(&cluster, 2), (Some(at_birth), None));
    assert_eq!(uses(&cluster, 3), (None, None));
    let now = START.plus(cluster.monotonic_ms);
    cluster.sign_by(&held, &[2, 3]).unwrap();
    assert_eq!(uses(&cluster, 3), (None, Some(now)));
}

#[test]
fn the_old_epoch_signs_until_the_new_one_is_in_use_and_not_after() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&old, 2, &[0, 1, 2]);
    let certificate = cluster.certify(&old, &run).unwrap();
    cluster.sign_by(&old, &[0, 1]).unwrap();
    let proof = cluster.prove_by(&certificate, &[0, 1, 2]).unwrap();
    cluster.sign_by(&old, &[0, 1]).unwrap();
    let new = Held {
        certificate,
        proof,
        birth: Some(old.origin()),
        holders: vec![0, 1, 2],
    };

    // Until its proof is there, the new one signs nothing.
    assert_eq!(reason(cluster.sign_by(&new, &[0, 1])), Reason::EpochChanged);
    cluster.activate_at(0, &new).unwrap();
    assert_eq!(reason(cluster.sign_by(&old, &[0, 1])), Reason::EpochChanged);
    cluster.sign_by(&old, &[1, 2]).unwrap();
    cluster.activate_at(1, &new).unwrap();
    cluster.sign_by(&new, &[0, 1]).unwrap();
}

#[test]
fn a_certificate_that_comes_late_is_outdone_by_the_epoch_in_use() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let first = cluster.run(&old, 2, &[0, 1, 2]);
    let withheld = cluster.certify(&old, &first).unwrap();
    let mut second = cluster.run(&old, 2, &[0, 1, 2]);
    second.epoch = Epoch(3);
    let new = cluster.prove_run(&old, &second);
    let late = Held {
        proof: cluster.prove_by(&withheld, &[0, 1, 2]).unwrap(),
        certificate: withheld.clone(),
        ..new.clone()
    };
    for at in 0..3 {
        cluster.activate_at(at, &new).unwrap();
    }

    assert_eq!(
        reason(cluster.prove_by(&withheld, &[0, 1, 2])),
        Reason::EpochChanged
    );
    assert_eq!(reason(cluster.activate_at(0, &late)), Reason::EpochChanged);
    let erase = cluster.vouch(&new);
    cluster.erase_at(0, &erase).unwrap();
    assert!(!cluster.has_share(0, &late) && !cluster.has_share(0, &old));
    cluster.sign_by(&new, &[0, 1]).unwrap();
}

#[test]
fn a_lower_epoch_that_is_in_use_gives_way_to_a_higher_one() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let first = cluster.run(&old, 2, &[0, 1, 2]);
    let lower = cluster.prove_run(&old, &first);
    let mut second = cluster.run(&old, 2, &[0, 1, 2]);
    second.epoch = Epoch(3);
    let higher = cluster.prove_run(&old, &second);

    cluster.activate_at(0, &lower).unwrap();
    cluster.activate_at(0, &higher).unwrap();

    assert_eq!(cluster.listing(0).epoch, Epoch(3));
    assert_eq!(reason(cluster.activate_at(0, &lower)), Reason::EpochChanged);
}

#[test]
fn two_epochs_of_one_number_are_told_apart_by_their_sessions() {
    let mut cluster = Cluster::new(6);
    let born = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    // Both commands start from the birth, and neither committee knows of the other.
    let first = cluster.run(&born, 2, &[2, 3]);
    let second = cluster.run(&born, 2, &[4, 5]);
    let one = cluster.prove_run(&born, &first);
    let two = cluster.prove_run(&born, &second);
    assert_eq!(one.epoch(), two.epoch());
    let (lower, higher) = if one.certificate.statement.session < two.certificate.statement.session {
        (one, two)
    } else {
        (two, one)
    };
    for held in [&lower, &higher] {
        for at in held.holders.clone() {
            cluster.activate_at(at, held).unwrap();
        }
        let signers = held.holders.clone();
        cluster.sign_by(held, &signers).unwrap();
    }

    let old = lower.holders[0];
    cluster.activate_at(old, &higher).unwrap();
    assert_eq!(
        reason(cluster.activate_at(old, &lower)),
        Reason::EpochChanged
    );
    let erase = cluster.vouch(&higher);
    cluster.erase_at(old, &erase).unwrap();
    assert!(!cluster.has_share(old, &lower));
    assert!(cluster.has_share(higher.holders[0], &higher));
    assert!(!cluster.listing(old).keeps_old);
}

#[test]
fn a_run_that_is_held_back_outlives_neither_its_command_nor_a_suspension() {
    use quorate_model::standing::{SetKeyState, StateChange};

    let mut cluster = Cluster::new(4);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 3]);
    let certificate = cluster.certify(&held, &run).unwrap();
    let (id, key_id) = (cluster.command_id(), cluster.created["notes"]);
    let suspend = CommandBody::SetKeyState(SetKeyState {
        key: "notes".parse().unwrap(),
        key_id,
        sequence: 1,
        change: StateChange::Suspend,
        reason: "an audit".to_owned(),
    });
    let command = cluster.signed(id, Role::Admin, suspend);

    // The new holder takes the state although it has no epoch in use.
    for at in [0, 1, 3] {
        let command = command.clone();
        cluster
            .ask(at, NodeRequest::SetKeyState { command })
            .unwrap();
    }
    for at in [0, 1, 3] {
        let set = cluster.set_of(&[0, 1, 3], &[0, 1, 3], Scheme::Bip340);
        let request = NodeRequest::ProveKey {
            certificate: certificate.to_bytes().unwrap(),
            set,
        };
        assert_eq!(reason(cluster.ask(at, request)), Reason::KeySuspended);
    }

    let mut cluster = Cluster::new(4);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 3]);
    let certificate = cluster.certify(&held, &run).unwrap();
    cluster.monotonic_ms += 3_600_001;
    assert_eq!(
        reason(cluster.prove_by(&certificate, &[0, 1, 3])),
        Reason::CommandExpired
    );
}

/// P29, P30: a proven epoch is in use for ever, and whoever brings it a week late finds everybody.
#[test]
fn a_certificate_that_comes_a_week_late_is_taken_by_old_and_new_holders_that_were_away() {
    let mut cluster = Cluster::new(4);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&old, 2, &[1, 2, 3]);
    let new = cluster.prove_run(&old, &run);
    cluster.activate_at(1, &new).unwrap();

    cluster.monotonic_ms += WEEK_MS;

    // A node that leaves, one that stays, and a new one.
    cluster.sign_now(&old, &[0, 2]).unwrap();
    for at in [0, 2, 3] {
        cluster.activate_at(at, &new).unwrap();
        assert_eq!(cluster.listing(at).epoch, new.epoch());
    }
    assert_eq!(
        reason(cluster.sign_now(&old, &[0, 2])),
        Reason::EpochChanged
    );
    cluster.sign_now(&new, &[2, 3]).unwrap();
    let erase = cluster.vouch(&new);
    cluster.monotonic_ms += WEEK_MS;
    for at in 0..4 {
        cluster.erase_at(at, &erase).unwrap();
        assert!(!cluster.has_share(at, &old) && !cluster.listing(at).keeps_old);
    }
    cluster.sign_now(&new, &[1, 3]).unwrap();
}

/// P28, P30: no command lives longer than a week, so whoever keeps a certificate back until then has
/// a certificate of nothing.
#[test]
fn a_certificate_that_nobody_proved_within_a_week_is_never_proven() {
    let mut cluster = Cluster::new(4);
    let old = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run_now(&old, &[1, 2, 3]);
    let withheld = cluster.certify(&old, &run).unwrap();
    let prove = |cluster: &mut Cluster, at: usize| {
        let holders = [1, 2, 3];
        let set = cluster.set_of(&holders, &holders, Scheme::Bip340);
        let certificate = withheld.to_bytes().unwrap();
        cluster.ask(at, NodeRequest::ProveKey { certificate, set })
    };
    cluster.monotonic_ms += WEEK_MS - 1;
    prove(&mut cluster, 1).unwrap();

    cluster.monotonic_ms += 1;

    for at in [1, 2, 3] {
        assert_eq!(reason(prove(&mut cluster, at)), Reason::CommandExpired);
    }
    let unproven = Held {
        certificate: withheld,
        birth: Some(old.origin()),
        holders: vec![1, 2, 3],
        ..old.clone()
    };
    for at in 0..4 {
        let refused = reason(cluster.activate_at(at, &unproven));
        assert_eq!(refused, Reason::EpochChanged, "{at}");
    }
    cluster.sign_now(&old, &[0, 1]).unwrap();
    // Others make the next epoch of the old one, and nothing is left of it.
    let mut next = cluster.run_now(&old, &[1, 2, 3]);
    next.epoch = Epoch(3);
    let next = cluster.prove_run(&old, &next);
    for at in 0..4 {
        cluster.activate_at(at, &next).unwrap();
    }
    let erase = cluster.vouch(&next);
    for at in 0..4 {
        cluster.erase_at(at, &erase).unwrap();
        assert!(!cluster.has_share(at, &unproven) && !cluster.has_share(at, &old));
    }
    cluster.sign_now(&next, &[1, 3]).unwrap();
}
