mod cluster;
mod proxy;
mod scripted;

use std::sync::Arc;

use quorate_model::Reason;
use quorate_pinning::{TlsIdentity, allow, client_config, server_name};
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, rustls};

use self::{
    cluster::{Cluster, Listening, within},
    proxy::Proxy,
    scripted::Scripted,
};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

fn evidence(byte: u8) -> NodeRequest {
    NodeRequest::RecordEvidence {
        evidence: vec![byte],
    }
}

#[tokio::test]
async fn a_node_and_a_coordinator_of_one_roster_talk() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&listening]);

    let link = listening.up("node-a").await;
    let answer = link.call(evidence(7), LIMIT).await;

    assert_eq!(answer, Ok(NodeReply::Done));
    assert_eq!(
        node.asked(),
        [("coordinator-1".parse().unwrap(), evidence(7))]
    );
}

#[tokio::test]
async fn a_refusal_of_the_node_arrives_with_its_reason() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&listening]);

    let link = listening.up("node-a").await;
    let answer = link
        .call(NodeRequest::ReadAudit { from: 1, limit: 1 }, LIMIT)
        .await;

    let Err(CallError::Refused(refusal)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(refusal.reason, Reason::Overloaded);
}

#[tokio::test]
async fn a_request_that_is_larger_than_its_kind_may_be_is_cut_off() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&listening]);
    let link = listening.up("node-a").await;

    let large = NodeRequest::RecordEvidence {
        evidence: vec![0; 3 << 20],
    };
    let Err(CallError::Refused(refusal)) = link.call(large, LIMIT).await else {
        panic!("it was read")
    };

    assert_eq!(refusal.reason, Reason::TooLarge);
    assert_eq!(link.call(evidence(1), LIMIT).await, Ok(NodeReply::Done));
}

#[tokio::test]
async fn a_request_full_of_empty_messages_is_refused_before_it_is_decoded() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&listening]);
    let link = listening.up("node-a").await;

    let full = quorate_proto::node::v1::SignSharesRequest {
        requests: vec![quorate_proto::node::v1::ShareRequest::default(); 100_000],
    };
    let status = link.client.clone().sign_shares(full).await.unwrap_err();

    let refusal = quorate_proto::status::from_status(&status).unwrap();
    assert_eq!(refusal.reason, Reason::TooLarge);
    // The words of the codec: the conversion would say how many there are.
    assert_eq!(refusal.message, "requests: more than 256 items");
    assert_eq!(link.call(evidence(1), LIMIT).await, Ok(NodeReply::Done));
    assert_eq!(node.asked().len(), 1);
}

#[tokio::test]
async fn calls_beyond_the_room_of_a_link_wait() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&listening]);
    let link = listening.up("node-a").await;
    let mut endless = JoinSet::new();
    // A page of keys takes 8.5 MiB of 224.
    for _ in 0..26 {
        let link = link.clone();
        endless.spawn(async move { link.call(scripted::endless(), LIMIT).await });
        within(node.began()).await;
    }

    let waits = link.call(evidence(1), Duration::from_millis(200)).await;
    assert_eq!(waits, Err(CallError::TimedOut));
    endless.shutdown().await;
    assert_eq!(link.call(evidence(2), LIMIT).await, Ok(NodeReply::Done));
}

#[tokio::test]
async fn a_strangers_node_is_refused() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let stranger = TlsIdentity::generate("node-a").unwrap();
    let config = client_config(&stranger, allow([listening.key_hash])).unwrap();

    let seen = first_words(&listening, config).await;

    let alert = seen.unwrap_err();
    assert!(alert.to_string().contains("alert"), "{alert}");
    assert!(listening.events.try_recv().is_err());
}

#[tokio::test]
async fn a_principal_of_the_roster_is_no_node() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let config = client_config(&cluster.admin, allow([listening.key_hash])).unwrap();

    let seen = first_words(&listening, config).await;

    assert!(seen.is_err());
    assert!(listening.events.try_recv().is_err());
}

#[tokio::test]
async fn a_node_that_shows_anothers_certificate_is_refused() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let thief = TlsIdentity::generate("thief").unwrap();
    let mut config = client_config(&thief, allow([listening.key_hash])).unwrap();
    config.client_auth_cert_resolver =
        Arc::new(cluster::Forged::new(cluster.node("node-a"), &thief));

    let seen = first_words(&listening, config).await;

    let alert = seen.unwrap_err();
    assert!(alert.to_string().contains("DecryptError"), "{alert}");
    assert!(listening.events.try_recv().is_err());
}

#[tokio::test]
async fn a_node_comes_back_after_its_connection_was_cut() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let proxy = Proxy::to(&listening).await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&proxy.front()]);
    let first = listening.up("node-a").await;

    proxy.cut();
    listening.down("node-a", first.generation()).await;
    let second = listening.up("node-a").await;

    assert!(second.generation() > first.generation());
    assert_eq!(first.call(evidence(1), LIMIT).await, Err(CallError::Lost));
    assert_eq!(second.call(evidence(2), LIMIT).await, Ok(NodeReply::Done));
}

#[tokio::test]
async fn a_node_that_vanishes_without_a_word_is_noticed() {
    let cluster = Cluster::new();
    let alert = LinkPolicy {
        keep_alive_interval: Duration::from_millis(50),
        keep_alive_timeout: Duration::from_millis(200),
        ..cluster::policy()
    };
    let mut listening = cluster.listen_with("coordinator-1", alert).await;
    let proxy = Proxy::to(&listening).await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&proxy.front()]);
    let link = listening.up("node-a").await;

    proxy.fall_silent();

    listening.down("node-a", link.generation()).await;
}

#[tokio::test]
async fn a_node_dials_again_when_its_coordinator_vanishes_without_a_word() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let proxy = Proxy::to(&listening).await;
    let node = Scripted::new("node-a", 1);
    let alert = quorate_node::link::LinkPolicy {
        keep_alive_interval: Duration::from_millis(50),
        keep_alive_timeout: Duration::from_millis(200),
        ..cluster::node_policy()
    };
    let _running = cluster.dial_with("node-a", &node, &[&proxy.front()], alert);
    let first = listening.up("node-a").await;

    proxy.fall_silent();

    listening.down("node-a", first.generation()).await;
    let second = listening.up("node-a").await;
    assert_eq!(second.call(evidence(9), LIMIT).await, Ok(NodeReply::Done));
}

#[tokio::test]
async fn a_call_under_way_is_lost_with_its_connection() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let proxy = Proxy::to(&listening).await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&proxy.front()]);
    let link = listening.up("node-a").await;
    let call = tokio::spawn(async move { link.call(scripted::endless(), LIMIT).await });
    within(node.began()).await;

    proxy.cut();

    assert_eq!(within(call).await.unwrap(), Err(CallError::Lost));
}

#[tokio::test]
async fn a_call_that_takes_too_long_times_out_and_the_link_stays() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&listening]);
    let link = listening.up("node-a").await;

    let slow = link
        .call(scripted::endless(), Duration::from_millis(20))
        .await;
    let quick = link.call(evidence(3), LIMIT).await;

    assert_eq!(slow, Err(CallError::TimedOut));
    assert_eq!(quick, Ok(NodeReply::Done));
}

#[tokio::test]
async fn a_node_serves_two_coordinators_and_knows_them_apart() {
    let cluster = Cluster::new();
    let mut one = cluster.listen("coordinator-1").await;
    let mut two = cluster.listen("coordinator-2").await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&one, &two]);

    one.up("node-a")
        .await
        .call(evidence(1), LIMIT)
        .await
        .unwrap();
    two.up("node-a")
        .await
        .call(evidence(2), LIMIT)
        .await
        .unwrap();

    let asked = node.asked();
    assert_eq!(
        asked,
        [
            ("coordinator-1".parse().unwrap(), evidence(1)),
            ("coordinator-2".parse().unwrap(), evidence(2)),
        ]
    );
}

#[tokio::test]
async fn a_second_process_with_the_same_identity_is_refused_and_reported() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let original = Scripted::new("node-a", 1);
    let _original = cluster.dial("node-a", &original, &[&listening]);
    let link = listening.up("node-a").await;

    let copy = Scripted::new("node-a", 2);
    let _copy = cluster.dial("node-a", &copy, &[&listening]);

    let event = listening.event().await;
    let LinkEvent::Duplicate { node } = event else {
        panic!("{event:?}")
    };
    assert_eq!(node.as_str(), "node-a");
    assert_eq!(link.call(evidence(4), LIMIT).await, Ok(NodeReply::Done));
    assert_eq!(original.asked().len(), 1);
}

#[tokio::test]
async fn the_same_process_that_connects_again_takes_the_place_of_its_first_link() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let _first = cluster.dial("node-a", &node, &[&listening]);
    let first = listening.up("node-a").await;

    let again = cluster.dial("node-a", &node, &[&listening]);

    listening.down("node-a", first.generation()).await;
    let second = listening.up("node-a").await;
    assert!(second.generation() > first.generation());
    drop(again);
}

#[tokio::test]
async fn another_process_takes_the_place_of_a_link_that_does_not_answer() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let dying = Scripted::new("node-a", 1);
    let _dying = cluster.dial("node-a", &dying, &[&listening]);
    let first = listening.up("node-a").await;
    dying.go_silent();

    let restarted = Scripted::new("node-a", 2);
    let _restarted = cluster.dial("node-a", &restarted, &[&listening]);

    listening.down("node-a", first.generation()).await;
    let second = listening.up("node-a").await;
    assert_eq!(second.call(evidence(5), LIMIT).await, Ok(NodeReply::Done));
    assert_eq!(restarted.asked().len(), 1);
}

#[tokio::test]
async fn a_node_that_never_says_which_process_it_is_does_not_come_up() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let silent = Scripted::new("node-a", 1);
    silent.go_silent();
    let _silent = cluster.dial("node-a", &silent, &[&listening]);
    within(silent.probed()).await;
    let honest = Scripted::new("node-b", 1);
    let _honest = cluster.dial("node-b", &honest, &[&listening]);

    let link = listening.up("node-b").await;

    assert_eq!(link.node().as_str(), "node-b");
}

#[tokio::test]
async fn silent_strangers_cannot_keep_nodes_out() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    // The listener of the tests lets two connections wait at a time.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(&listening.address).await.unwrap());
    }
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&listening]);

    let link = listening.up("node-a").await;

    assert_eq!(link.call(evidence(6), LIMIT).await, Ok(NodeReply::Done));
}

#[tokio::test]
async fn a_node_that_goes_down_finishes_what_it_began() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let running = cluster.dial("node-a", &node, &[&listening]);
    let link = listening.up("node-a").await;
    let generation = link.generation();
    let call = tokio::spawn(async move { link.call(scripted::held(), LIMIT).await });
    within(node.began()).await;

    let ended = running.stop();
    node.release();

    assert_eq!(within(call).await.unwrap(), Ok(NodeReply::Keys(Vec::new())));
    within(ended).await;
    listening.down("node-a", generation).await;
}

#[tokio::test]
async fn a_coordinator_that_goes_down_closes_its_links() {
    let cluster = Cluster::new();
    let mut listening = cluster.listen("coordinator-1").await;
    let node = Scripted::new("node-a", 1);
    let _running = cluster.dial("node-a", &node, &[&listening]);
    let link = listening.up("node-a").await;

    listening.stop().await;

    assert_eq!(link.call(evidence(8), LIMIT).await, Err(CallError::Lost));
}

/// What a peer with this configuration hears first from the listener.
async fn first_words(
    listening: &Listening,
    config: rustls::ClientConfig,
) -> std::io::Result<usize> {
    let stream = TcpStream::connect(&listening.address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = within(connector.connect(server_name(), stream)).await?;
    within(stream.read(&mut [0; 64])).await
}
