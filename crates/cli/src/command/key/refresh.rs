//! `quorate key refresh`.

use std::collections::BTreeSet;

use clap::Args;
use quorate_client::{
    Client, Committee, KeyReference,
    model::{KeyName, Reason, roster::Role},
};

use crate::{
    args::Submission,
    command::reshare::{
        self,
        batch::{Batch, Parallel, Plan},
        glob,
    },
    context::Context,
    error::{CliError, refuse},
};

/// Give the holders of keys new shares, and have them erase the old ones.
#[derive(Debug, Args)]
#[command(
    after_help = "Public key, addresses, nodes and threshold stay. Shares of different \
epochs do not go together, so whoever takes shares one by one has to start again. A refresh does \
not undo a theft: as many shares of one epoch as sign make the key for ever.

Examples:
  quorate key refresh hot
  quorate key refresh hot cold treasury
  quorate key refresh --filter 'user-*' --parallel 16
  quorate key refresh --all"
)]
pub(crate) struct Refresh {
    /// Names of the keys
    #[arg(
        value_name = "NAME",
        conflicts_with_all = ["all", "filter"]
    )]
    names: Vec<KeyName>,
    /// Every key
    #[arg(long, conflicts_with = "filter")]
    all: bool,
    /// Every key whose name fits: * stands for any characters, ? for one
    #[arg(long, value_name = "GLOB", value_parser = glob::parse)]
    filter: Option<String>,
    #[command(flatten)]
    parallel: Parallel,
    #[command(flatten)]
    submission: Submission,
}

impl Refresh {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        self.check_named()?;
        if let [name] = self.names.as_slice() {
            let client = context.connect(Role::Admin).await?;
            let key = client.look_up(&name.clone().into()).await?;
            let committee = Committee::of(key.record());
            return reshare::one(context, &client, &self.submission, &key, &committee).await;
        }
        self.submission.check_many()?;
        let client = context.connect(Role::Admin).await?;
        let keys = self.keys(&client).await?;
        let batch = Batch {
            plan: Plan::Refresh,
            keys,
            are_named: !self.names.is_empty(),
        };
        batch.run(context, &client, self.parallel).await
    }

    fn check_named(&self) -> Result<(), CliError> {
        if self.names.is_empty() && !self.all && self.filter.is_none() {
            return Err(CliError::Usage(
                "say which keys: name them, or use --filter 'GLOB' or --all".to_owned(),
            ));
        }
        Ok(())
    }

    async fn keys(&self, client: &Client) -> Result<Vec<KeyReference>, CliError> {
        if !self.names.is_empty() {
            // Each once, however often it is named.
            let names: BTreeSet<_> = self.names.iter().cloned().collect();
            return Ok(names.into_iter().map(KeyReference::from).collect());
        }
        let listed = client.list_keys().await?;
        let fits = |name: &KeyName| {
            let filter = self.filter.as_deref();
            filter.is_none_or(|filter| glob::fits(filter, name.as_str()))
        };
        let keys: Vec<_> = listed
            .iter()
            .map(|key| KeyReference {
                name: key.record().name.clone(),
                id: Some(key.record().id()),
            })
            .filter(|key| fits(&key.name))
            .collect();
        if let Some(filter) = self.filter.as_ref().filter(|_| keys.is_empty()) {
            return Err(refuse(
                Reason::KeyUnknown,
                format!("the name of no key fits \"{filter}\""),
            ));
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        refresh: Refresh,
    }

    #[test]
    fn keys_are_named_or_chosen_and_never_all_by_silence() {
        let check = |words: &str| {
            let line = Line::try_parse_from(words.split(' ')).unwrap();
            line.refresh.check_named()
        };

        let refused = check("refresh").unwrap_err();
        assert!(refused.to_string().contains("--all"), "{refused}");
        assert_eq!(refused.exit_code(), 2);
        for words in ["refresh hot", "refresh --all", "refresh --filter user-*"] {
            assert!(check(words).is_ok(), "{words}");
        }
    }
}
