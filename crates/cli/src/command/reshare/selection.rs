//! Which keys a command about many of them is for.

use std::collections::BTreeSet;

use clap::Args;
use quorate_client::{
    Client, KeyReference,
    model::{KeyId, KeyName, Reason},
};

use super::glob;
use crate::error::{CliError, refuse};

/// Keys by their names, by a pattern, or all of them.
#[derive(Debug, Args)]
pub(crate) struct Selection {
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
    /// Of one key that is named, insist on this id, as `key show` prints it; a name is only an alias
    #[arg(long, value_name = "HEX", conflicts_with_all = ["all", "filter"])]
    key_id: Option<KeyId>,
}

impl Selection {
    /// Refuses a selection that says nothing.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        if self.names.is_empty() && !self.all && self.filter.is_none() {
            return Err(CliError::Usage(
                "say which keys: name them, or use --filter 'GLOB' or --all".to_owned(),
            ));
        }
        if self.key_id.is_some() && self.names.len() != 1 {
            return Err(CliError::Usage(
                "--key-id is the id of one key: name only that one".to_owned(),
            ));
        }
        Ok(())
    }

    /// Checks what does not need the cluster of each key that is named.
    pub(crate) fn check_each<E>(&self, check: impl Fn(&KeyName) -> Result<(), E>) -> Result<(), E> {
        self.names.iter().try_for_each(check)
    }

    /// The key, where one is named.
    pub(crate) fn one(&self) -> Option<KeyReference> {
        let [name] = self.names.as_slice() else {
            return None;
        };
        Some(KeyReference {
            name: name.clone(),
            id: self.key_id,
        })
    }

    /// Whether the caller named each key.
    pub(crate) fn is_by_name(&self) -> bool {
        !self.names.is_empty()
    }

    /// The keys.
    pub(crate) async fn keys(&self, client: &Client) -> Result<Vec<KeyReference>, CliError> {
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
