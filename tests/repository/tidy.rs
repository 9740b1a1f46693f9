//! What sources must not contain, and how long they may be.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The most lines of a source file that is not a test.
const MAX_LINES: usize = 800;

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = ["crates", "tests", "benches"]
        .iter()
        .map(|top| super::root().join(top))
        .collect();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy().replace('\\', "/");
    text.contains("/tests/") || text.ends_with("/tests.rs") || text.contains("/tests_")
}

/// Lines before the test module at a file's end.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .count()
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|path| !is_test(path))
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"))
        .collect();

    assert!(silent.is_empty(), "no module documentation: {silent:?}");
}

#[test]
fn no_file_outgrows_its_purpose() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|path| !is_test(path))
        .filter(|path| code_lines(&fs::read_to_string(path).unwrap()) > MAX_LINES)
        .collect();

    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:?}");
}

#[test]
fn nothing_is_left_for_later_in_the_sources() {
    // Spelt in pieces, so that this file does not find itself.
    let marks = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
        concat!("should_", "panic"),
        concat!("thread::sl", "eep"),
    ];

    let mut found = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }

    assert!(found.is_empty(), "{found:#?}");
}
