//! Programs that are written for an Ethereum node, unchanged, over sockets.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alloy_consensus::{Transaction as _, transaction::SignerRecoverable as _};
use alloy_network::TransactionBuilder as _;
use alloy_primitives::{Address, U256};
use alloy_provider::{Provider, ProviderBuilder, Web3Signer};
use alloy_rpc_types_eth::TransactionRequest;
use serde_json::{json, value::RawValue};
use tokio::sync::{Notify, watch};

use super::world::{Conduct, World, account};
use crate::gateway::{
    HttpUpstream, Listening, Secret, Upstream as _, serve, upstream::UpstreamFailure,
};

async fn listen(world: &World) -> (Listening, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let gateway = world.gateway().unwrap();
    (serve(&world.config, gateway, stopped).await.unwrap(), stop)
}

fn provider(address: SocketAddr) -> impl Provider + Clone {
    let url = format!("http://{address}").parse().unwrap();
    ProviderBuilder::default().connect_http(url)
}

fn from(path: &str) -> Address {
    Address::from(*account(path).as_bytes())
}

fn transfer() -> TransactionRequest {
    TransactionRequest::default()
        .with_to(Address::repeat_byte(0x35))
        .with_value(U256::from(10))
        .with_nonce(9)
        .with_gas_limit(21_000)
        .with_max_fee_per_gas(20)
        .with_max_priority_fee_per_gas(1)
        .with_chain_id(1)
}

#[tokio::test]
async fn the_web3signer_client_of_alloy_signs_with_a_key_of_the_cluster() {
    let world = World::new();
    let (listening, _stop) = listen(&world).await;
    let provider = provider(listening.address);

    let accounts = provider.get_accounts().await.unwrap();
    let remote = Web3Signer::new(provider.clone(), accounts[1]);
    let signed = remote.sign_and_decode(transfer()).await.unwrap();

    assert_eq!(accounts, [from("m"), from("m/0/5")]);
    assert_eq!(signed.recover_signer().unwrap(), from("m/0/5"));
    assert_eq!(signed.nonce(), 9);
    assert_eq!(provider.get_chain_id().await.unwrap(), 1);
    assert_eq!(provider.get_net_version().await.unwrap(), 1);
}

#[tokio::test]
async fn a_provider_of_alloy_sends_from_an_account_as_if_it_were_unlocked() {
    let world = World::with_upstream();
    let (listening, _stop) = listen(&world).await;
    let request = TransactionRequest::default()
        .with_from(from("m"))
        .with_to(Address::repeat_byte(0x35))
        .with_value(U256::from(10));

    let pending = provider(listening.address)
        .send_transaction(request)
        .await
        .unwrap();

    let sent = world.upstream.called("eth_sendRawTransaction");
    assert_eq!(sent.len(), 1);
    let bytes = hex::decode(&sent[0][0].as_str().unwrap()[2..]).unwrap();
    assert_eq!(*pending.tx_hash(), alloy_primitives::keccak256(bytes));
}

#[tokio::test]
async fn an_error_reaches_alloy_with_its_code() {
    let world = World::new();
    let (listening, _stop) = listen(&world).await;
    let request = transfer().with_from(Address::repeat_byte(1));

    let error = provider(listening.address)
        .sign_transaction(request)
        .await
        .unwrap_err();

    assert_eq!(error.as_error_resp().unwrap().code, 4100);
}

#[tokio::test]
async fn what_is_under_way_is_answered_when_the_gateway_stops() {
    let world = World::new();
    let go = Arc::new(Notify::new());
    world.conducts(Conduct::Hold(Arc::clone(&go)));
    let (listening, stop) = listen(&world).await;
    let provider = provider(listening.address);
    let remote = Web3Signer::new(provider.clone(), from("m"));

    let signing = tokio::spawn(async move { remote.sign_transaction(transfer()).await });
    while world.cluster.commands.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.send_replace(true);
    while provider.get_chain_id().await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.notify_one();

    assert!(signing.await.unwrap().is_ok());
    listening.done.await.unwrap();
}

/// As far as another gateway can tell, a gateway is a node.
#[tokio::test]
async fn an_upstream_is_called_over_http() {
    let world = World::with_upstream();
    let (listening, stop) = listen(&world).await;
    let url = Secret::new(format!("http://{}", listening.address));
    let upstream = HttpUpstream::new(&url, Duration::from_secs(10)).unwrap();
    let none = RawValue::from_string("[]".to_owned()).unwrap();

    let number = upstream.call("eth_blockNumber", &none).await.unwrap();
    let refused = upstream.call("admin_peers", &none).await.unwrap_err();
    world
        .upstream
        .answers("eth_getBlockByHash", Ok(json!(null)));
    let nothing = upstream.call("eth_getBlockByHash", &none).await.unwrap();
    stop.send_replace(true);
    drop(upstream);
    listening.done.await.unwrap();
    let upstream = HttpUpstream::new(&url, Duration::from_secs(10)).unwrap();
    let lost = upstream.call("eth_blockNumber", &none).await.unwrap_err();

    assert_eq!((number.get(), nothing.get()), ("\"0x10\"", "null"));
    assert!(matches!(refused, UpstreamFailure::Refused(-32601, ..)));
    assert_eq!(lost, UpstreamFailure::Lost("the connection fails"));
    assert_eq!(Arc::strong_count(&world.cluster), 1);
}
