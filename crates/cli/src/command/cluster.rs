//! `quorate cluster`: the ceremony that makes a cluster out of cards.

mod export;
mod init;
mod pin;
mod show;
mod sign;

use std::{collections::BTreeSet, path::Path};

use clap::Subcommand;
use quorate_client::model::{
    Digest, PrincipalId,
    roster::{Role, Roster, RosterError, SignedRoster},
};
use serde_json::{Value, json};

pub(crate) use init::assemble;
pub(crate) use pin::hash;

use crate::{context::Context, error::CliError, output::Table};

/// Make, sign, show, pin and export the roster of a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Turn the cards of nodes, coordinators and principals into roster 1
    Init(init::Init),
    /// Add the signature of an admin to a roster
    Sign(sign::Sign),
    /// Show a roster, its hash, and who has signed it
    Show(show::Show),
    /// Make the profile of this machine from a roster and its hash, confirmed out of band
    Pin(pin::Pin),
    /// Write all rosters of the cluster to a file, for a new host or a new profile
    Export(export::Export),
}

impl Cluster {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Init(init) => init.run(context),
            Self::Sign(sign) => sign.run(context),
            Self::Show(show) => show.run(context).await,
            Self::Pin(pin) => pin.run(context),
            Self::Export(export) => export.run(context).await,
        }
    }
}

/// A roster with who has signed it and who must.
struct Standing {
    roster: Roster,
    hash: Digest,
    signed_by: Vec<PrincipalId>,
    missing: Vec<PrincipalId>,
}

impl Standing {
    /// Checks the shape of a roster and each signature that is there.
    fn of(signed: &SignedRoster) -> Result<Self, RosterError> {
        let roster = Roster::parse(signed.roster.as_bytes())?;
        match signed.verify_first() {
            Ok(_) | Err(RosterError::Unsigned { .. }) => {}
            Err(error) => return Err(error),
        }
        let by: BTreeSet<_> = signed
            .signatures
            .iter()
            .map(|s| s.principal.clone())
            .collect();
        let missing = roster
            .principals
            .iter()
            .filter(|p| p.roles.contains(&Role::Admin) && !by.contains(&p.id))
            .map(|p| p.id.clone())
            .collect();
        Ok(Self {
            roster,
            hash: signed.hash(),
            signed_by: by.into_iter().collect(),
            missing,
        })
    }

    fn json(&self, path: &Path) -> Value {
        json!({
            "roster": path.display().to_string(),
            "roster_hash": self.hash,
            "complete": self.missing.is_empty(),
            "signed_by": self.signed_by,
            "missing": self.missing,
        })
    }

    fn table(&self, path: &Path) -> Table {
        let mut table = Table::default();
        table.pair("roster", path.display());
        table.pair("hash", self.hash);
        table.pair("signed by", names(&self.signed_by));
        table.pair("missing", names(&self.missing));
        table
    }
}

fn names(ids: &[PrincipalId]) -> String {
    if ids.is_empty() {
        return "nobody".to_owned();
    }
    ids.iter()
        .map(PrincipalId::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
