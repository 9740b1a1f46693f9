//! The public API over TLS on loopback, with a coordinator to which no node is connected.

use std::{sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use hyper_util::rt::TokioIo;
use quorate_model::{
    CommandId, Digest, IdentityKey, KeyId, Payload, Reason,
    command::{Command, CommandBody, Sign, SignedCommand},
    ids::UnixMillis,
    operation::{CommandState, CommandView},
    roster::{CoordinatorCard, NodeCard, Principal, Role, Roster, SignedRoster},
};
use quorate_pinning::{TlsIdentity, allow, client_config, server_name};
use quorate_proto::{
    names,
    status::from_status,
    v1::{
        self, audit_service_client::AuditServiceClient,
        cluster_service_client::ClusterServiceClient, command_service_client::CommandServiceClient,
        key_service_client::KeyServiceClient, node_service_client::NodeServiceClient,
    },
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Server},
};
use uuid::Uuid;

use super::{Api, Doorkeeper, accept_callers};
use crate::{
    core::{CoreConfig, Limits},
    runtime::{self, EngineThread},
    store::MemoryStore,
    telemetry::Health,
};

/// A coordinator with its public API.
struct Running {
    address: std::net::SocketAddr,
    coordinator: Digest,
    wallet: TlsIdentity,
    roster: SignedRoster,
    health: Health,
    next: std::cell::Cell<u128>,
    _thread: EngineThread,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn roster(coordinator: &TlsIdentity, wallet: &TlsIdentity) -> SignedRoster {
    let node = |seed: u8| NodeCard {
        id: format!("node-{seed}").parse().unwrap(),
        identity_key: IdentityKey::of(&key(seed)),
        tls_key_hash: Digest::new([seed; 32]),
        region: "region".to_owned(),
        organisation: "org".to_owned(),
    };
    let principal = |id: &str, seed: u8, role, tls_key_hash| Principal {
        id: id.parse().unwrap(),
        person: id.to_owned(),
        roles: vec![role],
        identity_key: IdentityKey::of(&key(seed)),
        tls_key_hash,
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: vec![],
        nodes: vec![node(1), node(2), node(3)],
        coordinators: vec![CoordinatorCard {
            id: "coordinator-1".parse().unwrap(),
            tls_key_hash: coordinator.key_hash(),
        }],
        principals: vec![
            principal("ada", 101, Role::Admin, Digest::new([101; 32])),
            principal("wallet", 102, Role::Client, wallet.key_hash()),
        ],
        admin_quorum: 1,
        lifecycle_quorum: 1,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: quorate_model::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&"ada".parse().unwrap(), &key(101));
    signed
}

impl Running {
    async fn start() -> Self {
        let identity = TlsIdentity::generate("coordinator-1").unwrap();
        let wallet = TlsIdentity::generate("wallet").unwrap();
        let roster = roster(&identity, &wallet);
        let pinned = roster.verify_first().unwrap();
        let limits = Limits {
            quorum_wait_ms: 600,
            ..Limits::default()
        };
        let config = CoreConfig {
            id: "coordinator-1".parse().unwrap(),
            limits,
        };
        let health = Health::default();
        let store = Arc::new(MemoryStore::default());
        let (engine, thread) =
            runtime::start(config, pinned.clone(), store, health.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (callers, connections) = tokio::sync::mpsc::channel(8);
        let doorkeeper = Doorkeeper::new(&identity, engine.rosters()).unwrap();
        tokio::spawn(accept_callers(listener, doorkeeper, callers));
        let api = Api::new(engine);
        let services = api.serve_on(Server::builder()).await.unwrap();
        tokio::spawn(services.serve_with_incoming(ReceiverStream::new(connections)));
        Self {
            address,
            coordinator: identity.key_hash(),
            wallet,
            roster,
            health,
            next: std::cell::Cell::new(1),
            _thread: thread,
        }
    }

    async fn channel(&self) -> Channel {
        self.connect(&self.wallet, self.coordinator).await.unwrap()
    }

    async fn connect(
        &self,
        identity: &TlsIdentity,
        expected: Digest,
    ) -> Result<Channel, tonic::transport::Error> {
        let config = client_config(identity, allow([expected])).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let address = self.address;
        Endpoint::from_static("https://coordinator.quorate")
            .connect_with_connector(tower::service_fn(move |_| {
                let connector = connector.clone();
                async move {
                    let stream = TcpStream::connect(address).await?;
                    connector
                        .connect(server_name(), stream)
                        .await
                        .map(TokioIo::new)
                }
            }))
            .await
    }

    /// A command that asks for a signature with a key that nobody knows.
    fn command(&self) -> (CommandId, SignedCommand) {
        let number = self.next.get();
        self.next.set(number.saturating_add(1));
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let created = UnixMillis(u64::try_from(now.as_millis()).unwrap());
        let id = CommandId(Uuid::from_u128(number));
        let command = Command {
            cluster: self.roster.hash(),
            roster: self.roster.hash(),
            id,
            created,
            expires: created.plus(60_000),
            body: CommandBody::Sign(Sign {
                key: "vault".parse().unwrap(),
                key_id: KeyId([0; 32]),
                payloads: vec![Payload::message(*b"text")],
            }),
        };
        let signed = SignedCommand::propose(
            quorate_proto::command::encode(&command),
            &self.roster.hash(),
            &"wallet".parse().unwrap(),
            Role::Client,
            &key(102),
        );
        (id, signed)
    }
}

fn submission(signed: &SignedCommand, wait: Option<Duration>) -> v1::SubmitCommandRequest {
    v1::SubmitCommandRequest {
        command: signed.bytes.clone(),
        endorsements: signed
            .endorsements
            .iter()
            .map(v1::Endorsement::from)
            .collect(),
        validate_only: false,
        wait_duration: wait.map(|wait| wait.try_into().unwrap()),
    }
}

fn view(wire: v1::CommandView) -> CommandView {
    CommandView::try_from(wire).unwrap()
}

fn reason(status: &Status) -> Reason {
    from_status(status).expect("a refusal").reason
}

#[tokio::test]
async fn a_command_is_waited_for_and_tells_why_it_failed() {
    let running = Running::start().await;
    let mut commands = CommandServiceClient::new(running.channel().await);
    let (id, signed) = running.command();

    let answer = commands
        .submit_command(submission(&signed, None))
        .await
        .unwrap();

    let answer = view(answer.into_inner());
    assert_eq!((answer.id, answer.state), (id, CommandState::Failed));
    let error = answer.error.unwrap();
    assert_eq!(error.reason, Reason::QuorumUnavailable);
    assert_eq!(error.get("missing"), Some("node-1, node-2, node-3"));
}

#[tokio::test]
async fn without_waiting_a_command_runs_and_can_be_followed_to_its_end() {
    let running = Running::start().await;
    let mut commands = CommandServiceClient::new(running.channel().await);
    let (id, signed) = running.command();

    let answer = commands
        .submit_command(submission(&signed, Some(Duration::ZERO)))
        .await
        .unwrap();
    let request = v1::WatchCommandsRequest {
        name: names::command(&id),
    };
    let changes = commands.watch_commands(request).await.unwrap().into_inner();
    let states: Vec<CommandState> = changes
        .map(|change| view(change.unwrap().command.unwrap()).state)
        .collect()
        .await;

    assert_eq!(view(answer.into_inner()).state, CommandState::Running);
    assert_eq!(states.first(), Some(&CommandState::Running));
    assert_eq!(states.last(), Some(&CommandState::Failed));
    let request = v1::GetCommandRequest {
        name: names::command(&id),
    };
    let stored = commands.get_command(request).await.unwrap().into_inner();
    assert_eq!(view(stored).state, CommandState::Failed);
}

#[tokio::test]
async fn refusals_come_as_statuses_with_their_reasons() {
    let running = Running::start().await;
    let mut commands = CommandServiceClient::new(running.channel().await);
    let (_, signed) = running.command();
    let mut tampered = signed.clone();
    tampered.bytes.push(0);

    let tampered = commands
        .submit_command(submission(&tampered, None))
        .await
        .unwrap_err();
    let nobody = CommandId(Uuid::from_u128(99));
    let request = v1::GetCommandRequest {
        name: names::command(&nobody),
    };
    let unknown = commands.get_command(request.clone()).await.unwrap_err();
    let watched = v1::WatchCommandsRequest { name: request.name };
    let watched = commands.watch_commands(watched).await.unwrap_err();
    let mut keys = KeyServiceClient::new(running.channel().await);
    let no_key = keys
        .get_key(v1::GetKeyRequest {
            name: "keys/vault".to_owned(),
        })
        .await
        .unwrap_err();

    assert_eq!(reason(&tampered), Reason::EndorsementInvalid);
    assert_eq!(tampered.code(), Code::PermissionDenied);
    assert_eq!(reason(&unknown), Reason::CommandUnknown);
    assert_eq!(reason(&watched), Reason::CommandUnknown);
    let ask = v1::AttestAddressRequest {
        name: "keys/vault".to_owned(),
        chain: v1::Chain::Ethereum.into(),
        ..Default::default()
    };
    let no_address = keys.attest_address(ask.clone()).await.unwrap_err();
    let no_chain = v1::AttestAddressRequest { chain: 0, ..ask };
    let no_chain = keys.attest_address(no_chain).await.unwrap_err();

    assert_eq!(reason(&no_address), Reason::KeyUnknown);
    assert_eq!(reason(&no_chain), Reason::RequestInvalid);
    assert_eq!(reason(&no_key), Reason::KeyUnknown);
    assert_eq!(no_key.code(), Code::NotFound);
}

#[tokio::test]
async fn a_request_full_of_empty_messages_is_refused_before_it_is_decoded() {
    let running = Running::start().await;
    let mut commands = CommandServiceClient::new(running.channel().await);
    let (_, signed) = running.command();
    let full = v1::SubmitCommandRequest {
        endorsements: vec![v1::Endorsement::default(); 100_000],
        ..submission(&signed, None)
    };

    let status = commands.submit_command(full).await.unwrap_err();

    let refusal = from_status(&status).unwrap();
    assert_eq!(refusal.reason, Reason::TooLarge);
    // The words of the codec: the conversion would say how many there are.
    assert_eq!(refusal.message, "endorsements: more than 64 items");
}

#[tokio::test]
async fn commands_are_listed_in_pages_and_by_state() {
    let running = Running::start().await;
    let mut commands = CommandServiceClient::new(running.channel().await);
    for _ in 0..3 {
        let (_, signed) = running.command();
        commands
            .submit_command(submission(&signed, None))
            .await
            .unwrap();
    }
    let (last, signed) = running.command();
    commands
        .submit_command(submission(&signed, Some(Duration::ZERO)))
        .await
        .unwrap();
    let mut read = async |page_token: &str, filter: &str| {
        let request = v1::ListCommandsRequest {
            page_size: 2,
            page_token: page_token.to_owned(),
            filter: filter.to_owned(),
        };
        commands
            .list_commands(request)
            .await
            .map(tonic::Response::into_inner)
    };

    let first = read("", "").await.unwrap();
    let second = read(&first.next_page_token, "").await.unwrap();
    let failed = read("", "state=FAILED key=vault").await.unwrap();

    let ids = |page: &v1::ListCommandsResponse| -> Vec<CommandId> {
        page.commands
            .iter()
            .cloned()
            .map(|one| view(one).id)
            .collect()
    };
    assert_eq!(ids(&first)[0], last, "what is under way comes first");
    assert_eq!(ids(&first).len() + ids(&second).len(), 4);
    assert!(ids(&first).iter().all(|id| !ids(&second).contains(id)));
    assert!(!ids(&failed).contains(&last));
    assert!(read("", "colour=red").await.is_err());
    assert!(read("somewhere", "").await.is_err());
}

#[tokio::test]
async fn nodes_and_the_roster_are_told_as_they_are() {
    let running = Running::start().await;
    let mut nodes = NodeServiceClient::new(running.channel().await);
    let mut cluster = ClusterServiceClient::new(running.channel().await);

    let first = v1::ListNodesRequest {
        page_size: 2,
        ..Default::default()
    };
    let first = nodes.list_nodes(first).await.unwrap().into_inner();
    let second = v1::ListNodesRequest {
        page_token: first.next_page_token.clone(),
        ..Default::default()
    };
    let second = nodes.list_nodes(second).await.unwrap().into_inner();
    let connected = v1::ListNodesRequest {
        filter: "link_state=CONNECTED".to_owned(),
        ..Default::default()
    };
    let connected = nodes.list_nodes(connected).await.unwrap().into_inner();
    let request = v1::GetRosterRequest {
        name: "rosters/current".to_owned(),
        since: None,
    };
    let roster = cluster.get_roster(request).await.unwrap().into_inner();
    let other = v1::GetRosterRequest {
        name: "rosters/2".to_owned(),
        since: None,
    };

    assert_eq!((first.nodes.len(), second.nodes.len()), (2, 1));
    assert!(second.next_page_token.is_empty());
    assert!(connected.nodes.is_empty());
    assert_eq!(SignedRoster::try_from(roster).unwrap(), running.roster);
    assert!(cluster.get_roster(other).await.is_err());
}

#[tokio::test]
async fn the_journal_of_a_node_that_is_away_or_unknown_cannot_be_read() {
    let running = Running::start().await;
    let mut audit = AuditServiceClient::new(running.channel().await);
    let mut read = async |parent: &str| {
        let request = v1::ListAuditRecordsRequest {
            parent: parent.to_owned(),
            ..Default::default()
        };
        reason(&audit.list_audit_records(request).await.unwrap_err())
    };

    assert_eq!(read("nodes/node-1").await, Reason::QuorumUnavailable);
    assert_eq!(read("nodes/stranger").await, Reason::NodeUnknown);
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let running = Running::start().await;
    let mut health = HealthClient::new(running.channel().await);
    let mut reflection = ServerReflectionClient::new(running.channel().await);

    let request = HealthCheckRequest {
        service: "quorate.v1.CommandService".to_owned(),
    };
    let status = health.check(request).await.unwrap().into_inner().status;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;

    assert_eq!(status, 1, "serving");
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("no services");
    };
    let services: Vec<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        services.contains(&"quorate.v1.AuditService".to_owned()),
        "{services:?}"
    );
    assert!(!running.health.is_well(), "no node is connected");
}

#[tokio::test]
async fn strangers_and_callers_who_expect_another_coordinator_do_not_get_in() {
    let running = Running::start().await;
    let stranger = TlsIdentity::generate("stranger").unwrap();
    let request = v1::ListNodesRequest::default;

    // A client learns that it was turned away with its first call at the latest.
    let refused = match running.connect(&stranger, running.coordinator).await {
        Ok(channel) => NodeServiceClient::new(channel)
            .list_nodes(request())
            .await
            .is_err(),
        Err(_) => true,
    };
    let other = running.connect(&running.wallet, Digest::new([9; 32])).await;

    assert!(refused);
    assert!(other.is_err());
    let mut nodes = NodeServiceClient::new(running.channel().await);
    assert!(nodes.list_nodes(request()).await.is_ok());
}
