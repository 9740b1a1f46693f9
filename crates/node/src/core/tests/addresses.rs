//! What nodes state of addresses.

use quorate_model::{
    DerivationPath,
    address::{AddressClaim, AddressKind, AddressStatement, AddressType, FalseStatement, Network},
    certificate::CommitCertificate,
};

use super::*;

const KIND: AddressKind = AddressKind::Bitcoin {
    network: Network::Regtest,
    form: AddressType::P2tr,
};

fn ask(
    cluster: &mut Cluster,
    at: usize,
    key: &str,
    kind: AddressKind,
) -> Result<AddressStatement, quorate_model::Refusal> {
    let request = NodeRequest::AttestAddress {
        key: key.parse().unwrap(),
        path: "m/0/5".parse().unwrap(),
        kind,
    };
    match cluster.ask(at, request)? {
        NodeReply::Address(statement) => Ok(statement),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_holder_states_the_same_address_under_its_own_signature() {
    let mut cluster = Cluster::new(3);
    let certificate = create(&mut cluster).to_bytes().unwrap();
    let pinned = cluster.pinned.clone();
    let (_, record) = quorate_proto::certificate::verify(&certificate, None, &pinned).unwrap();
    let path: DerivationPath = "m/0/5".parse().unwrap();
    let facts = quorate_intent::KeyFacts::of(&record);
    let derived = AddressClaim {
        key: record.name.clone(),
        epoch: record.epoch,
        certificate: record.certificate,
        address: quorate_intent::address_of_kind(&facts, &path, KIND).unwrap(),
        path,
        kind: KIND,
    };

    for at in 0..3 {
        let statement = ask(&mut cluster, at, "hot", KIND).unwrap();

        assert_eq!(statement.node, node_id(at));
        assert_eq!(statement.verify(&derived, &record, pinned.roster()), Ok(()));
        let mut other = statement.clone();
        other.node = node_id((at + 1) % 3);
        assert_eq!(
            other.verify(&derived, &record, pinned.roster()),
            Err(FalseStatement::BadSignature)
        );
        let mut elsewhere = derived.clone();
        elsewhere.path = DerivationPath::ROOT;
        assert_eq!(
            statement.verify(&elsewhere, &record, pinned.roster()),
            Err(FalseStatement::OtherQuestion)
        );
    }
}

#[test]
fn nothing_is_stated_of_keys_that_could_not_spend() {
    let mut cluster = Cluster::new(3);
    let pending = cluster.create_command("later", Scheme::Bip340, 2, &[KeyPurpose::Transactions]);
    let prepared = cluster.prepare(&pending, Epoch(1), 7).unwrap();
    let pending = cluster.certificate(&pending, &prepared);
    let _proof = cluster.prove(&pending).unwrap();
    create(&mut cluster);
    cluster.create("notes", Scheme::Bip340, 2);
    let legacy = AddressKind::Bitcoin {
        network: Network::Regtest,
        form: AddressType::P2pkh,
    };

    for (key, kind, expected) in [
        ("nobody", KIND, Reason::KeyUnknown),
        ("later", KIND, Reason::KeyNotActive),
        ("notes", KIND, Reason::PurposeMismatch),
        ("hot", legacy, Reason::SchemeMismatch),
        ("hot", AddressKind::Ethereum, Reason::SchemeMismatch),
        ("hot", AddressKind::Solana, Reason::SchemeMismatch),
    ] {
        assert_eq!(
            reason(ask(&mut cluster, 0, key, kind)),
            expected,
            "{key} {kind:?}"
        );
    }
}

#[test]
fn a_statement_writes_nothing_to_the_journal() {
    let mut cluster = Cluster::new(3);
    create(&mut cluster);
    let before = entries(&cluster, 0).len();

    ask(&mut cluster, 0, "hot", KIND).unwrap();

    assert_eq!(entries(&cluster, 0).len(), before);
}

#[test]
fn statements_are_bounded_in_rate() {
    let mut cluster = Cluster::new(3);
    create(&mut cluster);

    let refused = (0..1_000).find_map(|_| ask(&mut cluster, 0, "hot", KIND).err());

    assert_eq!(refused.unwrap().reason, Reason::Overloaded);
    cluster.monotonic_ms += 1_000;
    assert!(ask(&mut cluster, 0, "hot", KIND).is_ok());
}

/// Creates a key that spends, and makes it active.
fn create(cluster: &mut Cluster) -> CommitCertificate {
    let purposes = [KeyPurpose::Transactions];
    let command = cluster.create_command("hot", Scheme::Bip340, 2, &purposes);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    let proof = cluster.prove(&certificate).unwrap();
    for at in 0..cluster.cores.len() {
        cluster.activate(at, &certificate, &proof).unwrap();
    }
    certificate
}
