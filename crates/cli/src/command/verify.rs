//! `quorate verify`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use quorate_client::{
    CertifiedKey, ClientError, KeyReference, Proven,
    model::{
        DerivationPath, KeyId, KeyName, KeyRecord, Payload, PayloadKind, Scheme,
        certificate::Certificate,
    },
};
use serde_json::{Value, json};

use super::key::{
    destroy::{count_json, count_rows, method_rows, receipts_json, verdict},
    life::{planned_json, planned_rows},
};
use crate::{
    args::RosterArg,
    context::Context,
    error::{CliError, chain},
    input,
    output::{self, Table},
};

/// Check a signature under a key's certified public key, or a certificate offline.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Verify {
    #[command(subcommand)]
    what: Option<What>,
    /// Name of the key
    #[arg(required = true)]
    name: Option<KeyName>,
    /// Insist on the key with this id, as `key show` prints it; a name is only an alias
    #[arg(long, value_name = "HEX")]
    key_id: Option<KeyId>,
    /// File with what was signed, - for standard input
    #[arg(long, value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    /// What the file holds. A digest is 32 bytes, binary or in hex
    #[arg(long, value_enum, default_value_t = Kind::Message)]
    kind: Kind,
    /// Child of the key that signed, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    /// The signature in hex, with or without 0x
    #[arg(long, value_name = "HEX", value_parser = hex_bytes, required = true)]
    signature: Option<HexBytes>,
}

/// What is verified beside signatures.
#[derive(Debug, Subcommand)]
enum What {
    /// Check a certificate of creation, epoch or destruction, without any machine of the cluster
    Certificate(OfCertificate),
}

/// A certificate that is to be checked.
#[derive(Debug, Args)]
struct OfCertificate {
    /// File that `quorate key certificates` or `key destroy --out` wrote
    file: PathBuf,
    #[command(flatten)]
    roster: RosterArg,
}

/// A signature that is to be checked.
struct OfSignature<'a> {
    key: KeyReference,
    file: &'a Path,
    kind: Kind,
    path: &'a DerivationPath,
    signature: &'a [u8],
}

/// What was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Exact bytes.
    Message,
    /// A bare digest.
    Digest,
    /// A personal message (EIP-191).
    EvmMessage,
    /// Typed data (EIP-712).
    #[value(alias = "evm-typed-data")]
    TypedData,
}

/// Bytes given in hex.
#[derive(Clone, Debug)]
struct HexBytes(Vec<u8>);

fn hex_bytes(text: &str) -> Result<HexBytes, String> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text))
        .map(HexBytes)
        .map_err(|error| error.to_string())
}

impl Verify {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        if let Some(What::Certificate(certificate)) = &self.what {
            return certificate.run(context);
        }
        let (Some(name), Some(file), Some(signature)) = (&self.name, &self.file, &self.signature)
        else {
            return Err(CliError::Usage(
                "name a key with --file and --signature, or a certificate".to_owned(),
            ));
        };
        let signature = OfSignature {
            key: KeyReference {
                name: name.clone(),
                id: self.key_id,
            },
            file,
            kind: self.kind,
            path: &self.path,
            signature: &signature.0,
        };
        signature.run(context).await
    }
}

impl OfCertificate {
    fn run(&self, context: &Context) -> Result<(), CliError> {
        let roster = self.roster.resolve(context)?;
        let unverified =
            |what: String| CliError::Unverified(format!("{}: {what}", self.file.display()));
        let certificate = Certificate::from_file(&input::read(&self.file)?)
            .map_err(|error| unverified(error.to_string()))?;
        let proven = quorate_client::verify_certificate(&certificate, &roster)
            .map_err(|error| unverified(chain(&error)))?;
        let mut table = Table::default();
        table.pair("certificate", "valid");
        match &proven {
            Proven::Key {
                record,
                possession,
                life,
                created,
            } => {
                key_rows(&mut table, record);
                planned_rows(&mut table, life, *created);
                let proof = if *possession {
                    "every share is proven"
                } else {
                    "shares not proven by this file"
                };
                table.pair("possession", proof);
            }
            Proven::Destruction { record, count } => {
                key_rows(&mut table, record);
                count_rows(&mut table, count);
                if let Certificate::Destruction(certificate) = &certificate {
                    method_rows(&mut table, &certificate.receipts);
                }
            }
            _ => {}
        }
        let mut value = proven_json(&proven);
        if let Some(object) = value.as_object_mut() {
            object.insert("valid".to_owned(), true.into());
            if let Certificate::Destruction(certificate) = &certificate {
                let receipts = receipts_json(&certificate.receipts);
                object.insert("receipts".to_owned(), receipts);
            }
        }
        output::print(context.format(), &value, &table)
    }
}

fn key_rows(table: &mut Table, record: &KeyRecord) {
    table.pair("key", &record.name);
    table.pair("key id", record.id());
    table.pair("scheme", record.scheme);
    table.pair("epoch", record.epoch);
    let holders: Vec<&str> = record
        .participants
        .iter()
        .map(|p| p.node.as_str())
        .collect();
    table.pair(
        "holders",
        format!(
            "{} of {} ({})",
            record.threshold,
            holders.len(),
            holders.join(", ")
        ),
    );
    table.pair("public key", hex::encode(&record.group_key));
}

/// What a certificate proves, in a line.
pub(super) fn proven_text(proven: &Proven) -> String {
    match proven {
        Proven::Key { record, .. } => format!(
            "epoch {}: {} of {} holders sign",
            record.epoch,
            record.threshold,
            record.participants.len()
        ),
        Proven::Destruction { count, .. } => verdict(count),
        _ => String::new(),
    }
}

/// What a certificate proves, for programs.
pub(super) fn proven_json(proven: &Proven) -> Value {
    let of = |record: &KeyRecord| {
        let nodes: Vec<&str> = record
            .participants
            .iter()
            .map(|p| p.node.as_str())
            .collect();
        json!({
            "key": record.name,
            "key_id": record.id(),
            "scheme": record.scheme,
            "epoch": record.epoch,
            "threshold": record.threshold,
            "nodes": nodes,
            "public_key": hex::encode(&record.group_key),
        })
    };
    let (mut value, more) = match proven {
        Proven::Key {
            record,
            possession,
            life,
            created,
        } => {
            let life = planned_json(life, *created);
            let possession = json!(possession);
            (of(record), vec![("possession", possession), ("life", life)])
        }
        Proven::Destruction { record, count } => {
            (of(record), vec![("destruction", count_json(count))])
        }
        _ => return Value::Null,
    };
    if let Some(object) = value.as_object_mut() {
        object.extend(more.into_iter().map(|(name, part)| (name.to_owned(), part)));
    }
    value
}

impl OfSignature<'_> {
    async fn run(&self, context: &Context) -> Result<(), CliError> {
        let bytes = input::read(self.file)?;
        let client = context.connect_to_read().await?;
        let key = client.key(&self.key).await?;
        let public_key = hex::encode(key.child_key(self.path).map_err(ClientError::from)?);
        self.check(&key, bytes)?;
        let mut table = Table::default();
        table.pair("signature", "valid");
        table.pair("key", &self.key.name);
        table.pair("key id", key.record().id());
        table.pair("public key", &public_key);
        let value = json!({
            "valid": true,
            "key": self.key.name,
            "key_id": key.record().id(),
            "public_key": public_key,
        });
        output::print(context.format(), &value, &table)
    }

    fn check(&self, key: &CertifiedKey, bytes: Vec<u8>) -> Result<(), CliError> {
        let scheme = key.record().scheme;
        let verified = if self.kind == Kind::Message && scheme != Scheme::EcdsaSecp256k1 {
            key.verify_message(self.path, &bytes, self.signature)
                .map_err(ClientError::from)
        } else {
            let payload = self.kind.payload(bytes).at(self.path.clone());
            let signature = self.kind.signature(self.signature);
            key.verify_payload(&payload, &[signature])
        };
        match verified {
            Err(ClientError::Unverified(_)) => Err(CliError::Unverified(format!(
                "the signature is not one of key \"{}\" at {} over this {}",
                self.key.name,
                self.path,
                self.kind.noun()
            ))),
            other => Ok(other?),
        }
    }
}

impl Kind {
    fn payload(self, bytes: Vec<u8>) -> Payload {
        match self {
            Self::Message => Payload::message(bytes),
            Self::Digest => Payload::digest(digest(bytes)),
            Self::EvmMessage => Payload::new(PayloadKind::EvmMessage, bytes),
            Self::TypedData => Payload::new(PayloadKind::EvmTypedData, bytes),
        }
    }

    /// The signature as the scheme has it: wallets of EVM chains write 27 and 28 for the parity.
    fn signature(self, given: &[u8]) -> Vec<u8> {
        let mut signature = given.to_vec();
        if matches!(self, Self::EvmMessage | Self::TypedData)
            && let [.., v @ 27..=28] = signature.as_mut_slice()
        {
            *v = v.saturating_sub(27);
        }
        signature
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Message | Self::EvmMessage => "message",
            Self::Digest => "digest",
            Self::TypedData => "document",
        }
    }
}

/// Takes 64 hex digits for what they stand for, and everything else as it is.
fn digest(bytes: Vec<u8>) -> Vec<u8> {
    let text = bytes.trim_ascii();
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    match hex::decode(digits) {
        Ok(decoded) if decoded.len() == 32 => decoded,
        Ok(_) | Err(_) => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_taken_in_binary_and_in_hex() {
        let binary = vec![0xab; 32];
        let hex = "ab".repeat(32);

        for given in [
            binary.clone(),
            hex.clone().into_bytes(),
            format!("0x{hex}\n").into_bytes(),
        ] {
            assert_eq!(digest(given), binary);
        }
        assert_eq!(digest(b"abab".to_vec()), b"abab");
    }

    #[test]
    fn the_v_of_wallets_is_read_where_they_write_it() {
        let with = |v| [&[7; 64][..], &[v]].concat();

        assert_eq!(Kind::EvmMessage.signature(&with(27)), with(0));
        assert_eq!(Kind::TypedData.signature(&with(28)), with(1));
        assert_eq!(Kind::EvmMessage.signature(&with(1)), with(1));
        assert_eq!(Kind::Digest.signature(&with(27)), with(27));
        assert!(Kind::EvmMessage.signature(&[]).is_empty());
    }
}
