//! `quorate node list`.

use clap::Args;
use quorate_client::model::operation::NodeView;
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// List the nodes of the roster and how they are.
#[derive(Debug, Args)]
pub(crate) struct List {}

impl List {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let nodes = client.list_nodes().await?;
        let value: Value = nodes.iter().map(node_json).collect();
        let mut table = Table::with_header(&[
            "NAME",
            "REGION",
            "CONNECTED",
            "VERSION",
            "LATENCY",
            "JOURNAL",
            "PID",
            "CLOCK",
        ]);
        for node in &nodes {
            table.row(node_row(node));
        }
        output::print(context.format(), &value, &table)
    }
}

fn latency_ms(node: &NodeView) -> f64 {
    let micros = u32::try_from(node.latency_us).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

fn node_json(node: &NodeView) -> Value {
    json!({
        "name": node.id,
        "id": node.id,
        "region": node.region,
        "connected": node.connected,
        "version": node.version,
        "latency_ms": latency_ms(node),
        "journal_sequence": node.journal_sequence,
        "pid": if node.connected { node.pid } else { 0 },
        "clock_confirmed": node.clock_confirmed,
        "quarantined": node.quarantine.is_some(),
        "restore_id": node.quarantine.map(|restore| restore.to_string()),
    })
}

fn node_row(node: &NodeView) -> [String; 8] {
    let latency = if node.connected {
        format!("{:.2} ms", latency_ms(node))
    } else {
        "-".into()
    };
    let pid = if node.connected {
        node.pid.to_string()
    } else {
        "-".to_owned()
    };
    let clock = match (node.connected, node.clock_confirmed) {
        (false, _) => "-",
        (true, true) => "confirmed",
        (true, false) => "suspect",
    };
    [
        node.id.to_string(),
        node.region.clone(),
        match (node.connected, node.quarantine.is_some()) {
            (true, true) => "quarantined",
            (true, false) => "yes",
            (false, _) => "no",
        }
        .to_owned(),
        node.version.clone(),
        latency,
        node.journal_sequence.to_string(),
        pid,
        clock.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_node_stays_listed_without_a_process() {
        let node = NodeView {
            id: "node-c".parse().unwrap(),
            region: "region-c".to_owned(),
            connected: false,
            version: "0.1.0".to_owned(),
            latency_us: 1500,
            journal_sequence: 12,
            pid: 99,
            clock_confirmed: true,
            quarantine: None,
        };

        let value = node_json(&node);

        assert_eq!(value["connected"], false);
        assert_eq!(value["pid"], 0);
        assert_eq!(value["latency_ms"], 1.5);
        assert_eq!(node_row(&node)[6], "-");
    }
}
