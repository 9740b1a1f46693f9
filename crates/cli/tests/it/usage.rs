//! Exit codes and messages of calls that go wrong before any machine is asked.

use crate::workspace::Workspace;

/// Without a profile nobody can be asked: that the file is named shows that it was looked at first.
#[test]
fn a_result_without_a_place_is_refused_before_anybody_is_asked() {
    let workspace = Workspace::new();
    workspace.write("in.psbt", "psbt");
    for arguments in [
        "sign psbt hot --in in.psbt --out nowhere/x",
        "sign solana hot --in in.psbt --out nowhere/x",
        "sign message hot --text a --receipts nowhere/x",
        "sign digest hot --hex 0000000000000000000000000000000000000000000000000000000000000000 \
         --receipts nowhere/x",
        "key destroy hot --confirm --reason over --out nowhere/x",
        "key states hot --out nowhere/x",
        "cluster export --out nowhere/x",
        "audit export --node node-a --out nowhere/x",
        "identity new ann --role admin --out nowhere/x",
    ] {
        let run = workspace.run(arguments);

        assert_eq!(run.code, 1, "{arguments}: {}", run.err);
        assert!(
            run.err.contains("write nowhere/x"),
            "{arguments}: {}",
            run.err
        );
    }
}

#[test]
fn calls_that_make_no_sense_exit_with_2_and_say_why() {
    let workspace = Workspace::new();
    for (arguments, expected) in [
        ("", "Usage"),
        ("frobnicate", "unrecognized subcommand"),
        ("key create", "NAME"),
        ("key create Bad_Name --scheme bip340", "2 to 63 of a-z"),
        ("key create hot", "--scheme"),
        ("key create hot --scheme rsa", "is not a scheme"),
        (
            "key create hot --scheme bip340 --purpose fun",
            "is not a purpose",
        ),
        (
            "key create hot --scheme bip340 --threshold 0",
            "--threshold",
        ),
        (
            "key create hot --scheme bip340 --command-id 7",
            "is no UUID",
        ),
        ("key address hot --network mars", "--network"),
        ("key address hot --chain gold", "--chain"),
        ("key address hot --type p2sh", "is not a type of address"),
        (
            "key address hot --chain ethereum --type p2pkh",
            "--type is for addresses of bitcoin",
        ),
        (
            "key descriptor hot --type p2wsh",
            "is not a type of address",
        ),
        ("key descriptor", "NAME"),
        ("sign message hot", "--file <FILE>|--text <TEXT>"),
        ("sign message hot --text a --file b", "cannot be used with"),
        ("sign digest hot --hex abcd", "64 hex digits"),
        ("sign message hot --text a --key-id ab", "64 hex digits"),
        ("key address hot --key-id hot", "64 hex digits"),
        ("sign psbt hot --in a", "--out"),
        ("sign solana hot", "--in"),
        ("decode gold --in a", "is not a kind of payload"),
        ("decode psbt", "--in"),
        ("verify hot --file f --signature xyz", "--signature"),
        ("command show 7", "is no UUID"),
        ("command approve", "<ID>"),
        ("command approve 7", "is no UUID"),
        (
            "command approve 00000000-0000-0000-0000-000000000000 --yes",
            "--digest",
        ),
        ("command reject --yes --digest ab", "64 hex digits"),
        (
            "command reject 00000000-0000-0000-0000-000000000000 --force",
            "unexpected argument '--force'",
        ),
        ("key refresh", "use --filter 'GLOB' or --all"),
        ("key refresh hot --all", "cannot be used with"),
        ("key refresh --all --filter hot-*", "cannot be used with"),
        ("key refresh --filter Hot", "is no pattern"),
        ("key refresh --all --parallel 0", "--parallel"),
        ("key refresh hot cold --validate-only", "name only one"),
        ("key refresh --all --no-wait", "name only one"),
        ("key reshare hot --nodes node-a,node-b", "--threshold"),
        ("key reshare hot --threshold 2", "--nodes"),
        (
            "key reshare hot --threshold 3 --nodes node-a,node-b",
            "lower it or name more nodes",
        ),
        (
            "key reshare hot --threshold 1 --nodes node-a,node-b",
            "expected at least 2",
        ),
        (
            "key reshare hot --threshold 2 --nodes node-a,node-a",
            "named twice",
        ),
        (
            "key reshare hot --threshold 2 --nodes node-a,node-b",
            "--accept-fragile",
        ),
        ("cluster export", "--out"),
        ("cluster show roster.json --acknowledged", "cannot be used"),
        ("audit verify", "<FILE>"),
        ("audit verify f --roster r", "--hash"),
        ("key list --timeout 1h", "is no time"),
        ("key list -o yaml", "yaml"),
        ("dev --nodes 2", "expected 3 to 32"),
        ("dev --threshold 3", "expected 2 to 2"),
        ("dev --threshold 1", "expected 2 to 2"),
        ("dev --listen 0.0.0.0", "not a loopback address"),
        ("cluster init roster.json", "--name"),
        ("identity new ann", "--role"),
    ] {
        makes_no_sense(&workspace, arguments, expected);
    }
}

#[test]
fn calls_about_nodes_that_make_no_sense_exit_with_2_and_say_why() {
    let workspace = Workspace::new();
    for (arguments, expected) in [
        ("node replace node-a", "<NEW>"),
        ("node replace node-a node-a", "cannot take its own place"),
        ("node add", "<CARD>"),
        ("node add passphrase", "is no card of a node"),
        ("node remove", "<NAME>"),
        ("node readmit node-a --reason r", "--without"),
        ("node readmit node-a --without node-b", "--reason"),
        ("node drain", "<NAME>"),
    ] {
        makes_no_sense(&workspace, arguments, expected);
    }
}

fn makes_no_sense(workspace: &Workspace, arguments: &str, expected: &str) {
    let run = workspace.run(arguments);

    assert_eq!(run.code, 2, "{arguments}: {}{}", run.out, run.err);
    assert!(run.err.contains(expected), "{arguments}: {}", run.err);
    assert_eq!(run.out, "", "{arguments}");
}

#[test]
fn a_command_without_a_profile_says_how_to_get_one() {
    let workspace = Workspace::new();
    for arguments in [
        "key list",
        "node list",
        "sign message hot --text a",
        "key show hot",
    ] {
        let run = workspace.run(arguments);

        assert_eq!(run.code, 1, "{arguments}");
        assert!(run.err.contains("no profile in"), "{}", run.err);
        assert!(run.err.contains("cluster pin"), "{}", run.err);
    }
}

#[test]
fn what_changes_nodes_or_their_keys_asks_for_the_newest_roster_first() {
    let workspace = Workspace::new();
    workspace.cluster();
    for arguments in [
        "key reshare hot --threshold 2 --nodes node-a,node-b,node-z --timeout 5",
        "node replace node-a node-z --timeout 5",
        "node add node-a.json --timeout 5",
        "node remove node-a --timeout 5",
        "node drain node-a --timeout 5",
        "cluster export --out chain.json --timeout 5",
        "cluster show --acknowledged --timeout 5",
    ] {
        let run = workspace.run(arguments);

        assert_eq!(run.code, 5, "{arguments}: {}", run.err);
        assert_eq!(run.out, "", "{arguments}");
    }
    assert!(!workspace.path("chain.json").exists());
}

#[test]
fn what_a_refresh_cannot_do_stands_in_its_help() {
    let workspace = Workspace::new();
    for (arguments, expected) in [
        ("key refresh --help", "not undo a theft"),
        ("key reshare --help", "undo a theft"),
        ("node replace --help", "quorate node replace node-c node-d"),
    ] {
        let run = workspace.succeed(arguments);

        assert!(run.out.contains(expected), "{arguments}: {}", run.out);
    }
}

#[test]
fn a_coordinator_that_is_not_there_exits_with_5() {
    let workspace = Workspace::new();
    workspace.cluster();

    let run = workspace.run("key list --timeout 5");

    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("127.0.0.1:1"), "{}", run.err);
}

#[test]
fn a_wrong_passphrase_is_named_and_opens_nothing() {
    let workspace = Workspace::new();
    workspace.cluster();
    workspace.write("other", "battery staple");

    let run = workspace.run_with("key list", &workspace.path("other"));

    assert_eq!(run.code, 1);
    assert!(run.err.contains("the passphrase is wrong"), "{}", run.err);
    assert!(!run.err.contains("battery"));
}

#[test]
fn an_identity_that_the_roster_does_not_list_is_denied() {
    let workspace = Workspace::new();
    workspace.cluster();
    workspace.succeed("identity new eve --role client");

    let run = workspace.run("sign message hot --text pay --identity eve");

    assert_eq!(run.code, 3, "{}", run.err);
    assert!(
        run.err.contains("\"eve\" is not in the pinned roster"),
        "{}",
        run.err
    );
}

#[test]
fn results_have_the_form_that_was_asked_for() {
    let workspace = Workspace::new();

    let table = workspace.succeed("version");
    let json = workspace.succeed("version -o json");
    let script = workspace.succeed("completion bash");

    assert!(table.out.starts_with("quorate "));
    assert!(json.json()["version"].is_string());
    assert!(script.out.contains("_quorate"));
}

#[test]
fn nothing_is_colored_when_nobody_looks() {
    let workspace = Workspace::new();

    for arguments in ["--help", "key --help", "frobnicate"] {
        let run = workspace.run(arguments);

        assert!(
            !run.out.contains('\u{1b}') && !run.err.contains('\u{1b}'),
            "{arguments}"
        );
    }
}

#[test]
fn no_secret_can_be_given_as_an_argument() {
    let workspace = Workspace::new();
    for command in [
        "",
        "key create",
        "sign message",
        "identity new",
        "node init",
        "dev",
    ] {
        let help = workspace.run(&format!("{command} --help"));

        assert!(!help.out.contains("--passphrase "), "{command}");
        assert!(!help.out.contains("--secret"), "{command}");
    }
}
