//! `quorate sign`: signatures.

mod digest;
mod evm_message;
mod evm_tx;
mod message;
mod psbt;
mod solana;
mod typed_data;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_client::{
    CertifiedKey, ClientError, Signed, SignedEvmMessage, audit,
    model::{DerivationPath, NodeId, Payload, operation::CommandState, roster::Role},
};
use serde_json::{Value, json};

use crate::{
    args::{KeyArg, Submission},
    command::{self, command::print_view, key::life::way_out},
    context::Context,
    error::CliError,
    input,
    output::{self, Table},
};

/// Sign with a key.
#[derive(Debug, Subcommand)]
pub(crate) enum Sign {
    /// Sign exact bytes
    Message(message::Message),
    /// Sign the inputs of a PSBT that belong to the key
    Psbt(psbt::Psbt),
    /// Sign a digest of 32 bytes
    Digest(digest::Digest),
    /// Sign a Solana message that moves what it shows
    Solana(solana::Solana),
    /// Sign an EVM transaction that moves what it shows
    EvmTx(evm_tx::EvmTx),
    /// Sign a personal message of EVM chains (EIP-191)
    EvmMessage(evm_message::EvmMessage),
    /// Sign typed data of EVM chains (EIP-712)
    TypedData(typed_data::TypedData),
}

/// What every kind of signing understands.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Also write the receipts of the signers, for `quorate audit verify`
    #[arg(long, value_name = "FILE")]
    receipts: Option<PathBuf>,
    #[command(flatten)]
    submission: Submission,
}

impl Sign {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Message(message) => message.run(context).await,
            Self::Psbt(psbt) => psbt.run(context).await,
            Self::Digest(digest) => digest.run(context).await,
            Self::Solana(solana) => solana.run(context).await,
            Self::EvmTx(transaction) => transaction.run(context).await,
            Self::EvmMessage(message) => message.run(context).await,
            Self::TypedData(data) => data.run(context).await,
        }
    }
}

/// What is signed of a key whose time is over.
#[derive(Debug, Args)]
pub(crate) struct Evacuation {
    /// Sign as an admin with a deactivated or compromised key, to the destinations that its creation
    /// names. As many admins as the roster's admin quorum must approve it
    #[arg(long, requires = "reason")]
    evacuate: bool,
    /// With --evacuate, why, in one line
    #[arg(long, value_name = "TEXT", requires = "evacuate")]
    reason: Option<String>,
}

impl Evacuation {
    fn reason(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.evacuate)
    }
}

/// Has one payload signed. None when there is nothing more to tell than was printed.
async fn sign(
    context: &Context,
    key: &KeyArg,
    payload: Payload,
    common: &Common,
) -> Result<Option<Signed>, CliError> {
    sign_or_evacuate(context, key, payload, common, None).await
}

/// The same, for a key that is evacuated with the reason.
async fn sign_or_evacuate(
    context: &Context,
    key: &KeyArg,
    payload: Payload,
    common: &Common,
    evacuation: Option<&str>,
) -> Result<Option<Signed>, CliError> {
    sign_checked(context, key, payload, common, evacuation, |_| Ok(())).await
}

/// The same, after a look at the key.
async fn sign_checked(
    context: &Context,
    key: &KeyArg,
    payload: Payload,
    common: &Common,
    evacuation: Option<&str>,
    check: impl FnOnce(&CertifiedKey) -> Result<(), ClientError>,
) -> Result<Option<Signed>, CliError> {
    if let Some(receipts) = &common.receipts {
        input::check_writable(receipts)?;
    }
    let role = evacuation.map_or(Role::Client, |_| Role::Admin);
    let client = context.connect(role).await?;
    let key = client.key(&key.reference()).await?;
    check(&key)?;
    if evacuation.is_none() && key.check_evacuates().is_ok() {
        let told = way_out(key.life(), &key.record().name);
        output::progress(&format!("note: its time is over; {told}"));
    }
    let prepared = command::prepare(context, &client, &common.submission, |options| {
        let payloads = vec![payload.clone()];
        match evacuation {
            None => client.prepare_sign(&key, payloads, options),
            Some(reason) => client.prepare_evacuation(&key, payloads, reason, options),
        }
    })
    .await?;
    if common.submission.validate_only {
        command::validate(context, &client, &prepared).await?;
        return Ok(None);
    }
    let view = command::submit(context, &client, &common.submission, &prepared).await?;
    if common.submission.no_wait {
        print_view(context, &view)?;
        return Ok(None);
    }
    let view = client.follow(view, &mut |_| {}).await?;
    if view.state == CommandState::AwaitingEndorsement {
        output::progress(&format!(
            "for the signature, run this command again with --command-id {} when it is approved",
            view.id
        ));
    }
    command::check_awaited(context, &view, "more admins")?;
    let view = client.wait(view, &mut |_| {}).await?;
    let signed = client.signed(&key, &prepared, &view).await?;
    if let Some(path) = &common.receipts {
        let mut bytes = Vec::new();
        let roster = client.roster().hash();
        audit::write_signatures(&mut bytes, roster, &prepared, signed.outcome())?;
        input::write_outcome(path, &bytes, signed.command())?;
    }
    Ok(Some(signed))
}

/// What signing came to, for programs. A child that signed is named with its public key.
fn signed_json(signed: &Signed, path: &DerivationPath) -> Result<Value, CliError> {
    let outcome = signed.outcome();
    let signatures: Vec<_> = outcome.signatures.iter().map(hex::encode).collect();
    let mut value = json!({
        "command_id": signed.command().to_string(),
        "key": outcome.key,
        "key_id": signed.key().record().id(),
        "scheme": outcome.scheme,
        "public_key": hex::encode(&signed.key().record().group_key),
        "signature": signatures.first(),
        "signatures": signatures,
        "signers": outcome.signers,
        "epoch": outcome.epoch,
    });
    if let Some(object) = value.as_object_mut()
        && !path.is_root()
    {
        let child = signed.key().child_key(path).map_err(ClientError::from)?;
        object.insert("path".to_owned(), path.to_string().into());
        object.insert("child_public_key".to_owned(), hex::encode(child).into());
    }
    Ok(value)
}

/// What signing came to, for people.
fn signed_table(signed: &Signed, path: &DerivationPath) -> Result<Table, CliError> {
    let outcome = signed.outcome();
    let signers: Vec<_> = outcome.signers.iter().map(NodeId::as_str).collect();
    let mut table = Table::default();
    for signature in &outcome.signatures {
        table.pair("signature", hex::encode(signature));
    }
    table.pair("key", &outcome.key);
    table.pair("key id", signed.key().record().id());
    table.pair("scheme", outcome.scheme);
    table.pair("public key", hex::encode(&signed.key().record().group_key));
    if !path.is_root() {
        table.pair("path", path);
        let child = signed.key().child_key(path).map_err(ClientError::from)?;
        table.pair("public key of the child", hex::encode(child));
    }
    table.pair("signers", signers.join(", "));
    table.pair("epoch", outcome.epoch);
    table.pair("command", signed.command());
    Ok(table)
}

/// Prints the signature of a personal message or typed data, in the form of EVM chains.
fn print_evm_message(
    context: &Context,
    signed: &Signed,
    path: &DerivationPath,
) -> Result<(), CliError> {
    let message: &SignedEvmMessage = signed
        .evm_messages()
        .first()
        .ok_or_else(|| CliError::Unverified("no signature came back".to_owned()))?;
    let text = format!("0x{}", hex::encode(message.signature().to_bytes()));
    let mut value = signed_json(signed, path)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("signature".to_owned(), json!(text));
        object.insert("from".to_owned(), json!(message.from()));
    }
    let mut table = Table::default();
    table.pair("signature (r, s, v)", text);
    table.pair("from", message.from());
    table.append(signed_table(signed, path)?);
    output::print(context.format(), &value, &table)
}
