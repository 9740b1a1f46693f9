//! Signatures that were verified, with what they were put into.

use quorate_evm::{SignedEvmMessage, SignedEvmTransaction};
use quorate_intent::{Finished, decode_all, finish};
use quorate_model::{
    CommandId, Payload, Refusal,
    command::Sign,
    operation::{CommandOutcome, CommandView, SignOutcome},
};

use crate::{
    command::Prepared,
    error::ClientError,
    evm::{self, EvmSigned},
    key::CertifiedKey,
    verify::{self, ReceiptChecker, VerificationError},
};

/// The verified result of a command that signs.
#[derive(Clone, Debug)]
pub struct Signed {
    key: CertifiedKey,
    command: CommandId,
    outcome: SignOutcome,
    finished: Vec<Finished>,
    evm: Evm,
}

impl Signed {
    /// Verifies everything that came back against what was asked: each signature under the
    /// certified key over messages decoded here, and each receipt under the roster.
    pub(crate) fn verify(
        key: &CertifiedKey,
        prepared: &Prepared,
        view: &CommandView,
        receipts: &ReceiptChecker,
    ) -> Result<Self, ClientError> {
        let sign = prepared.command().body.signs();
        let sign = sign.ok_or(VerificationError::OtherOutcome("the command does not sign"))?;
        let Some(CommandOutcome::Signed(outcome)) = &view.outcome else {
            return Err(VerificationError::OtherOutcome("it holds no signatures").into());
        };
        if sign.key != key.record().name || sign.key_id != key.record().id() {
            return Err(VerificationError::OtherKey(sign.key.clone()).into());
        }
        let decoded = decode_all(&sign.payloads, &key.facts())
            .map_err(|error| ClientError::Refused(Refusal::from(&error)))?;
        let items: Vec<_> = decoded.iter().flat_map(|payload| &payload.items).collect();
        verify::outcome(
            key.record(),
            key.verifiers(),
            &prepared.digest(),
            &items,
            outcome,
            receipts,
        )?;
        let counts: Vec<usize> = decoded.iter().map(|payload| payload.items.len()).collect();
        let finished = finish_all(key, sign, &counts, &outcome.signatures)?;
        let evm = Evm::of(key, &sign.payloads, &finished)?;
        let outcome = outcome.clone();
        Ok(Self {
            key: key.clone(),
            command: prepared.id(),
            outcome,
            finished,
            evm,
        })
    }

    /// The key.
    pub fn key(&self) -> &CertifiedKey {
        &self.key
    }

    /// The command.
    pub fn command(&self) -> CommandId {
        self.command
    }

    /// Signatures, signers and receipts.
    pub fn outcome(&self) -> &SignOutcome {
        &self.outcome
    }

    /// What each payload became, in order.
    pub fn finished(&self) -> &[Finished] {
        &self.finished
    }

    /// The EVM transactions with their signatures, in order. Another library has recovered the
    /// account of the key from each.
    pub fn evm_transactions(&self) -> &[SignedEvmTransaction] {
        &self.evm.transactions
    }

    /// The signatures of personal messages and typed data, in order. Another library has recovered
    /// the account of the key from each.
    pub fn evm_messages(&self) -> &[SignedEvmMessage] {
        &self.evm.messages
    }

    /// The PSBTs with their signatures, in order.
    pub fn psbts(&self) -> Vec<&[u8]> {
        let mut psbts = Vec::new();
        for finished in &self.finished {
            if let Finished::Psbt(bytes) = finished {
                psbts.push(bytes.as_slice());
            }
        }
        psbts
    }
}

/// What was signed for EVM chains.
#[derive(Clone, Debug, Default)]
struct Evm {
    transactions: Vec<SignedEvmTransaction>,
    messages: Vec<SignedEvmMessage>,
}

impl Evm {
    fn of(
        key: &CertifiedKey,
        payloads: &[Payload],
        finished: &[Finished],
    ) -> Result<Self, ClientError> {
        let mut evm = Self::default();
        for (payload, finished) in payloads.iter().zip(finished) {
            let Finished::Signature(signature) = finished else {
                continue;
            };
            match evm::signed(key, payload, signature)? {
                Some(EvmSigned::Transaction(transaction)) => evm.transactions.push(*transaction),
                Some(EvmSigned::Message(message)) => evm.messages.push(message),
                None => {}
            }
        }
        Ok(evm)
    }
}

fn finish_all(
    key: &CertifiedKey,
    sign: &Sign,
    counts: &[usize],
    signatures: &[Vec<u8>],
) -> Result<Vec<Finished>, ClientError> {
    let mut rest = signatures;
    let finish_one = |(payload, count): (&Payload, &usize)| {
        let (own, others) =
            rest.split_at_checked(*count)
                .ok_or(VerificationError::OtherOutcome(
                    "it holds too few signatures",
                ))?;
        rest = others;
        finish(payload, &key.facts(), own)
            .map_err(|error| VerificationError::Unfinished(error.to_string()))
    };
    Ok(sign
        .payloads
        .iter()
        .zip(counts)
        .map(finish_one)
        .collect::<Result<_, _>>()?)
}
