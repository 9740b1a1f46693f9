use quorate_model::{KeyPurpose, KeyState, Scheme, roster::Role};
use serde_json::json;

use super::world::{Running, World, account, account_config, identity, transfer};
use crate::gateway::GatewayError;

async fn accounts(running: &Running) -> serde_json::Value {
    running.result("eth_accounts", json!([])).await
}

#[tokio::test]
async fn exactly_the_configured_accounts_are_listed_in_their_order() {
    let running = World::new().start();

    let expected = json!([account("m"), account("m/0/5")]);
    assert_eq!(accounts(&running).await, expected);
    assert_eq!(
        running.result("eth_requestAccounts", json!([])).await,
        expected
    );
}

#[tokio::test]
async fn an_account_that_is_not_configured_is_refused_for_every_method() {
    let running = World::with_upstream().start();
    let other = account("m/0/6");
    let mut from_other = transfer();
    from_other["from"] = json!(other);
    let typed = json!({ "types": {}, "primaryType": "A", "domain": {}, "message": {} });

    for (method, params) in [
        ("eth_signTransaction", json!([from_other])),
        ("eth_sendTransaction", json!([from_other])),
        ("eth_sign", json!([other, "0x00"])),
        ("personal_sign", json!(["0x00", other])),
        ("eth_signTypedData", json!([other, typed])),
        ("eth_signTypedData_v4", json!([other, typed])),
    ] {
        let (code, message, _) = running.error(method, params).await;

        assert_eq!(code, 4100, "{method}");
        assert!(message.contains(&other.to_string()), "{message}");
    }
    assert!(running.commands().is_empty());
}

#[tokio::test]
async fn a_key_that_comes_later_is_served_then() {
    let mut world = World::new();
    world.config.accounts = vec![account_config("later", "m/1")];
    let running = world.start();

    let before = accounts(&running).await;
    running
        .world
        .add_key("later", Scheme::EcdsaSecp256k1, &[KeyPurpose::Messages]);

    assert_eq!(before, json!([]));
    assert_eq!(accounts(&running).await, json!([account("m/1")]));
}

#[tokio::test]
async fn a_key_without_an_account_is_not_served() {
    let mut world = World::new();
    world.add_key("bitcoin", Scheme::Bip340, &[KeyPurpose::Transactions]);
    world.add_key("young", Scheme::EcdsaSecp256k1, &[KeyPurpose::Transactions]);
    world.add_key(
        "renamed",
        Scheme::EcdsaSecp256k1,
        &[KeyPurpose::Transactions],
    );
    world.add_key(
        "forged",
        Scheme::EcdsaSecp256k1,
        &[KeyPurpose::Transactions],
    );
    {
        let mut keys = world.cluster.keys.lock().unwrap();
        let renamed = keys[&"young".parse().unwrap()].clone();
        keys.insert("renamed".parse().unwrap(), renamed);
        keys.get_mut(&"young".parse().unwrap()).unwrap().state = KeyState::PreActive;
        let forged = keys.get_mut(&"forged".parse().unwrap()).unwrap();
        *forged.evidence.certificate.last_mut().unwrap() ^= 1;
    }
    let names = ["bitcoin", "young", "renamed", "forged", "unknown"];
    world.config.accounts = names.map(|name| account_config(name, "m")).to_vec();
    let running = world.start();

    assert_eq!(accounts(&running).await, json!([]));
}

#[tokio::test]
async fn an_account_with_another_address_than_expected_is_not_served() {
    let mut world = World::new();
    world.config.accounts[0].address = Some(account("m"));
    world.config.accounts[1].address = Some(account("m/0/6"));
    let running = world.start();

    assert_eq!(accounts(&running).await, json!([account("m")]));
    let (code, ..) = running
        .error("eth_signTransaction", json!([transfer()]))
        .await;
    assert_eq!(code, 4100);
}

#[test]
fn an_identity_that_the_roster_does_not_list_as_a_client_starts_no_gateway() {
    let stranger = World::new();
    let gateway = crate::gateway::Gateway::with_identity(
        &stranger.config,
        identity(vec![Role::Client]),
        std::sync::Arc::clone(&stranger.cluster),
        None::<std::sync::Arc<super::world::FakeUpstream>>,
    );

    assert!(matches!(gateway.err(), Some(GatewayError::NoClient(id)) if id.as_str() == "gateway"));
}
