//! The directory of a throwaway cluster, and what lies where in it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use quorate_client::{
    model::NodeId,
    profile::{make_private_directory, replace},
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::DevError;

/// How many nodes there are and how many sign: fixed when the directory is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    pub(super) nodes: u16,
    pub(super) threshold: u16,
}

/// What `dev.json` says: the ceremony is over, and it made this.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finished {
    format: u32,
    shape: Shape,
}

/// The directory, held for this process alone.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    shape: Shape,
    is_made: bool,
    /// Removes the directory at the end.
    _temporary: Option<TempDir>,
    /// Keeps other processes out of it.
    _lock: File,
}

/// The fewest nodes that any threshold can bear.
const MIN_NODES: u16 = 3;

/// The most nodes that hold one key.
const MAX_NODES: u16 = 32;

impl Shape {
    /// Checks what was asked for; a majority signs if nothing is said.
    fn new(nodes: u16, threshold: Option<u16>) -> Result<Self, DevError> {
        if !(MIN_NODES..=MAX_NODES).contains(&nodes) {
            return Err(DevError::Usage(format!(
                "--nodes is {nodes}, expected {MIN_NODES} to {MAX_NODES}"
            )));
        }
        let most = nodes.saturating_add(1).div_euclid(2);
        let threshold =
            threshold.unwrap_or_else(|| nodes.div_euclid(2).saturating_add(1).min(most));
        if !(2..=most).contains(&threshold) {
            return Err(DevError::Usage(format!(
                "--threshold is {threshold}, expected 2 to {most} of {nodes} nodes: with more, the \
                 loss of a few nodes would be the loss of the key"
            )));
        }
        Ok(Self { nodes, threshold })
    }

    /// The ids of the nodes: node-a, node-b and so on.
    pub(super) fn node_ids(self) -> Vec<NodeId> {
        let letters = || 'a'..='z';
        let short = letters().map(|last| format!("node-{last}"));
        let long = letters().map(|last| format!("node-a{last}"));
        short
            .chain(long)
            .take(usize::from(self.nodes))
            .filter_map(|name| name.parse().ok())
            .collect()
    }
}

impl Place {
    /// Opens a directory of an earlier run, or makes one; a temporary one if none is named.
    pub(super) fn open(
        directory: Option<&Path>,
        nodes: Option<u16>,
        threshold: Option<u16>,
    ) -> Result<Self, DevError> {
        let (root, temporary) = if let Some(directory) = directory {
            make_private_directory(directory)?;
            let root = fs::canonicalize(directory).map_err(DevError::file("open", directory))?;
            (root, None)
        } else {
            let temporary = tempfile::Builder::new()
                .prefix("quorate-dev-")
                .tempdir()
                .map_err(DevError::file("make", Path::new("a temporary directory")))?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let finished = read_finished(&root)?;
        if finished.is_none() && !is_unused(&root)? {
            return Err(DevError::Directory {
                path: root.display().to_string(),
                what: "is neither empty nor the directory of a cluster: name another one",
            });
        }
        let lock = lock(&root)?;
        let shape = match &finished {
            Some(finished) => agree(finished.shape, nodes, threshold)?,
            None => Shape::new(nodes.unwrap_or(MIN_NODES), threshold)?,
        };
        let is_made = finished.is_some();
        Ok(Self {
            root,
            shape,
            is_made,
            _temporary: temporary,
            _lock: lock,
        })
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether the ceremony was held here already.
    pub(super) fn is_made(&self) -> bool {
        self.is_made
    }

    /// Notes that the ceremony is over.
    pub(super) fn finish(&self) -> Result<(), DevError> {
        let finished = Finished {
            format: 1,
            shape: self.shape,
        };
        let text =
            serde_json::to_string_pretty(&finished).map_err(|error| DevError::Unexpected {
                name: "dev.json".to_owned(),
                message: error.to_string(),
            })?;
        Ok(replace(&self.root.join("dev.json"), text.as_bytes())?)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The profile that people use.
    pub(super) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The data directory of a node.
    pub(super) fn node(&self, id: &NodeId) -> PathBuf {
        self.root.join("nodes").join(id.as_str())
    }

    /// The key file that seals a node's secrets.
    pub(super) fn node_key(&self, id: &NodeId) -> PathBuf {
        self.root.join("nodes").join(format!("{id}.key"))
    }

    /// The configuration of a node.
    pub(super) fn node_config(&self, id: &NodeId) -> PathBuf {
        self.root.join("nodes").join(format!("{id}.toml"))
    }

    /// The data directory of the coordinator.
    pub(super) fn coordinator(&self) -> PathBuf {
        self.root.join("coordinator")
    }

    /// The configuration of the coordinator.
    pub(super) fn coordinator_config(&self) -> PathBuf {
        self.root.join("coordinator.toml")
    }

    /// Where a process writes its log.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }
}

fn agree(made: Shape, nodes: Option<u16>, threshold: Option<u16>) -> Result<Shape, DevError> {
    let differs = nodes.is_some_and(|nodes| nodes != made.nodes)
        || threshold.is_some_and(|threshold| threshold != made.threshold);
    if differs {
        return Err(DevError::Usage(format!(
            "the directory holds a cluster with --nodes {} --threshold {}: use these or another \
             directory",
            made.nodes, made.threshold
        )));
    }
    Ok(made)
}

fn read_finished(root: &Path) -> Result<Option<Finished>, DevError> {
    let path = root.join("dev.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(DevError::file("read", &path))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| DevError::Unexpected {
            name: path.display().to_string(),
            message: error.to_string(),
        })
}

/// A lock file alone is what an earlier try left behind that was refused.
fn is_unused(root: &Path) -> Result<bool, DevError> {
    let entries = fs::read_dir(root).map_err(DevError::file("read", root))?;
    Ok(entries.flatten().all(|entry| entry.file_name() == "lock"))
}

fn lock(root: &Path) -> Result<File, DevError> {
    let path = root.join("lock");
    let file = File::create(&path).map_err(DevError::file("open", &path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| DevError::Directory {
        path: root.display().to_string(),
        what: "is in use by another `quorate dev`",
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_no_key_can_have_are_refused_and_a_majority_is_the_default() {
        for (nodes, threshold, expected) in [
            (3, None, 2),
            (4, None, 2),
            (5, None, 3),
            (5, Some(2), 2),
            (32, None, 16),
        ] {
            assert_eq!(Shape::new(nodes, threshold).unwrap().threshold, expected);
        }
        for (nodes, threshold) in [
            (2, None),
            (33, None),
            (3, Some(1)),
            (3, Some(3)),
            (3, Some(4)),
            (5, Some(0)),
        ] {
            assert_eq!(Shape::new(nodes, threshold).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn every_node_has_a_name_of_its_own() {
        let mut ids = Shape::new(32, None).unwrap().node_ids();

        assert_eq!(ids[0].as_str(), "node-a");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 32);
    }

    #[test]
    fn a_kept_directory_resumes_with_its_own_shape_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("kept");
        let place = Place::open(Some(&root), Some(5), Some(2)).unwrap();
        assert!(!place.is_made());
        place.finish().unwrap();
        drop(place);

        let again = Place::open(Some(&root), None, None).unwrap();
        let (shape, is_made) = (again.shape(), again.is_made());
        drop(again);

        assert_eq!(
            (shape, is_made),
            (
                Shape {
                    nodes: 5,
                    threshold: 2
                },
                true
            )
        );
        assert!(Place::open(Some(&root), Some(3), None).is_err());
        assert!(Place::open(Some(&root), None, Some(3)).is_err());
    }

    #[test]
    fn a_directory_in_use_or_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("kept");
        let foreign = dir.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.txt"), "precious").unwrap();
        let held = Place::open(Some(&root), None, None).unwrap();
        held.finish().unwrap();

        assert!(matches!(
            Place::open(Some(&root), None, None),
            Err(DevError::Directory { .. })
        ));
        assert!(matches!(
            Place::open(Some(&foreign), None, None),
            Err(DevError::Directory { .. })
        ));
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    }

    #[test]
    fn a_temporary_directory_goes_away_with_the_cluster() {
        let place = Place::open(None, None, None).unwrap();
        let root = place.root().to_owned();
        assert!(root.exists());

        drop(place);

        assert!(!root.exists());
    }
}
