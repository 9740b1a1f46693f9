mod epochs;

use std::io::Cursor;

use quorate_model::{
    CommandId, Digest, Epoch, KeyId, Payload, Scheme, UnixMillis,
    audit::{
        Checkpoint, Entry, ItemRecord, Judgment, KeyPrepared, Record, SharePurpose, ShareReleased,
        checkpoint_digest, record_hash,
    },
    backup::{BackupId, RestoreId},
    certificate::CommitCertificate,
    command::{CommandBody, Sign},
    identity::sign_digest,
    operation::SignOutcome,
    roster::PinnedRoster,
    share::{ShareItem, ShareReceipt, ShareStatement, share_batch_digest},
};
use uuid::Uuid;

use super::*;
use crate::{
    CommandOptions, Prepared,
    fixtures::{cluster, made_key, made_key_in, next_roster, node_card, node_id, node_key},
    identity::Identity,
};

const SET: Digest = Digest::new([5; 32]);

#[test]
fn an_untouched_journal_verifies_and_says_what_it_covers() {
    let (roster, _) = cluster();
    let file = journal(&roster, 1, &chain(1));

    let mut verifier = Verifier::new(&roster);
    let report = verifier.add(Cursor::new(file)).unwrap();

    let FileReport::Journal(report) = report else {
        panic!("{report:?}")
    };
    assert_eq!(report.node, node_id(1));
    assert_eq!(report.summary.records, 3);
    assert_eq!(report.summary.last_checkpoint, Some(3));
    assert_eq!(report.kinds["share-released"], 1);
    assert_eq!(verifier.finish().unwrap(), Matched::default());
}

#[test]
fn every_flipped_character_of_a_record_is_found() {
    let (roster, _) = cluster();
    let file = journal(&roster, 1, &chain(1));
    let text = String::from_utf8(file.clone()).unwrap();
    for (at, _) in text.match_indices(|c: char| c.is_ascii_hexdigit()) {
        let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        if !text[line_start..].starts_with("{\"record\":\"") || at < line_start + 11 {
            continue;
        }
        let mut tampered = file.clone();
        tampered[at] = if tampered[at] == b'0' { b'1' } else { b'0' };

        let result = Verifier::new(&roster).add(Cursor::new(tampered));

        assert!(result.unwrap_err().is_about_content(), "character {at}");
    }
}

#[test]
fn a_cut_a_continued_and_a_foreign_file_are_refused() {
    let (roster, _) = cluster();
    let (others, _) = cluster();
    let file = journal(&roster, 1, &chain(1));
    let text = String::from_utf8(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let of = |lines: &[&str]| lines.join("\n");
    let missing = of(&[&lines[..3], &lines[4..]].concat());
    let continued = of(&[&lines[..], &lines[1..2]].concat());

    let check = |roster: &PinnedRoster, text: &str| {
        Verifier::new(roster)
            .add(Cursor::new(text.as_bytes()))
            .unwrap_err()
    };

    assert!(matches!(
        check(&roster, &of(&lines[..3])),
        AuditFileError::Cut { found: 2, .. }
    ));
    assert!(matches!(
        check(&roster, &missing),
        AuditFileError::Cut { found: 2, .. }
    ));
    assert!(matches!(
        check(&roster, &continued),
        AuditFileError::Malformed { line: 6, .. }
    ));
    assert!(matches!(
        check(&others, &text),
        AuditFileError::OtherRoster { .. }
    ));
    assert!(matches!(
        check(&roster, ""),
        AuditFileError::Malformed { line: 1, .. }
    ));
    assert!(matches!(
        check(&roster, "{}"),
        AuditFileError::Malformed { line: 1, .. }
    ));
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert!(matches!(
        check(&roster, &newer),
        AuditFileError::UnknownFormat(2)
    ));
    let stranger = text.replacen("node-a", "node-z", 1);
    assert!(matches!(
        check(&roster, &stranger),
        AuditFileError::UnknownNode(_)
    ));
    let another = text.replacen("node-a", "node-b", 1);
    assert!(matches!(
        check(&roster, &another),
        AuditFileError::Chain { .. }
    ));
}

#[test]
fn what_was_signed_before_a_node_was_removed_still_holds() {
    let (first, identity) = cluster();
    let (two, second) = next_roster(&first, &identity, |next| {
        next.nodes.retain(|card| card.id != node_id(1));
    });
    let (_, third) = next_roster(&second, &identity, |next| next.nodes.push(node_card(5)));
    let command = command(&first, &identity, KeyId([0; 32]));
    let chain = chain(1);
    let receipt = receipt(&command, 1, 2, record_hash(&chain[1]), SET);
    let files = [
        journal(&first, 1, &chain),
        signatures(&second, &command, vec![receipt]),
    ];

    let mut verifier = Verifier::new(&second);
    for file in &files {
        verifier.add(Cursor::new(file)).unwrap();
    }
    assert_eq!(verifier.finish().unwrap().matched, 1);

    let mut earlier = Verifier::new(&first);
    let unknown = earlier.add(Cursor::new(&files[1])).unwrap_err();
    assert!(matches!(unknown, AuditFileError::OtherRoster { .. }));
    let later = journal(&third, 1, &chain);
    assert!(Verifier::new(&second).add(Cursor::new(later)).is_err());
    assert_eq!(second.command(), Some(&two));
}

#[test]
fn the_same_journal_twice_is_refused() {
    let (roster, _) = cluster();
    let file = journal(&roster, 1, &chain(1));
    let mut verifier = Verifier::new(&roster);
    verifier.add(Cursor::new(&file)).unwrap();

    assert!(matches!(
        verifier.add(Cursor::new(&file)),
        Err(AuditFileError::DoesNotHold { .. })
    ));
}

#[test]
fn a_receipt_is_confirmed_by_the_journal_of_its_signer() {
    let (roster, identity) = cluster();
    let command = command(&roster, &identity, KeyId([0; 32]));
    let chain = chain(1);
    let receipt = receipt(&command, 1, 2, record_hash(&chain[1]), SET);
    let mut verifier = Verifier::new(&roster);

    verifier
        .add(Cursor::new(journal(&roster, 1, &chain)))
        .unwrap();
    let report = verifier
        .add(Cursor::new(signatures(&roster, &command, vec![receipt])))
        .unwrap();

    let FileReport::Signatures(report) = report else {
        panic!("{report:?}")
    };
    assert_eq!(report.signers, [node_id(1)]);
    assert_eq!(
        verifier.finish().unwrap(),
        Matched {
            matched: 1,
            unmatched: 0,
            lost: 0,
        }
    );
}

#[test]
fn a_signed_share_without_its_record_proves_the_fault_of_its_node() {
    let (roster, identity) = cluster();
    let command = command(&roster, &identity, KeyId([0; 32]));
    let chain = chain(1);
    let good = record_hash(&chain[1]);
    for (sequence, record, set) in [
        (2, Digest::new([1; 32]), SET),
        (2, good, Digest::new([6; 32])),
        (1, good, SET),
    ] {
        let mut verifier = Verifier::new(&roster);
        let receipts = vec![receipt(&command, 1, sequence, record, set)];
        let file = signatures(&roster, &command, receipts);
        verifier.add(Cursor::new(file)).unwrap();
        verifier
            .add(Cursor::new(journal(&roster, 1, &chain)))
            .unwrap();

        let error = verifier.finish().unwrap_err();

        assert!(error.to_string().contains("node-a"), "{error}");
        assert!(matches!(error, AuditFileError::Contradiction(_)));
    }
}

#[test]
fn a_receipt_from_after_the_export_accuses_nobody() {
    let (roster, identity) = cluster();
    let command = command(&roster, &identity, KeyId([0; 32]));
    let chain = chain(1);
    let later = receipt(&command, 1, 9, Digest::new([1; 32]), SET);
    let elsewhere = receipt(&command, 2, 2, Digest::new([1; 32]), SET);
    let mut verifier = Verifier::new(&roster);

    verifier
        .add(Cursor::new(journal(&roster, 1, &chain)))
        .unwrap();
    verifier
        .add(Cursor::new(signatures(
            &roster,
            &command,
            vec![later, elsewhere],
        )))
        .unwrap();

    assert_eq!(
        verifier.finish().unwrap(),
        Matched {
            matched: 0,
            unmatched: 2,
            lost: 0,
        }
    );
}

#[test]
fn a_forged_receipt_is_refused() {
    let (roster, identity) = cluster();
    let command = command(&roster, &identity, KeyId([0; 32]));
    let receipt = |number| receipt(&command, number, 2, Digest::new([1; 32]), SET);
    let mut forged = receipt(1);
    forged.statement.sequence = 3;
    let mut foreign = receipt(1);
    foreign.signature = receipt(2).signature;

    for receipts in [vec![forged], vec![foreign], vec![]] {
        let result =
            Verifier::new(&roster).add(Cursor::new(signatures(&roster, &command, receipts)));

        assert!(matches!(result, Err(AuditFileError::DoesNotHold { .. })));
    }
}

#[test]
fn signatures_beside_another_command_are_refused() {
    let (roster, identity) = cluster();
    let (_, stranger) = cluster();
    let asked = command(&roster, &identity, KeyId([0; 32]));
    let again = command(&roster, &identity, KeyId([0; 32]));
    let unendorsed = command(&roster, &stranger, KeyId([0; 32]));
    let key = Sign {
        key: "cold".parse().unwrap(),
        ..sign(KeyId([0; 32]))
    };
    let of_another_key = prepare(&roster, &identity, CommandBody::Sign(key));

    for (signed, beside, expected) in [
        (&asked, &again, "the receipt of \"node-a\""),
        (&unendorsed, &unendorsed, "endorsement"),
        (&of_another_key, &of_another_key, "for another key"),
    ] {
        let receipt = receipt(signed, 1, 2, Digest::new([1; 32]), SET);
        let file = signatures(&roster, beside, vec![receipt]);

        let error = Verifier::new(&roster).add(Cursor::new(file)).unwrap_err();

        assert!(matches!(error, AuditFileError::DoesNotHold { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn shares_under_a_command_for_another_key_of_the_name_prove_the_fault_of_their_node() {
    let made = made_key(Scheme::Bip340);
    let held = made.view.record.id();
    let other = KeyId([7; 32]);
    for (asked, is_fault) in [(held, false), (other, true)] {
        let command = command(&made.roster, &made.identity, asked);
        let chain = chain_with(1, key_entries(&made.view.evidence.certificate));
        let receipt = receipt(&command, 1, 4, record_hash(&chain[3]), SET);
        let mut verifier = Verifier::new(&made.roster);
        let file = signatures(&made.roster, &command, vec![receipt]);
        verifier.add(Cursor::new(file)).unwrap();
        verifier
            .add(Cursor::new(journal(&made.roster, 1, &chain)))
            .unwrap();

        let told = verifier.finish().map_err(|error| error.to_string());

        match told {
            Ok(matched) => assert_eq!((matched.matched, is_fault), (2, false)),
            Err(error) => {
                assert!(is_fault, "{error}");
                assert!(error.contains("node-a"), "{error}");
                assert!(error.contains(&held.to_string()), "{error}");
                assert!(error.contains(&other.to_string()), "{error}");
            }
        }
    }
}

/// Decision 0021: what was recorded after a backup is lost with the disk, and blames nobody, where the
/// others bear the restoration out and the command is not younger than that.
#[test]
fn a_record_that_was_lost_before_a_restoration_proves_nothing() {
    let (roster, identity) = cluster();
    let command = command(&roster, &identity, KeyId([0; 32]));
    let (backup, restore, other) = (BackupId([1; 16]), RestoreId([2; 16]), RestoreId([9; 16]));
    let boot = |number| Entry::Boot {
        version: "0.1.0".to_owned(),
        node: node_id(number),
    };
    let mut own = Vec::new();
    append(&mut own, boot(1));
    append(&mut own, Entry::Restored { backup, restore });
    append(&mut own, boot(1));
    let witness = |number, restore, time| {
        let mut chain = Vec::new();
        append(&mut chain, boot(number));
        let noted = Entry::PeerRestored {
            node: node_id(1),
            backup,
            restore,
        };
        append_at(&mut chain, noted, time);
        chain
    };
    let later = UnixMillis(u64::MAX >> 8);
    let earlier = UnixMillis(7);
    // The record that the receipt names, what others noted and when, and whether it may be lost.
    for (sequence, noted, lost) in [
        (2, vec![(2, restore, later), (3, restore, later)], true),
        (3, vec![(2, restore, later)], true),
        // One of two others says nothing of it: liars do not frame the node.
        (2, vec![(2, restore, later), (3, other, later)], true),
        // It stands in the backup as well.
        (1, vec![(2, restore, later), (3, restore, later)], false),
        (2, vec![(2, restore, earlier), (3, restore, later)], true),
        // The command was made after the restoration.
        (2, vec![(2, restore, earlier), (3, restore, earlier)], false),
        (2, vec![(2, other, later), (3, other, later)], false),
        (2, vec![], false),
    ] {
        let mut verifier = Verifier::new(&roster);
        let receipt = receipt(&command, 1, sequence, Digest::new([1; 32]), SET);
        let file = signatures(&roster, &command, vec![receipt]);
        verifier.add(Cursor::new(file)).unwrap();
        verifier
            .add(Cursor::new(journal(&roster, 1, &own)))
            .unwrap();
        for (number, restore, time) in &noted {
            let file = journal(&roster, *number, &witness(*number, *restore, *time));
            verifier.add(Cursor::new(file)).unwrap();
        }

        match verifier.finish() {
            Ok(matched) => assert_eq!((matched.lost, lost), (1, true), "{sequence} {noted:?}"),
            Err(error) => {
                assert!(!lost, "{error}");
                assert!(error.to_string().contains("no such record"), "{error}");
            }
        }
    }
}

#[test]
fn two_keys_of_one_name_in_one_journal_prove_the_fault_of_their_node() {
    let one = made_key(Scheme::Bip340);
    let mut entries = key_entries(&one.view.evidence.certificate);
    let other = made_key_in(
        one.roster,
        one.identity,
        Scheme::Ed25519,
        &quorate_model::KeyPurpose::ALL,
    );
    entries.extend(key_entries(&other.view.evidence.certificate));
    let chain = chain_with(1, entries);

    let error = Verifier::new(&other.roster)
        .add(Cursor::new(journal(&other.roster, 1, &chain)))
        .unwrap_err();

    assert!(
        error.to_string().contains("two keys of the name"),
        "{error}"
    );
}

#[test]
fn evidence_that_proves_nothing_is_refused() {
    let (roster, _) = cluster();
    let mut file = Vec::new();
    write_evidence(&mut file, roster.hash(), b"\x01garbage", None).unwrap();

    let error = Verifier::new(&roster).add(Cursor::new(file)).unwrap_err();

    assert!(matches!(error, AuditFileError::DoesNotHold { .. }));
}

fn judgment() -> Judgment {
    Judgment {
        command: Digest::new([4; 32]),
        command_id: CommandId(Uuid::nil()),
        endorsements: Digest::ZERO,
        policy: Digest::ZERO,
        rule: "role".to_owned(),
    }
}

/// What a holder records of a key before it signs with it.
fn key_entries(certificate: &[u8]) -> Vec<Entry> {
    let statement = CommitCertificate::from_bytes(certificate)
        .unwrap()
        .statement;
    let prepared = KeyPrepared {
        judgment: judgment(),
        key: statement.key.clone(),
        epoch: statement.epoch,
        session: statement.session,
        statement: statement.digest(),
    };
    let certified = Entry::KeyCertified {
        key: statement.key,
        epoch: statement.epoch,
        certificate: certificate.to_vec(),
    };
    vec![Entry::KeyPrepared(prepared), certified]
}

/// Boot, one released share, a checkpoint.
fn chain(number: u8) -> Vec<Vec<u8>> {
    chain_with(number, Vec::new())
}

/// The same with entries between boot and share.
fn chain_with(number: u8, entries: Vec<Entry>) -> Vec<Vec<u8>> {
    let released = ShareReleased {
        judgment: judgment(),
        expires: UnixMillis(99),
        key: "hot".parse().unwrap(),
        epoch: Epoch(1),
        purpose: SharePurpose::Sign,
        items: vec![ItemRecord {
            message: Digest::new([3; 32]),
            signing_set: SET,
        }],
    };
    let boot = Entry::Boot {
        version: "0.1.0".to_owned(),
        node: node_id(number),
    };
    let mut chain = Vec::new();
    append(&mut chain, boot);
    for entry in entries {
        append(&mut chain, entry);
    }
    append(&mut chain, Entry::ShareReleased(released));
    let previous = record_hash(chain.last().unwrap());
    let sequence = (chain.len() as u64).saturating_add(1);
    let digest = checkpoint_digest(
        sequence,
        &previous,
        UnixMillis(7),
        &[0; 16],
        2,
        &Digest::new([8; 32]),
    );
    let checkpoint = Checkpoint {
        index_sequence: 2,
        index_digest: Digest::new([8; 32]),
        signature: sign_digest(&node_key(number), &digest),
    };
    append(&mut chain, Entry::Checkpoint(checkpoint));
    chain
}

fn append(chain: &mut Vec<Vec<u8>>, entry: Entry) {
    append_at(chain, entry, UnixMillis(7));
}

fn append_at(chain: &mut Vec<Vec<u8>>, entry: Entry, time: UnixMillis) {
    let previous = chain.last().map_or(Digest::ZERO, |last| record_hash(last));
    let sequence = (chain.len() as u64).saturating_add(1);
    let record = Record {
        sequence,
        previous,
        time,
        boot: [0; 16],
        entry,
    };
    chain.push(record.to_bytes().unwrap());
}

fn journal(roster: &PinnedRoster, number: u8, chain: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = JournalWriter::new(Vec::new(), roster.hash(), node_id(number)).unwrap();
    for record in chain {
        writer.push(record).unwrap();
    }
    writer.finish().unwrap().0
}

fn sign(key_id: KeyId) -> Sign {
    Sign {
        key: "hot".parse().unwrap(),
        key_id,
        payloads: vec![Payload::message(*b"pay")],
    }
}

fn prepare(roster: &PinnedRoster, identity: &Identity, body: CommandBody) -> Prepared {
    Prepared::new(roster, identity, body, &CommandOptions::default())
}

fn command(roster: &PinnedRoster, identity: &Identity, key_id: KeyId) -> Prepared {
    prepare(roster, identity, CommandBody::Sign(sign(key_id)))
}

fn receipt(
    command: &Prepared,
    number: u8,
    sequence: u64,
    record: Digest,
    signing_set: Digest,
) -> ShareReceipt {
    let statement = ShareStatement {
        node: node_id(number),
        sequence,
        record,
        command: command.digest(),
        key: "hot".parse().unwrap(),
        epoch: Epoch(1),
        items: vec![ShareItem {
            signing_set,
            message: Digest::new([3; 32]),
            share: [1; 32],
        }],
    };
    let batch = vec![statement.digest()];
    let signature = sign_digest(&node_key(number), &share_batch_digest(&batch));
    ShareReceipt {
        statement,
        batch,
        signature,
    }
}

fn signatures(roster: &PinnedRoster, command: &Prepared, receipts: Vec<ShareReceipt>) -> Vec<u8> {
    let outcome = SignOutcome {
        key: "hot".parse().unwrap(),
        epoch: Epoch(1),
        scheme: Scheme::Bip340,
        signers: receipts
            .iter()
            .map(|receipt| receipt.statement.node.clone())
            .collect(),
        signatures: vec![vec![0; 64]],
        receipts,
    };
    let mut file = Vec::new();
    write_signatures(&mut file, roster.hash(), command, &outcome).unwrap();
    file
}
