//! Calls to coordinators: pinned TLS, several addresses, retries. What comes back is converted to
//! the model here and believed nowhere.

mod connection;
mod pages;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use quorate_model::{
    CommandId, Digest, KeyName, NodeId,
    address::{AddressQuery, AddressStatement},
    command::{Endorsement, SignedCommand},
    node_api::AuditPage,
    operation::{CommandState, CommandView, KeyView, NodeView, RosterView},
    roster::Roster,
};
use quorate_pinning::TlsIdentity;
use quorate_proto::{
    address,
    limits::{MAX_PUBLIC_REPLY_BYTES, MAX_PUBLIC_REQUEST_BYTES},
    names,
    status::from_status,
    v1::{
        self, audit_service_client::AuditServiceClient,
        cluster_service_client::ClusterServiceClient, command_service_client::CommandServiceClient,
        key_service_client::KeyServiceClient, node_service_client::NodeServiceClient,
    },
};
use tokio::time::timeout_at;
use tokio_stream::StreamExt as _;
use tonic::{Request, Status, transport::Channel};

use self::connection::Coordinator;
use crate::{error::ClientError, profile::CoordinatorAddress};

/// How long before the end of a call the coordinator is to answer with how things stand.
const ANSWER_BEFORE: Duration = Duration::from_millis(250);

/// The coordinators, and which of them is used.
#[derive(Debug)]
pub(crate) struct Transport {
    coordinators: Vec<Coordinator>,
    current: AtomicUsize,
    timeout: Duration,
}

impl Transport {
    /// Connects to the first coordinator that answers.
    pub(crate) async fn connect(
        addresses: &[CoordinatorAddress],
        roster: &Roster,
        identity: &TlsIdentity,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let coordinators = connection::all(addresses, roster, identity, timeout)?;
        let transport = Self {
            coordinators,
            current: AtomicUsize::new(0),
            timeout,
        };
        let mut told = Vec::new();
        for (at, coordinator) in transport.coordinators.iter().enumerate() {
            match coordinator.try_connect().await {
                Ok(()) => {
                    transport.current.store(at, Ordering::Relaxed);
                    return Ok(transport);
                }
                Err(error) => told.push(error),
            }
        }
        Err(ClientError::Unreachable(told.join("; ")))
    }

    /// The time for each call.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Makes a call; if a connection breaks, the same call is made to the other coordinators, and
    /// once more to the first. Every call of the API may be repeated freely.
    async fn call<T, F>(&self, make: impl Fn(Channel, Duration) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let end = Instant::now().checked_add(self.timeout);
        let mut told = Vec::new();
        for attempt in 0..=self.coordinators.len() {
            let left = end.map_or(self.timeout, |end| end.duration_since(Instant::now()));
            if left.is_zero() {
                return Err(ClientError::TimedOut(self.timeout));
            }
            let current = self.current.load(Ordering::Relaxed);
            let Some(coordinator) = self.coordinators.get(current) else {
                break;
            };
            if attempt > 0
                && let Err(error) = coordinator.try_connect().await
            {
                told.push(error);
                self.give_up(current);
                continue;
            }
            let answer = tokio::time::timeout(left, make(coordinator.channel(), left)).await;
            let status = match answer {
                Err(_) => return Err(ClientError::TimedOut(self.timeout)),
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(status)) => status,
            };
            if let Some(refusal) = from_status(&status) {
                return Err(refusal.into());
            }
            if !is_broken(&status) {
                return Err(self.unexpected(&status));
            }
            told.push(format!("{}: {}", coordinator.address(), status.message()));
            self.give_up(current);
        }
        Err(ClientError::Unreachable(told.join("; ")))
    }

    /// Moves on from a coordinator, unless another call has done so already.
    fn give_up(&self, failed: usize) {
        let next = failed
            .saturating_add(1)
            .checked_rem(self.coordinators.len())
            .unwrap_or(0);
        let order = Ordering::Relaxed;
        // If it does not match, somebody else has moved on.
        let _ = self.current.compare_exchange(failed, next, order, order);
    }

    fn unexpected(&self, status: &Status) -> ClientError {
        let code = status.code();
        if code == tonic::Code::DeadlineExceeded {
            return ClientError::TimedOut(self.timeout);
        }
        ClientError::Call {
            message: format!("{code}: {}", status.message()),
        }
    }

    /// Submits a command; `wait` is how long the coordinator waits for its end.
    pub(crate) async fn submit(
        &self,
        command: &SignedCommand,
        wait: Option<Duration>,
    ) -> Result<CommandView, ClientError> {
        let request = |left: Duration| {
            let wait = wait.unwrap_or_else(|| left.saturating_sub(ANSWER_BEFORE));
            submission(command, false, Some(wait))
        };
        self.submit_request(request).await
    }

    /// Asks whether a command would be carried out.
    pub(crate) async fn validate(
        &self,
        command: &SignedCommand,
    ) -> Result<CommandView, ClientError> {
        self.submit_request(|_| submission(command, true, None))
            .await
    }

    async fn submit_request(
        &self,
        request: impl Fn(Duration) -> v1::SubmitCommandRequest,
    ) -> Result<CommandView, ClientError> {
        let view = self
            .call(|channel, left| {
                let request = within(request(left), left);
                async move { commands(channel).submit_command(request).await }
            })
            .await?;
        Ok(CommandView::try_from(view.into_inner())?)
    }

    /// Reads a command.
    pub(crate) async fn command(&self, id: CommandId) -> Result<CommandView, ClientError> {
        let view = self
            .call(|channel, left| {
                let request = v1::GetCommandRequest {
                    name: names::command(&id),
                };
                async move { commands(channel).get_command(within(request, left)).await }
            })
            .await?;
        Ok(CommandView::try_from(view.into_inner())?)
    }

    /// Adds a word to a command.
    pub(crate) async fn endorse(
        &self,
        id: CommandId,
        word: &Endorsement,
    ) -> Result<CommandView, ClientError> {
        let view = self
            .call(|channel, left| {
                let request = v1::EndorseCommandRequest {
                    name: names::command(&id),
                    endorsement: Some(word.into()),
                };
                async move {
                    commands(channel)
                        .endorse_command(within(request, left))
                        .await
                }
            })
            .await?;
        Ok(CommandView::try_from(view.into_inner())?)
    }

    /// Follows a command to its end. A stream that breaks is taken up again.
    pub(crate) async fn follow(
        &self,
        view: CommandView,
        report: &mut dyn FnMut(&CommandView),
    ) -> Result<CommandView, ClientError> {
        let end = tokio::time::Instant::now().checked_add(self.timeout);
        let mut view = view;
        loop {
            report(&view);
            if view.state != CommandState::Running {
                return Ok(view);
            }
            let following = self.follow_once(view.id, report);
            let last = match end {
                Some(end) => timeout_at(end, following)
                    .await
                    .map_err(|_| ClientError::TimedOut(self.timeout))??,
                None => following.await?,
            };
            view = match last {
                Some(last) => last,
                None => self.command(view.id).await?,
            };
        }
    }

    async fn follow_once(
        &self,
        id: CommandId,
        report: &mut dyn FnMut(&CommandView),
    ) -> Result<Option<CommandView>, ClientError> {
        let stream = self
            .call(|channel, left| {
                let request = v1::WatchCommandsRequest {
                    name: names::command(&id),
                };
                async move {
                    commands(channel)
                        .watch_commands(within(request, left))
                        .await
                }
            })
            .await?;
        let mut stream = stream.into_inner();
        let mut last = None;
        while let Some(Ok(change)) = stream.next().await {
            let Some(wire) = change.command else { continue };
            let view = CommandView::try_from(wire)?;
            if view.state == CommandState::Running {
                report(&view);
            }
            last = Some(view);
        }
        Ok(last)
    }

    /// Reads a key.
    pub(crate) async fn key(&self, name: &KeyName) -> Result<KeyView, ClientError> {
        let key = self
            .call(|channel, left| {
                let request = v1::GetKeyRequest {
                    name: names::key(name),
                };
                async move { keys(channel).get_key(within(request, left)).await }
            })
            .await?;
        Ok(KeyView::try_from(key.into_inner())?)
    }

    /// Has holders of a key state an address.
    pub(crate) async fn statements(
        &self,
        query: &AddressQuery,
    ) -> Result<Vec<AddressStatement>, ClientError> {
        let wire = self
            .call(|channel, left| {
                let request = v1::AttestAddressRequest::from(query.clone());
                async move { keys(channel).attest_address(within(request, left)).await }
            })
            .await?;
        Ok(address::statements(wire.into_inner())?)
    }

    /// Reads all keys.
    pub(crate) async fn keys(&self) -> Result<Vec<KeyView>, ClientError> {
        pages::all(async |page_token| {
            let page = self
                .call(|channel, left| {
                    let page_token = page_token.clone();
                    let request = v1::ListKeysRequest {
                        page_token,
                        ..Default::default()
                    };
                    async move { keys(channel).list_keys(within(request, left)).await }
                })
                .await?
                .into_inner();
            let views = page.keys.into_iter().map(KeyView::try_from);
            Ok((views.collect::<Result<Vec<_>, _>>()?, page.next_page_token))
        })
        .await
    }

    /// Reads the rosters that lead on from the one with this hash.
    pub(crate) async fn rosters(&self, since: &Digest) -> Result<RosterView, ClientError> {
        let roster = self
            .call(|channel, left| {
                let request = v1::GetRosterRequest {
                    name: "rosters/current".to_owned(),
                    since: Some(since.as_bytes().to_vec()),
                };
                async move { cluster(channel).get_roster(within(request, left)).await }
            })
            .await?;
        Ok(RosterView::try_from(roster.into_inner())?)
    }

    /// Reads all nodes.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        pages::all(async |page_token| {
            let page = self
                .call(|channel, left| {
                    let page_token = page_token.clone();
                    let request = v1::ListNodesRequest {
                        page_token,
                        ..Default::default()
                    };
                    async move { nodes(channel).list_nodes(within(request, left)).await }
                })
                .await?
                .into_inner();
            let views = page.nodes.into_iter().map(NodeView::try_from);
            Ok((views.collect::<Result<Vec<_>, _>>()?, page.next_page_token))
        })
        .await
    }

    /// Reads a page of a node's journal.
    pub(crate) async fn audit(
        &self,
        node: &NodeId,
        from: u64,
        limit: u32,
    ) -> Result<AuditPage, ClientError> {
        let page = self
            .call(|channel, left| {
                let request = v1::ListAuditRecordsRequest {
                    parent: names::node(node),
                    page_size: limit,
                    filter: format!("sequence>={from}"),
                    ..Default::default()
                };
                async move {
                    audit(channel)
                        .list_audit_records(within(request, left))
                        .await
                }
            })
            .await?
            .into_inner();
        let records = page
            .audit_records
            .into_iter()
            .map(|record| record.record)
            .collect();
        Ok(AuditPage {
            records,
            durable: page.durable_sequence,
        })
    }

    /// Reads all evidence.
    pub(crate) async fn evidence(&self) -> Result<Vec<(NodeId, Vec<u8>)>, ClientError> {
        pages::all(async |page_token| {
            let page = self
                .call(|channel, left| {
                    let request = v1::ListEvidenceRequest {
                        parent: "nodes/-".to_owned(),
                        page_token: page_token.clone(),
                        ..Default::default()
                    };
                    async move { audit(channel).list_evidence(within(request, left)).await }
                })
                .await?
                .into_inner();
            let read = |evidence: v1::Evidence| {
                let node = evidence.name.split("/evidence/").next().unwrap_or_default();
                Ok::<_, ClientError>((names::parse_node(node)?, evidence.evidence))
            };
            let all = page.evidence.into_iter().map(read);
            Ok((all.collect::<Result<Vec<_>, _>>()?, page.next_page_token))
        })
        .await
    }
}

/// Whether a status says that the connection is at fault and not the request. What coordinators
/// refuse carries a reason and is told apart before. A connection that dies under a call shows as
/// any of the first three, or as an error of HTTP/2.
fn is_broken(status: &Status) -> bool {
    let code = status.code();
    matches!(
        code,
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled
    ) || (code == tonic::Code::Internal && status.message().starts_with("h2 protocol error"))
}

fn submission(
    command: &SignedCommand,
    validate_only: bool,
    wait: Option<Duration>,
) -> v1::SubmitCommandRequest {
    let signed = v1::SignedCommand::from(command.clone());
    v1::SubmitCommandRequest {
        command: signed.command,
        endorsements: signed.endorsements,
        validate_only,
        wait_duration: wait.and_then(|wait| wait.try_into().ok()),
    }
}

/// A request that tells the coordinator how much time is left.
fn within<T>(message: T, left: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(left);
    request
}

macro_rules! clients {
    ($($name:ident -> $client:ident;)*) => {$(
        fn $name(channel: Channel) -> $client<Channel> {
            $client::new(channel)
                .max_decoding_message_size(MAX_PUBLIC_REPLY_BYTES)
                .max_encoding_message_size(MAX_PUBLIC_REQUEST_BYTES)
        }
    )*};
}

clients! {
    commands -> CommandServiceClient;
    keys -> KeyServiceClient;
    nodes -> NodeServiceClient;
    cluster -> ClusterServiceClient;
    audit -> AuditServiceClient;
}
