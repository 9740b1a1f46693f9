//! Commands of the gateway, and what comes back of them.

use std::time::{Duration, SystemTime};

use quorate_evm::{EvmSignatureError, SignedEvmMessage, SignedEvmTransaction};
use quorate_identity::Identity;
use quorate_intent::{KeyFacts, decode};
use quorate_model::{
    CommandId, Digest, Payload, Reason, Refusal, UnixMillis,
    command::{Command, CommandBody, Sign, SignedCommand},
    operation::{CommandOutcome, CommandState, CommandView},
    roster::PinnedRoster,
};
use rand_core::{OsRng, RngCore as _};

use super::{
    accounts::Account,
    cluster::Cluster,
    rpc::{DENIED, RpcError},
};

/// How long a command is carried out beyond the time that its caller waits.
const LIFETIME_MARGIN_MS: u64 = 30_000;

/// Signs as a principal of the roster.
pub(super) struct Signer {
    identity: Identity,
    limit: Duration,
}

/// What the cluster signed.
struct Signature {
    bytes: Vec<u8>,
    /// What the signature is over, as it was decoded here.
    message: Vec<u8>,
}

impl Signer {
    pub(super) fn new(identity: Identity, limit: Duration) -> Self {
        Self { identity, limit }
    }

    /// Has a transaction signed, and puts it together.
    pub(super) async fn transaction(
        &self,
        cluster: &impl Cluster,
        account: &Account,
        payload: Payload,
    ) -> Result<SignedEvmTransaction, RpcError> {
        let unsigned = payload.bytes.clone();
        let signature = self.sign(cluster, account, payload).await?;
        SignedEvmTransaction::assemble(&unsigned, &signature.bytes, account.address)
            .map_err(|error| false_signature(account, &error))
    }

    /// Has a personal message or typed data signed.
    pub(super) async fn message(
        &self,
        cluster: &impl Cluster,
        account: &Account,
        payload: Payload,
    ) -> Result<SignedEvmMessage, RpcError> {
        let signature = self.sign(cluster, account, payload).await?;
        let digest = Digest::from_slice(&signature.message)
            .ok_or_else(|| RpcError::failed("the payload has no digest"))?;
        SignedEvmMessage::check(&digest, &signature.bytes, account.address)
            .map_err(|error| false_signature(account, &error))
    }

    async fn sign(
        &self,
        cluster: &impl Cluster,
        account: &Account,
        payload: Payload,
    ) -> Result<Signature, RpcError> {
        let payload = payload.at(account.path.clone());
        // Nodes decide; this spares them what all of them would refuse.
        let decoded = decode(&payload, &KeyFacts::of(&account.record))
            .map_err(|error| RpcError::from(Refusal::from(&error)))?;
        let mut items = decoded.items.into_iter();
        let message = items
            .next()
            .map(|item| item.message)
            .ok_or_else(|| RpcError::failed("the payload has nothing to sign"))?;
        let (id, command) = self.command(&cluster.pinned(), account, payload);
        let digest = command.digest();
        let view = cluster.carry_out(command, self.limit).await;
        let view = view.map_err(|refusal| with_id(RpcError::from(refusal), id))?;
        let Some(view) = view else {
            let refusal = Refusal::new(
                Reason::TimedOut,
                "no signature came in time; the command may still be signed",
            );
            return Err(with_id(RpcError::from(refusal), id));
        };
        let bytes = signature(&view, digest, account).map_err(|error| with_id(error, id))?;
        Ok(Signature { bytes, message })
    }

    fn command(
        &self,
        pinned: &PinnedRoster,
        account: &Account,
        payload: Payload,
    ) -> (CommandId, SignedCommand) {
        let mut bits = [0; 16];
        OsRng.fill_bytes(&mut bits);
        let created = now();
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        let command = Command {
            cluster: pinned.cluster(),
            roster: pinned.hash(),
            id: CommandId::from_random(bits),
            created,
            expires: created.plus(limit.saturating_add(LIFETIME_MARGIN_MS)),
            body: CommandBody::Sign(Sign {
                key: account.record.name.clone(),
                key_id: account.record.id(),
                payloads: vec![payload],
            }),
        };
        let bytes = quorate_proto::command::encode(&command);
        let role = command.body.role();
        let signed = self.identity.propose(bytes, &pinned.cluster(), role);
        (command.id, signed)
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn with_id(error: RpcError, id: CommandId) -> RpcError {
    error.with("command_id", id.to_string())
}

/// The one signature of a command that was carried out.
fn signature(view: &CommandView, digest: Digest, account: &Account) -> Result<Vec<u8>, RpcError> {
    match (&view.state, &view.error) {
        (CommandState::Succeeded, _) => {}
        (CommandState::Denied, Some(refusal)) => {
            return Err(RpcError {
                code: DENIED,
                ..RpcError::from(refusal)
            });
        }
        (_, Some(refusal)) => return Err(RpcError::from(refusal)),
        (CommandState::Denied, None) => {
            return Err(RpcError::new(DENIED, "the nodes refuse the command"));
        }
        (state, None) => {
            let message = format!("the command is {}", state.as_str());
            return Err(RpcError::failed(message));
        }
    }
    let other = || RpcError::failed("the outcome is not the one of the command");
    let Some(CommandOutcome::Signed(outcome)) = &view.outcome else {
        return Err(other());
    };
    if view.digest != digest || outcome.key != account.record.name {
        return Err(other());
    }
    match outcome.signatures.as_slice() {
        [signature] => Ok(signature.clone()),
        _ => Err(other()),
    }
}

/// A signature that does not hold never leaves.
fn false_signature(account: &Account, error: &EvmSignatureError) -> RpcError {
    let key = &account.record.name;
    tracing::error!(%key, reason = %error, "a signature of the cluster does not hold");
    RpcError::failed(format!("the signature is not returned: {error}"))
}
