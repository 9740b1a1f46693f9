//! What is refused of Solana messages, each with exactly one check that fires.

use super::solana::{KEY, LEGACY, LOOKUP, V0, bytes, decode_for, facts_of};
use crate::{SolanaRefusal, Undecodable, solana::MAX_TRANSACTION_BYTES};

const SYSTEM: [u8; 32] = [0; 32];
const TOKEN: &str = "06ddf6e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a9";
const TOKEN_2022: &str = "06ddf6e1ee758fde18425dbce46ccddab61afc4d83b90d27febdf928d8a18bfc";
const BUDGET: &str = "0306466fe5211732ffecadba72c39be7bc8ce5bbc5f7126b2c439b3a40000000";
const MEMO: &str = "054a535a992921064d24e87160da387c7c35b5ddbc92bb81e41fa8404105448d";
const BLOCKHASHES: &str = "06a7d517192c568ee08a845f73d29788cf035c3145b21ab344d8062ea9400000";

/// A legacy message of the test key and accounts `01…01`, `02…02`, ..., `05…05`, then the program.
struct Draft {
    header: [u8; 3],
    keys: Vec<Vec<u8>>,
    calls: Vec<(u8, Vec<u8>, Vec<u8>)>,
}

impl Draft {
    fn new(program: &[u8], accounts: &[u8], data: &[u8]) -> Self {
        let mut keys = vec![bytes(KEY)];
        keys.extend((1..=5).map(|account| vec![account; 32]));
        keys.push(program.to_vec());
        Self {
            header: [1, 0, 1],
            keys,
            calls: vec![(6, accounts.to_vec(), data.to_vec())],
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut message = self.header.to_vec();
        message.push(u8::try_from(self.keys.len()).unwrap());
        message.extend(self.keys.concat());
        message.extend([3; 32]);
        message.push(u8::try_from(self.calls.len()).unwrap());
        for (program, accounts, data) in &self.calls {
            message.push(*program);
            message.push(u8::try_from(accounts.len()).unwrap());
            message.extend(accounts);
            message.push(u8::try_from(data.len()).unwrap());
            message.extend(data);
        }
        message
    }
}

fn transfer() -> Draft {
    Draft::new(
        &SYSTEM,
        &[0, 1],
        &data(&[2, 0, 0, 0], &[5, 0, 0, 0, 0, 0, 0, 0]),
    )
}

fn data(tag: &[u8], rest: &[u8]) -> Vec<u8> {
    [tag, rest].concat()
}

fn check(message: &[u8], expected: SolanaRefusal) {
    assert_eq!(facts_of(message), Err(Undecodable::Solana(expected)));
}

#[test]
fn a_message_ends_where_it_ends() {
    let legacy = bytes(LEGACY);
    let v0 = bytes(V0);

    for message in [&legacy, &v0] {
        for length in 0..message.len() {
            check(&message[..length], SolanaRefusal::Truncated { length });
        }
        let longer = [message, &[0, 0][..]].concat();
        check(&longer, SolanaRefusal::TrailingBytes { count: 2 });
    }
}

#[test]
fn lengths_have_one_form() {
    let with = |length: &[u8]| {
        let mut message = bytes(LEGACY);
        message.splice(3..4, length.iter().copied());
        message
    };

    assert!(facts_of(&with(&[3])).is_ok());
    for length in [
        &[0x83, 0x00][..],
        &[0x83, 0x80, 0x00],
        &[0x83, 0x80, 0x80],
        &[0x83, 0x80, 0x04],
        &[0xff, 0xff, 0xff],
    ] {
        check(&with(length), SolanaRefusal::LengthForm { at: 3 });
    }
}

#[test]
fn only_version_0_is_known() {
    for version in 1..=0x7f {
        let mut message = bytes(V0);
        message[0] = 0x80 | version;
        check(&message, SolanaRefusal::UnknownVersion { version });
    }
}

#[test]
fn a_message_must_fit_a_packet_with_its_signatures() {
    let with = |length: usize| {
        let mut draft = Draft::new(&bytes(MEMO), &[], &[]);
        draft.calls.push((6, vec![], vec![b'a'; 100]));
        let mut message = draft.encode();
        // The memo has two bytes of length from 128 on.
        let at = message.len() - 101;
        let low = u8::try_from(length & 0x7f).unwrap() | 0x80;
        message.truncate(at);
        message.extend([low, u8::try_from(length >> 7).unwrap()]);
        message.extend(vec![b'a'; length]);
        message
    };
    let around = with(200).len() - 200 + 65;
    let most = MAX_TRANSACTION_BYTES - around;

    assert!(facts_of(&with(most)).is_ok());
    check(
        &with(most + 1),
        SolanaRefusal::TooLarge {
            found: MAX_TRANSACTION_BYTES + 1,
        },
    );
    check(
        &vec![1; MAX_TRANSACTION_BYTES + 1],
        SolanaRefusal::TooLarge {
            found: MAX_TRANSACTION_BYTES + 1,
        },
    );
}

#[test]
fn the_header_must_leave_a_signer_that_pays_and_fit_the_accounts() {
    for (header, fits) in [
        ([1, 0, 0], true),
        ([1, 0, 6], true),
        ([7, 6, 0], true),
        ([0, 0, 0], false),
        ([1, 1, 0], false),
        ([1, 0, 7], false),
        ([8, 0, 0], false),
        ([127, 126, 255], false),
    ] {
        let draft = Draft {
            header,
            ..transfer()
        };
        let refused = SolanaRefusal::Header {
            signatures: header[0],
            readonly_signed: header[1],
            readonly_unsigned: header[2],
            accounts: 7,
        };
        let result = facts_of(&draft.encode()).err();
        let expected = (!fits).then_some(Undecodable::Solana(refused));
        assert_eq!(result, expected, "{header:?}");
    }
}

#[test]
fn accounts_and_programs_are_in_range() {
    for index in 0..=255 {
        let mut draft = transfer();
        draft.calls[0].0 = index;
        let result = facts_of(&draft.encode());
        let refused = SolanaRefusal::ProgramIndex {
            instruction: 0,
            index,
            accounts: 7,
        };
        let in_range = (1..7).contains(&index);
        assert_eq!(result == Err(refused.into()), !in_range, "{index}");

        let mut draft = transfer();
        draft.calls[0].1[1] = index;
        let result = facts_of(&draft.encode());
        let refused = SolanaRefusal::AccountIndex {
            instruction: 0,
            index,
            accounts: 7,
        };
        assert_eq!(result == Err(refused.into()), index >= 7, "{index}");
    }
}

#[test]
fn tables_extend_the_accounts_but_hold_no_programs() {
    let lookup = bytes(LOOKUP);
    let program = lookup.len() - 36 - 12 - 5;
    let with = |at: usize, value: u8| {
        let mut message = lookup.clone();
        message[at] = value;
        message
    };

    assert!(facts_of(&with(program + 3, 2)).is_ok());
    check(
        &with(program + 3, 3),
        SolanaRefusal::AccountIndex {
            instruction: 0,
            index: 3,
            accounts: 3,
        },
    );
    check(
        &with(program, 2),
        SolanaRefusal::ProgramIndex {
            instruction: 0,
            index: 2,
            accounts: 2,
        },
    );
    let mut empty = lookup[..lookup.len() - 3].to_vec();
    empty.extend([0, 0]);
    empty[program + 3] = 1;
    check(&empty, SolanaRefusal::EmptyLookup { table: 0 });
    let mut many = lookup[..lookup.len() - 3].to_vec();
    many.extend([0xff, 0x01]);
    many.extend([0; 255]);
    many.push(0);
    check(&many, SolanaRefusal::TooManyAccounts { found: 257 });
}

#[test]
fn nothing_to_do_and_the_same_account_twice_are_refused() {
    let mut empty = transfer();
    empty.calls.clear();
    let mut twice = transfer();
    twice.keys[4] = vec![2; 32];

    check(&empty.encode(), SolanaRefusal::NoInstructions);
    check(
        &twice.encode(),
        SolanaRefusal::DuplicateAccount {
            first: 2,
            second: 4,
        },
    );
}

#[test]
fn a_setting_of_the_budget_is_made_once() {
    let limit = data(&[2], &[1, 0, 0, 0]);
    let mut draft = Draft::new(&bytes(BUDGET), &[], &limit);
    draft.calls.push((6, vec![], data(&[3], &[0; 8])));
    assert!(facts_of(&draft.encode()).is_ok());
    draft.calls.push((6, vec![], limit));

    check(
        &draft.encode(),
        SolanaRefusal::BudgetTwice {
            first: 0,
            second: 2,
            setting: "the limit of compute units",
        },
    );
}

#[test]
fn a_key_that_is_not_among_the_signers_does_not_sign() {
    let refused = SolanaRefusal::NotSigner {
        key: "cGfHiC6Kgg3FpFZvgwGcswsCRtp4aBP2fzuXRQPizuN".to_owned(),
    };

    // The destination is an account of the message, and no signer of it.
    assert_eq!(
        decode_for(&[9; 32], &bytes(LEGACY)),
        Err(Undecodable::Solana(refused))
    );
}

#[test]
fn whatever_is_not_decoded_exactly_is_blind() {
    let lamports = [5, 0, 0, 0, 0, 0, 0, 0];
    let create = [&lamports[..], &[165, 0, 0, 0, 0, 0, 0, 0], &[4; 32]].concat();
    let sent = data(&[2, 0, 0, 0], &lamports);
    let token = bytes(TOKEN);
    let checked = data(&[12], &[&lamports[..], &[6]].concat());
    let amount = data(&[3], &lamports);
    let blockhashes = bytes(BLOCKHASHES);
    let mut nonce = Draft::new(&SYSTEM, &[1, 2, 0], &[4, 0, 0, 0]);
    nonce.keys[2] = blockhashes;
    let decoded = |draft: &Draft| {
        let facts = facts_of(&draft.encode()).unwrap();
        assert_eq!(facts.blind, !facts.blind_because.is_empty());
        let signed = decode_for(&bytes(KEY), &draft.encode());
        match signed {
            Ok(_) => assert!(!facts.blind),
            Err(error) => assert_eq!(error.detail(), "SOLANA_BLIND"),
        }
        !facts.blind
    };
    let call = |program: &[u8], accounts: &[u8], data: &[u8]| {
        decoded(&Draft::new(program, accounts, data))
    };

    assert!(call(&SYSTEM, &[0, 1], &sent));
    assert!(!call(&SYSTEM, &[0, 1], &sent[..11]));
    assert!(!call(&SYSTEM, &[0, 1], &data(&sent, &[0])));
    assert!(!call(&SYSTEM, &[0], &sent));
    assert!(!call(&SYSTEM, &[0, 1, 2], &sent));
    assert!(call(&SYSTEM, &[0, 1], &data(&[0; 4], &create)));
    assert!(!call(&SYSTEM, &[0, 1], &data(&[0; 4], &create[1..])));
    assert!(!call(
        &SYSTEM,
        &[0, 1],
        &data(&[0; 4], &data(&create, &[0]))
    ));
    assert!(!call(&SYSTEM, &[0], &[1, 0, 0, 0]));
    assert!(!call(&SYSTEM, &[0], &[]));
    assert!(decoded(&nonce));
    assert!(!call(&SYSTEM, &[1, 2, 0], &[4, 0, 0, 0]));
    assert!(call(&token, &[1, 2, 0], &amount));
    assert!(call(&bytes(TOKEN_2022), &[1, 2, 0], &amount));
    assert!(call(&token, &[1, 2, 3, 0], &checked));
    assert!(call(&token, &[1, 2, 3, 4, 0], &checked));
    assert!(!call(&token, &[1, 2, 3, 0, 4], &checked));
    assert!(!call(&token, &[1, 2, 0], &checked));
    assert!(!call(&token, &[1, 2, 0], &data(&amount, &[6])));
    assert!(!call(&token, &[1, 2, 0], &amount[..8]));
    assert!(!call(&token, &[1, 2, 0], &data(&[4], &lamports)));
    assert!(call(&bytes(BUDGET), &[], &[2, 1, 0, 0, 0]));
    assert!(!call(&bytes(BUDGET), &[], &[2, 1, 0, 0, 0, 0]));
    assert!(!call(&bytes(BUDGET), &[], &[9, 1, 0, 0, 0]));
    assert!(call(&bytes(MEMO), &[0], b"hello"));
    assert!(!call(&bytes(MEMO), &[0], b"\xff"));
    assert!(!call(&[8; 32], &[0, 1], &sent));
}

#[test]
fn the_facts_of_special_calls_are_shown() {
    let create = [&[0; 4][..], &[77, 0, 0, 0, 0, 0, 0, 0], &[0; 8], &[4; 32]].concat();
    let mut nonce = Draft::new(&SYSTEM, &[1, 2, 0], &[4, 0, 0, 0]);
    nonce.keys[2] = bytes(BLOCKHASHES);
    let evil = "pay\u{202e}me\n".as_bytes();

    let created = facts_of(&Draft::new(&SYSTEM, &[0, 1], &create).encode()).unwrap();
    let waiting = facts_of(&nonce.encode()).unwrap();
    let memo = facts_of(&Draft::new(&bytes(MEMO), &[0], evil).encode()).unwrap();

    assert_eq!(created.transfers[0].to, crate::solana::address(&[1; 32]));
    assert_eq!(
        created.instructions[0].new_owner,
        Some(crate::solana::address(&[4; 32]))
    );
    assert_eq!(
        waiting.nonce_account,
        Some(crate::solana::address(&[1; 32]))
    );
    assert_eq!(
        memo.instructions[0].memo.as_deref(),
        Some(r"pay\u{202e}me\n")
    );
}
