//! The parameters of methods, read.

use quorate_intent::EvmAddress;
use serde_json::value::RawValue;

use super::rpc::RpcError;

/// The parameters of a call, in order.
pub(super) struct Params<'a>(Vec<&'a RawValue>);

impl<'a> Params<'a> {
    /// Reads a list of `least` to `most` parameters.
    pub(super) fn read(
        params: Option<&'a RawValue>,
        least: usize,
        most: usize,
    ) -> Result<Self, RpcError> {
        let list: Vec<&RawValue> = match params {
            None => Vec::new(),
            Some(params) => serde_json::from_str(params.get())
                .map_err(|_| RpcError::params("expected the parameters as a list"))?,
        };
        if !(least..=most).contains(&list.len()) {
            return Err(RpcError::params(format!(
                "expected {least} to {most} parameters, found {}",
                list.len()
            )));
        }
        Ok(Self(list))
    }

    pub(super) fn raw(&self, at: usize) -> Result<&'a RawValue, RpcError> {
        self.0
            .get(at)
            .copied()
            .ok_or_else(|| RpcError::params(format!("parameter {at} is missing")))
    }

    pub(super) fn text(&self, at: usize) -> Result<String, RpcError> {
        serde_json::from_str(self.raw(at)?.get())
            .map_err(|_| RpcError::params(format!("parameter {at} is no text")))
    }

    pub(super) fn address(&self, at: usize) -> Result<EvmAddress, RpcError> {
        address(&self.text(at)?)
    }

    /// Bytes in hex behind 0x.
    pub(super) fn bytes(&self, at: usize) -> Result<Vec<u8>, RpcError> {
        let text = self.text(at)?;
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| RpcError::params(format!("parameter {at} is not in 0x-hex")))?;
        hex::decode(digits)
            .map_err(|_| RpcError::params(format!("parameter {at} is not in 0x-hex")))
    }

    /// Bytes in hex behind 0x, or a text.
    pub(super) fn bytes_or_text(&self, at: usize) -> Result<Vec<u8>, RpcError> {
        let text = self.text(at)?;
        if text.starts_with("0x") {
            return self.bytes(at);
        }
        Ok(text.into_bytes())
    }

    /// A JSON document, as it is or within a text.
    pub(super) fn document(&self, at: usize) -> Result<Vec<u8>, RpcError> {
        let raw = self.raw(at)?;
        if raw.get().starts_with('"') {
            return self.text(at).map(String::into_bytes);
        }
        Ok(raw.get().as_bytes().to_vec())
    }
}

/// An address. Wallets write it in one case or with the checksum.
pub(super) fn address(text: &str) -> Result<EvmAddress, RpcError> {
    text.parse()
        .map_err(|_| RpcError::params(format!("\"{text:.80}\" is no address")))
}

/// Bytes in hex behind 0x.
pub(super) fn hex_text(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// A number as nodes write it: in hex without leading zeros.
pub(super) fn quantity(number: u128) -> String {
    format!("{number:#x}")
}

/// Reads a number in hex behind 0x.
pub(super) fn read_quantity(raw: &RawValue) -> Option<u128> {
    let text: String = serde_json::from_str(raw.get()).ok()?;
    u128::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
