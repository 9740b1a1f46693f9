//! The ceremony that makes a cluster, as `docs/operations/ceremony.md` describes it, held on one
//! machine: each host makes its own identity and shows a card; the cards become roster 1, which
//! the admin signs; each host pins its hash.

use std::{collections::BTreeMap, path::Path};

use quorate_client::{
    identity::{Identity, SealingCost, write_private},
    model::{
        CoordinatorId, NodeId,
        roster::{CoordinatorCard, NodeCard, Role, SignedRoster},
    },
    passphrase::Passphrase,
    profile::{Defaults, Profile, ROSTER_FILE, Settings, make_private_directory},
};
use rand_core::{OsRng, RngCore as _};
use serde::de::DeserializeOwned;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::{DevError, binaries::Binaries, place::Place, process::run_step};
use crate::command::cluster::assemble;

/// The id of the only coordinator.
pub(super) const COORDINATOR: &str = "coordinator";

/// The name of the file with the passphrase of the profile's identities.
const PASSPHRASE_FILE: &str = "passphrase";

/// The id of the second admin, where there is one.
const SECOND_ADMIN: &str = "admin-2";

/// Holds the ceremony in an empty directory, with the lifecycle quorum and delay of the roster.
pub(super) async fn hold(
    place: &Place,
    binaries: &Binaries,
    lifecycle: (u16, u32),
) -> Result<(), DevError> {
    let nodes_directory = place.root().join("nodes");
    make_private_directory(&nodes_directory)?;
    let mut nodes = Vec::new();
    for id in place.shape().node_ids() {
        nodes.push(make_node(place, binaries, &id).await?);
    }
    let coordinator = make_coordinator(place, binaries).await?;
    let home = place.home();
    make_private_directory(&home)?;
    let passphrase = Passphrase::generate(&mut OsRng);
    let passphrase_path = home.join(PASSPHRASE_FILE);
    write_private(&passphrase_path, passphrase.expose())
        .map_err(DevError::file("write", &passphrase_path))?;
    let mut admins = vec![make_identity(
        &home,
        Role::Admin.as_str(),
        Role::Admin,
        &passphrase,
    )?];
    if lifecycle.0 > 1 {
        admins.push(make_identity(
            &home,
            SECOND_ADMIN,
            Role::Admin,
            &passphrase,
        )?);
    }
    let client = make_identity(&home, Role::Client.as_str(), Role::Client, &passphrase)?;
    let principals = admins
        .iter()
        .chain([&client])
        .map(|identity| identity.card().clone())
        .collect();
    let roster = assemble("dev", nodes, vec![coordinator], principals, None, lifecycle);
    let mut signed = SignedRoster::unsigned(&roster)?;
    for admin in &admins {
        signed.sign(&admin.card().id, admin.signing_key());
    }
    let settings = Settings {
        roster_hash: signed.hash(),
        coordinators: Vec::new(),
        identities: BTreeMap::from(
            [Role::Admin, Role::Client]
                .map(|role| (role.as_str().to_owned(), file_of(role.as_str()).into())),
        ),
        defaults: Defaults {
            threshold: Some(place.shape().threshold),
            passphrase_file: Some(PASSPHRASE_FILE.into()),
        },
    };
    let profile = Profile::create(&home, settings, &signed)?;
    for id in place.shape().node_ids() {
        pin_node(place, binaries, &id, &profile).await?;
    }
    place.finish()
}

/// The id of the coordinator as the roster lists it.
pub(super) fn coordinator_id() -> Result<CoordinatorId, DevError> {
    COORDINATOR
        .parse()
        .map_err(|error| DevError::Usage(format!("{error}")))
}

fn file_of(id: &str) -> String {
    format!("{id}.identity")
}

async fn make_node(place: &Place, binaries: &Binaries, id: &NodeId) -> Result<NodeCard, DevError> {
    let mut key = Zeroizing::new([0_u8; 32]);
    OsRng.fill_bytes(key.as_mut());
    let key_path = place.node_key(id);
    let text = Zeroizing::new(format!("{}\n", hex::encode(key.as_slice())));
    write_private(&key_path, text.as_bytes()).map_err(DevError::file("write", &key_path))?;
    let letter = id.as_str().trim_start_matches("node-");
    let mut command = binaries.node_command("init");
    command
        .arg("--dir")
        .arg(place.node(id))
        .args(["--id", id.as_str()])
        .args(["--region", &format!("region-{letter}")])
        .args(["--organisation", &format!("organisation-{letter}")])
        .arg("--key-file")
        .arg(&key_path);
    read_card(
        &binaries.node,
        &run_step(&binaries.node, &mut command).await?,
    )
}

async fn make_coordinator(place: &Place, binaries: &Binaries) -> Result<CoordinatorCard, DevError> {
    let mut command = Command::new(&binaries.coordinator);
    command
        .arg("init")
        .arg("--dir")
        .arg(place.coordinator())
        .args(["--id", COORDINATOR]);
    read_card(
        &binaries.coordinator,
        &run_step(&binaries.coordinator, &mut command).await?,
    )
}

fn make_identity(
    home: &Path,
    id: &str,
    role: Role,
    passphrase: &Passphrase,
) -> Result<Identity, DevError> {
    let person = format!("dev {id}");
    let path = home.join(file_of(id));
    let id = id
        .parse()
        .map_err(|error| DevError::Usage(format!("{error}")))?;
    let identity = Identity::generate(id, person, vec![role], &mut OsRng)?;
    // The passphrase is random and lies beside the file, so a costly derivation protects nothing.
    identity.write_new(&path, passphrase, SealingCost::Generated, &mut OsRng)?;
    Ok(identity)
}

async fn pin_node(
    place: &Place,
    binaries: &Binaries,
    id: &NodeId,
    profile: &Profile,
) -> Result<(), DevError> {
    let mut command = binaries.node_command("pin");
    command
        .arg("--dir")
        .arg(place.node(id))
        .arg("--roster")
        .arg(profile.home().join(ROSTER_FILE))
        .args(["--hash", &profile.roster().cluster().to_string()])
        .arg("--key-file")
        .arg(place.node_key(id));
    run_step(&binaries.node, &mut command).await.map(drop)
}

fn read_card<T: DeserializeOwned>(program: &Path, bytes: &[u8]) -> Result<T, DevError> {
    serde_json::from_slice(bytes).map_err(|error| DevError::Unexpected {
        name: program.display().to_string(),
        message: error.to_string(),
    })
}
