//! A key whose secret the tests hold, and spends of it.
//!
//! Tweaking and signing here go through `secp256k1` and `sha2` directly, not through the library
//! that the crate itself uses.

use std::sync::LazyLock;

use bitcoin::{
    Amount, CompressedPublicKey, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Txid, Witness, absolute,
    bip32::{ChildNumber, Fingerprint, Xpriv, Xpub},
    hashes::Hash as _,
    secp256k1::{All, Secp256k1},
    transaction,
};
use quorate_model::{DerivationPath, KeyPurpose, Payload, Purposes, Scheme};
use secp256k1::{Keypair, Scalar};
use sha2::{Digest as _, Sha256};

use crate::{Decoded, KeyFacts, SigningItem, Undecodable, decode, taproot_script};

/// The tables of libsecp256k1 for secrets, built once.
static WHOLE_SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// The chain code of the keys of these tests.
pub(crate) const CHAIN_CODE: [u8; 32] = [0xcc; 32];

/// A key in one piece, of bip340 unless made for ECDSA.
pub(crate) struct WholeKey {
    scheme: Scheme,
    keypair: Keypair,
    group_key: Vec<u8>,
    purposes: Purposes,
}

impl WholeKey {
    pub(crate) fn of(secret: [u8; 32]) -> Self {
        let keypair = Keypair::from_secret_bytes(secret).unwrap();
        Self {
            scheme: Scheme::Bip340,
            keypair,
            group_key: keypair.public_key().serialize().to_vec(),
            purposes: Purposes::new(vec![KeyPurpose::Transactions]).unwrap(),
        }
    }

    pub(crate) fn number(seed: u8) -> Self {
        Self::of([seed; 32])
    }

    pub(crate) fn ecdsa(secret: [u8; 32]) -> Self {
        Self {
            scheme: Scheme::EcdsaSecp256k1,
            ..Self::of(secret)
        }
    }

    pub(crate) fn facts(&self) -> KeyFacts<'_> {
        KeyFacts {
            scheme: self.scheme,
            purposes: &self.purposes,
            group_key: &self.group_key,
            chain_code: &CHAIN_CODE,
        }
    }

    pub(crate) fn secret(&self) -> [u8; 32] {
        self.keypair.to_secret_bytes()
    }

    pub(crate) fn group_key(&self) -> &[u8] {
        &self.group_key
    }

    pub(crate) fn script(&self) -> ScriptBuf {
        ScriptBuf::from_bytes(taproot_script(&self.group_key).unwrap())
    }

    /// The private side of a child, by BIP-32's derivation of private keys.
    pub(crate) fn private(&self, path: &DerivationPath) -> Xpriv {
        let root = Xpriv {
            network: bitcoin::NetworkKind::Main,
            depth: 0,
            parent_fingerprint: Fingerprint::default(),
            child_number: ChildNumber::Normal { index: 0 },
            private_key: bitcoin::secp256k1::SecretKey::from_slice(&self.secret()).unwrap(),
            chain_code: CHAIN_CODE.into(),
        };
        let steps: Vec<ChildNumber> = path.steps().iter().map(|step| (*step).into()).collect();
        root.derive_priv(&WHOLE_SECP, &steps).unwrap()
    }

    /// The public key of a child.
    pub(crate) fn child(&self, path: &DerivationPath) -> CompressedPublicKey {
        CompressedPublicKey(self.private(path).private_key.public_key(&WHOLE_SECP))
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Xpub::from_priv(&WHOLE_SECP, &self.private(&DerivationPath::ROOT)).fingerprint()
    }

    /// Signs as the shares of a key would: by ECDSA with the child, or under the tweaked key.
    pub(crate) fn sign(&self, item: &SigningItem) -> Vec<u8> {
        if self.scheme == Scheme::EcdsaSecp256k1 {
            let secret = self.private(&item.path).private_key.secret_bytes();
            let key = k256::ecdsa::SigningKey::from_slice(&secret).unwrap();
            let (signature, id) = key.sign_prehash_recoverable(&item.message).unwrap();
            return [&signature.to_bytes()[..], &[id.to_byte()]].concat();
        }
        let (internal, _) = self.keypair.x_only_public_key();
        let tweak = tagged_hash("TapTweak", &internal.to_byte_array());
        let tweaked = self
            .keypair
            .add_xonly_tweak(&Scalar::from_be_bytes(tweak).unwrap())
            .unwrap();
        tweaked
            .sign_schnorr_no_aux_rand(&item.message)
            .to_byte_array()
            .to_vec()
    }

    pub(crate) fn sign_all(&self, decoded: &Decoded) -> Vec<Vec<u8>> {
        decoded.items.iter().map(|item| self.sign(item)).collect()
    }
}

/// The tagged hash of BIP-340.
pub(crate) fn tagged_hash(tag: &str, bytes: &[u8]) -> [u8; 32] {
    let tag = Sha256::digest(tag.as_bytes());
    Sha256::new()
        .chain_update(tag)
        .chain_update(tag)
        .chain_update(bytes)
        .finalize()
        .into()
}

/// A script that belongs to nobody here.
pub(crate) fn stranger() -> ScriptBuf {
    ScriptBuf::from_hex("00141234567890123456789012345678901234567890").unwrap()
}

pub(crate) fn output(script: ScriptBuf, sat: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(sat),
        script_pubkey: script,
    }
}

/// A PSBT that spends these outputs, with nothing but `witness_utxo` beside each input.
pub(crate) fn spend(spent: Vec<TxOut>, paid: Vec<TxOut>) -> Psbt {
    let inputs = (0..spent.len()).map(|index| TxIn {
        previous_output: OutPoint {
            txid: Txid::from_byte_array([7; 32]),
            vout: u32::try_from(index).unwrap(),
        },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    });
    let transaction = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: inputs.collect(),
        output: paid,
    };
    let mut psbt = Psbt::from_unsigned_tx(transaction).unwrap();
    for (input, output) in psbt.inputs.iter_mut().zip(spent) {
        input.witness_utxo = Some(output);
    }
    psbt
}

/// One input of the key; a payment, and change.
pub(crate) fn plain(key: &WholeKey) -> Psbt {
    let paid = vec![output(stranger(), 60_000), output(key.script(), 39_000)];
    spend(vec![output(key.script(), 100_000)], paid)
}

/// A stranger's input before and after two of the key.
pub(crate) fn mixed(key: &WholeKey) -> Psbt {
    let spent = vec![
        output(stranger(), 50_000),
        output(key.script(), 100_000),
        output(key.script(), 200_000),
        output(stranger(), 60_000),
    ];
    spend(
        spent,
        vec![output(stranger(), 250_000), output(key.script(), 150_000)],
    )
}

pub(crate) fn decode_psbt(key: &WholeKey, psbt: &Psbt) -> Result<Decoded, Undecodable> {
    decode(&Payload::psbt(psbt.serialize()), &key.facts())
}

/// A transaction that pays to these outputs, with an input so that it parses.
pub(crate) fn funding(outputs: Vec<TxOut>) -> Transaction {
    let mut psbt = spend(vec![output(stranger(), 1)], outputs);
    psbt.unsigned_tx.input[0].previous_output.txid = Txid::from_byte_array([9; 32]);
    psbt.unsigned_tx
}
