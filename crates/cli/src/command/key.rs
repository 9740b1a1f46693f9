//! `quorate key`: keys of the cluster.

mod address;
mod certificates;
pub(super) mod create;
mod descriptor;
pub(super) mod destroy;
pub(super) mod life;
mod list;
mod refresh;
mod reshare;
mod rotate;
mod show;
mod state;
mod states;
mod xpub;

use clap::Subcommand;
use quorate_client::{
    ListedKey,
    model::{Purposes, standing::StateChange},
};
use serde_json::{Value, json};

use crate::{context::Context, error::CliError};

/// Create keys and look at them.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Create a key on all nodes that are not drained, or on those that are named
    Create(create::Create),
    /// List the keys
    List(list::List),
    /// Show a key, after verifying its certificate
    Show(show::Show),
    /// Show the address that a key receives at, after verifying its certificate
    Address(address::Address),
    /// Show what a watch-only wallet needs to derive a key's addresses
    Xpub(xpub::Xpub),
    /// Show the descriptor that a watch-only wallet imports
    Descriptor(descriptor::Descriptor),
    /// Show who said what about the state of a key, and write it to a file for a node's console
    States(states::States),
    /// Give the holders of keys new shares; takes the lifecycle quorum
    Refresh(refresh::Refresh),
    /// Move keys to other nodes or another threshold; takes the lifecycle quorum
    Reshare(reshare::Reshare),
    /// Make the key that takes the place of another
    Rotate(rotate::Rotate),
    /// Stop a key from signing until it is resumed; one admin is enough
    Suspend(state::ChangeState),
    /// Let a suspended key sign again; takes the lifecycle quorum
    Resume(state::ChangeState),
    /// End the time of a key for good; takes the lifecycle quorum
    Deactivate(state::ChangeState),
    /// Report that somebody else may have a key, for good; takes the lifecycle quorum
    Compromise(state::ChangeState),
    /// Announce, cancel or carry out the destruction of a key whose time is over
    Destroy(destroy::Destroy),
    /// Show the certificates of a key, and write them to files that anybody verifies offline
    Certificates(certificates::Certificates),
}

impl Key {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Show(show) => show.run(context).await,
            Self::Address(address) => address.run(context).await,
            Self::Xpub(xpub) => xpub.run(context).await,
            Self::Descriptor(descriptor) => descriptor.run(context).await,
            Self::States(one) => one.run(context).await,
            Self::Refresh(refresh) => refresh.run(context).await,
            Self::Reshare(reshare) => reshare.run(context).await,
            Self::Rotate(rotate) => rotate.run(context).await,
            Self::Suspend(one) => one.run(context, StateChange::Suspend).await,
            Self::Resume(one) => one.run(context, StateChange::Resume).await,
            Self::Deactivate(one) => one.run(context, StateChange::Deactivate).await,
            Self::Compromise(one) => one.run(context, StateChange::Compromise).await,
            Self::Destroy(destroy) => destroy.run(context).await,
            Self::Certificates(one) => one.run(context).await,
        }
    }
}

/// What is verified of a key and of the one that takes its place, for programs.
fn key_json(key: &ListedKey, next: Option<&ListedKey>) -> Value {
    let record = key.record();
    let nodes: Vec<_> = record
        .participants
        .iter()
        .map(|p| p.node.as_str())
        .collect();
    json!({
        "name": record.name,
        "id": record.id(),
        "scheme": record.scheme,
        "purpose": record.purposes,
        "state": key.state().as_str(),
        "state_sequence": key.standing().sequence(),
        "state_reason": key.standing().decisive().map(|mark| &mark.reason),
        "epoch": record.epoch,
        "threshold": record.threshold,
        "nodes": nodes,
        "public_key": hex::encode(&record.group_key),
        "life": life::describe_json(key, next),
    })
}

/// The same with the evidence for it, which anybody can verify who has the roster.
fn evident_json(key: &ListedKey, next: Option<&ListedKey>) -> Value {
    let mut value = key_json(key, next);
    if let Some(object) = value.as_object_mut() {
        object.insert(
            "certificate".to_owned(),
            hex::encode(key.certificate()).into(),
        );
        object.insert(
            "certificate_hash".to_owned(),
            key.record().certificate.to_string().into(),
        );
        object.insert("proof".to_owned(), key.proof().map(hex::encode).into());
        object.insert("birth".to_owned(), key.birth().map(hex::encode).into());
    }
    value
}

pub(in crate::command) fn purposes_text(purposes: &Purposes) -> String {
    let names: Vec<_> = purposes
        .as_slice()
        .iter()
        .map(|purpose| purpose.as_str())
        .collect();
    names.join(",")
}
