//! The benchmarks run to their end and tell the figures that they are made for. What the figures of
//! a debug build are does not matter.

use std::fs;

use serde_json::Value;

use crate::harness::{Done, program, run};

/// Runs a benchmark on the programs as they are, and returns what it printed and wrote.
fn measured(arguments: &[&str]) -> (String, Value) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("figures.json");
    let done: Done = run(program("quorate-bench")
        .args(arguments)
        .arg("--out")
        .arg(&out)
        .env("QUORATE_DEV_NO_BUILD", "1"));
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!done.stderr.contains("building"), "{done:?}");
    let figures = serde_json::from_slice(&fs::read(out).unwrap()).unwrap();
    (done.stdout, figures)
}

/// Checks that each of these is a number above zero.
fn all_positive(figures: &Value, names: &[&str]) {
    for name in names {
        let figure = figures.pointer(name).and_then(Value::as_f64);
        assert!(figure.is_some_and(|it| it > 0.0), "{name}: {figures:#}");
    }
}

#[test]
fn the_benchmark_of_resharings_tells_keys_per_second_and_the_worst_gap() {
    let (printed, figures) = measured(&["reshare", "--keys", "2"]);

    let names = ["/seconds", "/keys_per_s", "/p50_ms", "/p99_ms"];
    all_positive(&figures, &names);
    let gaps = ["/signatures", "/worst_gap_ms", "/worst_gap_before_ms"];
    all_positive(&figures, &gaps);
    assert_eq!(
        (&figures["keys"], &figures["unerased"]),
        (&2.into(), &0.into())
    );
    for figure in ["/s", "worst gap", "p99"] {
        assert!(printed.contains(figure), "{figure}: {printed}");
    }
}

#[test]
fn the_benchmark_of_growth_tells_start_and_memory() {
    let (printed, figures) = measured(&["growth", "--keys", "3", "--starts", "1"]);

    let size = &figures["sizes"][0];
    assert_eq!(size["keys"], 3, "{figures}");
    all_positive(
        size,
        &["/journal_mib", "/vault_mib", "/erasure/milliseconds"],
    );
    for start in ["kept", "deleted"] {
        all_positive(&size[start], &["/seconds", "/records"]);
        // Elsewhere the system does not tell of them.
        if cfg!(target_os = "linux") {
            let names = ["/memory_mib", "/peak_mib", "/later_mib"];
            all_positive(&size[start], &names);
            // It is counted in hundredths, and so short a start may take none.
            assert!(size[start]["cpu_seconds"].is_number(), "{size}");
        }
    }
    assert!(size["deleted"]["rebuilt"].is_string(), "{size}");
    for figure in ["3 keys", "serves after", "MiB then", "one erasure"] {
        assert!(printed.contains(figure), "{figure}: {printed}");
    }
}
