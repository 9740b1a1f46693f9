//! The transaction of the demonstration: a taproot spend of a coin that does not exist, built and
//! judged with the `bitcoin` crate and libsecp256k1, which have no part in signing.

use bitcoin::{
    Address, Amount, KnownHrp, OutPoint, Psbt, PublicKey, ScriptBuf, Sequence, TapSighashType,
    Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness,
    absolute::LockTime,
    hashes::Hash as _,
    secp256k1::{Message, Secp256k1},
    sighash::{Prevouts, SighashCache},
    transaction::Version,
};

use super::DevError;

const FUNDS: Amount = Amount::from_sat(1_000_000);
const PAYMENT: Amount = Amount::from_sat(600_000);
const CHANGE: Amount = Amount::from_sat(398_500);

/// A spend of the key's own coin to a stranger, with change.
#[derive(Debug)]
pub(super) struct Spend {
    own: Address,
    group_key: PublicKey,
    psbt: Psbt,
}

fn wrong(message: impl std::fmt::Display) -> DevError {
    DevError::Demonstration(message.to_string())
}

impl Spend {
    /// Builds the spend; `seed` makes the coin another one each time.
    pub(super) fn new(group_key: &[u8], seed: [u8; 32]) -> Result<Self, DevError> {
        let secp = Secp256k1::verification_only();
        let group_key = PublicKey::from_slice(group_key).map_err(wrong)?;
        let internal = group_key.inner.x_only_public_key().0;
        let own = Address::p2tr(&secp, internal, None, KnownHrp::Regtest);
        let stranger = ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(b"a stranger"));
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new(Txid::from_byte_array(seed), 0),
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            }],
            output: vec![
                TxOut {
                    value: PAYMENT,
                    script_pubkey: stranger,
                },
                TxOut {
                    value: CHANGE,
                    script_pubkey: own.script_pubkey(),
                },
            ],
        };
        let mut psbt = Psbt::from_unsigned_tx(transaction).map_err(wrong)?;
        let input = psbt
            .inputs
            .first_mut()
            .ok_or_else(|| wrong("the spend has no input"))?;
        input.witness_utxo = Some(TxOut {
            value: FUNDS,
            script_pubkey: own.script_pubkey(),
        });
        input.tap_internal_key = Some(internal);
        Ok(Self {
            own,
            group_key,
            psbt,
        })
    }

    /// The bytes to be signed.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.psbt.serialize()
    }

    /// The address that the coin lies at, on a private network.
    pub(super) fn address(&self) -> String {
        self.own.to_string()
    }

    /// What the transaction does, in words.
    pub(super) fn describe(&self) -> String {
        let fee = self.psbt.fee().unwrap_or(Amount::ZERO);
        format!(
            "{} sat in, {} sat to a stranger, {} sat change, {} sat fee",
            FUNDS.to_sat(),
            PAYMENT.to_sat(),
            CHANGE.to_sat(),
            fee.to_sat()
        )
    }

    /// Verifies a signed PSBT as the network would: its own hash of the transaction, its own tweak
    /// of the key, its own curve. Returns the signature.
    pub(super) fn verify(&self, signed: &[u8]) -> Result<Vec<u8>, DevError> {
        let secp = Secp256k1::verification_only();
        let signed = Psbt::deserialize(signed).map_err(wrong)?;
        if signed.unsigned_tx != self.psbt.unsigned_tx {
            return Err(wrong("another transaction came back"));
        }
        let input = signed
            .inputs
            .first()
            .ok_or_else(|| wrong("the spend has no input"))?;
        let signature = input
            .tap_key_sig
            .ok_or_else(|| wrong("no signature came back"))?;
        let prevouts = [TxOut {
            value: FUNDS,
            script_pubkey: self.own.script_pubkey(),
        }];
        let hash = SighashCache::new(&self.psbt.unsigned_tx)
            .taproot_key_spend_signature_hash(0, &Prevouts::All(&prevouts), TapSighashType::Default)
            .map_err(wrong)?;
        let internal = self.group_key.inner.x_only_public_key().0;
        let (output, _) = bitcoin::key::TapTweak::tap_tweak(internal, &secp, None);
        let message = Message::from_digest(hash.to_byte_array());
        secp.verify_schnorr(
            &signature.signature,
            &message,
            &output.to_x_only_public_key(),
        )
        .map_err(|_| wrong("the signature does not verify"))?;
        Ok(signature.signature.serialize().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::{
        key::{Keypair, TapTweak as _},
        secp256k1::SecretKey,
        taproot,
    };

    use super::*;

    #[test]
    fn a_good_signature_is_accepted_and_a_changed_one_is_not() {
        let secp = Secp256k1::new();
        let pair = Keypair::from_secret_key(&secp, &SecretKey::from_slice(&[7; 32]).unwrap());
        let spend = Spend::new(&pair.public_key().serialize(), [1; 32]).unwrap();
        let mut psbt = Psbt::deserialize(&spend.to_bytes()).unwrap();
        let prevouts = [psbt.inputs[0].witness_utxo.clone().unwrap()];
        let hash = SighashCache::new(&psbt.unsigned_tx)
            .taproot_key_spend_signature_hash(0, &Prevouts::All(&prevouts), TapSighashType::Default)
            .unwrap();
        let message = Message::from_digest(hash.to_byte_array());
        let tweaked = pair.tap_tweak(&secp, None).to_keypair();
        let sign = |pair| taproot::Signature {
            signature: secp.sign_schnorr_no_aux_rand(&message, pair),
            sighash_type: TapSighashType::Default,
        };

        assert!(spend.verify(&psbt.serialize()).is_err(), "unsigned");
        psbt.inputs[0].tap_key_sig = Some(sign(&pair));
        assert!(
            spend.verify(&psbt.serialize()).is_err(),
            "signed with the untweaked key"
        );
        psbt.inputs[0].tap_key_sig = Some(sign(&tweaked));
        assert_eq!(spend.verify(&psbt.serialize()).unwrap().len(), 64);
        psbt.unsigned_tx.output[0].value += Amount::ONE_SAT;
        assert!(
            spend.verify(&psbt.serialize()).is_err(),
            "another transaction"
        );
    }
}
