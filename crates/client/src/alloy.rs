//! A key of the cluster as a signer of alloy.
//!
//! ```no_run
//! # async fn pay(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use alloy_network::EthereumWallet;
//! use quorate_client::alloy::QuorateSigner;
//!
//! let key = client.key(&"payout".parse()?).await?;
//! let signer = QuorateSigner::new(client, key, "m/0/5".parse()?)?;
//! let wallet = EthereumWallet::new(signer);
//! # let _ = wallet;
//! # Ok(())
//! # }
//! ```
//!
//! Everything goes to the nodes as what it is: a transaction as its unsigned bytes, a message as
//! the message, typed data as their document. So every node decodes what it signs. A bare hash is
//! signed only by a key that was created with the purpose `digests`.

mod typed_data;

use alloy_consensus::SignableTransaction;
use alloy_dyn_abi::TypedData;
use alloy_network::TxSigner;
use alloy_primitives::{Address, B256, ChainId, Signature, U256};
use alloy_signer::{Error, Result, Signer};
use alloy_sol_types::{Eip712Domain, SolStruct};
use async_trait::async_trait;
use quorate_evm::{EvmSignature, SignedEvmMessage};
use quorate_intent::{EvmAddress, Facts, inspect};
use quorate_model::{DerivationPath, Digest, Payload, PayloadKind, Refusal};

use crate::{
    client::Client, command::CommandOptions, error::ClientError, key::CertifiedKey, signed::Signed,
    verify::VerificationError,
};

/// A child of a key, which signs for programs that are written with alloy. Clones share the
/// connection.
///
/// Each call makes a command of its own with a fresh id, so that a call that is repeated is signed
/// again.
#[derive(Clone, Debug)]
pub struct QuorateSigner {
    client: Client,
    key: CertifiedKey,
    path: DerivationPath,
    account: EvmAddress,
    chain_id: Option<ChainId>,
}

impl QuorateSigner {
    /// A signer for the account of a key at a path.
    ///
    /// # Errors
    ///
    /// When the key has another scheme than `ecdsa-secp256k1`.
    pub fn new(
        client: Client,
        key: CertifiedKey,
        path: DerivationPath,
    ) -> std::result::Result<Self, ClientError> {
        Ok(Self {
            account: key.evm_address(&path)?,
            client,
            key,
            path,
            chain_id: None,
        })
    }

    /// The key.
    pub fn key(&self) -> &CertifiedKey {
        &self.key
    }

    /// Which child of it signs.
    pub fn path(&self) -> &DerivationPath {
        &self.path
    }

    async fn sign(&self, payload: Payload) -> Result<Signed> {
        let payloads = vec![payload.at(self.path.clone())];
        let options = CommandOptions::default();
        let signed = self.client.sign(&self.key, payloads, &options);
        signed.await.map_err(Error::other)
    }

    async fn sign_message_payload(&self, payload: Payload) -> Result<Signature> {
        let signed = self.sign(payload).await?;
        let message = signed.evm_messages().first();
        message
            .map(|message| of_evm(message.signature()))
            .ok_or_else(nothing)
    }

    /// Signs a document after a check that it means here what it means to alloy.
    async fn sign_document(&self, document: Vec<u8>, expected: B256) -> Result<Signature> {
        let payload = Payload::new(PayloadKind::EvmTypedData, document);
        let facts = inspect(&payload).map_err(|error| refused(&Refusal::from(&error)))?;
        let Facts::EvmTypedData(facts) = facts else {
            return Err(nothing());
        };
        if facts.digest != Digest::new(expected.0) {
            return Err(Error::message(
                "the typed data have another digest here than in alloy and are not signed",
            ));
        }
        self.sign_message_payload(payload).await
    }
}

#[async_trait]
impl Signer<Signature> for QuorateSigner {
    /// Signs a bare hash, whose meaning no node can know.
    ///
    /// # Errors
    ///
    /// Unless the key was created with the purpose `digests`.
    async fn sign_hash(&self, hash: &B256) -> Result<Signature> {
        let signed = self.sign(Payload::digest(hash.0)).await?;
        let signature = signed.outcome().signatures.first().ok_or_else(nothing)?;
        let checked = SignedEvmMessage::check(&Digest::new(hash.0), signature, self.account)
            .map_err(|error| Error::other(VerificationError::from(error)))?;
        Ok(of_evm(checked.signature()))
    }

    async fn sign_message(&self, message: &[u8]) -> Result<Signature> {
        let payload = Payload::new(PayloadKind::EvmMessage, message);
        self.sign_message_payload(payload).await
    }

    async fn sign_typed_data<T: SolStruct + Send + Sync>(
        &self,
        payload: &T,
        domain: &Eip712Domain,
    ) -> Result<Signature> {
        let expected = payload.eip712_signing_hash(domain);
        let document = typed_data::document(&typed_data::of_struct(payload, domain)?)?;
        self.sign_document(document, expected).await
    }

    async fn sign_dynamic_typed_data(&self, payload: &TypedData) -> Result<Signature> {
        let expected = payload.eip712_signing_hash()?;
        self.sign_document(typed_data::document(payload)?, expected)
            .await
    }

    fn address(&self) -> Address {
        Address::from(*self.account.as_bytes())
    }

    fn chain_id(&self) -> Option<ChainId> {
        self.chain_id
    }

    fn set_chain_id(&mut self, chain_id: Option<ChainId>) {
        self.chain_id = chain_id;
    }
}

#[async_trait]
impl TxSigner<Signature> for QuorateSigner {
    fn address(&self) -> Address {
        Signer::address(self)
    }

    async fn sign_transaction(
        &self,
        tx: &mut dyn SignableTransaction<Signature>,
    ) -> Result<Signature> {
        if let Some(signer) = self.chain_id
            && !tx.set_chain_id_checked(signer)
        {
            let tx = tx.chain_id().unwrap_or_default();
            return Err(Error::TransactionChainIdMismatch { signer, tx });
        }
        let payload = Payload::new(PayloadKind::EvmTransaction, tx.encoded_for_signing());
        let signed = self.sign(payload).await?;
        let transaction = signed.evm_transactions().first();
        transaction
            .map(|transaction| of_evm(transaction.signature()))
            .ok_or_else(nothing)
    }
}

fn of_evm(signature: &EvmSignature) -> Signature {
    let number = |bytes: &[u8; 32]| U256::from_be_bytes(*bytes);
    let (r, s) = (number(signature.r()), number(signature.s()));
    Signature::new(r, s, signature.y_parity())
}

fn refused(refusal: &Refusal) -> Error {
    Error::other(ClientError::Refused(refusal.clone()))
}

fn nothing() -> Error {
    Error::other(VerificationError::OtherOutcome(
        "it holds nothing for the payload",
    ))
}

#[cfg(test)]
mod tests;
