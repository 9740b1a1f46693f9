use super::*;
use crate::ids::KeyId;

fn destroy(step: DestroyStep) -> DestroyKey {
    DestroyKey {
        key: "old".parse().unwrap(),
        key_id: KeyId([7; 32]),
        step,
        reason: "its coins are gone".to_owned(),
    }
}

fn receipt(said: Said) -> DestructionReceipt {
    DestructionReceipt {
        node: "node-a".parse().unwrap(),
        key: "old".parse().unwrap(),
        key_id: KeyId([7; 32]),
        command: Digest::new([1; 32]),
        said,
        record: 9,
        head: Digest::new([2; 32]),
        signature: Signature([0; 64]),
    }
}

fn destroyed(epochs: Vec<Epoch>) -> Said {
    Said::Destroyed {
        state: KeyState::Destroyed,
        epochs,
        method: ErasureMethod::BestEffort,
        backups: 0,
    }
}

const A: Digest = Digest::new([10; 32]);
const B: Digest = Digest::new([11; 32]);

#[test]
fn a_receipt_answers_its_own_step_and_a_tombstone_whatever_asks_for_one() {
    let announced = || Said::Announced {
        since: UnixMillis(1),
        from: UnixMillis(2),
        until: UnixMillis(3),
    };
    let withdrawn = || Said::Withdrawn { announcement: A };
    let confirm = DestroyStep::Confirm { announcement: A };
    let cancel = |announcement| DestroyStep::Cancel { announcement };
    for (said, step, expected) in [
        (announced(), DestroyStep::Announce, true),
        (announced(), confirm, false),
        (announced(), cancel(A), false),
        (announced(), DestroyStep::AtOnce, false),
        (withdrawn(), cancel(A), true),
        (withdrawn(), cancel(B), false),
        (withdrawn(), DestroyStep::Announce, false),
        (destroyed(vec![]), DestroyStep::Announce, true),
        (destroyed(vec![]), confirm, true),
        (destroyed(vec![]), DestroyStep::AtOnce, true),
        (destroyed(vec![]), cancel(A), false),
    ] {
        let text = format!("{said:?} {step:?}");

        let given = receipt(said);
        let answers = given.answers(&destroy(step), &given.command);
        assert_eq!(answers, expected, "{text}");
    }
}

#[test]
fn a_receipt_answers_no_other_key() {
    let other = DestroyKey {
        key_id: KeyId([8; 32]),
        ..destroy(DestroyStep::AtOnce)
    };

    let gone = receipt(destroyed(vec![]));
    assert!(!gone.answers(&other, &gone.command));
}

#[test]
fn the_receipt_of_an_earlier_announcement_is_none_of_a_new_one() {
    let earlier = receipt(Said::Announced {
        since: UnixMillis(1),
        from: UnixMillis(2),
        until: UnixMillis(3),
    });

    assert!(!earlier.answers(&destroy(DestroyStep::Announce), &A));
}

#[test]
fn every_part_of_a_receipt_is_signed() {
    let base = receipt(destroyed(vec![Epoch(1), Epoch(2)]));
    let mut digests = vec![base.digest()];
    let changed = |change: &dyn Fn(&mut DestructionReceipt)| {
        let mut receipt = base.clone();
        change(&mut receipt);
        receipt.digest()
    };
    digests.push(changed(&|r| r.node = "node-b".parse().unwrap()));
    digests.push(changed(&|r| r.key = "other".parse().unwrap()));
    digests.push(changed(&|r| r.key_id = KeyId([8; 32])));
    digests.push(changed(&|r| r.command = A));
    digests.push(changed(&|r| r.record = 10));
    digests.push(changed(&|r| r.head = A));
    digests.push(changed(&|r| r.said = destroyed(vec![Epoch(1)])));
    digests.push(changed(&|r| {
        r.said = Said::Destroyed {
            state: KeyState::DestroyedCompromised,
            epochs: vec![Epoch(1), Epoch(2)],
            method: ErasureMethod::BestEffort,
            backups: 0,
        };
    }));
    digests.push(changed(&|r| {
        r.said = Said::Destroyed {
            state: KeyState::Destroyed,
            epochs: vec![Epoch(1), Epoch(2)],
            method: ErasureMethod::Strong,
            backups: 0,
        };
    }));
    digests.push(changed(&|r| {
        r.said = Said::Destroyed {
            state: KeyState::Destroyed,
            epochs: vec![Epoch(1), Epoch(2)],
            method: ErasureMethod::BestEffort,
            backups: 1,
        };
    }));
    digests.push(changed(&|r| r.said = Said::Withdrawn { announcement: A }));
    digests.push(changed(&|r| r.said = Said::Withdrawn { announcement: B }));

    let distinct: BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}

#[test]
fn a_destruction_needs_a_reason_that_shows() {
    let without = DestroyKey {
        reason: "  ".to_owned(),
        ..destroy(DestroyStep::Announce)
    };
    let hidden = DestroyKey {
        reason: "fine\nnot fine".to_owned(),
        ..destroy(DestroyStep::Announce)
    };

    assert_eq!(destroy(DestroyStep::Announce).check(), Ok(()));
    for refused in [without, hidden] {
        let refusal = refused.check().unwrap_err();
        assert_eq!(refusal.reason, Reason::RequestInvalid);
    }
}
