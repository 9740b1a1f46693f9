//! `NodeService`: what is known of nodes.

use quorate_model::{NodeId, Reason, Refusal};
use quorate_proto::{
    names,
    v1::{self, node_service_server::NodeService},
};
use tonic::{Request, Response, Status};

use super::{Api, invalid, page, refuse};

/// No node of the roster has this id.
pub(super) fn unknown(node: &NodeId) -> Status {
    refuse(
        Refusal::new(
            Reason::NodeUnknown,
            format!("node \"{node}\" is not in the roster"),
        )
        .with("node", node),
    )
}

#[tonic::async_trait]
impl NodeService for Api {
    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        self.caller(&request)?;
        let id = names::parse_node(&request.into_inner().name).map_err(refuse)?;
        let nodes = self
            .engine()
            .query(|core| core.nodes())
            .await
            .map_err(refuse)?;
        let node = nodes
            .into_iter()
            .find(|node| node.id == id)
            .ok_or_else(|| unknown(&id))?;
        Ok(Response::new(v1::Node::from(node)))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        self.caller(&request)?;
        let request = request.into_inner();
        let terms = page::terms(&request.filter, &["link_state"])?;
        let connected = match page::value(&terms, "link_state") {
            None => None,
            Some("CONNECTED") => Some(true),
            Some("DISCONNECTED") => Some(false),
            Some(_) => return Err(invalid("link_state is CONNECTED or DISCONNECTED")),
        };
        let after: Option<NodeId> = match request.page_token.as_str() {
            "" => None,
            token => Some(
                token
                    .parse()
                    .map_err(|_| invalid("page_token is none that this coordinator gave"))?,
            ),
        };
        let size = page::size(request.page_size);
        let nodes = self
            .engine()
            .query(|core| core.nodes())
            .await
            .map_err(refuse)?;
        let mut rest = nodes
            .into_iter()
            .filter(|node| after.as_ref().is_none_or(|after| node.id > *after))
            .filter(|node| connected.is_none_or(|connected| node.connected == connected));
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let next_page_token = match page.last() {
            Some(last) if rest.next().is_some() => last.id.to_string(),
            _ => String::new(),
        };
        let nodes = page.into_iter().map(v1::Node::from).collect();
        Ok(Response::new(v1::ListNodesResponse {
            nodes,
            next_page_token,
        }))
    }
}
