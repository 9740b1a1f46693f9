//! `KeyService`: what is known of keys, with the proofs that make it worth believing.

use quorate_model::{KeyName, Reason, Refusal, operation::KeyView};
use quorate_proto::{
    names,
    v1::{self, key_service_server::KeyService},
};
use tonic::{Request, Response, Status};

use super::{Api, caller, invalid, page, refuse};

/// Keys per question to the core, which verifies those that it has not used yet.
const KEYS_AT_ONCE: usize = 50;

/// The most bytes of certificates and proofs on one page.
const MAX_PAGE_BYTES: usize = 8 << 20;

#[tonic::async_trait]
impl KeyService for Api {
    async fn get_key(
        &self,
        request: Request<v1::GetKeyRequest>,
    ) -> Result<Response<v1::Key>, Status> {
        caller(&request)?;
        let name = names::parse_key(&request.into_inner().name).map_err(refuse)?;
        let asked = name.clone();
        let key = self
            .engine()
            .query(move |core| core.key(&asked))
            .await
            .map_err(refuse)?;
        match key {
            Some(key) => Ok(Response::new(v1::Key::from(key))),
            None => Err(refuse(
                Refusal::new(Reason::KeyUnknown, format!("there is no key \"{name}\""))
                    .with("key", name),
            )),
        }
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        caller(&request)?;
        let request = request.into_inner();
        let terms = page::terms(&request.filter, &["state", "scheme"])?;
        let (state, scheme) = (page::value(&terms, "state"), page::value(&terms, "scheme"));
        let fits = |key: &KeyView| {
            state.is_none_or(|state| key.state.as_str() == state)
                && scheme.is_none_or(|scheme| key.record.scheme.as_str() == scheme)
        };
        let size = page::size(request.page_size);
        let mut after: Option<KeyName> = match request.page_token.as_str() {
            "" => None,
            token => Some(
                token
                    .parse()
                    .map_err(|_| invalid("page_token is none that this coordinator gave"))?,
            ),
        };
        let (mut keys, mut bytes) = (Vec::new(), 0usize);
        loop {
            let from = after.clone();
            let found = self
                .engine()
                .query(move |core| core.keys(from.as_ref(), KEYS_AT_ONCE))
                .await
                .map_err(refuse)?;
            if found.is_empty() {
                return Ok(Response::new(v1::ListKeysResponse {
                    keys,
                    next_page_token: String::new(),
                }));
            }
            for key in found {
                after = Some(key.record.name.clone());
                if !fits(&key) {
                    continue;
                }
                let evidence = &key.evidence;
                bytes = bytes
                    .saturating_add(evidence.certificate.len())
                    .saturating_add(evidence.proof.as_ref().map_or(0, Vec::len));
                keys.push(v1::Key::from(key));
                if keys.len() >= size || bytes >= MAX_PAGE_BYTES {
                    let next_page_token = after.map(String::from).unwrap_or_default();
                    return Ok(Response::new(v1::ListKeysResponse {
                        keys,
                        next_page_token,
                    }));
                }
            }
        }
    }
}
