//! What a transaction leaves out, taken from the upstream: nonce, fees, gas and chain id.
//!
//! The upstream could lie. A nonce or a chain that is not the right one makes a transaction that is
//! of no use, and one that was not meant to be replaced could be; fees are bounded by the
//! configuration whenever any part of them was filled in.

use quorate_evm::EvmRequest;
use quorate_intent::{Amount, EvmAddress, EvmFees};
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    params::{quantity, read_quantity},
    rpc::{INVALID_PARAMS, RpcError, result},
    upstream::Upstream,
};

/// A transaction as its caller wrote it.
pub(super) type Fields = Map<String, Value>;

/// What is filled in, and within which bound.
pub(super) struct Filling<'a, U> {
    pub(super) upstream: &'a U,
    pub(super) chain_id: u64,
    pub(super) max_fee: u64,
}

/// Whether a field says nothing.
fn is_absent(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_none_or(Value::is_null)
}

fn put(fields: &mut Fields, name: &str, number: u128) {
    fields.insert(name.to_owned(), quantity(number).into());
}

impl<U: Upstream> Filling<'_, U> {
    /// Fills in what is absent. Fees come before gas, because the estimate depends on them.
    pub(super) async fn fill(
        &self,
        fields: &mut Fields,
        from: EvmAddress,
    ) -> Result<EvmRequest, RpcError> {
        fields.insert("from".to_owned(), json!(from));
        if is_absent(fields, "chainId") {
            put(fields, "chainId", self.chain_id.into());
        }
        if is_absent(fields, "nonce") {
            let params = json!([from, "pending"]);
            let nonce = self.number("eth_getTransactionCount", &params).await?;
            put(fields, "nonce", nonce);
        }
        let priced = self.fill_prices(fields).await?;
        let lacks_gas = is_absent(fields, "gas") && is_absent(fields, "gasLimit");
        if lacks_gas {
            let params = json!([fields]);
            let gas = self.number("eth_estimateGas", &params).await?;
            put(fields, "gas", gas);
        }
        let request = read(fields)?;
        if priced || lacks_gas {
            self.check_fee(&request)?;
        }
        Ok(request)
    }

    /// Fills in prices; true if any was.
    async fn fill_prices(&self, fields: &mut Fields) -> Result<bool, RpcError> {
        let lacks = |fields: &Fields, name| is_absent(fields, name);
        if !lacks(fields, "gasPrice") {
            return Ok(false);
        }
        let lacks_max = lacks(fields, "maxFeePerGas");
        let lacks_tip = lacks(fields, "maxPriorityFeePerGas");
        if !lacks_max && !lacks_tip {
            return Ok(false);
        }
        let says_old = match fields.get("type") {
            Some(Value::String(text)) => matches!(text.as_str(), "0x0" | "0x1" | "0x00" | "0x01"),
            _ => false,
        };
        let base = if says_old {
            None
        } else {
            self.base_fee().await?
        };
        let Some(base) = base.filter(|_| !says_old) else {
            if !(lacks_max && lacks_tip) {
                return Err(RpcError::params(
                    "the chain has no base fee, and the transaction names fees of EIP-1559",
                ));
            }
            let price = self.number("eth_gasPrice", &json!([])).await?;
            put(fields, "gasPrice", price);
            return Ok(true);
        };
        if lacks_tip {
            let tip = self.number("eth_maxPriorityFeePerGas", &json!([])).await?;
            let most = given(fields, "maxFeePerGas").unwrap_or(u128::MAX);
            put(fields, "maxPriorityFeePerGas", tip.min(most));
        }
        if lacks_max {
            let tip = given(fields, "maxPriorityFeePerGas").unwrap_or_default();
            put(
                fields,
                "maxFeePerGas",
                base.saturating_mul(2).saturating_add(tip),
            );
        }
        Ok(true)
    }

    /// The base fee of the last block; none on a chain that has none.
    async fn base_fee(&self) -> Result<Option<u128>, RpcError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Block {
            base_fee_per_gas: Option<Box<RawValue>>,
        }
        let params = json!(["latest", false]);
        let block = self.call("eth_getBlockByNumber", &params).await?;
        let block: Block = serde_json::from_str(block.get())
            .map_err(|_| RpcError::failed("the upstream tells no last block"))?;
        match block.base_fee_per_gas {
            None => Ok(None),
            Some(fee) => read_quantity(&fee)
                .map(Some)
                .ok_or_else(|| RpcError::failed("the upstream tells no base fee")),
        }
    }

    fn check_fee(&self, request: &EvmRequest) -> Result<(), RpcError> {
        let transaction = &request.transaction;
        let price = match transaction.fees {
            EvmFees::Legacy { gas_price } | EvmFees::AccessList { gas_price } => gas_price,
            EvmFees::Dynamic { max_fee, .. }
            | EvmFees::Blob { max_fee, .. }
            | EvmFees::SetCode { max_fee, .. } => max_fee,
        };
        let fee = Amount::from(transaction.gas_limit).checked_mul(price.into());
        if fee.is_some_and(|fee| fee <= Amount::from(self.max_fee)) {
            return Ok(());
        }
        Err(RpcError::failed(format!(
            "the transaction may cost more than max_filled_fee, which is {} wei, in fees: give gas \
             and fees if that is meant",
            self.max_fee
        )))
    }

    async fn number(&self, method: &str, params: &Value) -> Result<u128, RpcError> {
        let answer = self.call(method, params).await?;
        read_quantity(&answer).ok_or_else(|| {
            RpcError::failed(format!("the upstream answers {method} with no number"))
        })
    }

    async fn call(&self, method: &str, params: &Value) -> Result<Box<RawValue>, RpcError> {
        let params = result(params)?;
        self.upstream
            .call(method, &params)
            .await
            .map_err(RpcError::from)
    }
}

/// A number of the caller, in one of the two forms that are read.
fn given(fields: &Fields, name: &str) -> Option<u128> {
    let value = fields.get(name)?;
    if let Some(number) = value.as_u64() {
        return Some(number.into());
    }
    let text = value.as_str()?;
    u128::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Reads a transaction as every part of Quorate reads it.
pub(super) fn read(fields: &Fields) -> Result<EvmRequest, RpcError> {
    let json = serde_json::to_vec(fields)
        .map_err(|_| RpcError::new(INVALID_PARAMS, "the transaction cannot be read"))?;
    EvmRequest::from_json(&json)
        .map_err(|error| RpcError::of_request(&quorate_model::Refusal::from(&error)))
}
