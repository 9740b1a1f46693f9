//! The inputs of a PSBT that belong to the key: what may stand beside them, and what is signed.

use bitcoin::{
    EcdsaSighashType, TapSighashType, Transaction, TxOut,
    hashes::Hash as _,
    psbt,
    sighash::{Prevouts, SighashCache},
};

use quorate_model::address::AddressType;

use super::{
    MAX_LEGACY_BYTES,
    owners::{Owner, Owners},
};
use crate::{
    decode::{ItemTweak, SigningItem},
    receiver::{EcdsaKey, Receiver},
    taproot::TaprootKey,
    undecodable::Undecodable,
};

/// An input of the key with what is to be signed for it.
#[derive(Debug)]
pub(crate) struct OwnInput {
    pub(crate) index: usize,
    pub(crate) owner: Owner,
    pub(crate) sighash_type: WholeSighash,
    pub(crate) sighash: [u8; 32],
}

/// The sighash types that leave nothing of the transaction open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WholeSighash {
    /// Of taproot only.
    Default,
    /// Of every input.
    All,
}

impl WholeSighash {
    pub(crate) fn of_taproot(self) -> TapSighashType {
        match self {
            Self::Default => TapSighashType::Default,
            Self::All => TapSighashType::All,
        }
    }
}

impl OwnInput {
    pub(super) fn item(&self) -> SigningItem {
        SigningItem {
            message: self.sighash.to_vec(),
            path: self.owner.path.clone(),
            tweak: match self.owner.key {
                Receiver::Taproot(_) => ItemTweak::TaprootKeyPath,
                Receiver::Ecdsa(_) => ItemTweak::None,
            },
            input: u32::try_from(self.index).ok(),
        }
    }
}

/// The inputs that belong to the key, each with its owner and sighash type.
pub(super) fn own_inputs(
    psbt: &psbt::Psbt,
    owners: &Owners,
) -> Result<Vec<(usize, Owner, WholeSighash)>, Undecodable> {
    let mut own = Vec::new();
    for (index, (input, owner)) in psbt.inputs.iter().zip(&owners.inputs).enumerate() {
        let Some(owner) = owner else { continue };
        check_unsigned(index, input, owner)?;
        let sighash_type = match &owner.key {
            Receiver::Taproot(key) => {
                check_key_path(index, input, key)?;
                taproot_sighash_type(index, input)?
            }
            Receiver::Ecdsa(key) => {
                check_scripts(index, input, owner.form, key)?;
                if owner.form == AddressType::P2pkh {
                    check_legacy(index, input, &psbt.unsigned_tx)?;
                }
                ecdsa_sighash_type(index, input)?
            }
        };
        own.push((index, owner.clone(), sighash_type));
    }
    Ok(own)
}

fn check_unsigned(index: usize, input: &psbt::Input, owner: &Owner) -> Result<(), Undecodable> {
    let partial = match &owner.key {
        Receiver::Taproot(_) => false,
        Receiver::Ecdsa(key) => input.partial_sigs.contains_key(&key.public_key.into()),
    };
    let fields = [
        (input.tap_key_sig.is_some(), "tap_key_sig"),
        (partial, "partial_sig"),
        (input.final_script_witness.is_some(), "final_script_witness"),
        (input.final_script_sig.is_some(), "final_script_sig"),
    ];
    match fields.into_iter().find(|(set, _)| *set) {
        Some((_, field)) => Err(Undecodable::AlreadySigned {
            input: index,
            field,
        }),
        None => Ok(()),
    }
}

/// The script is that of the key without a script tree; whatever says otherwise is a trap or a
/// mistake, and both are worth an error.
fn check_key_path(index: usize, input: &psbt::Input, key: &TaprootKey) -> Result<(), Undecodable> {
    let leaves = input
        .tap_key_origins
        .values()
        .any(|(leaves, _)| !leaves.is_empty());
    let fields = [
        (input.tap_merkle_root.is_some(), "tap_merkle_root"),
        (!input.tap_scripts.is_empty(), "tap_leaf_script"),
        (!input.tap_script_sigs.is_empty(), "tap_script_sig"),
        (leaves, "tap_bip32_derivation with leaves"),
    ];
    if let Some((_, field)) = fields.into_iter().find(|(set, _)| *set) {
        return Err(Undecodable::ScriptPath {
            input: index,
            field,
        });
    }
    if input
        .tap_internal_key
        .is_some_and(|claimed| claimed != key.internal)
    {
        let expected = key.internal.to_string();
        return Err(Undecodable::InternalKeyMismatch {
            input: index,
            expected,
        });
    }
    Ok(())
}

/// The scripts beside an ECDSA input say what its own script says already, or nothing.
fn check_scripts(
    index: usize,
    input: &psbt::Input,
    form: AddressType,
    key: &EcdsaKey,
) -> Result<(), Undecodable> {
    let redeem = (form == AddressType::P2shP2wpkh).then_some(&key.p2wpkh);
    let contradicts = |claimed: Option<&_>| claimed.is_some() && claimed != redeem;
    let fields = [
        (contradicts(input.redeem_script.as_ref()), "redeem_script"),
        (input.witness_script.is_some(), "witness_script"),
    ];
    match fields.into_iter().find(|(set, _)| *set) {
        Some((_, field)) => Err(Undecodable::ScriptMismatch {
            input: index,
            field,
            form,
        }),
        None => Ok(()),
    }
}

/// The hash of before segwit commits to no amount, and takes as long as the whole transaction for
/// each input.
fn check_legacy(
    index: usize,
    input: &psbt::Input,
    transaction: &Transaction,
) -> Result<(), Undecodable> {
    if input.non_witness_utxo.is_none() {
        return Err(Undecodable::NoPrevious { input: index });
    }
    let found = transaction.base_size();
    if found > MAX_LEGACY_BYTES {
        return Err(Undecodable::LegacyTooLarge { found });
    }
    Ok(())
}

fn taproot_sighash_type(index: usize, input: &psbt::Input) -> Result<WholeSighash, Undecodable> {
    let Some(asked) = input.sighash_type else {
        return Ok(WholeSighash::Default);
    };
    [WholeSighash::Default, WholeSighash::All]
        .into_iter()
        .find(|allowed| psbt::PsbtSighashType::from(allowed.of_taproot()) == asked)
        .ok_or(Undecodable::SighashType {
            input: index,
            found: asked.to_u32(),
        })
}

fn ecdsa_sighash_type(index: usize, input: &psbt::Input) -> Result<WholeSighash, Undecodable> {
    match input.sighash_type {
        Some(asked) if asked != EcdsaSighashType::All.into() => {
            Err(Undecodable::EcdsaSighashType {
                input: index,
                found: asked.to_u32(),
            })
        }
        Some(_) | None => Ok(WholeSighash::All),
    }
}

/// The digests to sign: of BIP-341 without annex, of BIP-143, or of before segwit.
pub(crate) fn sighashes(
    transaction: &Transaction,
    prevouts: &[TxOut],
    types: Vec<(usize, Owner, WholeSighash)>,
) -> Vec<OwnInput> {
    let mut cache = SighashCache::new(transaction);
    types
        .into_iter()
        .map(|(index, owner, sighash_type)| {
            #[expect(
                clippy::expect_used,
                reason = "there is a previous output for each input, and the index is one of them"
            )]
            let sighash = sighash(&mut cache, prevouts, index, &owner, sighash_type)
                .expect("the input exists and all previous outputs are given");
            OwnInput {
                index,
                owner,
                sighash_type,
                sighash,
            }
        })
        .collect()
}

/// None when there is no such input.
fn sighash(
    cache: &mut SighashCache<&Transaction>,
    prevouts: &[TxOut],
    index: usize,
    owner: &Owner,
    sighash_type: WholeSighash,
) -> Option<[u8; 32]> {
    let key = match &owner.key {
        Receiver::Taproot(_) => {
            let (prevouts, sighash_type) = (Prevouts::All(prevouts), sighash_type.of_taproot());
            let sighash = cache.taproot_key_spend_signature_hash(index, &prevouts, sighash_type);
            return Some(sighash.ok()?.to_byte_array());
        }
        Receiver::Ecdsa(key) => key,
    };
    let (spent, all) = (prevouts.get(index)?, EcdsaSighashType::All);
    match owner.form {
        AddressType::P2wpkh | AddressType::P2shP2wpkh => {
            let sighash = cache.p2wpkh_signature_hash(index, &key.p2wpkh, spent.value, all);
            Some(sighash.ok()?.to_byte_array())
        }
        AddressType::P2pkh | AddressType::P2tr => {
            let sighash = cache.legacy_signature_hash(index, &spent.script_pubkey, all.to_u32());
            Some(sighash.ok()?.to_byte_array())
        }
    }
}
