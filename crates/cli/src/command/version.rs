//! `quorate version`.

use serde_json::json;

use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

pub(crate) fn run(context: &Context) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let mut table = Table::default();
    table.row([format!("quorate {version}")]);
    output::print(context.format(), &json!({ "version": version }), &table)
}
