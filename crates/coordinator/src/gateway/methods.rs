//! What each method does.

use std::{sync::Arc, time::Duration};

use quorate_evm::{EvmRequest, SignedEvmTransaction};
use quorate_identity::{Identity, passphrase::Passphrase};
use quorate_intent::{Amount, EvmAddress, Facts};
use quorate_model::{Payload, PayloadKind, roster::Role};
use serde_json::{Value, json, value::RawValue};
use tokio::sync::OnceCell;

use super::{
    GatewayError,
    accounts::{Account, Accounts},
    cluster::Cluster,
    config::GatewayConfig,
    fill::{self, Fields, Filling},
    params::{Params, address, hex_text, quantity, read_quantity},
    rpc::{Call, METHOD_NOT_FOUND, RpcError, UNAUTHORIZED, result},
    signing::Signer,
    upstream::Upstream,
};

/// The methods that are passed on to the upstream: what reads the chain, filters, which are reads
/// in several steps, and the sending of what somebody has signed. Whatever manages or uses accounts
/// of the upstream is not among them.
const PASSED_ON: [&str; 36] = [
    "eth_blobBaseFee",
    "eth_blockNumber",
    "eth_call",
    "eth_createAccessList",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_getBlockTransactionCountByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getCode",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_getLogs",
    "eth_getProof",
    "eth_getStorageAt",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_getUncleByBlockHashAndIndex",
    "eth_getUncleByBlockNumberAndIndex",
    "eth_getUncleCountByBlockHash",
    "eth_getUncleCountByBlockNumber",
    "eth_maxPriorityFeePerGas",
    "eth_newBlockFilter",
    "eth_newFilter",
    "eth_sendRawTransaction",
    "eth_syncing",
    "eth_uninstallFilter",
    "net_listening",
    "web3_sha3",
];

/// The gateway without its network: a function from calls to answers.
pub struct Gateway<C, U> {
    cluster: C,
    upstream: Option<U>,
    /// Set once the upstream has told that it serves the chain of the configuration.
    upstream_fits: OnceCell<()>,
    accounts: Accounts,
    signer: Signer,
    chain_id: u64,
    max_filled_fee: u64,
    limit: Duration,
}

type Outcome = Result<Box<RawValue>, RpcError>;

impl<C: Cluster, U: Upstream> Gateway<C, U> {
    /// A gateway with the identity that the configuration names.
    ///
    /// # Errors
    ///
    /// When the identity does not open or the roster does not list it as a client.
    pub fn new(
        config: &GatewayConfig,
        cluster: C,
        upstream: Option<U>,
    ) -> Result<Self, GatewayError> {
        let passphrase = Passphrase::read(&config.passphrase_file)?;
        let identity = Identity::read(&config.identity, &passphrase)?;
        Self::with_identity(config, identity, cluster, upstream)
    }

    pub(super) fn with_identity(
        config: &GatewayConfig,
        identity: Identity,
        cluster: C,
        upstream: Option<U>,
    ) -> Result<Self, GatewayError> {
        let card = identity.card();
        let is_listed = cluster.pinned().roster().principal(&card.id) == Some(card);
        if !is_listed || !card.roles.contains(&Role::Client) {
            return Err(GatewayError::NoClient(card.id.clone()));
        }
        Ok(Self {
            cluster,
            upstream,
            upstream_fits: OnceCell::new(),
            accounts: Accounts::new(config.accounts.clone()),
            signer: Signer::new(identity, config.timeout()),
            chain_id: config.chain_id,
            max_filled_fee: config.max_filled_fee,
            limit: config.timeout(),
        })
    }

    /// Answers one call, and counts it.
    pub(super) async fn answer(&self, call: &Call<'_>) -> Outcome {
        let outcome = self.act(&call.method, call.params).await;
        let label = match &outcome {
            Ok(_) => "ok",
            Err(error) if error.code == METHOD_NOT_FOUND => "unknown",
            Err(_) => "error",
        };
        metrics::counter!("quorate_gateway_calls_total", "outcome" => label).increment(1);
        outcome
    }

    async fn act(&self, method: &str, params: Option<&RawValue>) -> Outcome {
        match method {
            "eth_accounts" | "eth_requestAccounts" => {
                let accounts = self.accounts.list(&self.cluster).await;
                result(
                    accounts
                        .iter()
                        .map(|account| account.address)
                        .collect::<Vec<_>>(),
                )
            }
            "eth_chainId" => result(quantity(self.chain_id.into())),
            "net_version" => result(self.chain_id.to_string()),
            "web3_clientVersion" => result(concat!("quorate/", env!("CARGO_PKG_VERSION"))),
            "eth_signTransaction" => self.sign_transaction(params).await,
            "eth_sendTransaction" => self.send_transaction(params).await,
            // The same personal message, with its parameters in another order.
            "eth_sign" => {
                let params = Params::read(params, 2, 2)?;
                let (from, message) = (params.address(0)?, params.bytes(1)?);
                self.sign_message(from, PayloadKind::EvmMessage, message)
                    .await
            }
            // Wallets add a password, which nobody here needs.
            "personal_sign" => {
                let params = Params::read(params, 2, 3)?;
                let (message, from) = (params.bytes_or_text(0)?, params.address(1)?);
                self.sign_message(from, PayloadKind::EvmMessage, message)
                    .await
            }
            "eth_signTypedData" | "eth_signTypedData_v4" => {
                let params = Params::read(params, 2, 2)?;
                let (from, document) = (params.address(0)?, params.document(1)?);
                self.check_domain(&document)?;
                self.sign_message(from, PayloadKind::EvmTypedData, document)
                    .await
            }
            other if PASSED_ON.contains(&other) => self.pass_on(other, params).await,
            other => Err(unknown(other)),
        }
    }

    async fn account(&self, from: EvmAddress) -> Result<Arc<Account>, RpcError> {
        let account = self.accounts.find(from, &self.cluster).await;
        account.ok_or_else(|| {
            RpcError::new(UNAUTHORIZED, format!("account {from} is not served here"))
        })
    }

    /// The account that a transaction is from. It may be left out where there is only one.
    async fn sender(&self, fields: &Fields) -> Result<Arc<Account>, RpcError> {
        match fields.get("from") {
            Some(Value::String(text)) => self.account(address(text)?).await,
            None | Some(Value::Null) => {
                // One that is not served at the moment does not make another the only one.
                if self.accounts.configured() > 1 {
                    return Err(RpcError::params("\"from\" is missing"));
                }
                let served = self.accounts.list(&self.cluster).await.pop();
                served.ok_or_else(|| RpcError::new(UNAUTHORIZED, "no account is served here"))
            }
            Some(_) => Err(RpcError::params("\"from\" is no address")),
        }
    }

    async fn sign_message(&self, from: EvmAddress, kind: PayloadKind, bytes: Vec<u8>) -> Outcome {
        let account = self.account(from).await?;
        let payload = Payload::new(kind, bytes);
        let signed = self
            .signer
            .message(&self.cluster, &account, payload)
            .await?;
        result(hex_text(&signed.signature().to_bytes()))
    }

    /// Typed data for a contract of another chain is not for this gateway, whose account has the
    /// same address there. What nodes refuse is theirs to explain.
    fn check_domain(&self, document: &[u8]) -> Result<(), RpcError> {
        let payload = Payload::new(PayloadKind::EvmTypedData, document.to_vec());
        match quorate_intent::inspect(&payload) {
            Ok(Facts::EvmTypedData(facts)) => match facts.domain.chain_id {
                Some(found) if found != Amount::from(self.chain_id) => {
                    Err(RpcError::params(format!(
                        "the typed data is for chain {found}, and this gateway serves chain {}",
                        self.chain_id
                    )))
                }
                Some(_) | None => Ok(()),
            },
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn sign_transaction(&self, params: Option<&RawValue>) -> Outcome {
        let mut fields = transaction(params)?;
        let account = self.sender(&fields).await?;
        // What is complete is signed without asking anybody.
        let request = match (fill::read(&fields), &self.upstream) {
            (Ok(request), _) => request,
            (Err(error), None) => return Err(error),
            (Err(_), Some(upstream)) => {
                self.check_upstream(upstream).await?;
                self.filling(upstream)
                    .fill(&mut fields, account.address)
                    .await?
            }
        };
        result(hex_text(self.sign(&account, &request).await?.raw()))
    }

    async fn send_transaction(&self, params: Option<&RawValue>) -> Outcome {
        let upstream = self.upstream.as_ref().ok_or_else(|| {
            RpcError::new(
                METHOD_NOT_FOUND,
                "eth_sendTransaction needs an upstream, and none is configured",
            )
        })?;
        let mut fields = transaction(params)?;
        let account = self.sender(&fields).await?;
        self.check_upstream(upstream).await?;
        // Two at a time would get the same nonce.
        let _sending = tokio::time::timeout(self.limit, account.sending.lock())
            .await
            .map_err(|_| RpcError::failed("other transactions of the account are being sent"))?;
        let request = self
            .filling(upstream)
            .fill(&mut fields, account.address)
            .await?;
        let signed = self.sign(&account, &request).await?;
        let (raw, hash) = (hex_text(signed.raw()), hex_text(signed.hash().as_bytes()));
        let sent = upstream
            .call("eth_sendRawTransaction", &result(json!([raw]))?)
            .await;
        match sent {
            Ok(_) => result(hash),
            // An upstream that says that it refused may have sent it all the same. Whoever gets this
            // can look for the hash, or send the same bytes again, which does no harm.
            Err(failure) => Err(RpcError::from(failure).with("hash", hash).with("raw", raw)),
        }
    }

    /// Has a transaction of this chain signed.
    async fn sign(
        &self,
        account: &Account,
        request: &EvmRequest,
    ) -> Result<SignedEvmTransaction, RpcError> {
        let found = request.transaction.chain_id;
        if found != self.chain_id {
            return Err(RpcError::params(format!(
                "the transaction is for chain {found}, and this gateway serves chain {}",
                self.chain_id
            )));
        }
        self.signer
            .transaction(&self.cluster, account, request.payload())
            .await
    }

    fn filling<'a>(&'a self, upstream: &'a U) -> Filling<'a, U> {
        Filling {
            upstream,
            chain_id: self.chain_id,
            max_fee: self.max_filled_fee,
        }
    }

    async fn pass_on(&self, method: &str, params: Option<&RawValue>) -> Outcome {
        let Some(upstream) = &self.upstream else {
            return Err(unknown(method));
        };
        self.check_upstream(upstream).await?;
        let none = result(json!([]))?;
        let answer = upstream.call(method, params.unwrap_or(&none)).await;
        Ok(answer?)
    }

    /// Checks once that the upstream serves the chain of the configuration.
    async fn check_upstream(&self, upstream: &U) -> Result<(), RpcError> {
        let check = async || {
            let answer = upstream.call("eth_chainId", &result(json!([]))?).await?;
            let found = read_quantity(&answer);
            if found == Some(self.chain_id.into()) {
                return Ok(());
            }
            tracing::error!("the upstream of the gateway serves another chain");
            Err(RpcError::failed(format!(
                "the upstream serves another chain than {}",
                self.chain_id
            )))
        };
        self.upstream_fits.get_or_try_init(check).await.copied()
    }
}

/// The one parameter of the methods for transactions.
fn transaction(params: Option<&RawValue>) -> Result<Fields, RpcError> {
    let params = Params::read(params, 1, 1)?;
    serde_json::from_str(params.raw(0)?.get())
        .map_err(|_| RpcError::params("the transaction is no object"))
}

fn unknown(method: &str) -> RpcError {
    RpcError::new(
        METHOD_NOT_FOUND,
        format!("method \"{method:.80}\" is not served here"),
    )
}
