//! A gateway in one process: a cluster that signs with a whole key, and an upstream of a few
//! answers.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header, request},
    response::Response,
};
use bitcoin::{
    NetworkKind,
    bip32::{ChainCode, ChildNumber, Fingerprint, Xpriv},
    secp256k1::{Secp256k1, SecretKey},
};
use ed25519_dalek::SigningKey;
use quorate_identity::Identity;
use quorate_intent::{EvmAddress, KeyFacts, decode_all, evm_address};
use quorate_model::{
    DerivationPath, Digest, Epoch, IdentityKey, KeyName, KeyPurpose, KeyState, NodeId, Nonce32,
    Purposes, Refusal, Scheme, SessionBinding, SessionPreimage, UnixMillis,
    certificate::{
        CommitCertificate, KeyEvidence, NodeSignature, PreparedStatement, participants_of,
        verifying_shares_hash,
    },
    command::{Command, CommandBody, CreateKey, SignedCommand},
    operation::{CommandKind, CommandOutcome, CommandState, CommandView, KeyView, SignOutcome},
    roster::{CoordinatorCard, NodeCard, PinnedRoster, Role, Roster, SignedRoster},
};
use quorate_protocol::derivation::Child;
use rand_core::OsRng;
use serde_json::{Value, json, value::RawValue};
use tower::ServiceExt as _;

use crate::gateway::{
    AccountConfig, Cluster, Gateway, GatewayConfig, GatewayError, Upstream, app,
    upstream::UpstreamFailure,
};

/// What the cluster does with commands.
#[derive(Clone)]
pub(super) enum Conduct {
    Sign,
    /// Signs, and then changes the signature.
    Tamper(fn(&mut Vec<u8>)),
    /// Ends the command without a result.
    End(CommandState, Option<Refusal>),
    /// Does not take the command.
    Refuse(Refusal),
    /// Does not answer in time.
    Stall,
    /// Signs when it is told to.
    Hold(Arc<tokio::sync::Notify>),
}

pub(super) struct FakeCluster {
    pub(super) pinned: PinnedRoster,
    pub(super) keys: Mutex<BTreeMap<KeyName, KeyView>>,
    pub(super) conduct: Mutex<Conduct>,
    pub(super) commands: Mutex<Vec<Command>>,
}

impl Cluster for Arc<FakeCluster> {
    fn pinned(&self) -> Arc<PinnedRoster> {
        Arc::new(self.pinned.clone())
    }

    async fn key(&self, name: KeyName) -> Result<Option<KeyView>, Refusal> {
        Ok(self.keys.lock().unwrap().get(&name).cloned())
    }

    async fn carry_out(
        &self,
        signed: SignedCommand,
        _limit: Duration,
    ) -> Result<Option<CommandView>, Refusal> {
        let command = quorate_proto::admission::admit(&self.pinned, &signed)?;
        self.commands.lock().unwrap().push(command.clone());
        let conduct = self.conduct.lock().unwrap().clone();
        let mut signatures = self.sign(&command);
        let (state, error) = match conduct {
            Conduct::Sign => (CommandState::Succeeded, None),
            Conduct::Tamper(tamper) => {
                tamper(&mut signatures[0]);
                (CommandState::Succeeded, None)
            }
            Conduct::End(state, error) => (state, error),
            Conduct::Refuse(refusal) => return Err(refusal),
            Conduct::Stall => return Ok(None),
            Conduct::Hold(go) => {
                go.notified().await;
                (CommandState::Succeeded, None)
            }
        };
        let key = command.body.key().unwrap().clone();
        let outcome = CommandOutcome::Signed(SignOutcome {
            key: key.clone(),
            epoch: Epoch(1),
            scheme: Scheme::EcdsaSecp256k1,
            signers: vec![],
            signatures,
            receipts: vec![],
        });
        Ok(Some(CommandView {
            id: command.id,
            digest: signed.digest(),
            kind: CommandKind::Sign,
            key: Some(key),
            state,
            created: command.created,
            expires: command.expires,
            progress: None,
            outcome: (state == CommandState::Succeeded).then_some(outcome),
            error,
            awaiting: None,
        }))
    }
}

const CHAIN_CODE: [u8; 32] = [3; 32];

fn secret_at(path: &DerivationPath) -> k256::ecdsa::SigningKey {
    let root = Xpriv {
        network: NetworkKind::Main,
        depth: 0,
        parent_fingerprint: Fingerprint::default(),
        child_number: ChildNumber::Normal { index: 0 },
        private_key: SecretKey::from_slice(&[0x46; 32]).unwrap(),
        chain_code: ChainCode::from(CHAIN_CODE),
    };
    let path: bitcoin::bip32::DerivationPath = path.to_string().parse().unwrap();
    let child = root.derive_priv(&Secp256k1::new(), &path).unwrap();
    k256::ecdsa::SigningKey::from_slice(&child.private_key.secret_bytes()).unwrap()
}

fn group_key() -> Vec<u8> {
    let key = secret_at(&DerivationPath::ROOT);
    key.verifying_key()
        .to_encoded_point(true)
        .as_bytes()
        .to_vec()
}

/// The account of the key at a path, as another library derives it.
pub(super) fn account(path: &str) -> EvmAddress {
    let key = secret_at(&path.parse().unwrap());
    let point = key.verifying_key().to_encoded_point(true);
    let child = Child::derive(
        Scheme::EcdsaSecp256k1,
        &group_key(),
        &CHAIN_CODE,
        &path.parse().unwrap(),
    );
    assert_eq!(child.unwrap().key(), point.as_bytes());
    evm_address(point.as_bytes()).unwrap()
}

impl FakeCluster {
    fn sign(&self, command: &Command) -> Vec<Vec<u8>> {
        let CommandBody::Sign(sign) = &command.body else {
            panic!()
        };
        let keys = self.keys.lock().unwrap();
        let decoded = decode_all(&sign.payloads, &KeyFacts::of(&keys[&sign.key].record)).unwrap();
        let items = decoded.into_iter().flat_map(|payload| payload.items);
        let sign_one = |item: quorate_intent::SigningItem| {
            let key = secret_at(&item.path);
            let (signature, id) = key.sign_prehash_recoverable(&item.message).unwrap();
            [signature.to_bytes().as_slice(), &[id.to_byte()]].concat()
        };
        items.map(sign_one).collect()
    }
}

fn node_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn node_id(seed: u8) -> NodeId {
    format!("node-{seed}").parse().unwrap()
}

pub(super) fn identity(roles: Vec<Role>) -> Identity {
    let id = "gateway".parse().unwrap();
    Identity::generate(id, "Gateway".to_owned(), roles, &mut OsRng).unwrap()
}

pub(super) fn roster(gateway: &Identity, admin: &Identity) -> PinnedRoster {
    let node = |seed: u8| NodeCard {
        id: node_id(seed),
        identity_key: IdentityKey::of(&node_key(seed)),
        tls_key_hash: Digest::new([seed; 32]),
        region: "region".to_owned(),
        organisation: "organisation".to_owned(),
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: vec![],
        nodes: (1..=3).map(node).collect(),
        coordinators: vec![CoordinatorCard {
            id: "coordinator".parse().unwrap(),
            tls_key_hash: Digest::new([9; 32]),
        }],
        principals: vec![admin.card().clone(), gateway.card().clone()],
        admin_quorum: 1,
        lifecycle_quorum: 1,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: quorate_model::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&admin.card().id, admin.signing_key());
    signed.verify_first().unwrap()
}

/// The evidence for a key that three nodes certify.
pub(super) fn key_view(
    pinned: &PinnedRoster,
    admin: &Identity,
    name: &str,
    scheme: Scheme,
    purposes: &[KeyPurpose],
) -> KeyView {
    let nodes: Vec<NodeId> = (1..=3).map(node_id).collect();
    let create = CreateKey {
        key: name.parse().unwrap(),
        scheme,
        threshold: 2,
        nodes: nodes.clone(),
        purposes: Purposes::new(purposes.to_vec()).unwrap(),
        accept_fragile: false,
        life: quorate_model::life::KeyLife::default(),
    };
    let command = Command {
        cluster: pinned.cluster(),
        roster: pinned.hash(),
        id: quorate_model::CommandId::from_random([1; 16]),
        created: UnixMillis(1),
        expires: UnixMillis(100_000),
        body: CommandBody::CreateKey(create.clone()),
    };
    let bytes = quorate_proto::command::encode(&command);
    let signed = admin.propose(bytes, &pinned.cluster(), Role::Admin);
    let participants = participants_of(&nodes);
    let session = SessionPreimage {
        binding: SessionBinding {
            protocol: "test".to_owned(),
            cluster: pinned.cluster(),
            roster: pinned.hash(),
            key: create.key.clone(),
            source: None,
            target_epoch: Epoch(1),
            threshold: 2,
            participants: participants.clone(),
            command: signed.digest(),
            payload_index: 0,
        },
        nonces: vec![Nonce32([1; 32]); 3],
    };
    let verifying_shares = vec![group_key(); 3];
    let statement = PreparedStatement {
        session: session.id(),
        roster: pinned.hash(),
        command: signed.digest(),
        key: create.key,
        scheme,
        purposes: create.purposes,
        epoch: Epoch(1),
        source: None,
        threshold: 2,
        participants,
        group_key: group_key(),
        verifying_shares: verifying_shares_hash(&verifying_shares),
        chain_code: CHAIN_CODE,
        transcript: Digest::ZERO,
    };
    let sign = |seed: u8| NodeSignature {
        node: node_id(seed),
        signature: statement.sign(&node_key(seed)),
    };
    let certificate = CommitCertificate {
        command: signed,
        session,
        statement: statement.clone(),
        verifying_shares,
        signatures: (1..=3).map(sign).collect(),
    };
    let certificate = certificate.to_bytes().unwrap();
    let (_, record) = quorate_proto::certificate::verify(&certificate, None, pinned).unwrap();
    KeyView {
        record,
        state: KeyState::Active,
        standing: quorate_model::standing::Standing::default(),
        destruction: quorate_model::destruction::Destruction::default(),
        next_epoch: None,
        activated: None,
        used: None,
        replaced_by: None,
        evidence: KeyEvidence {
            certificate,
            proof: Some(vec![]),
            birth: None,
        },
    }
}

/// An upstream that knows a few answers by heart.
#[derive(Default)]
pub(super) struct FakeUpstream {
    pub(super) answers: Mutex<BTreeMap<String, Result<Value, UpstreamFailure>>>,
    pub(super) calls: Mutex<Vec<(String, Value)>>,
}

impl FakeUpstream {
    /// A node of chain 1 with a base fee of 100 wei.
    pub(super) fn of_chain_1() -> Self {
        let upstream = Self::default();
        for (method, answer) in [
            ("eth_chainId", json!("0x1")),
            ("eth_blockNumber", json!("0x10")),
            ("eth_getTransactionCount", json!("0x7")),
            (
                "eth_getBlockByNumber",
                json!({ "number": "0x10", "baseFeePerGas": "0x64" }),
            ),
            ("eth_maxPriorityFeePerGas", json!("0x3")),
            ("eth_gasPrice", json!("0x67")),
            ("eth_estimateGas", json!("0x5208")),
            ("eth_sendRawTransaction", json!("0xignored")),
        ] {
            upstream.answers(method, Ok(answer));
        }
        upstream
    }

    pub(super) fn answers(&self, method: &str, answer: Result<Value, UpstreamFailure>) {
        self.answers
            .lock()
            .unwrap()
            .insert(method.to_owned(), answer);
    }

    /// The parameters of the calls of a method.
    pub(super) fn called(&self, method: &str) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        let of_method = calls.iter().filter(|(name, _)| name == method);
        of_method.map(|(_, params)| params.clone()).collect()
    }
}

impl Upstream for Arc<FakeUpstream> {
    async fn call(
        &self,
        method: &str,
        params: &RawValue,
    ) -> Result<Box<RawValue>, UpstreamFailure> {
        let params = serde_json::from_str(params.get()).unwrap();
        self.calls.lock().unwrap().push((method.to_owned(), params));
        let answers = self.answers.lock().unwrap();
        let answer = answers.get(method).unwrap().clone()?;
        Ok(serde_json::value::to_raw_value(&answer).unwrap())
    }
}

/// A gateway with two accounts of the key "payout".
pub(super) struct World {
    pub(super) cluster: Arc<FakeCluster>,
    pub(super) upstream: Arc<FakeUpstream>,
    pub(super) config: GatewayConfig,
    identity: Mutex<Option<Identity>>,
    admin: Identity,
    has_upstream: bool,
}

pub(super) fn account_config(key: &str, path: &str) -> AccountConfig {
    AccountConfig {
        key: key.parse().unwrap(),
        path: path.parse().unwrap(),
        address: None,
    }
}

pub(super) fn config() -> GatewayConfig {
    let text = r#"
        listen = "127.0.0.1:0"
        identity = "gateway.identity"
        passphrase_file = "gateway.passphrase"
        chain_id = 1
        accounts = [{ key = "payout" }, { key = "payout", path = "m/0/5" }]
    "#;
    toml::from_str(text).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        let gateway = identity(vec![Role::Client]);
        let id = "admin".parse().unwrap();
        let admin =
            Identity::generate(id, "Ada".to_owned(), vec![Role::Admin], &mut OsRng).unwrap();
        let pinned = roster(&gateway, &admin);
        let world = Self {
            cluster: Arc::new(FakeCluster {
                pinned,
                keys: Mutex::default(),
                conduct: Mutex::new(Conduct::Sign),
                commands: Mutex::default(),
            }),
            upstream: Arc::new(FakeUpstream::of_chain_1()),
            config: config(),
            identity: Mutex::new(Some(gateway)),
            admin,
            has_upstream: false,
        };
        world.add_key(
            "payout",
            Scheme::EcdsaSecp256k1,
            &[KeyPurpose::Transactions, KeyPurpose::Messages],
        );
        world
    }

    /// The same with an upstream.
    pub(super) fn with_upstream() -> Self {
        Self {
            has_upstream: true,
            ..Self::new()
        }
    }

    pub(super) fn add_key(&self, name: &str, scheme: Scheme, purposes: &[KeyPurpose]) {
        let view = key_view(&self.cluster.pinned, &self.admin, name, scheme, purposes);
        let mut keys = self.cluster.keys.lock().unwrap();
        keys.insert(name.parse().unwrap(), view);
    }

    pub(super) fn conducts(&self, conduct: Conduct) {
        *self.cluster.conduct.lock().unwrap() = conduct;
    }

    pub(super) fn gateway(
        &self,
    ) -> Result<Gateway<Arc<FakeCluster>, Arc<FakeUpstream>>, GatewayError> {
        let identity = self.identity.lock().unwrap().take().unwrap();
        let upstream = self.has_upstream.then(|| Arc::clone(&self.upstream));
        let cluster = Arc::clone(&self.cluster);
        Gateway::with_identity(&self.config, identity, cluster, upstream)
    }

    pub(super) fn start(self) -> Running {
        let router = app(&self.config, self.gateway().unwrap()).unwrap();
        Running {
            world: self,
            router,
        }
    }
}

/// A gateway that answers.
pub(super) struct Running {
    pub(super) world: World,
    router: Router,
}

pub(super) fn request() -> request::Builder {
    Request::post("/")
        .header(header::HOST, "localhost:8545")
        .header(header::CONTENT_TYPE, "application/json")
}

impl Running {
    pub(super) async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends a body and reads the answer.
    pub(super) async fn post(&self, body: impl ToString) -> (StatusCode, Value) {
        let request = request().body(Body::from(body.to_string())).unwrap();
        let response = self.send(request).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Makes a call.
    pub(super) async fn call(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (status, answer) = self.post(call).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["jsonrpc"], "2.0");
        answer
    }

    pub(super) async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }

    /// The code and the message of the error that a call meets.
    pub(super) async fn error(&self, method: &str, params: Value) -> (i64, String, Value) {
        let answer = self.call(method, params).await;
        let error = &answer["error"];
        assert!(answer.get("result").is_none(), "{answer}");
        let message = error["message"].as_str().unwrap().to_owned();
        (
            error["code"].as_i64().unwrap(),
            message,
            error["data"].clone(),
        )
    }

    pub(super) fn commands(&self) -> Vec<Command> {
        self.world.cluster.commands.lock().unwrap().clone()
    }
}

/// A transfer that lacks nothing, from the account at m/0/5.
pub(super) fn transfer() -> Value {
    json!({
        "from": account("m/0/5"),
        "to": "0x3535353535353535353535353535353535353535",
        "gas": "0x5208",
        "nonce": "0x9",
        "value": "0xde0b6b3a7640000",
        "chainId": "0x1",
        "maxFeePerGas": "0x4a817c800",
        "maxPriorityFeePerGas": "0x1",
    })
}

/// A change of a transfer; null takes a field away.
#[expect(clippy::needless_pass_by_value, reason = "it reads like the document")]
pub(super) fn changed(changes: Value) -> Value {
    let mut value = transfer();
    for (name, change) in changes.as_object().unwrap() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = change.clone();
        }
    }
    value
}

/// A file of its own in a directory of its own.
pub(super) fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    (dir, path)
}
