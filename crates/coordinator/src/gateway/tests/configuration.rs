use std::time::Duration;

use quorate_identity::{SealingCost, passphrase::Passphrase};
use quorate_model::roster::Role;
use rand_core::OsRng;

use super::world::{World, account_config, config, file, identity};
use crate::gateway::{
    Gateway, GatewayConfig, GatewayConfigError, GatewayError, HttpUpstream, Secret, UpstreamError,
    app,
};

fn check(change: impl FnOnce(&mut GatewayConfig)) -> Result<(), GatewayConfigError> {
    let mut config = config();
    change(&mut config);
    config.check()
}

#[test]
fn a_gateway_listens_beyond_this_machine_only_when_it_is_told_so() {
    let remote = "0.0.0.0:8545".parse().unwrap();

    assert_eq!(check(|_| {}), Ok(()));
    assert_eq!(
        check(|c| c.listen = remote),
        Err(GatewayConfigError::Remote(remote))
    );
    let told = check(|c| {
        c.listen = remote;
        c.allow_remote = true;
    });
    assert_eq!(told, Ok(()));
}

#[test]
fn what_no_gateway_can_run_with_is_refused_with_its_reason() {
    let payout = || account_config("payout", "m");

    assert_eq!(check(|c| c.chain_id = 0), Err(GatewayConfigError::NoChain));
    assert_eq!(
        check(|c| c.accounts.clear()),
        Err(GatewayConfigError::AccountCount(0))
    );
    assert_eq!(
        check(|c| c.accounts = vec![payout(), payout()]),
        Err(GatewayConfigError::Repeated {
            key: payout().key,
            path: payout().path,
        })
    );
    assert_eq!(
        check(|c| c.max_batch = 0),
        Err(GatewayConfigError::Zero("max_batch"))
    );
    assert_eq!(
        check(|c| c.max_requests = 0),
        Err(GatewayConfigError::Zero("max_requests"))
    );
    assert_eq!(
        check(|c| c.timeout_ms = 0),
        Err(GatewayConfigError::Zero("timeout_ms"))
    );
    for host in ["", "http://a", "a:80", "a/b", "*", "10.0.0.1"] {
        let refused = Err(GatewayConfigError::Host(host.to_owned()));
        assert_eq!(check(|c| c.hosts = vec![host.to_owned()]), refused);
    }
}

#[test]
fn options_that_are_not_known_are_refused() {
    let text = |more: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\nidentity = \"a\"\npassphrase_file = \"b\"\nchain_id = 1\n\
             accounts = []\n{more}"
        )
    };

    assert!(toml::from_str::<GatewayConfig>(&text("")).is_ok());
    assert!(toml::from_str::<GatewayConfig>(&text("cors = true")).is_err());
    assert!(toml::from_str::<GatewayConfig>(&text("[[accounts]]\nkey = \"a\"")).is_err());
}

#[test]
fn a_token_is_long_enough_and_its_owners_alone() {
    for (text, mode) in [
        ("0123456789abcdef", 0o644),
        ("short", 0o600),
        ("", 0o600),
        ("0123456789 abcdef", 0o600),
        ("0123456789abcdef\nmore", 0o600),
    ] {
        let (_dir, path) = file(text, mode);
        let mut world = World::new();
        world.config.token_file = Some(path);

        let result = app(&world.config, world.gateway().unwrap());

        assert!(
            matches!(result, Err(GatewayError::Token { .. })),
            "{text:?}"
        );
    }
}

#[test]
fn the_identity_is_read_from_its_sealed_file() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = identity(vec![Role::Client]);
    let passphrase = Passphrase::new(b"correct horse".to_vec()).unwrap();
    let mut world = World::new();
    world.config.identity = dir.path().join("gateway.identity");
    world.config.passphrase_file = dir.path().join("passphrase");
    gateway
        .write_new(
            &world.config.identity,
            &passphrase,
            SealingCost::Generated,
            &mut OsRng,
        )
        .unwrap();
    let start = |passphrase: &str| {
        std::fs::write(&world.config.passphrase_file, passphrase).unwrap();
        let cluster = std::sync::Arc::clone(&world.cluster);
        let upstream = None::<HttpUpstream>;
        Gateway::new(&world.config, cluster, upstream).err()
    };

    // It opens, and the roster of this world lists another key under the name.
    assert!(matches!(
        start("correct horse\n"),
        Some(GatewayError::NoClient(_))
    ));
    assert!(matches!(start("wrong"), Some(GatewayError::Identity(_))));
    assert!(matches!(start(""), Some(GatewayError::Passphrase(_))));
}

#[test]
fn an_upstream_is_a_url_of_http_and_is_not_shown() {
    let limit = Duration::from_secs(1);
    let secret = Secret::new("https://node.example/v3/0123456789abcdef");

    assert!(!format!("{secret:?}").contains("0123456789abcdef"));
    assert!(HttpUpstream::new(&Secret::new("http://127.0.0.1:8545"), limit).is_ok());
    for url in [
        "",
        "node.example",
        "ftp://a/",
        "http://",
        "http://user:password@a/",
        "a b",
    ] {
        let result = HttpUpstream::new(&Secret::new(url), limit);
        assert!(matches!(result, Err(UpstreamError::Url)), "{url}");
    }
}
