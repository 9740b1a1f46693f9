//! `AuditService`: journals of nodes, relayed as they are, and evidence. Everything verifies by
//! itself, so nothing is checked here.

use std::time::Duration;

use quorate_model::{
    Reason, Refusal,
    audit::FIRST_SEQUENCE,
    node_api::{NodeReply, NodeRequest},
};
use quorate_proto::{
    names,
    v1::{self, audit_service_server::AuditService},
};
use tonic::{Request, Response, Status};

use super::{Api, invalid, nodes, page, refuse};
use crate::{link::CallError, store::evidence_hash};

/// How long a node may take for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// The most bytes of evidence on one page.
const MAX_PAGE_BYTES: usize = 8 << 20;

/// The first sequence of a page.
fn from(request: &v1::ListAuditRecordsRequest) -> Result<u64, Status> {
    let lowest = match request.filter.trim() {
        "" => FIRST_SEQUENCE,
        filter => filter
            .strip_prefix("sequence>=")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| invalid("the filter may hold sequence>=NUMBER"))?,
    };
    match request.page_token.as_str() {
        "" => Ok(lowest.max(FIRST_SEQUENCE)),
        token => token
            .parse()
            .map(|next: u64| next.max(lowest))
            .map_err(|_| invalid("page_token is none that this coordinator gave")),
    }
}

#[tonic::async_trait]
impl AuditService for Api {
    async fn list_audit_records(
        &self,
        request: Request<v1::ListAuditRecordsRequest>,
    ) -> Result<Response<v1::ListAuditRecordsResponse>, Status> {
        self.caller(&request)?;
        let request = request.into_inner();
        let node = names::parse_node(&request.parent).map_err(refuse)?;
        let from = from(&request)?;
        if self.engine().pinned().roster().node(&node).is_none() {
            return Err(nodes::unknown(&node));
        }
        let limit = u32::try_from(page::size(request.page_size)).unwrap_or(u32::MAX);
        let away = || {
            refuse(
                Refusal::new(
                    Reason::QuorumUnavailable,
                    format!("node \"{node}\" is not connected: its journal cannot be read"),
                )
                .with("missing", &node),
            )
        };
        let link = self.engine().link(&node).ok_or_else(away)?;
        let reply = link
            .call(NodeRequest::ReadAudit { from, limit }, PAGE_TIMEOUT)
            .await;
        let found = match reply {
            Ok(NodeReply::Audit(found)) => found,
            Ok(_) => {
                return Err(invalid(format!(
                    "node \"{node}\" answers with something else"
                )));
            }
            Err(CallError::Refused(refusal)) => return Err(refuse(refusal)),
            Err(CallError::Lost) => return Err(away()),
            Err(CallError::TimedOut) => {
                return Err(refuse(Refusal::new(
                    Reason::TimedOut,
                    format!("node \"{node}\" did not read its journal in time"),
                )));
            }
        };
        let next = from.saturating_add(u64::try_from(found.records.len()).unwrap_or(u64::MAX));
        let audit_records: Vec<_> = (from..)
            .zip(found.records)
            .map(|(sequence, record)| v1::AuditRecord {
                name: names::audit_record(&node, sequence),
                record,
            })
            .collect();
        let more = !audit_records.is_empty() && next <= found.durable;
        Ok(Response::new(v1::ListAuditRecordsResponse {
            audit_records,
            next_page_token: if more {
                next.to_string()
            } else {
                String::new()
            },
            durable_sequence: found.durable,
        }))
    }

    async fn list_evidence(
        &self,
        request: Request<v1::ListEvidenceRequest>,
    ) -> Result<Response<v1::ListEvidenceResponse>, Status> {
        self.caller(&request)?;
        let request = request.into_inner();
        let wanted = names::parse_nodes(&request.parent).map_err(refuse)?;
        if !request.filter.is_empty() {
            return Err(invalid("evidence has no filter"));
        }
        if let Some(node) = &wanted
            && self.engine().pinned().roster().node(node).is_none()
        {
            return Err(nodes::unknown(node));
        }
        let held = self
            .engine()
            .query(|core| {
                core.evidence()
                    .filter_map(|bytes| Some((core.accused(bytes)?, bytes.to_vec())))
                    .collect::<Vec<_>>()
            })
            .await
            .map_err(refuse)?;
        let size = page::size(request.page_size);
        let mut all: Vec<v1::Evidence> = held
            .into_iter()
            .filter(|(node, _)| wanted.as_ref().is_none_or(|wanted| node == wanted))
            .map(|(node, evidence)| v1::Evidence {
                name: names::evidence(&node, &evidence_hash(&evidence)),
                evidence,
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let mut rest = all.into_iter().filter(|one| one.name > request.page_token);
        let (mut evidence, mut bytes) = (Vec::new(), 0usize);
        for one in rest.by_ref() {
            bytes = bytes.saturating_add(one.evidence.len());
            evidence.push(one);
            if evidence.len() >= size || bytes >= MAX_PAGE_BYTES {
                break;
            }
        }
        let next_page_token = match evidence.last() {
            Some(last) if rest.next().is_some() => last.name.clone(),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListEvidenceResponse {
            evidence,
            next_page_token,
        }))
    }
}
