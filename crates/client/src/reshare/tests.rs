use quorate_model::{
    Digest, KeyState, Payload, PayloadKind, Scheme, Signature,
    address::AddressKind,
    command::EndorsementKind,
    operation::{CommandKind, CommandState, KeyView, SignOutcome},
};

use super::*;
use crate::{
    ExitClass,
    fixtures::{FakeCluster, MadeKey, made_key, node_id, node_key},
};

fn listed(made: &MadeKey) -> ListedKey {
    ListedKey::verify(&made.view, &made.roster).unwrap()
}

fn refused(view: &KeyView, roster: &PinnedRoster) -> VerificationError {
    ListedKey::verify(view, roster).unwrap_err()
}

#[test]
fn a_later_epoch_is_verified_beside_the_birth_of_its_key() {
    for scheme in [Scheme::Bip340, Scheme::Ed25519, Scheme::EcdsaSecp256k1] {
        let born = made_key(scheme);
        let second = born.reshared_to(&[4, 2, 1], 2);
        let third = second.reshared_to(&[1, 2, 3, 4], 3);

        for (made, epoch, threshold) in [(&second, 2, 2), (&third, 3, 3)] {
            let key = listed(made);

            assert_eq!(key.record().epoch, Epoch(epoch));
            assert_eq!(key.record().threshold, threshold);
            assert_eq!(key.birth(), Some(&born.view.evidence.certificate[..]));
            assert_eq!(key.check_unchanged(&born.view.record), Ok(()));
            assert_eq!(key.state(), KeyState::Active);
            assert!(key.certified().is_some());
        }
    }
}

#[test]
fn a_later_epoch_without_its_proof_is_refused_in_every_state() {
    let second = made_key(Scheme::Bip340).reshared_to(&[1, 2, 4], 2);
    for state in [
        KeyState::PreActive,
        KeyState::Active,
        KeyState::Suspended,
        KeyState::Compromised,
    ] {
        let mut view = second.view.clone();
        view.state = state;
        view.evidence.proof = None;

        let error = refused(&view, &second.roster);

        assert!(matches!(error, VerificationError::UnprovenEpoch { .. }));
        assert_eq!(
            ClientError::from(error).exit_class(),
            ExitClass::Verification
        );
    }
    // With the proof no word of a coordinator makes it less.
    let mut view = second.view.clone();
    view.state = KeyState::PreActive;
    let key = ListedKey::verify(&view, &second.roster).unwrap();
    assert_eq!(key.state(), KeyState::Active);
}

#[test]
fn evidence_of_other_epochs_keys_and_births_is_refused() {
    let born = made_key(Scheme::Bip340);
    let second = born.reshared_to(&[1, 2, 4], 2);
    let third = second.reshared_to(&[1, 2, 4], 2);
    let other = made_key(Scheme::Bip340);
    let changed = |change: &dyn Fn(&mut KeyView)| {
        let mut view = third.view.clone();
        change(&mut view);
        refused(&view, &third.roster);
    };

    changed(&|view| view.evidence.birth = None);
    changed(&|view| view.evidence.birth = Some(second.view.evidence.certificate.clone()));
    changed(&|view| view.evidence.birth = Some(other.view.evidence.certificate.clone()));
    changed(&|view| view.evidence.birth = Some(b"\x01garbage".to_vec()));
    changed(&|view| view.evidence.proof = second.view.evidence.proof.clone());
    changed(&|view| view.evidence.proof = born.view.evidence.proof.clone());
    changed(&|view| view.record.epoch = Epoch(9));
    changed(&|view| view.record.group_key = other.view.record.group_key.clone());
    changed(&|view| view.record.participants.truncate(2));
    changed(&|view| view.evidence.certificate = second.view.evidence.certificate.clone());
    // A birth beside a birth is no later epoch.
    let mut view = born.view.clone();
    view.evidence.birth = Some(view.evidence.certificate.clone());
    refused(&view, &born.roster);
}

#[test]
fn the_same_name_with_another_key_is_not_the_same_key() {
    let (one, other) = (made_key(Scheme::Bip340), made_key(Scheme::Bip340));

    assert_eq!(
        listed(&other).check_unchanged(&one.view.record),
        Err(VerificationError::KeyChanged(one.view.record.name.clone()))
    );
}

/// A resharing that was carried out, as its caller sees it.
struct Case {
    before: MadeKey,
    after: MadeKey,
    prepared: Prepared,
    view: CommandView,
}

impl Case {
    fn new(numbers: &[u8], erased: &[u8]) -> Self {
        let before = made_key(Scheme::Bip340);
        let body = before.reshare_body(numbers, 2);
        let prepared = Prepared::new(
            &before.roster,
            &before.identity,
            CommandBody::ReshareKey(body.clone()),
            &CommandOptions::default(),
        );
        let after = before.reshared_by(prepared.signed(), &body);
        let command = prepared.command();
        let view = CommandView {
            id: command.id,
            digest: prepared.digest(),
            kind: CommandKind::ReshareKey,
            key: Some(body.key),
            state: CommandState::Succeeded,
            created: command.created,
            expires: command.expires,
            progress: None,
            outcome: Some(CommandOutcome::KeyReshared(after.reshare_outcome(erased))),
            error: None,
            awaiting: None,
        };
        Self {
            before,
            after,
            prepared,
            view,
        }
    }

    fn verify(&self) -> Result<Reshared, ClientError> {
        self.verify_shown(&self.after)
    }

    fn verify_shown(&self, shown: &MadeKey) -> Result<Reshared, ClientError> {
        let (before, roster) = (&self.before.view.record, &self.before.roster);
        Reshared::verify(before, &listed(shown), &self.prepared, &self.view, roster)
    }

    fn outcome(&mut self) -> &mut ReshareOutcome {
        match &mut self.view.outcome {
            Some(CommandOutcome::KeyReshared(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn whoever_erased_has_said_so_and_whoever_did_not_is_missing() {
    let mut case = Case::new(&[1, 2, 4], &[1, 3]);
    case.outcome().missing = vec![node_id(4), node_id(1)];

    let reshared = case.verify().unwrap();

    assert_eq!(reshared.key().record().epoch, Epoch(2));
    assert!(reshared.erased().eq(&[node_id(1), node_id(3)]));
    // Node 2 held a share before, whatever the coordinator leaves out.
    assert_eq!(reshared.missing(), [node_id(2), node_id(4)]);
}

#[test]
fn a_receipt_of_an_erasure_counts_only_as_its_node_signed_it() {
    let changes: [fn(&mut EraseReceipt); 6] = [
        |receipt| receipt.sequence = 1,
        |receipt| receipt.node = node_id(2),
        |receipt| receipt.signature = Signature([7; 64]),
        |receipt| resign(receipt, |receipt| receipt.epoch = Epoch(1)),
        |receipt| {
            resign(receipt, |receipt| {
                receipt.certificate = Digest::new([7; 32]);
            });
        },
        |receipt| resign(receipt, |receipt| receipt.key = "cold".parse().unwrap()),
    ];
    for change in changes {
        let mut case = Case::new(&[1, 2, 3], &[1]);
        change(&mut case.outcome().erased[0]);

        let error = case.verify().unwrap_err();

        assert!(
            matches!(
                error,
                ClientError::Unverified(VerificationError::BadReceipt(_))
            ),
            "{error}"
        );
    }
    let twice = Case::new(&[1, 2, 3], &[1, 1]).verify();
    assert!(twice.is_err());
}

fn resign(receipt: &mut EraseReceipt, change: fn(&mut EraseReceipt)) {
    change(receipt);
    let digest = receipt.digest();
    receipt.signature = quorate_model::identity::sign_digest(&node_key(1), &digest);
}

#[test]
fn an_epoch_that_another_command_made_is_not_this_ones() {
    let case = Case::new(&[1, 2, 4], &[]);
    let same_shape = case.before.reshared_to(&[1, 2, 4], 2);
    let other_shape = case.before.reshared_to(&[1, 2, 3], 2);

    for shown in [&same_shape, &other_shape, &case.before] {
        let error = case.verify_shown(shown).unwrap_err();

        assert_eq!(error.exit_class(), ExitClass::Verification, "{error}");
    }
    let later = case.after.reshared_to(&[1, 2, 4], 2);
    let error = case.verify_shown(&later).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::EpochChanged));
}

#[test]
fn an_outcome_of_another_kind_key_or_epoch_is_refused() {
    let mut case = Case::new(&[1, 2, 4], &[]);
    case.outcome().epoch = Epoch(1);
    assert!(case.verify().is_err());

    let mut case = Case::new(&[1, 2, 4], &[]);
    case.outcome().key = "cold".parse().unwrap();
    assert!(case.verify().is_err());

    let mut case = Case::new(&[1, 2, 4], &[]);
    case.view.outcome = None;
    assert!(case.verify().is_err());
}

#[test]
fn one_node_takes_the_place_of_another() {
    let record = made_key(Scheme::Bip340).view.record;

    let committee = Committee::replacing(&record, &node_id(2), &node_id(4)).unwrap();

    assert_eq!(committee.nodes, [node_id(1), node_id(4), node_id(3)]);
    assert_eq!(committee.threshold, 2);
    for (old, new) in [(2, 3), (4, 5), (2, 2)] {
        let refused = Committee::replacing(&record, &node_id(old), &node_id(new));
        assert_eq!(refused.unwrap_err().reason, Reason::ShapeInvalid);
    }
}

#[tokio::test]
async fn a_key_is_refreshed_and_reshared_by_the_client() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let client = &cluster.client;
    let key = cluster.key.listed();
    let options = CommandOptions::default();

    let refreshed = client.reshare(&key, Committee::of(key.record()), &options);
    let refreshed = refreshed.await.unwrap();
    assert_eq!(refreshed.key().record().epoch, Epoch(2));
    assert_eq!(refreshed.missing(), [node_id(3)]);

    let committee = Committee {
        threshold: 2,
        nodes: vec![node_id(4), node_id(1), node_id(2)],
        accept_fragile: false,
        first_epoch: None,
    };
    let key_before = refreshed.key().listed();
    let moved = client.reshare(&key_before, committee, &options);
    let moved = moved.await.unwrap();
    assert_eq!(moved.key().record().epoch, Epoch(3));
    assert_eq!(moved.key().record().id(), key.record().id());
}

#[tokio::test]
async fn shapes_and_nodes_that_cannot_be_are_refused_before_anything_is_sent() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let key = cluster.key.listed();
    let prepare = |threshold, numbers: &[u8], accept_fragile| {
        let committee = Committee {
            threshold,
            nodes: numbers.iter().map(|number| node_id(*number)).collect(),
            accept_fragile,
            first_epoch: None,
        };
        let options = CommandOptions::default();
        let prepared = cluster.client.prepare_reshare(&key, committee, &options);
        prepared.unwrap_err().reason()
    };

    assert_eq!(prepare(3, &[1, 2], true), Some(Reason::ShapeInvalid));
    assert_eq!(prepare(1, &[1, 2], true), Some(Reason::ShapeInvalid));
    assert_eq!(prepare(2, &[1, 1], true), Some(Reason::ShapeInvalid));
    assert_eq!(prepare(3, &[1, 2, 3], false), Some(Reason::ShapeInvalid));
    assert_eq!(prepare(2, &[1, 2, 9], false), Some(Reason::NodeUnknown));
    assert!(cluster.commands().is_empty());
}

/// A node that was restored leaves numbers out: commands begin above them, and not so far above that
/// one liar could use them up.
#[tokio::test]
async fn attempts_begin_above_the_numbers_that_nodes_leave_out() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let shown = cluster.shown();
    let first = |next, own| {
        let mut view = shown.view.clone();
        view.next_epoch = next;
        let key = ListedKey::verify(&view, &shown.roster).unwrap();
        let mut committee = Committee::of(key.record());
        committee.first_epoch = own;
        let options = CommandOptions::default();
        let prepared = cluster.client.prepare_reshare(&key, committee, &options);
        let prepared = prepared.unwrap();
        let CommandBody::ReshareKey(reshare) = &prepared.command().body else {
            panic!("{prepared:?}")
        };
        reshare.first_epoch
    };

    assert_eq!(first(None, None), Epoch(2));
    assert_eq!(first(Some(Epoch(1_003)), None), Epoch(1_003));
    assert_eq!(first(Some(Epoch(1_003)), Some(Epoch(9))), Epoch(9));
    assert_eq!(first(Some(Epoch(2_000_000)), None), Epoch(2));
    assert_eq!(first(Some(Epoch(1)), None), Epoch(2));
}

#[tokio::test]
async fn a_resharing_that_waits_is_shown_from_the_bytes_that_are_signed() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let key = cluster.key.listed();
    let options = CommandOptions::default();
    let client = &cluster.client;
    let committee = Committee::of(key.record());
    let prepared = client.prepare_reshare(&key, committee, &options).unwrap();
    cluster.await_words(&prepared);

    let awaiting = client.awaiting(prepared.id()).await.unwrap();
    let other = client.awaiting(quorate_model::CommandId(uuid::Uuid::nil()));

    assert_eq!(awaiting.command().body, prepared.command().body);
    assert_eq!(awaiting.digest(), prepared.digest());
    let other = other.await.unwrap_err();
    assert_eq!(other.exit_class(), ExitClass::Verification);
    // One principal has one word.
    let twice = client.endorse(&awaiting, EndorsementKind::Approve).await;
    assert!(twice.unwrap_err().to_string().contains("endorses twice"));
}

#[tokio::test]
async fn a_word_for_a_command_counts_only_where_its_principal_gave_it() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let key = cluster.key.listed();
    let client = &cluster.client;
    let me = &client.identity().card().id;
    let committee = Committee::of(key.record());
    let prepared = client.prepare_reshare(&key, committee, &CommandOptions::default());
    let prepared = prepared.unwrap();
    let genuine = prepared.signed().clone();
    let mut forged = genuine.clone();
    forged.endorsements[0].signature = Signature([7; 64]);
    let mut against = genuine.clone();
    let role = quorate_model::roster::Role::Admin;
    let (of, reject) = (client.roster().cluster(), EndorsementKind::Reject);
    against.endorsements = vec![client.identity().endorse(&genuine, &of, reject, role)];
    let shown = async |signed| {
        cluster.show_waiting(signed);
        client.awaiting(prepared.id()).await
    };

    let awaiting = shown(genuine).await.unwrap();
    assert!(awaiting.is_endorsed_by(me));
    assert!(!awaiting.is_endorsed_by(&"bob".parse().unwrap()));
    assert!(shown(forged).await.is_err());
    assert!(!shown(against).await.unwrap().is_endorsed_by(me));
}

type Tamper = fn(&mut SignOutcome);

fn payment() -> Vec<Payload> {
    vec![Payload::new(PayloadKind::EvmMessage, *b"pay")]
}

#[tokio::test]
async fn who_holds_an_old_record_signs_on_after_a_resharing_and_fetches_the_key_once() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let options = CommandOptions::default();
    cluster.reshare(&[4, 3, 2]);

    for _ in 0..2 {
        let signed = cluster.client.sign(&cluster.key, payment(), &options);
        let signed = signed.await.unwrap();

        assert_eq!(signed.key().record().epoch, Epoch(2));
        assert_eq!(signed.outcome().signers, [node_id(4), node_id(3)]);
    }
    assert_eq!(cluster.asked(), 1);
    cluster.reshare(&[1, 2, 3]);
    let signed = cluster.client.sign(&cluster.key, payment(), &options);
    assert_eq!(signed.await.unwrap().key().record().epoch, Epoch(3));
    assert_eq!(cluster.asked(), 2);
}

async fn current(cluster: &FakeCluster) -> CertifiedKey {
    let reference = cluster.key.record().name.clone().into();
    cluster.client.key(&reference).await.unwrap()
}

#[tokio::test]
async fn a_signature_of_an_epoch_that_is_over_still_counts() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let born = cluster.shown();
    cluster.reshare(&[4, 3, 2]);
    let key = current(&cluster).await;
    cluster.sign_in(&born);

    let options = CommandOptions::default();
    let signed = cluster
        .client
        .sign(&key, payment(), &options)
        .await
        .unwrap();

    assert_eq!(signed.outcome().epoch, Epoch(1));
    assert_eq!(signed.outcome().signers, [node_id(1), node_id(2)]);
}

#[tokio::test]
async fn what_is_said_of_the_signers_of_an_epoch_that_is_over_is_checked_by_their_words() {
    for tamper in [
        (|outcome| outcome.receipts[0].statement.sequence = 1) as Tamper,
        |outcome: &mut SignOutcome| {
            outcome.receipts.remove(0);
            outcome.signers.remove(0);
        },
        |outcome| outcome.signers.reverse(),
        |outcome| outcome.receipts[1] = outcome.receipts[0].clone(),
        |outcome| outcome.receipts[0].statement.epoch = Epoch(2),
    ] {
        let cluster = FakeCluster::start_with(&quorate_model::KeyPurpose::ALL, tamper).await;
        let born = cluster.shown();
        cluster.reshare(&[4, 3, 2]);
        let key = current(&cluster).await;
        cluster.sign_in(&born);

        let options = CommandOptions::default();
        let error = cluster.client.sign(&key, payment(), &options).await;

        assert_eq!(error.unwrap_err().exit_class(), ExitClass::Verification);
    }
}

#[tokio::test]
async fn a_coordinator_that_hides_the_epoch_it_signs_in_is_asked_no_more_than_twice() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    cluster.reshare_unseen(&[1, 2, 3]);

    let options = CommandOptions::default();
    let error = cluster.client.sign(&cluster.key, payment(), &options).await;

    let error = error.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Unverified(VerificationError::OtherEpoch { .. })
        ),
        "{error}"
    );
    assert_eq!(cluster.asked(), 2);
}

#[tokio::test]
async fn an_address_is_attested_by_whoever_holds_the_key_by_now() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let path = "m/0/5".parse().unwrap();
    let address = || {
        cluster
            .client
            .address(&cluster.key, &path, AddressKind::Ethereum)
    };
    let before = address().await.unwrap();

    cluster.reshare(&[4, 3, 2]);
    let after = address().await.unwrap();

    assert_eq!(after.address(), before.address());
    assert!(after.nodes().eq(&[node_id(4), node_id(3)]));
    cluster.reshare_unseen(&[1, 2, 3]);
    assert!(address().await.is_err());
}
