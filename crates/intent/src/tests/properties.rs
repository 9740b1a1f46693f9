//! What holds for every input, drawn at random. `PROPTEST_CASES` sets how often.

use bitcoin::{
    Psbt, ScriptBuf, Sequence, TxOut, absolute, consensus, psbt::PsbtSighashType, transaction,
};
use proptest::{collection::vec, prelude::*, sample};
use quorate_model::{DerivationPath, KeyPurpose, Payload, PayloadKind, Purposes, Scheme};

use super::{
    fixtures::{CHAIN_CODE, WholeKey, funding, mixed, output, plain, spend, stranger},
    judges::{
        bip341_output_key, bip341_sighash, bip350_address, core_accepts, sign, spent_outputs,
        transaction_of,
    },
};
use crate::{
    Facts, ItemTweak, KeyFacts, Network, PsbtForm, address, decode, finalize, finish,
    psbt_from_text_or_binary, taproot_script,
};

fn secret() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>().prop_filter("a secret key is below the order and not zero", |bytes| {
        secp256k1::Keypair::from_secret_bytes(*bytes).is_ok()
    })
}

fn script() -> impl Strategy<Value = ScriptBuf> {
    vec(any::<u8>(), 0..80).prop_map(ScriptBuf::from_bytes)
}

/// A spend of 1 to 5 outputs of the key among up to 4 of others, in any order.
fn any_spend(key: &WholeKey) -> impl Strategy<Value = Psbt> + use<> {
    let own = vec(1000u64..1_000_000_000, 1..=5);
    let others = vec((script(), 0u64..1_000_000_000), 0..=4);
    let paid = vec((script(), 0u64..200), 1..=5);
    let own_script = key.script();
    let transaction = (any::<i32>(), any::<u32>(), any::<u32>(), any::<bool>());
    let spent = (own, others).prop_map(move |(own, others)| {
        let own = own.into_iter().map(|sat| output(own_script.clone(), sat));
        own.chain(others.into_iter().map(|(script, sat)| output(script, sat)))
            .collect::<Vec<_>>()
    });
    (spent.prop_shuffle(), paid, transaction).prop_map(
        |(spent, paid, (version, lock_time, sequence, all))| {
            let paid = paid
                .into_iter()
                .map(|(script, sat)| output(script, sat))
                .collect();
            let mut psbt = spend(spent, paid);
            psbt.unsigned_tx.version = transaction::Version(version);
            psbt.unsigned_tx.lock_time = absolute::LockTime::from_consensus(lock_time);
            psbt.unsigned_tx.input[0].sequence = Sequence(sequence);
            if all {
                psbt.inputs[0].sighash_type = Some(PsbtSighashType::from_u32(1));
            }
            psbt
        },
    )
}

/// A PSBT with every field that this crate looks at.
fn rich(key: &WholeKey) -> Psbt {
    let mut psbt = mixed(key);
    let previous = funding(vec![output(stranger(), 5), output(key.script(), 100_000)]);
    psbt.unsigned_tx.input[1].previous_output = bitcoin::OutPoint {
        txid: previous.compute_txid(),
        vout: 1,
    };
    psbt.inputs[1].non_witness_utxo = Some(previous);
    psbt.inputs[1].sighash_type = Some(PsbtSighashType::from_u32(1));
    let internal = bitcoin::XOnlyPublicKey::from_slice(&key.group_key()[1..]).unwrap();
    psbt.inputs[2].tap_internal_key = Some(internal);
    psbt.inputs[2]
        .tap_key_origins
        .insert(internal, Default::default());
    psbt
}

/// One thing that may happen to bytes on their way.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    Set(sample::Index, u8),
    Flip(sample::Index, u8),
    Insert(sample::Index, Vec<u8>),
    Remove(sample::Index, usize),
    Repeat(sample::Index, usize),
}

impl Damage {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let place = any::<sample::Index>;
        prop_oneof![
            (place(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            (place(), 0u8..8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            (place(), vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            (place(), 1usize..40).prop_map(|(at, count)| Self::Remove(at, count)),
            (place(), 1usize..80).prop_map(|(at, count)| Self::Repeat(at, count)),
        ]
    }

    pub(super) fn inflict(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Self::Set(at, byte) => bytes[at.index(length)] = byte,
            Self::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Self::Insert(at, inserted) => {
                let at = at.index(length);
                bytes.splice(at..at, inserted);
            }
            Self::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Self::Repeat(at, count) => {
                let at = at.index(length);
                let part = bytes[at..length.min(at + count)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// A key-value pair of a PSBT that is well-formed outside and anything inside, so that the
/// readers of every field are reached.
fn pair() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![4 => 0u8..0x20, 1 => Just(0xfcu8), 1 => any::<u8>()];
    let length = sample::select(vec![0usize, 1, 4, 20, 32, 33, 64, 65, 78]);
    let point = Just(WholeKey::number(1).group_key().to_vec());
    let bytes = || {
        prop_oneof![
            length
                .clone()
                .prop_flat_map(|length| vec(any::<u8>(), length)),
            point.clone(),
            point.clone().prop_map(|point| point[1..].to_vec()),
            vec(any::<u8>(), 0..120),
        ]
    };
    (kind, prop_oneof![2 => Just(vec![]), 3 => bytes()], bytes()).prop_map(|(kind, key, value)| {
        let key_length = u8::try_from(key.len() + 1).unwrap();
        let value_length = u8::try_from(value.len()).unwrap();
        [&[key_length, kind], &key[..], &[value_length], &value[..]].concat()
    })
}

/// The plain spend with more pairs in its maps: global, of the input, of the two outputs.
fn with_pairs(key: &WholeKey, more: &[Vec<Vec<u8>>; 4]) -> Vec<u8> {
    let psbt = plain(key);
    let transaction = consensus::encode::serialize(&psbt.unsigned_tx);
    let utxo = consensus::encode::serialize(&spent_outputs(&psbt)[0]);
    let field =
        |kind: u8, value: &[u8]| [&[1, kind, u8::try_from(value.len()).unwrap()], value].concat();
    [
        b"psbt\xff".to_vec(),
        field(0, &transaction),
        more[0].concat(),
        vec![0],
        field(1, &utxo),
        more[1].concat(),
        vec![0],
        more[2].concat(),
        vec![0],
        more[3].concat(),
        vec![0],
    ]
    .concat()
}

/// Whatever is accepted must make sense.
fn check_accepted(key: &WholeKey, payload: &Payload) {
    let Ok(decoded) = decode(payload, &key.facts()) else {
        return;
    };
    let Facts::Psbt(facts) = &decoded.facts else {
        panic!("a PSBT has facts of its own")
    };
    let psbt = Psbt::deserialize(&payload.bytes).unwrap();
    let ours = facts.inputs.iter().filter(|input| input.is_ours).count();
    assert!(ours > 0);
    assert_eq!(ours, decoded.items.len());
    assert_eq!(
        facts.input_total_sat,
        facts.output_total_sat + facts.fee_sat
    );
    assert!(facts.own_input_total_sat <= facts.input_total_sat);
    assert!(facts.change_total_sat <= facts.output_total_sat);
    let spent: Vec<TxOut> = facts
        .inputs
        .iter()
        .map(|input| {
            let script = ScriptBuf::from_bytes(input.script.as_bytes().to_vec());
            output(script, input.amount_sat)
        })
        .collect();
    let transaction = transaction_of(&sign(key, &psbt));
    assert_eq!(transaction.output, psbt.unsigned_tx.output);
    for item in &decoded.items {
        assert_eq!(item.tweak, ItemTweak::TaprootKeyPath);
        let input = usize::try_from(item.input.unwrap()).unwrap();
        assert!(core_accepts(&transaction, &spent, input));
    }
    assert!(finish(payload, &key.facts(), &vec![vec![1; 64]; ours]).is_err());
}

proptest! {
    #[test]
    fn tweaks_and_addresses_agree_with_k256_and_libsecp256k1(secret in secret()) {
        let key = WholeKey::of(secret);
        let program = bip341_output_key(key.group_key());

        let script = taproot_script(key.group_key()).unwrap();

        prop_assert_eq!(&script[..2], &[0x51, 0x20]);
        prop_assert_eq!(&script[2..], program);
        for (network, prefix) in Network::ALL.into_iter().zip(["bc", "tb", "tb", "bcrt"]) {
            let expected = bip350_address(prefix, &program);
            prop_assert_eq!(address(&key.facts(), &DerivationPath::ROOT, network, None).unwrap(), expected);
        }
    }

    #[test]
    fn core_accepts_any_spend_and_its_digests_are_those_of_bip_341(
        (secret, psbt) in secret().prop_flat_map(|secret| {
            (Just(secret), any_spend(&WholeKey::of(secret)))
        })
    ) {
        let key = WholeKey::of(secret);
        let payload = Payload { allow_high_fee: true, ..Payload::psbt(psbt.serialize()) };
        let spent = spent_outputs(&psbt);

        let decoded = decode(&payload, &key.facts()).unwrap();

        let transaction = transaction_of(&sign(&key, &psbt));
        for item in &decoded.items {
            let input = usize::try_from(item.input.unwrap()).unwrap();
            let asked = psbt.inputs[input].sighash_type.map_or(0, |_| 1);
            let expected = bip341_sighash(&psbt.unsigned_tx, &spent, input, asked);
            prop_assert_eq!(&item.message, &expected);
            prop_assert!(core_accepts(&transaction, &spent, input));
        }
        let ours = spent.iter().filter(|output| output.script_pubkey == key.script()).count();
        prop_assert_eq!(decoded.items.len(), ours);
    }

    #[test]
    fn a_message_is_signed_as_it_is_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let purposes = Purposes::new(vec![KeyPurpose::Messages]).unwrap();
        for scheme in Scheme::FROST {
            let key = KeyFacts { scheme, purposes: &purposes, group_key: &[] , chain_code: &CHAIN_CODE};
            let result = decode(&Payload::message(bytes.clone()), &key);
            let bare_digest = scheme == Scheme::Bip340 && bytes.len() == 32;
            prop_assert_eq!(result.is_err(), bare_digest);
            if let Ok(decoded) = result {
                prop_assert_eq!(&decoded.items[0].message, &bytes);
            }
        }
    }

    #[test]
    fn the_shown_text_prints_in_one_line(text in any::<String>()) {
        let purposes = Purposes::new(vec![KeyPurpose::Messages]).unwrap();
        let key = KeyFacts { scheme: Scheme::Ed25519, purposes: &purposes, group_key: &[] , chain_code: &CHAIN_CODE};

        let decoded = decode(&Payload::message(text), &key).unwrap();

        let Facts::Message(facts) = decoded.facts else { panic!("a message has facts of its own") };
        let hidden = |c: &char| c.is_control() || "\u{202a}\u{202e}\u{2066}\u{200b}".contains(*c);
        prop_assert_eq!(facts.text.unwrap().chars().find(hidden), None);
    }

    #[test]
    fn no_bytes_make_anything_panic(
        kind in sample::select(PayloadKind::ALL.to_vec()),
        scheme in sample::select(Scheme::ALL.to_vec()),
        group_key in vec(any::<u8>(), 0..40),
        like_a_psbt in any::<bool>(),
        bytes in vec(any::<u8>(), 0..400),
    ) {
        let bytes = if like_a_psbt { [b"psbt\xff", &bytes[..]].concat() } else { bytes };
        let purposes = Purposes::new(KeyPurpose::ALL.to_vec()).unwrap();
        let own = WholeKey::number(1);
        let payload = Payload { kind, bytes: bytes.clone(), allow_high_fee: true, path: DerivationPath::ROOT };
        for group_key in [&group_key[..], own.group_key()] {
            let key = KeyFacts { scheme, purposes: &purposes, group_key, chain_code: &CHAIN_CODE };
            let _ = decode(&payload, &key);
            let _ = finish(&payload, &key, &[vec![0; 64]]);
            let _ = address(&key, &DerivationPath::ROOT, Network::Bitcoin, None);
        }
        let _ = finalize(&bytes);
        let _ = psbt_from_text_or_binary(&bytes);
    }

    #[test]
    fn damaged_psbts_never_panic_and_what_is_accepted_makes_sense(
        damages in vec(Damage::any(), 1..4)
    ) {
        let key = WholeKey::number(1);
        for psbt in [plain(&key), rich(&key)] {
            let mut bytes = psbt.serialize();
            for damage in &damages {
                damage.clone().inflict(&mut bytes);
            }
            let payload = Payload { allow_high_fee: true, ..Payload::psbt(bytes.clone()) };

            check_accepted(&key, &payload);

            let _ = finalize(&bytes);
        }
    }

    #[test]
    fn no_field_of_a_psbt_makes_anything_panic(
        global in vec(pair(), 0..2),
        input in vec(pair(), 0..4),
        outputs in (vec(pair(), 0..2), vec(pair(), 0..2)),
    ) {
        let key = WholeKey::number(1);
        let bytes = with_pairs(&key, &[global, input, outputs.0, outputs.1]);

        check_accepted(&key, &Payload::psbt(bytes.clone()));

        let _ = finalize(&bytes);
    }

    #[test]
    fn damaged_text_never_panics(damages in vec(Damage::any(), 1..4)) {
        let psbt = plain(&WholeKey::number(1)).serialize();
        let mut text = PsbtForm::Base64 { newline: true }.write(&psbt);
        for damage in damages {
            damage.inflict(&mut text);
        }

        if let Ok((bytes, form)) = psbt_from_text_or_binary(&text) {
            let again = psbt_from_text_or_binary(&form.write(&bytes)).unwrap();
            prop_assert_eq!(again, (bytes, form));
        }
    }
}

#[test]
fn the_spend_that_pairs_are_added_to_is_the_plain_one() {
    let key = WholeKey::number(1);

    assert_eq!(
        with_pairs(&key, &Default::default()),
        plain(&key).serialize()
    );
}

#[test]
fn every_single_bit_of_a_psbt_may_flip_without_a_panic() {
    let key = WholeKey::number(1);
    let whole = rich(&key).serialize();
    assert!(decode(&Payload::psbt(whole.clone()), &key.facts()).is_ok());
    for position in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[position / 8] ^= 1 << (position % 8);
        check_accepted(
            &key,
            &Payload {
                allow_high_fee: true,
                ..Payload::psbt(bytes)
            },
        );
    }
}
