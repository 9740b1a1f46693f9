use quorate_model::{
    Epoch, KeyState, NodeId, Signature,
    certificate::KeyEvidence,
    command::{Command, EndorsementKind},
    destruction::{ErasureMethod, Said},
    roster::Role,
};
use uuid::Uuid;

use super::*;
use crate::certificate::tests::{certificate, create, key, pinned, propose};
use crate::command;

const DELAY_MS: u64 = 7 * 24 * 3_600_000;

struct Case {
    pinned: PinnedRoster,
    evidence: KeyEvidence,
    record: KeyRecord,
}

fn case() -> Case {
    let pinned = pinned();
    let birth = certificate(&pinned, &create(&pinned)).to_bytes().unwrap();
    let (_, record) = certificate::verify(&birth, None, &pinned).unwrap();
    let evidence = KeyEvidence {
        certificate: birth,
        proof: None,
        birth: None,
    };
    Case {
        pinned,
        evidence,
        record,
    }
}

impl Case {
    fn order(&self, number: u8, step: DestroyStep) -> SignedCommand {
        self.order_at(number, step, if step.destroys() { DELAY_MS } else { 0 })
    }

    fn order_at(&self, number: u8, step: DestroyStep, after_ms: u64) -> SignedCommand {
        let destroy = DestroyKey {
            key: self.record.name.clone(),
            key_id: self.record.id(),
            step,
            reason: "retired".to_owned(),
        };
        let base = create(&self.pinned);
        let command = Command {
            id: quorate_model::CommandId(Uuid::from_bytes([number; 16])),
            created: base.created.plus(after_ms),
            expires: base.expires.plus(after_ms),
            body: CommandBody::DestroyKey(destroy),
            ..base
        };
        propose(&self.pinned, command::encode(&command))
    }

    fn receipt(&self, number: u8, order: &SignedCommand) -> DestructionReceipt {
        let node: NodeId = ["", "node-a", "node-b", "node-c"][usize::from(number)]
            .parse()
            .unwrap();
        DestructionReceipt {
            node,
            key: self.record.name.clone(),
            key_id: self.record.id(),
            command: order.digest(),
            said: Said::Destroyed {
                state: KeyState::Destroyed,
                epochs: vec![Epoch(1)],
                method: ErasureMethod::BestEffort,
                backups: 0,
            },
            record: 7,
            head: Digest::ZERO,
            signature: Signature([0; 64]),
        }
        .sign(&key(number))
    }

    fn proof(&self, orders: &[SignedCommand], holders: &[u8]) -> DestructionCertificate {
        let last = orders.last().unwrap();
        DestructionCertificate {
            evidence: self.evidence.clone(),
            orders: orders.to_vec(),
            receipts: holders.iter().map(|n| self.receipt(*n, last)).collect(),
        }
    }

    fn announced_and_confirmed(&self) -> Vec<SignedCommand> {
        let announcement = self.order(1, DestroyStep::Announce);
        let digest = announcement.digest();
        let step = DestroyStep::Confirm {
            announcement: digest,
        };
        vec![announcement, self.order(2, step)]
    }

    fn refused(&self, proof: &DestructionCertificate) -> Refusal {
        verify(proof, &self.pinned).unwrap_err()
    }
}

#[test]
fn a_certificate_with_the_word_of_every_node_is_complete() {
    let case = case();
    let proof = case.proof(&case.announced_and_confirmed(), &[1, 2, 3]);
    let bytes = proof.to_bytes().unwrap();

    let read = DestructionCertificate::from_bytes(&bytes).unwrap();
    let (record, count) = verify(&read, &case.pinned).unwrap();

    assert_eq!(record, case.record);
    assert!(count.is_complete());
    assert_eq!(count.destroyed.len(), 3);
}

#[test]
fn a_certificate_without_a_holder_says_who_is_missing() {
    let case = case();
    let at_once = [case.order(1, DestroyStep::AtOnce)];

    let (_, count) = verify(&case.proof(&at_once, &[1, 3]), &case.pinned).unwrap();

    assert!(!count.is_complete());
    assert_eq!(count.missing_holders, vec!["node-b".parse().unwrap()]);
    assert_eq!(count.holders, 3);
}

#[test]
fn an_order_that_was_never_announced_or_is_only_announced_counts_for_nothing() {
    let case = case();
    let orders = case.announced_and_confirmed();
    let unannounced = case.proof(orders.get(1..).unwrap(), &[1, 2, 3]);
    let unconfirmed = case.proof(orders.get(..1).unwrap(), &[1, 2, 3]);

    for proof in [unannounced, unconfirmed] {
        let refusal = case.refused(&proof);

        assert_eq!(refusal.reason, Reason::ProtocolViolation);
        assert!(refusal.message.contains("is not in it"), "{refusal}");
    }
}

/// P11: whoever confirms has let the delay pass.
#[test]
fn an_order_that_was_confirmed_before_the_delay_counts_for_nothing() {
    let case = case();
    let mut orders = case.announced_and_confirmed();
    let step = DestroyStep::Confirm {
        announcement: orders[0].digest(),
    };
    orders[1] = case.order_at(2, step, DELAY_MS - 1);

    let refusal = case.refused(&case.proof(&orders, &[1, 2, 3]));

    assert!(refusal.message.contains("long enough"), "{refusal}");
}

#[test]
fn a_forged_repeated_or_foreign_receipt_is_refused() {
    let case = case();
    let orders = case.announced_and_confirmed();
    let whole = || case.proof(&orders, &[1, 2, 3]);
    let mut forged = whole();
    forged.receipts[1].record = 8;
    let mut repeated = whole();
    repeated.receipts[2] = repeated.receipts[0].clone();
    let mut of_another = whole();
    of_another.receipts[0].key_id = KeyId([9; 32]);
    of_another.receipts[0] = of_another.receipts[0].clone().sign(&key(1));
    let mut announces = whole();
    announces.receipts[0].said = Said::Withdrawn {
        announcement: Digest::ZERO,
    };
    announces.receipts[0] = announces.receipts[0].clone().sign(&key(1));
    let mut of_no_end = whole();
    if let Said::Destroyed { state, .. } = &mut of_no_end.receipts[0].said {
        *state = KeyState::Active;
    }
    of_no_end.receipts[0] = of_no_end.receipts[0].clone().sign(&key(1));

    for proof in [forged, repeated, of_another, announces, of_no_end] {
        assert_eq!(case.refused(&proof).reason, Reason::ProtocolViolation);
    }
}

#[test]
fn an_order_that_an_admin_forbids_or_nobody_signed_is_refused() {
    let case = case();
    let mut orders = case.announced_and_confirmed();
    let mut unsigned = orders.clone();
    unsigned[1].endorsements.clear();
    let admin = "admin".parse().unwrap();
    orders[1].endorsements.clear();
    let cluster = case.pinned.cluster();
    orders[1].endorse(
        &cluster,
        EndorsementKind::Reject,
        &admin,
        Role::Admin,
        &key(200),
    );

    let forbidden = case.refused(&case.proof(&orders, &[1]));
    let nobody = case.refused(&case.proof(&unsigned, &[1]));

    assert_eq!(forbidden.reason, Reason::CommandRejected);
    assert_eq!(nobody.reason, Reason::EndorsementInvalid);
}

#[test]
fn bytes_that_are_no_certificate_of_destruction_are_refused() {
    let refusal = DestructionCertificate::from_bytes(b"\x01garbage").unwrap_err();

    assert_eq!(refusal.reason, Reason::ProtocolViolation);
}

#[test]
fn a_step_that_names_an_announcement_needs_one_and_no_other_has_one() {
    let case = case();
    let destroy = |step| {
        let destroy = DestroyKey {
            key: case.record.name.clone(),
            key_id: case.record.id(),
            step,
            reason: "retired".to_owned(),
        };
        v1::DestroyKey::from(&destroy)
    };
    let announcement = Digest::new([5; 32]);
    let mut nameless = destroy(DestroyStep::Confirm { announcement });
    nameless.announcement.clear();
    let mut naming = destroy(DestroyStep::Announce);
    naming.announcement = vec![5; 32];
    let mut unknown = destroy(DestroyStep::Announce);
    unknown.step = 9;

    for (wire, field) in [
        (nameless, "destroy_key.announcement"),
        (naming, "destroy_key.announcement"),
        (unknown, "destroy_key.step"),
    ] {
        let refusal = Refusal::from(destroy_key(wire).unwrap_err());

        assert_eq!(refusal.get("field"), Some(field));
    }
}
