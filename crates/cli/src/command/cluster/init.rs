//! `quorate cluster init`.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_client::{
    identity::Identity,
    model::{
        Digest,
        roster::{
            CoordinatorCard, DEFAULT_LIFECYCLE_DELAY_SECONDS, NodeCard, Placement, Principal, Role,
            Roster, SignedRoster,
        },
    },
    profile,
};
use serde::Deserialize;

use super::Standing;
use crate::{context::Context, error::CliError, input, output};

/// Turn the cards of nodes, coordinators and principals into roster 1.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Card files of all nodes, coordinators and principals, in any order
    #[arg(required = true, value_name = "CARD")]
    cards: Vec<PathBuf>,
    /// Name of the cluster, for people
    #[arg(long)]
    name: String,
    /// Roster file to write
    #[arg(long, default_value = "roster.json", value_name = "FILE")]
    out: PathBuf,
    /// How many admins endorse a change of the roster [default: a strict majority]
    #[arg(long, value_name = "COUNT")]
    admin_quorum: Option<u16>,
    /// How many persons endorse a change in the life of a key; 1 is unsafe
    #[arg(long, default_value_t = 2, value_name = "COUNT")]
    lifecycle_quorum: u16,
    /// How many seconds each node waits between the announcement and the confirmation of what cannot
    /// be undone
    #[arg(long, default_value_t = DEFAULT_LIFECYCLE_DELAY_SECONDS, value_name = "SECONDS")]
    lifecycle_delay: u32,
    #[command(flatten)]
    placement: PlacementArgs,
}

/// Which committees may hold a key.
#[derive(Debug, Args)]
#[command(next_help_heading = "Placement")]
struct PlacementArgs {
    /// Fewer holders of a key in one region than sign
    #[arg(long)]
    spread_regions: bool,
    /// Fewer holders of a key run by one organisation than sign
    #[arg(long)]
    spread_organisations: bool,
    /// Least threshold of a key; 0 for no rule
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    least_threshold: u16,
    /// Least number of holders of a key; 0 for no rule
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    least_nodes: u16,
    /// In how many regions the holders of a key run at least; 0 for no rule
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    least_regions: u16,
}

impl PlacementArgs {
    const fn rules(&self) -> Placement {
        Placement {
            spread_regions: self.spread_regions,
            spread_organisations: self.spread_organisations,
            least_threshold: self.least_threshold,
            least_nodes: self.least_nodes,
            least_regions: self.least_regions,
        }
    }
}

impl Init {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        if self.out.exists() {
            return Err(CliError::Usage(format!(
                "{} exists: name another file",
                self.out.display()
            )));
        }
        input::check_writable(&self.out)?;
        let mut cards = Cards::default();
        for path in &self.cards {
            cards.take(path)?;
        }
        let mut roster = assemble(
            &self.name,
            cards.nodes,
            cards.coordinators,
            cards.principals,
            self.admin_quorum,
            (self.lifecycle_quorum, self.lifecycle_delay),
        );
        roster.placement = self.placement.rules();
        let mut signed = SignedRoster::unsigned(&roster)?;
        if let Some(path) = context.named_identity()? {
            let identity = Identity::read(&path, &context.passphrase(None, &path)?)?;
            signed.sign(&identity.card().id, identity.signing_key());
        }
        let standing = Standing::of(&signed)?;
        profile::write_roster(&self.out, &signed)?;
        if self.lifecycle_quorum == 1 {
            output::progress("warning: lifecycle quorum 1 is unsafe: one admin alone decides");
        }
        if self.lifecycle_delay == 0 {
            output::progress(
                "warning: lifecycle delay 0 is unsafe: nobody has time to stop a destruction",
            );
        }
        output::print(
            context.format(),
            &standing.json(&self.out),
            &standing.table(&self.out),
        )
    }
}

/// The first roster of a cluster.
pub(crate) fn assemble(
    name: &str,
    nodes: Vec<NodeCard>,
    coordinators: Vec<CoordinatorCard>,
    principals: Vec<Principal>,
    admin_quorum: Option<u16>,
    (lifecycle_quorum, lifecycle_delay): (u16, u32),
) -> Roster {
    let mut roster = Roster {
        format: 1,
        version: 1,
        cluster_name: name.to_owned(),
        parents: Vec::new(),
        nodes,
        coordinators,
        principals,
        admin_quorum: 0,
        lifecycle_quorum,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: Some(lifecycle_delay),
        drained: [].into(),
        placement: Placement::default(),
    };
    let majority = roster
        .persons(Role::Admin)
        .len()
        .div_euclid(2)
        .saturating_add(1);
    roster.admin_quorum = admin_quorum.unwrap_or(u16::try_from(majority).unwrap_or(u16::MAX));
    roster
}

/// A card of any kind. No form reads as another: each refuses fields that it does not have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Card {
    Node(NodeCard),
    Principal(Principal),
    Coordinator(CoordinatorCard),
}

#[derive(Default)]
struct Cards {
    nodes: Vec<NodeCard>,
    coordinators: Vec<CoordinatorCard>,
    principals: Vec<Principal>,
}

impl Cards {
    /// Reads a card.
    fn take(&mut self, path: &Path) -> Result<(), CliError> {
        let bytes = input::read(path)?;
        match serde_json::from_slice(&bytes) {
            Ok(Card::Node(card)) => self.nodes.push(card),
            Ok(Card::Principal(card)) => self.principals.push(card),
            Ok(Card::Coordinator(card)) => self.coordinators.push(card),
            Err(_) => {
                return Err(CliError::Usage(format!(
                    "{} is no card: expected what node init, identity new or \
                     quorate-coordinator init prints",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}
