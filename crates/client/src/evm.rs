//! The verbs of EVM chains: transactions, personal messages and typed data.
//!
//! What comes back has been put together and read again: the account that alloy recovers from it
//! is the one of the certified key at the path.

use quorate_evm::{EvmRequest, SignedEvmMessage, SignedEvmTransaction};
use quorate_intent::decode;
use quorate_model::{DerivationPath, Digest, Payload, PayloadKind, Refusal};

use crate::{
    client::Client, command::CommandOptions, error::ClientError, key::CertifiedKey, signed::Signed,
    verify::VerificationError,
};

/// What a signature has become.
pub(crate) enum EvmSigned {
    /// A transaction.
    Transaction(Box<SignedEvmTransaction>),
    /// The signature of a personal message or typed data.
    Message(SignedEvmMessage),
}

/// Puts a signature where EVM chains want it; none for payloads of other kinds.
pub(crate) fn signed(
    key: &CertifiedKey,
    payload: &Payload,
    signature: &[u8],
) -> Result<Option<EvmSigned>, ClientError> {
    let kind = payload.kind;
    match kind {
        PayloadKind::EvmTransaction | PayloadKind::EvmMessage | PayloadKind::EvmTypedData => {}
        PayloadKind::Message
        | PayloadKind::Psbt
        | PayloadKind::Digest
        | PayloadKind::SolanaMessage => return Ok(None),
    }
    let from = key.evm_address(&payload.path)?;
    if kind == PayloadKind::EvmTransaction {
        let transaction = SignedEvmTransaction::assemble(&payload.bytes, signature, from)
            .map_err(VerificationError::from)?;
        return Ok(Some(EvmSigned::Transaction(Box::new(transaction))));
    }
    let digest = message_digest(key, payload)?;
    let message =
        SignedEvmMessage::check(&digest, signature, from).map_err(VerificationError::from)?;
    Ok(Some(EvmSigned::Message(message)))
}

/// The digest that is signed for a personal message or typed data.
fn message_digest(key: &CertifiedKey, payload: &Payload) -> Result<Digest, ClientError> {
    let decoded = decode(payload, &key.facts()).map_err(|error| Refusal::from(&error))?;
    let item = decoded.items.first();
    item.and_then(|item| Digest::from_slice(&item.message))
        .ok_or_else(|| nothing("the payload has no digest"))
}

impl Client {
    /// Signs a transaction as the account of a key at a path, and returns it ready to be sent.
    ///
    /// # Errors
    ///
    /// When it is from another account, is refused, or what comes back does not verify.
    pub async fn sign_evm_transaction(
        &self,
        key: &CertifiedKey,
        path: &DerivationPath,
        request: &EvmRequest,
        options: &CommandOptions,
    ) -> Result<SignedEvmTransaction, ClientError> {
        request.check_from(key.evm_address(path)?)?;
        let signed = self.sign_one(key, path, request.payload(), options).await?;
        let transaction = signed.evm_transactions().first().cloned();
        transaction.ok_or_else(|| nothing("no transaction came back"))
    }

    /// Signs a personal message (EIP-191): what `personal_sign` and `eth_sign` sign.
    ///
    /// # Errors
    ///
    /// When it is refused, or what comes back does not verify.
    pub async fn sign_evm_message(
        &self,
        key: &CertifiedKey,
        path: &DerivationPath,
        message: &[u8],
        options: &CommandOptions,
    ) -> Result<SignedEvmMessage, ClientError> {
        let payload = Payload::new(PayloadKind::EvmMessage, message);
        self.sign_one_message(key, path, payload, options).await
    }

    /// Signs typed data (EIP-712): the JSON document of `eth_signTypedData_v4`.
    ///
    /// # Errors
    ///
    /// When it is refused, or what comes back does not verify.
    pub async fn sign_typed_data(
        &self,
        key: &CertifiedKey,
        path: &DerivationPath,
        document: &[u8],
        options: &CommandOptions,
    ) -> Result<SignedEvmMessage, ClientError> {
        let payload = Payload::new(PayloadKind::EvmTypedData, document);
        self.sign_one_message(key, path, payload, options).await
    }

    async fn sign_one_message(
        &self,
        key: &CertifiedKey,
        path: &DerivationPath,
        payload: Payload,
        options: &CommandOptions,
    ) -> Result<SignedEvmMessage, ClientError> {
        let signed = self.sign_one(key, path, payload, options).await?;
        let message = signed.evm_messages().first().copied();
        message.ok_or_else(|| nothing("no signature came back"))
    }

    async fn sign_one(
        &self,
        key: &CertifiedKey,
        path: &DerivationPath,
        payload: Payload,
        options: &CommandOptions,
    ) -> Result<Signed, ClientError> {
        self.sign(key, vec![payload.at(path.clone())], options)
            .await
    }
}

fn nothing(problem: &'static str) -> ClientError {
    VerificationError::OtherOutcome(problem).into()
}

#[cfg(test)]
mod tests;
