//! The published numbers of BIP-143, BIP-341, BIP-86 and BIP-350.

use bitcoin::{ScriptBuf, Transaction, consensus};
use quorate_model::{DerivationPath, KeyPurpose, Purposes, Scheme};

use super::{
    fixtures::{CHAIN_CODE, WholeKey, output},
    judges::{bip341_output_key, bip341_sighash, bip350_address},
};
use crate::{
    AddressType, KeyFacts, Network, address,
    psbt::{Owner, WholeSighash, sighashes},
    receiver::Receiver,
    taproot_script,
};

/// Internal key, output key and address of BIP-341 (the one without a script tree) and BIP-86.
const ADDRESSES: [(&str, &str, &str); 4] = [
    (
        "d6889cb081036e0faefa3a35157ad71086b123b2b144b649798b494c300a961d",
        "53a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343",
        "bc1p2wsldez5mud2yam29q22wgfh9439spgduvct83k3pm50fcxa5dps59h4z5",
    ),
    (
        "cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115",
        "a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c",
        "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
    ),
    (
        "83dfe85a3151d2517290da461fe2815591ef69f2b18a2ce63f01697a8b313145",
        "a82f29944d65b86ae6b5e5cc75e294ead6c59391a1edc5e016e3498c67fc7bbb",
        "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
    ),
    (
        "399f1b2f4393f29a18c937859c5dd8a77350103157eb880f02e8c08214277cef",
        "882d74e5d0572d5a816cef0041a96b6c1de832f6f9676d9605c44d5e9a97d3dc",
        "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7",
    ),
];

const UNSIGNED: &str = "02000000097de20cbff686da83a54981d2b9bab3586f4ca7e48f57f5b55963115f3b334e9c\
    010000000000000000d7b7cab57b1393ace2d064f4d4a2cb8af6def61273e127517d44759b6dafdd99000000000\
    0fffffffff8e1f583384333689228c5d28eac13366be082dc57441760d957275419a418420000000000ffffffff\
    f0689180aa63b30cb162a73c6d2a38b7eeda2a83ece74310fda0843ad604853b0100000000feffffffaa5202bdf\
    6d8ccd2ee0f0202afbbb7461d9264a25e5bfd3c5a52ee1239e0ba6c0000000000feffffff956149bdc66faa968e\
    b2be2d2faa29718acbfe3941215893a2a3446d32acd050000000000000000000e664b9773b88c09c32cb70a2a3e\
    4da0ced63b7ba3b22f848531bbb1d5d5f4c94010000000000000000e9aa6b8e6c9de67619e6a3924ae25696bb7b\
    694bb677a632a74ef7eadfd4eabf0000000000ffffffffa778eb6a263dc090464cd125c466b5a99667720b1c110\
    468831d058aa1b82af10100000000ffffffff0200ca9a3b000000001976a91406afd46bcdfd22ef94ac122aa11f\
    241244a37ecc88ac807840cb0000000020ac9a87f5594be208f8532db38cff670c450ed2fea8fcdefcc9a663f78\
    bab962b0065cd1d";

const SPENT: [(&str, u64); 9] = [
    (
        "512053a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343",
        420_000_000,
    ),
    (
        "5120147c9c57132f6e7ecddba9800bb0c4449251c92a1e60371ee77557b6620f3ea3",
        462_000_000,
    ),
    (
        "76a914751e76e8199196d454941c45d1b3a323f1433bd688ac",
        294_000_000,
    ),
    (
        "5120e4d810fd50586274face62b8a807eb9719cef49c04177cc6b76a9a4251d5450e",
        504_000_000,
    ),
    (
        "512091b64d5324723a985170e4dc5a0f84c041804f2cd12660fa5dec09fc21783605",
        630_000_000,
    ),
    ("00147dd65592d0ab2fe0d0257d571abf032cd9db93dc", 378_000_000),
    (
        "512075169f4001aa68f15bbed28b218df1d0a62cbbcf1188c6665110c293c907b831",
        672_000_000,
    ),
    (
        "5120712447206d7a5238acc7ff53fbe94a3b64539ad291c7cdbc490b7577e4b17df5",
        546_000_000,
    ),
    (
        "512077e30a5522dd9f894c3f8b8bd4c4b2cf82ca7da8a3ea6a239655c39c050ab220",
        588_000_000,
    ),
];

#[test]
fn output_keys_and_addresses_are_those_of_the_standards() {
    let purposes = Purposes::new(vec![KeyPurpose::Transactions]).unwrap();
    for (internal, expected, text) in ADDRESSES {
        let group_key = [vec![2], hex::decode(internal).unwrap()].concat();
        let key = KeyFacts {
            scheme: Scheme::Bip340,
            purposes: &purposes,
            group_key: &group_key,
            chain_code: &CHAIN_CODE,
        };

        let script = taproot_script(&group_key).unwrap();

        assert_eq!(hex::encode(&script[2..]), expected);
        assert_eq!(
            address(&key, &DerivationPath::ROOT, Network::Bitcoin, None).unwrap(),
            text
        );
        assert_eq!(hex::encode(bip341_output_key(&group_key)), expected);
        assert_eq!(bip350_address("bc", &bip341_output_key(&group_key)), text);
    }
}

#[test]
fn digests_are_those_of_bip_341() {
    let bytes = hex::decode(UNSIGNED).unwrap();
    let transaction: Transaction = consensus::encode::deserialize(&bytes).unwrap();
    let spent = SPENT.map(|(script, sat)| output(ScriptBuf::from_hex(script).unwrap(), sat));
    let all = "bf013ea93474aa67815b1b6cc441d23b64fa310911d991e713cd34c7f5d46669";
    let default = "4f900a0bae3f1446fd48490c2958b5a023228f01661cda3496a11da502a7f7ef";

    let owner = Owner {
        path: DerivationPath::ROOT,
        key: Receiver::of(Scheme::Bip340, WholeKey::number(1).group_key()).unwrap(),
        form: AddressType::P2tr,
    };
    let types = vec![
        (3, owner.clone(), WholeSighash::All),
        (4, owner, WholeSighash::Default),
    ];
    let computed = sighashes(&transaction, &spent, types);

    assert_eq!(computed.len(), 2);
    assert_eq!(hex::encode(computed[0].sighash), all);
    assert_eq!(hex::encode(computed[1].sighash), default);
    assert_eq!(hex::encode(bip341_sighash(&transaction, &spent, 3, 1)), all);
    assert_eq!(
        hex::encode(bip341_sighash(&transaction, &spent, 4, 0)),
        default
    );
}

/// Key, form, unsigned transaction, input, its amount, and digest: the first two examples of
/// BIP-143.
const SEGWIT: [(&str, AddressType, &str, usize, u64, &str); 2] = [
    (
        "025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee6357",
        AddressType::P2wpkh,
        "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeff\
         ffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02\
         202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976\
         a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000",
        1,
        600_000_000,
        "c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670",
    ),
    (
        "03ad1d8e89212f0b92c74d23bb710c00662ad1470198ac48c43f7d6f93a2a26873",
        AddressType::P2shP2wpkh,
        "0100000001db6b1b20aa0fd7b23880be2ecbd4a98130974cf4748fb66092ac4d3ceb1a54770100000000feff\
         ffff02b8b4eb0b000000001976a914a457b684d7f0d539a46a45bbc043f35b59d0d96388ac0008af2f000000\
         001976a914fd270b1ee6abcaea97fea7ad0402e8bd8ad6d77c88ac92040000",
        0,
        1_000_000_000,
        "64f3b0f4dd2bb3aa1ce8566d220cc74dda9df97d8490cc81d89d735c92e59fb6",
    ),
];

#[test]
fn digests_are_those_of_bip_143() {
    for (key, form, transaction, input, sat, expected) in SEGWIT {
        let bytes = hex::decode(transaction).unwrap();
        let transaction: Transaction = consensus::encode::deserialize(&bytes).unwrap();
        let key = Receiver::of(Scheme::EcdsaSecp256k1, &hex::decode(key).unwrap()).unwrap();
        let script = key.script(form).unwrap().to_owned();
        let spent = vec![output(script, sat); transaction.input.len()];
        let path = DerivationPath::ROOT;
        let types = vec![(input, Owner { path, key, form }, WholeSighash::All)];

        let computed = sighashes(&transaction, &spent, types);

        assert_eq!(hex::encode(computed[0].sighash), expected, "{form}");
    }
}
