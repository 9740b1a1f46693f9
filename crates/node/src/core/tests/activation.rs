//! From a certificate to an active key, listings, and evidence against peers.

use super::*;

#[test]
fn a_key_signs_nothing_before_every_share_is_proven() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);

    assert_eq!(
        reason(cluster.sign(&certificate, &[0, 1], b"x")),
        Reason::KeyNotActive
    );
    let proof = cluster.prove(&certificate).unwrap();
    assert_eq!(
        reason(cluster.sign(&certificate, &[0, 1], b"x")),
        Reason::KeyNotActive
    );
    cluster.activate(0, &certificate, &proof).unwrap();
    cluster.activate(1, &certificate, &proof).unwrap();
    cluster.sign(&certificate, &[0, 1], b"x").unwrap();
}

#[test]
fn a_proof_with_one_false_share_activates_nothing() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    let good = cluster.prove(&certificate).unwrap();

    let mut without = good.clone();
    without.receipts.pop();
    let mut other = good.clone();
    other.signature[0] ^= 1;
    let mut swapped = good.clone();
    swapped.receipts.swap(0, 1);

    for proof in [without, other, swapped] {
        assert_eq!(
            reason(cluster.activate(0, &certificate, &proof)),
            Reason::ProtocolViolation
        );
    }
    cluster.activate(0, &certificate, &good).unwrap();
}

#[test]
fn a_certificate_that_was_tampered_with_is_refused() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let good = cluster.certificate(&command, &prepared);
    let mut refused = |change: fn(&mut quorate_model::certificate::CommitCertificate)| {
        let mut certificate = good.clone();
        change(&mut certificate);
        reason(cluster.prove(&certificate))
    };

    assert_eq!(
        refused(|c| c.statement.threshold = 3),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.statement.chain_code = [0; 32]),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.signatures.truncate(2)),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.signatures.swap(0, 1)),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.session.nonces.swap(0, 1)),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.command.endorsements.clear()),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.command.bytes[0] ^= 1),
        Reason::CommandUndecodable
    );
}

#[test]
fn listings_show_what_a_node_knows() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let pending = cluster.create_command("later", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    cluster.prepare(&pending, Epoch(1), 7).unwrap();

    let NodeReply::Keys(keys) = cluster
        .ask(
            0,
            NodeRequest::ListKeys {
                after: None,
                limit: 10,
            },
        )
        .unwrap()
    else {
        panic!("not keys");
    };

    let seen: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                key.key.as_str(),
                key.state,
                key.certificate.is_some(),
                key.proof.is_some(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("later", KeyState::PreActive, false, false),
            ("notes", KeyState::Active, true, true)
        ]
    );
}

#[test]
fn evidence_that_is_too_large_or_proves_nothing_is_not_recorded() {
    let mut cluster = Cluster::new(2);
    let mut record = |evidence| reason(cluster.ask(0, NodeRequest::RecordEvidence { evidence }));

    assert_eq!(record(vec![1; 256 * 1024 + 1]), Reason::TooLarge);
    assert_eq!(record(vec![1; 100]), Reason::ProtocolViolation);
}

#[test]
fn a_bad_share_of_a_peer_is_recorded_as_blame_and_a_good_one_is_not() {
    use quorate_model::{
        identity::sign_digest,
        share::{ShareReceipt, share_batch_digest},
    };
    use quorate_protocol::{
        evidence::{BadShare, Evidence},
        frost::Tweak,
    };
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let set = cluster.set(&[1, 2], Scheme::Bip340);
    let request = cluster.share_request(&command, &certificate, std::slice::from_ref(&set));
    let good = cluster.shares(1, &request).unwrap();
    let mut bad = good.clone();
    bad.items[0].share[31] ^= 1;
    let key = cluster.keys[1].clone();
    let mut record = |statement: quorate_model::share::ShareStatement| {
        let batch = vec![statement.digest()];
        let signature = sign_digest(&key, &share_batch_digest(&batch));
        let share = BadShare {
            receipt: ShareReceipt {
                statement,
                batch,
                signature,
            },
            item: 0,
            set: set.clone(),
            message: b"one".to_vec(),
            path: quorate_model::DerivationPath::ROOT,
            tweak: Tweak::None,
        };
        let evidence = Evidence::BadSignatureShare(Box::new(share))
            .to_bytes()
            .unwrap();
        cluster.ask(0, NodeRequest::RecordEvidence { evidence })
    };

    assert_eq!(reason(record(good)), Reason::ProtocolViolation);
    assert_eq!(record(bad.clone()), Ok(NodeReply::Done));
    assert_eq!(record(bad), Ok(NodeReply::Done));

    let blamed: Vec<_> = entries(&cluster, 0)
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::PeerBlamed { node, .. } => Some(node),
            _ => None,
        })
        .collect();
    assert_eq!(blamed, [node_id(1)]);
}

#[test]
fn a_page_of_keys_ends_before_it_is_too_large_and_holds_at_least_one() {
    let mut cluster = Cluster::new(2);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let mut certificate = cluster.certificate(&command, &prepared);
    certificate.verifying_shares.push(vec![1; 900_000]);
    let certified = |key: &str| Entry::KeyCertified {
        key: key.parse().unwrap(),
        epoch: Epoch(1),
        certificate: certificate.to_bytes().unwrap(),
    };
    let list = |after: Option<&str>| {
        let after = after.map(|name| name.parse().unwrap());
        let Ok(crate::core::Outcome::Ready(Ok(NodeReply::Keys(keys)))) =
            cluster.cores[0].list_keys(after.as_ref(), 10)
        else {
            panic!("not keys");
        };
        let names: Vec<_> = keys.iter().map(|key| key.key.to_string()).collect();
        names
    };
    for key in ["k1", "k2", "k3"] {
        let _appended = cluster.cores[0]
            .begin(cluster.reading(), vec![certified(key)])
            .unwrap();
    }

    assert_eq!(list(None), ["k1", "k2"]);
    assert_eq!(list(Some("k2")), ["k3", "notes"]);
    assert_eq!(list(Some("notes")), [""; 0]);
}
