use quorate_model::{
    DerivationPath, KeyState, Payload, Reason, Scheme,
    certificate::{CommitCertificate, PossessionProof},
    command::{CommandBody, Sign},
    operation::{CommandKind, CommandOutcome, CommandState, CommandView, KeyView},
};

use quorate_model::operation::SignOutcome;

use super::*;
use crate::{
    CertifiedKey, ClientError, CommandOptions, KeyReference, ListedKey, Prepared, Signed,
    fixtures::{made_key, node_id},
};

#[test]
fn a_key_is_trusted_when_all_holders_certified_and_proved_it() {
    for scheme in Scheme::ALL {
        let made = made_key(scheme);

        let listed = ListedKey::verify(&made.view, &made.roster).unwrap();

        assert_eq!(listed.record(), &made.view.record);
        assert!(listed.certified().is_some());
    }
}

#[test]
fn a_key_is_not_trusted_on_the_word_of_a_coordinator() {
    let made = made_key(Scheme::Bip340);
    let (others, _) = crate::fixtures::cluster();
    let check = |change: &dyn Fn(&mut KeyView)| {
        let mut changed = made.view.clone();
        change(&mut changed);
        ListedKey::verify(&changed, &made.roster).unwrap_err()
    };

    let other_record = check(&|view| view.record.group_key[5] ^= 1);
    let other_epoch = check(&|view| view.record.epoch.0 = 2);
    let no_proof = check(&|view| view.evidence.proof = None);
    let other_cluster = ListedKey::verify(&made.view, &others).unwrap_err();

    assert!(matches!(other_record, VerificationError::OtherKey(_)));
    assert!(matches!(other_epoch, VerificationError::OtherKey(_)));
    assert!(matches!(no_proof, VerificationError::NoProof(_)));
    assert!(matches!(other_cluster, VerificationError::Evidence(_)));
}

#[test]
fn a_certificate_with_another_statement_or_signature_does_not_hold() {
    let made = made_key(Scheme::Ed25519);
    let check = |change: &dyn Fn(&mut CommitCertificate)| {
        let mut certificate =
            CommitCertificate::from_bytes(&made.view.evidence.certificate).unwrap();
        change(&mut certificate);
        let error = super::certificate(&certificate.to_bytes().unwrap(), None, &made.roster);
        assert!(matches!(error, Err(VerificationError::Evidence(_))));
    };

    check(&|certificate| certificate.statement.threshold = 3);
    check(&|certificate| certificate.statement.group_key[3] ^= 1);
    check(&|certificate| certificate.verifying_shares.swap(0, 1));
    check(&|certificate| certificate.signatures.truncate(2));
    check(&|certificate| certificate.signatures[1].signature.0[0] ^= 1);
    check(&|certificate| certificate.command.bytes[9] ^= 1);
    check(&|certificate| certificate.session.nonces[0].0[0] ^= 1);
}

#[test]
fn a_proof_with_another_share_signer_or_signature_does_not_hold() {
    let made = made_key(Scheme::Bip340);
    let record = &made.view.record;
    let check = |change: &dyn Fn(&mut PossessionProof)| {
        let bytes = made.view.evidence.proof.as_ref().unwrap();
        let mut proof = PossessionProof::from_bytes(bytes).unwrap();
        change(&mut proof);
        possession(&proof.to_bytes().unwrap(), record, &made.roster).unwrap_err()
    };
    let (set, receipts, signature) = made.sign(&[1, 2, 3], record.certificate, b"else");

    let bad_signature = check(&|proof| proof.signature[40] ^= 1);
    let other_message = check(&|proof| {
        proof.set = set.clone();
        proof.receipts = receipts.clone();
        proof.signature = signature.clone();
    });
    let bad_share = check(&|proof| proof.receipts[0].statement.items[0].share[9] ^= 1);
    let too_few = check(&|proof| {
        proof.receipts.pop();
    });
    let other_certificate = check(&|proof| proof.certificate = Digest::ZERO);

    for (error, expected) in [
        (bad_signature, "its signature is another one"),
        (other_message, "the share of node node-a does not hold"),
        (bad_share, "the receipt of node-a fails"),
        (too_few, "its proof is not one of all holders"),
        (other_certificate, "its proof is not one of all holders"),
    ] {
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_key_of_the_name_with_another_id_is_refused_where_the_caller_knows_the_id() {
    let record = made_key(Scheme::Bip340).view.record;
    let reference = |id| KeyReference {
        name: record.name.clone(),
        id,
    };
    let other = KeyId([7; 32]);

    assert_eq!(reference(None).check(&record), Ok(()));
    assert_eq!(reference(Some(record.id())).check(&record), Ok(()));
    let error = reference(Some(other)).check(&record).unwrap_err();
    assert!(error.to_string().contains(&other.to_string()), "{error}");
    assert!(error.to_string().contains(&record.id().to_string()));
    assert_eq!(ClientError::from(error).exit_class().code(), 7);
    let renamed: KeyReference = "cold".parse().unwrap();
    assert!(matches!(
        renamed.check(&record),
        Err(VerificationError::OtherKey(_))
    ));
}

#[test]
fn the_outcome_of_a_command_for_another_key_of_the_name_is_refused() {
    let signing = Signing::new(Scheme::Bip340);
    let other = Signing::new(Scheme::Bip340);

    let verified = Signed::verify(
        &other.key,
        &signing.prepared,
        &signing.view,
        &signing.receipts,
    );

    assert!(matches!(
        verified,
        Err(ClientError::Unverified(VerificationError::OtherKey(_)))
    ));
}

#[test]
fn a_key_that_is_not_active_is_listed_and_not_certified() {
    let mut made = made_key(Scheme::Bip340);
    made.view.state = KeyState::PreActive;
    made.view.evidence.proof = None;

    let listed = ListedKey::verify(&made.view, &made.roster).unwrap();

    assert_eq!(listed.state(), KeyState::PreActive);
    assert!(listed.certified().is_none());
}

#[test]
fn good_signatures_of_every_scheme_are_returned() {
    for scheme in Scheme::FROST {
        let signing = Signing::new(scheme);

        let signed = signing.verify(&signing.view).unwrap();

        assert_eq!(signed.outcome().signers, [node_id(1), node_id(3)]);
        let signature = &signed.outcome().signatures[0];
        assert!(
            signing
                .key
                .verify_message(&DerivationPath::ROOT, b"pay", signature)
                .is_ok()
        );
        assert!(
            signing
                .key
                .verify_message(&DerivationPath::ROOT, b"pay more", signature)
                .is_err()
        );
    }
}

#[test]
fn each_lie_about_a_signature_is_found() {
    let signing = Signing::new(Scheme::Bip340);
    let check = |change: &dyn Fn(&mut SignOutcome)| {
        let mut view = signing.view.clone();
        let Some(CommandOutcome::Signed(outcome)) = &mut view.outcome else {
            panic!()
        };
        change(outcome);
        let Err(ClientError::Unverified(error)) = signing.verify(&view) else {
            panic!()
        };
        error
    };
    let is_other = |error: &VerificationError| matches!(error, VerificationError::OtherOutcome(_));
    let is_receipt = |error: &VerificationError| matches!(error, VerificationError::BadReceipt(_));

    assert_eq!(
        check(&|outcome| outcome.signatures[0][7] ^= 1),
        VerificationError::BadSignature(0)
    );
    assert!(is_other(&check(&|outcome| outcome.signatures.clear())));
    assert!(is_other(&check(
        &|outcome| outcome.key = "cold".parse().unwrap()
    )));
    let later = check(&|outcome| outcome.epoch.0 = 2);
    assert!(matches!(later, VerificationError::OtherEpoch { .. }));
    let earlier = check(&|outcome| outcome.epoch.0 = 0);
    assert!(matches!(earlier, VerificationError::BadReceipt(_)));
    assert!(is_other(
        &check(&|outcome| outcome.scheme = Scheme::Ed25519)
    ));
    assert!(is_other(&check(&|outcome| {
        outcome.signers.pop();
    })));
    assert!(is_other(&check(&|outcome| outcome.signers.reverse())));
    assert!(is_other(&check(
        &|outcome| outcome.signers[1] = "node-z".parse().unwrap()
    )));
    assert!(is_receipt(&check(
        &|outcome| outcome.signers[1] = node_id(2)
    )));
    assert!(is_receipt(&check(&|outcome| outcome.receipts[0]
        .signature
        .0[0] ^= 1)));
    assert!(is_receipt(&check(&|outcome| outcome.receipts[1]
        .statement
        .sequence = 1)));
    assert!(is_receipt(&check(&|outcome| outcome.receipts[1]
        .batch
        .clear())));
    assert!(is_receipt(&check(&|outcome| outcome.receipts[1]
        .statement
        .items
        .clear())));
    assert!(is_receipt(&check(&|outcome| {
        outcome.receipts[1].statement.command = Digest::ZERO;
    })));
}

#[test]
fn a_batch_that_was_verified_once_does_not_vouch_for_others() {
    let signing = Signing::new(Scheme::Bip340);
    let Some(CommandOutcome::Signed(outcome)) = &signing.view.outcome else {
        panic!()
    };
    let good = &outcome.receipts[0];
    let mut other_statement = good.clone();
    other_statement.statement.sequence = 9;
    let mut other_node = good.clone();
    other_node.statement.node = node_id(2);

    assert!(signing.receipts.holds(good));
    assert!(signing.receipts.holds(good));
    assert!(!signing.receipts.holds(&other_statement));
    assert!(!signing.receipts.holds(&other_node));
}

#[test]
fn what_a_key_cannot_sign_is_refused_before_it_is_sent() {
    let made = made_key(Scheme::Ed25519);
    let key = ListedKey::verify(&made.view, &made.roster)
        .unwrap()
        .certified()
        .unwrap();
    let payloads = [Payload::digest([1; 32])];

    let error = quorate_intent::decode_all(&payloads, &key.facts()).unwrap_err();

    assert_eq!(Refusal::from(&error).reason, Reason::SchemeMismatch);
}

/// A command that was signed by nodes 1 and 3.
struct Signing {
    key: CertifiedKey,
    prepared: Prepared,
    receipts: ReceiptChecker,
    view: CommandView,
}

impl Signing {
    fn new(scheme: Scheme) -> Self {
        let made = made_key(scheme);
        let key = ListedKey::verify(&made.view, &made.roster)
            .unwrap()
            .certified()
            .unwrap();
        let body = CommandBody::Sign(Sign {
            key: made.view.record.name.clone(),
            key_id: made.view.record.id(),
            payloads: vec![Payload::message(*b"pay")],
        });
        let options = CommandOptions::default();
        let prepared = Prepared::new(&made.roster, &made.identity, body, &options);
        let (_, receipts, signature) = made.sign(&[1, 3], prepared.digest(), b"pay");
        let outcome = SignOutcome {
            key: made.view.record.name.clone(),
            epoch: made.view.record.epoch,
            scheme,
            signers: vec![node_id(1), node_id(3)],
            signatures: vec![signature],
            receipts,
        };
        let times = prepared.times();
        let view = CommandView {
            id: prepared.id(),
            digest: prepared.digest(),
            kind: CommandKind::Sign,
            key: Some(made.view.record.name.clone()),
            state: CommandState::Succeeded,
            created: times.created,
            expires: times.expires,
            progress: None,
            outcome: Some(CommandOutcome::Signed(outcome)),
            error: None,
            awaiting: None,
        };
        let receipts = ReceiptChecker::new(&made.roster);
        Self {
            key,
            prepared,
            receipts,
            view,
        }
    }

    fn verify(&self, view: &CommandView) -> Result<Signed, ClientError> {
        Signed::verify(&self.key, &self.prepared, view, &self.receipts)
    }
}
