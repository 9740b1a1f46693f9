//! Journals of nodes whose keys were reshared.

use quorate_model::{DerivationPath, KeyName, audit::Entry, certificate::KeyEvidence};
use quorate_protocol::{
    evidence::{BadShare, Evidence},
    frost::Tweak,
};

use super::*;
use crate::fixtures::MadeKey;

/// A key 2 of 3 in its first two epochs; node 3 is replaced by node 4.
fn reshared() -> (MadeKey, MadeKey) {
    let born = made_key(Scheme::Bip340);
    let second = born.reshared_to(&[1, 2, 4], 2);
    (born, second)
}

fn name() -> KeyName {
    "hot".parse().unwrap()
}

fn introduced(birth: &MadeKey) -> Entry {
    Entry::KeyIntroduced {
        key: name(),
        birth: birth.view.evidence.certificate.clone(),
    }
}

/// The node prepared, certified and proved the epoch.
fn held(made: &MadeKey) -> Vec<Entry> {
    let mut entries = key_entries(&made.view.evidence.certificate);
    entries.push(activated(made));
    entries
}

fn activated(made: &MadeKey) -> Entry {
    Entry::KeyActivated {
        key: name(),
        epoch: made.view.record.epoch,
        proof: made.view.evidence.proof.clone().unwrap(),
    }
}

fn erased(made: &MadeKey) -> Entry {
    Entry::EpochsErased {
        certificate: made.erase_certificate(),
    }
}

/// The journal of a node with these entries and no share released under a command.
fn journal_of(made: &MadeKey, number: u8, entries: Vec<Entry>) -> Vec<u8> {
    let mut chain = Vec::new();
    for entry in entries {
        append(&mut chain, entry);
    }
    journal(&made.roster, number, &chain)
}

fn verify(made: &MadeKey, journals: Vec<(u8, Vec<Entry>)>) -> Result<Matched, AuditFileError> {
    let mut verifier = Verifier::new(&made.roster);
    for (number, entries) in journals {
        verifier.add(Cursor::new(journal_of(made, number, entries)))?;
    }
    verifier.finish()
}

fn refused(made: &MadeKey, number: u8, entries: Vec<Entry>) -> String {
    let error = verify(made, vec![(number, entries)]).unwrap_err();
    assert!(error.is_about_content(), "{error}");
    error.to_string()
}

#[test]
fn an_epoch_change_of_a_key_is_no_second_key_of_its_name() {
    let (born, second) = reshared();
    let of_old_holder = [held(&born), held(&second), vec![erased(&second)]].concat();
    let of_new_holder = [vec![introduced(&born)], held(&second)].concat();
    let of_dealer = [
        key_entries(&born.view.evidence.certificate),
        key_entries(&second.view.evidence.certificate)[1..].to_vec(),
        vec![activated(&second), erased(&second)],
    ]
    .concat();

    let mut verifier = Verifier::new(&born.roster);
    let file = journal_of(&born, 1, of_old_holder.clone());
    let report = verifier.add(Cursor::new(file)).unwrap();

    let FileReport::Journal(report) = report else {
        panic!("{report:?}")
    };
    assert_eq!(report.erased[&name()], Epoch(2));
    assert_eq!(report.kinds["epochs-erased"], 1);
    let all = vec![(1, of_old_holder), (4, of_new_holder), (3, of_dealer)];
    let matched = verify(&born, all).unwrap();
    // Every certificate names three holders whose journals are given or not; two erasures hold.
    assert!(matched.matched > 2, "{matched:?}");
}

#[test]
fn a_later_epoch_whose_birth_is_not_in_the_journal_is_refused() {
    let (born, second) = reshared();
    let other = made_key(Scheme::Bip340);

    let unknown = refused(&born, 4, held(&second));
    assert!(unknown.contains("birth"), "{unknown}");
    refused(&born, 4, [vec![introduced(&other)], held(&second)].concat());
    refused(&born, 4, vec![introduced(&second)]);
    let misnamed = Entry::KeyIntroduced {
        key: "cold".parse().unwrap(),
        birth: born.view.evidence.certificate.clone(),
    };
    let misnamed = refused(&born, 4, vec![misnamed]);
    assert!(misnamed.contains("the birth of key \"hot\""), "{misnamed}");
}

#[test]
fn a_proof_is_checked_under_the_certificate_of_its_epoch() {
    let (born, second) = reshared();
    let mut swapped = held(&born);
    swapped.pop();
    swapped.push(Entry::KeyActivated {
        key: name(),
        epoch: Epoch(1),
        proof: second.view.evidence.proof.clone().unwrap(),
    });

    refused(&born, 1, swapped);
}

#[test]
fn an_erasure_that_a_holder_does_not_vouch_for_proves_the_fault_of_its_node() {
    let (born, second) = reshared();
    let good = second.erase_certificate();
    let mut short = good.clone();
    short.receipts.pop();
    let mut forged = good.clone();
    forged.receipts[2].signature = forged.receipts[1].signature;
    let mut nobody = good.clone();
    nobody.receipts.clear();
    for certificate in [short, forged, nobody] {
        let erased = Entry::EpochsErased { certificate };
        let entries = [held(&born), held(&second), vec![erased]].concat();

        let error = refused(&born, 1, entries);

        assert!(
            error.contains("without the word of every holder"),
            "{error}"
        );
    }
    // Without the evidence for that epoch nothing is said about it.
    let alone = verify(&born, vec![(3, vec![erased(&second)])]).unwrap();
    assert_eq!((alone.matched, alone.unmatched), (0, 1));
}

#[test]
fn a_share_of_an_erased_epoch_that_is_released_afterwards_proves_the_fault_of_its_node() {
    let (born, second) = reshared();
    let before = chain_with(1, [held(&born), held(&second)].concat());
    let released = Record::from_bytes(&before[before.len() - 2]).unwrap().entry;
    let Entry::ShareReleased(released) = released else {
        panic!("{released:?}")
    };
    let of = |epoch| {
        Entry::ShareReleased(ShareReleased {
            epoch,
            ..released.clone()
        })
    };
    let until = [held(&born), held(&second)].concat();

    let honest = [
        until.clone(),
        vec![of(Epoch(1)), erased(&second), of(Epoch(2))],
    ]
    .concat();
    verify(&born, vec![(1, honest)]).unwrap();
    let error = refused(
        &born,
        1,
        [until, vec![erased(&second), of(Epoch(1))]].concat(),
    );
    assert!(error.contains("proves its fault"), "{error}");
    assert!(error.contains("epoch 1"), "{error}");
}

#[test]
fn a_receipt_of_an_epoch_whose_certificate_leaves_its_node_out_proves_its_fault() {
    let (born, second) = reshared();
    let command = command(&born.roster, &born.identity, born.view.record.id());
    let dealer = [
        key_entries(&born.view.evidence.certificate),
        key_entries(&second.view.evidence.certificate)[1..].to_vec(),
    ]
    .concat();
    let mut chain = Vec::new();
    for entry in dealer {
        append(&mut chain, entry);
    }
    let mut receipt = receipt(&command, 3, 9, Digest::new([1; 32]), SET);
    receipt.statement.epoch = Epoch(2);
    receipt.batch = vec![receipt.statement.digest()];
    receipt.signature = sign_digest(&node_key(3), &share_batch_digest(&receipt.batch));
    let outcome = SignOutcome {
        key: name(),
        epoch: Epoch(2),
        scheme: Scheme::Bip340,
        signers: vec![node_id(3)],
        signatures: vec![vec![0; 64]],
        receipts: vec![receipt],
    };
    let mut file = Vec::new();
    write_signatures(&mut file, born.roster.hash(), &command, &outcome).unwrap();
    let mut verifier = Verifier::new(&born.roster);
    verifier.add(Cursor::new(file)).unwrap();
    verifier
        .add(Cursor::new(journal(&born.roster, 3, &chain)))
        .unwrap();

    let error = verifier.finish().unwrap_err().to_string();

    assert!(error.contains("node-c"), "{error}");
    assert!(error.contains("hold none"), "{error}");
}

/// Evidence that node 1 spoilt its share of a signature in the epoch that this key is in.
fn evidence(made: &MadeKey) -> Vec<u8> {
    let message = b"pay";
    let (set, mut receipts, _) = made.sign(&[1, 2], Digest::new([4; 32]), message);
    let mut receipt = receipts.remove(0);
    receipt.statement.items[0].share[31] ^= 1;
    receipt.batch = vec![receipt.statement.digest()];
    receipt.signature = sign_digest(&node_key(1), &share_batch_digest(&receipt.batch));
    let bad = BadShare {
        receipt,
        item: 0,
        set,
        message: message.to_vec(),
        path: DerivationPath::ROOT,
        tweak: Tweak::None,
    };
    let evidence = Evidence::BadSignatureShare(Box::new(bad));
    evidence.to_bytes().unwrap()
}

#[test]
fn evidence_about_a_share_is_checked_with_the_key_in_its_epoch() {
    let (born, second) = reshared();
    let check = |made: &MadeKey, beside: Option<&KeyEvidence>| {
        let mut file = Vec::new();
        let roster = born.roster.hash();
        write_evidence(&mut file, roster, &evidence(made), beside).unwrap();
        let report = Verifier::new(&born.roster).add(Cursor::new(file));
        report.map(|report| match report {
            FileReport::Evidence(evidence) => evidence.culprit,
            FileReport::Journal(_) | FileReport::Signatures(_) => panic!("{report:?}"),
        })
    };
    let of = |made: &MadeKey| made.view.evidence.clone();
    let unproven = KeyEvidence {
        proof: None,
        ..of(&second)
    };

    assert_eq!(check(&born, Some(&of(&born))).unwrap(), node_id(1));
    assert_eq!(check(&second, Some(&of(&second))).unwrap(), node_id(1));
    for (made, beside) in [
        (&second, None),
        (&second, Some(&unproven)),
        (&second, Some(&of(&born))),
        (&born, Some(&of(&second))),
    ] {
        assert!(check(made, beside).unwrap_err().is_about_content());
    }
}

#[test]
fn evidence_about_an_epoch_that_is_over_is_checked_with_the_journal_of_one_who_held_it() {
    let (born, second) = reshared();
    let mut verifier = Verifier::new(&born.roster);
    let entries = [held(&born), held(&second)].concat();
    let file = journal_of(&born, 2, entries);
    verifier.add(Cursor::new(file)).unwrap();
    let mut file = Vec::new();
    let beside = Some(&second.view.evidence);
    write_evidence(&mut file, born.roster.hash(), &evidence(&born), beside).unwrap();

    let report = verifier.add(Cursor::new(file)).unwrap();

    assert!(matches!(report, FileReport::Evidence(one) if one.culprit == node_id(1)));
}

#[test]
fn signatures_are_checked_under_the_certificate_of_their_epoch() {
    let (born, second) = reshared();
    let command = command(&born.roster, &born.identity, born.view.record.id());
    let signed_in = |made: &MadeKey, epoch, change: &dyn Fn(&mut SignOutcome)| {
        let (_, receipts, signature) = made.sign(&[1, 3], command.digest(), b"pay");
        let signers = receipts.iter().map(|one| one.statement.node.clone());
        let mut outcome = SignOutcome {
            key: name(),
            epoch,
            scheme: Scheme::Bip340,
            signers: signers.collect(),
            signatures: vec![signature],
            receipts,
        };
        change(&mut outcome);
        let mut file = Vec::new();
        write_signatures(&mut file, born.roster.hash(), &command, &outcome).unwrap();
        let mut verifier = Verifier::new(&born.roster);
        verifier.add(Cursor::new(file))?;
        let entries = [held(&born), held(&second)].concat();
        verifier.add(Cursor::new(journal_of(&born, 2, entries)))?;
        verifier.finish()
    };

    signed_in(&born, Epoch(1), &|_| ()).unwrap();
    signed_in(&second, Epoch(2), &|_| ()).unwrap();
    for change in [
        (|outcome| outcome.signatures[0][40] ^= 1) as fn(&mut SignOutcome),
        |outcome| {
            outcome.signers.pop();
            outcome.receipts.pop();
        },
    ] {
        for (made, epoch) in [(&born, Epoch(1)), (&second, Epoch(2))] {
            let error = signed_in(made, epoch, &change).unwrap_err();
            assert!(error.is_about_content(), "{error}");
        }
    }
}
