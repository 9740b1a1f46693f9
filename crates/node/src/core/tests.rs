//! Whole ceremonies and signatures over cores alone, and every way in which a coordinator lies.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::unused_self,
    reason = "small numbers, answers of one kind, and helpers that read as methods"
)]

mod activation;
mod addresses;
mod backup;
mod creation;
mod destroying;
mod durability;
mod ecdsa;
mod evacuating;
mod forgetting;
mod gate;
mod harness;
mod membership;
mod quarantine;
mod resharing;
mod rollback;
mod signing;
mod standing;
mod states;
mod uses;

use quorate_model::{
    CommandId, Digest, Epoch, KeyId, KeyPurpose, Payload, Reason, Scheme,
    audit::Entry,
    command::{CommandBody, CreateKey, EndorsementKind, Sign},
    key::KeyState,
    node_api::{NodeReply, NodeRequest},
    roster::Role,
};
use uuid::Uuid;

use harness::{Cluster, START, ceremony, coordinator, inbox, index, node_id};

fn reason<T: std::fmt::Debug>(result: Result<T, quorate_model::Refusal>) -> Reason {
    result.unwrap_err().reason
}

fn entries(cluster: &Cluster, at: usize) -> Vec<Entry> {
    let journal = cluster.cores[at].journal();
    let records = journal.read_range(1, 10_000, 1 << 24).unwrap();
    records
        .iter()
        .map(|record| {
            quorate_model::audit::Record::from_bytes(&record.bytes)
                .unwrap()
                .entry
        })
        .collect()
}
