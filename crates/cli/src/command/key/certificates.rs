//! `quorate key certificates`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    args::KeyArg,
    command::verify::{proven_json, proven_text},
    context::Context,
    error::CliError,
    input,
    output::{self, Table},
};

/// Show the certificates of a key's creation, epoch and destruction, after verifying each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate key certificates treasury
  quorate key certificates treasury --out certificates/
  quorate verify certificate certificates/treasury-creation.cert")]
pub(crate) struct Certificates {
    #[command(flatten)]
    key: KeyArg,
    /// Write each to a file of this directory, for `quorate verify certificate` and
    /// `quorate-node import-certificate`
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Certificates {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let key = client.look_up(&self.key.reference()).await?;
        let roster = client.roster();
        let all = quorate_client::certificates_of(&key, &roster)
            .map_err(|error| CliError::Client(error.into()))?;
        let mut table = Table::with_header(&["CERTIFICATE", "HASH", "SAYS", "FILE"]);
        let mut values: Vec<Value> = Vec::new();
        for (kind, certificate) in &all {
            let proven = quorate_client::verify_certificate(certificate, &roster)
                .map_err(|error| CliError::Client(error.into()))?;
            let file = match &self.out {
                Some(directory) => {
                    std::fs::create_dir_all(directory).map_err(|source| CliError::File {
                        action: "make",
                        path: directory.display().to_string(),
                        source,
                    })?;
                    let path = directory.join(format!("{}-{kind}.cert", self.key.name));
                    let bytes = certificate
                        .to_file()
                        .map_err(|error| CliError::Unverified(error.to_string()))?;
                    input::write(&path, &bytes)?;
                    Some(path.display().to_string())
                }
                None => None,
            };
            let hash = certificate.hash().map(|hash| hash.to_string());
            table.row([
                kind.clone(),
                hash.clone().unwrap_or_default(),
                proven_text(&proven),
                file.clone().unwrap_or_default(),
            ]);
            let mut value = proven_json(&proven);
            if let Some(object) = value.as_object_mut() {
                object.insert("certificate".to_owned(), json!(kind));
                object.insert("hash".to_owned(), json!(hash));
                object.insert("file".to_owned(), json!(file));
            }
            values.push(value);
        }
        output::print(context.format(), &values.into(), &table)
    }
}
