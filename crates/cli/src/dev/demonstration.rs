//! The demonstration: a key is born on all nodes, signs a Bitcoin transaction, and the signature
//! is verified by libraries that had no part in making it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use quorate_client::{
    CertifiedKey, Client, ClientError, CommandOptions,
    model::{KeyName, KeyPurpose, NodeId, Payload, Purposes, Reason, Scheme, command::CreateKey},
    profile::replace,
};
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};

use super::{
    DevError,
    place::{Place, Shape},
    spend::Spend,
};
use crate::output::Table;

/// What a key of the demonstration is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) scheme: Scheme,
    pub(super) purposes: &'static [KeyPurpose],
}

/// A key of the demonstration.
#[derive(Debug)]
pub(super) struct Provided {
    pub(super) key: CertifiedKey,
    /// None when an earlier run made the key.
    pub(super) keygen: Option<Duration>,
}

/// The key that signs the Bitcoin transaction.
const KEY: Wanted = Wanted {
    name: "demo-taproot",
    scheme: Scheme::Bip340,
    purposes: &[KeyPurpose::Transactions],
};

/// What happened.
#[derive(Debug)]
pub(super) struct Demonstration {
    provided: Provided,
    address: String,
    spend: String,
    /// Where the unsigned transaction lies.
    file: PathBuf,
    signature: String,
    signers: Vec<NodeId>,
    sign: Duration,
    verify: Duration,
}

/// Makes the key, or takes that of an earlier run, and signs.
pub(super) async fn run(
    admin: &Client,
    client: &Client,
    place: &Place,
) -> Result<Demonstration, DevError> {
    let provided = provide_key(admin, client, place.shape(), KEY).await?;
    let key = &provided.key;
    let mut coin = [0; 32];
    OsRng.fill_bytes(&mut coin);
    let spend = Spend::new(&key.record().group_key, coin)?;
    let payload = Payload::psbt(spend.to_bytes());
    // For people to try the command line on.
    let file = place.root().join("demo.psbt");
    replace(&file, &payload.bytes)?;
    let start = Instant::now();
    let signed = client
        .sign(key, vec![payload], &CommandOptions::default())
        .await?;
    let sign = start.elapsed();
    let start = Instant::now();
    let psbt = signed
        .psbts()
        .first()
        .copied()
        .ok_or_else(|| DevError::Demonstration("no PSBT came back".to_owned()))?;
    let signature = spend.verify(psbt)?;
    let verify = start.elapsed();
    Ok(Demonstration {
        file,
        address: spend.address(),
        spend: spend.describe(),
        signature: hex::encode(signature),
        signers: signed.outcome().signers.clone(),
        provided,
        sign,
        verify,
    })
}

/// Makes a key on all nodes, or takes that of an earlier run.
pub(super) async fn provide_key(
    admin: &Client,
    client: &Client,
    shape: Shape,
    wanted: Wanted,
) -> Result<Provided, DevError> {
    let name: KeyName = wanted
        .name
        .parse()
        .map_err(|error| DevError::Usage(format!("{error}")))?;
    match client.key(&name.clone().into()).await {
        Ok(key) => return Ok(Provided { key, keygen: None }),
        Err(ClientError::NotActive(_)) => {}
        Err(error) if error.reason() == Some(Reason::KeyUnknown) => {}
        Err(error) => return Err(error.into()),
    }
    let purposes = Purposes::new(wanted.purposes.to_vec())
        .map_err(|error| DevError::Usage(error.to_string()))?;
    let create = CreateKey {
        key: name,
        scheme: wanted.scheme,
        threshold: shape.threshold,
        nodes: shape.node_ids(),
        purposes,
        accept_fragile: false,
        life: quorate_client::model::life::KeyLife::default(),
    };
    let start = Instant::now();
    let key = admin.create_key(create, &CommandOptions::default()).await?;
    let keygen = Some(start.elapsed());
    Ok(Provided { key, keygen })
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

impl Provided {
    /// For people.
    pub(super) fn describe(&self, table: &mut Table) {
        let record = self.key.record();
        let made = match self.keygen {
            Some(time) => format!("{:.1} ms", millis(time)),
            None => "an earlier run".to_owned(),
        };
        let nodes = record.participants.len();
        table.row([
            format!(
                "key {} made by {nodes} nodes, certified and proven by each",
                record.name
            ),
            made,
        ]);
    }
}

impl Demonstration {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "key": self.provided.key.record().name,
            "public_key": hex::encode(&self.provided.key.record().group_key),
            "address": self.address,
            "psbt": self.file.display().to_string(),
            "signature": self.signature,
            "signers": self.signers,
            "keygen_ms": self.provided.keygen.map(millis),
            "sign_ms": millis(self.sign),
            "verify_ms": millis(self.verify),
        })
    }

    /// For people.
    pub(super) fn describe(&self, table: &mut Table) {
        self.provided.describe(table);
        let record = self.provided.key.record();
        let nodes = record.participants.len();
        table.row([
            format!(
                "transaction signed by {} of {nodes} ({})",
                record.threshold,
                self.signers()
            ),
            format!("{:.1} ms", millis(self.sign)),
        ]);
        table.row([
            "signature verified by libsecp256k1 over BIP-341".to_owned(),
            format!("{:.1} ms", millis(self.verify)),
        ]);
    }

    /// Values that people may want to look at.
    pub(super) fn details(&self, table: &mut Table) {
        table.pair(
            "public key",
            hex::encode(&self.provided.key.record().group_key),
        );
        table.pair("address", format!("{} (regtest)", self.address));
        table.pair("transaction", &self.spend);
        table.pair("unsigned", self.file.display());
        table.pair("signature", &self.signature);
    }

    fn signers(&self) -> String {
        self.signers
            .iter()
            .map(NodeId::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }
}
