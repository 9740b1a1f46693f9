//! Where `quorate-node` and `quorate-coordinator` come from: they lie beside this executable, and
//! are built with cargo, in the same profile, when this executable lies in a workspace and nobody
//! forbids it.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::DevError;
use crate::output;

const NODE: &str = "quorate-node";
const COORDINATOR: &str = "quorate-coordinator";

/// The variable that keeps cargo out of it when it is anything but empty or 0.
const NO_BUILD: &str = "QUORATE_DEV_NO_BUILD";

/// The programs that a cluster consists of.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    /// The directory that they lie in, with this executable.
    pub(super) directory: PathBuf,
    pub(super) node: PathBuf,
    pub(super) coordinator: PathBuf,
}

impl Binaries {
    /// A command of the node program. What seals a node comes from its arguments only.
    pub(super) fn node_command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.node);
        command
            .arg(verb)
            .env_remove("QUORATE_PASSPHRASE_FILE")
            .env_remove("QUORATE_KEY_FILE");
        command
    }
}

/// Finds the programs, after building what is missing or stale, unless the environment forbids it.
pub(super) async fn provide() -> Result<Binaries, DevError> {
    provide_beside_us(may_build(env::var_os(NO_BUILD).as_deref())).await
}

/// Whether the value of [`NO_BUILD`] lets cargo be called.
fn may_build(no_build: Option<&OsStr>) -> bool {
    no_build.is_none_or(|value| value.is_empty() || value == "0")
}

async fn provide_beside_us(may_build: bool) -> Result<Binaries, DevError> {
    let own = env::current_exe().map_err(DevError::file("find", Path::new("this executable")))?;
    let directory = own.parent().unwrap_or(Path::new("/")).to_owned();
    let binaries = Binaries {
        node: directory.join(format!("{NODE}{}", env::consts::EXE_SUFFIX)),
        coordinator: directory.join(format!("{COORDINATOR}{}", env::consts::EXE_SUFFIX)),
        directory,
    };
    let programs = [(&binaries.node, NODE), (&binaries.coordinator, COORDINATOR)];
    let missing = programs.into_iter().find(|(path, _)| !path.is_file());
    if !may_build {
        if let Some((_, name)) = missing {
            let beside = own.display().to_string();
            return Err(DevError::MayNotBuild { name, beside });
        }
    } else if let Some(workspace) = workspace(&binaries.directory) {
        let is_stale = programs
            .into_iter()
            .any(|(path, _)| !is_fresh(path, &workspace));
        if is_stale {
            build(&workspace, &binaries.directory, missing.is_some()).await?;
        }
    } else if let Some((_, name)) = missing {
        let beside = own.display().to_string();
        return Err(DevError::NoBinary { name, beside });
    }
    Ok(binaries)
}

/// Whether a program is newer than everything that it was made of, as cargo lists it beside it.
/// Cargo itself is asked only when it is not: it waits for every other cargo at work.
fn is_fresh(program: &Path, workspace: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let (Some(made), Ok(list)) = (
        modified(program),
        fs::read_to_string(program.with_extension("d")),
    ) else {
        return false;
    };
    let Some((_, sources)) = list.trim_end().split_once(": ") else {
        return false;
    };
    // Blanks in paths are escaped with a backslash.
    let sources = sources.replace("\\ ", "\0");
    let sources = sources
        .split(' ')
        .map(|path| PathBuf::from(path.replace('\0', " ")));
    sources
        .chain([workspace.join("Cargo.lock"), workspace.join("Cargo.toml")])
        .all(|source| modified(&source).is_some_and(|changed| changed <= made))
}

/// The path of the node program beside this executable.
pub(crate) fn node_beside_us() -> Result<PathBuf, DevError> {
    let own = env::current_exe().map_err(DevError::file("find", Path::new("this executable")))?;
    let path = own.with_file_name(format!("{NODE}{}", env::consts::EXE_SUFFIX));
    if path.is_file() {
        return Ok(path);
    }
    Err(DevError::NoBinary {
        name: NODE,
        beside: own.display().to_string(),
    })
}

/// The workspace that this executable was built in: above it, or where `cargo run` says.
fn workspace(directory: &Path) -> Option<PathBuf> {
    let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let above = directory.ancestors().map(Path::to_owned);
    let above_told = told
        .iter()
        .flat_map(|path| path.ancestors())
        .map(Path::to_owned);
    above.chain(above_told).find(|path| is_our_workspace(path))
}

fn is_our_workspace(path: &Path) -> bool {
    path.join("crates/node/Cargo.toml").is_file()
        && fs::read_to_string(path.join("Cargo.toml"))
            .is_ok_and(|manifest| manifest.contains("[workspace]"))
}

/// Cargo knows best what is stale; it does nothing when nothing is.
async fn build(workspace: &Path, directory: &Path, missing: bool) -> Result<(), DevError> {
    let profile = profile_of(directory);
    if missing {
        output::progress(&format!(
            "building {NODE} and {COORDINATOR} (profile {profile}) ..."
        ));
    } else {
        output::progress(&format!("bringing {NODE} and {COORDINATOR} up to date ..."));
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // No package is selected, so that features resolve as for `cargo run`: for all default members.
    // With another selection cargo would compile what they share once more.
    command
        .args(["build", "--bin", NODE, "--bin", COORDINATOR])
        .args(["--profile", profile])
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(target) = directory.parent() {
        command.arg("--target-dir").arg(target);
    }
    // `cargo run` describes our own package to us. Build scripts, ring's among them, look at the
    // same variables: handed on, they would have everything above ring compiled again.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(describes_a_package) {
            command.env_remove(name);
        }
    }
    // Cargo's results are for people: ours are on standard output, so its are kept off it.
    let status = command.stdout(Stdio::null()).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(DevError::Build(format!("{NODE} and {COORDINATOR}"))),
        Err(_) if !missing => {
            output::progress("cargo does not run: using the programs as they are");
            Ok(())
        }
        Err(source) => Err(DevError::Spawn {
            program: "cargo".to_owned(),
            source,
        }),
    }
}

/// Whether cargo sets a variable for what it runs, to describe the package that it runs.
fn describes_a_package(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The cargo profile whose directory this is.
fn profile_of(directory: &Path) -> &str {
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_directory_of_an_executable_names_its_cargo_profile() {
        for (directory, expected) in [
            ("/x/target/debug", "dev"),
            ("/x/target/release", "release"),
            ("/t/dist", "dist"),
        ] {
            assert_eq!(profile_of(Path::new(directory)), expected);
        }
    }

    #[test]
    fn what_describes_our_package_is_kept_from_cargo_and_settings_are_handed_on() {
        for name in [
            "CARGO_PKG_NAME",
            "CARGO_MANIFEST_DIR",
            "CARGO_MANIFEST_LINKS",
        ] {
            assert!(describes_a_package(name), "{name}");
        }
        for name in [
            "CARGO",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_PROFILE_DEV_DEBUG",
            "PATH",
        ] {
            assert!(!describes_a_package(name), "{name}");
        }
    }

    #[test]
    fn a_variable_that_is_set_keeps_cargo_out() {
        for (value, expected) in [
            (None, true),
            (Some(""), true),
            (Some("0"), true),
            (Some("1"), false),
            (Some("yes"), false),
        ] {
            assert_eq!(may_build(value.map(OsStr::new)), expected, "{value:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_named_when_nothing_may_be_built() {
        // Test programs lie in a directory of their own, in which there is no node.
        let error = provide_beside_us(false).await.unwrap_err();

        assert!(
            matches!(error, DevError::MayNotBuild { name: NODE, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_program_is_fresh_while_nothing_that_it_was_made_of_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let touch = |name: &str, time: SystemTime| {
            fs::File::create(path(name))
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        for name in ["a b.rs", "c.rs", "Cargo.lock", "Cargo.toml"] {
            touch(name, old);
        }
        let program = path("program");
        touch("program", old + Duration::from_secs(1));
        assert!(!is_fresh(&program, dir.path()), "no list");
        let sources = format!(
            "{}/a\\ b.rs {}",
            dir.path().display(),
            path("c.rs").display()
        );
        fs::write(
            path("program.d"),
            format!("{}: {sources}\n", program.display()),
        )
        .unwrap();

        assert!(is_fresh(&program, dir.path()));
        for name in ["a b.rs", "c.rs", "Cargo.lock", "Cargo.toml"] {
            touch(name, old + Duration::from_secs(2));
            assert!(!is_fresh(&program, dir.path()), "{name} is newer");
            touch(name, old);
        }
        fs::remove_file(path("c.rs")).unwrap();
        assert!(!is_fresh(&program, dir.path()), "a source is gone");
    }

    #[test]
    fn a_directory_without_our_crates_is_no_workspace() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Cargo.toml"), "[workspace]").unwrap();

        assert!(!is_our_workspace(dir.path()));
        fs::create_dir_all(dir.path().join("crates/node")).unwrap();
        fs::write(dir.path().join("crates/node/Cargo.toml"), "").unwrap();
        assert!(is_our_workspace(dir.path()));
    }
}
