//! `ClusterService`: the roster.

use quorate_proto::{
    names::{self, RosterVersion},
    v1::{self, cluster_service_server::ClusterService},
};
use tonic::{Request, Response, Status};

use super::{Api, caller, invalid, refuse};

#[tonic::async_trait]
impl ClusterService for Api {
    async fn get_roster(
        &self,
        request: Request<v1::GetRosterRequest>,
    ) -> Result<Response<v1::Roster>, Status> {
        caller(&request)?;
        let version = names::parse_roster(&request.into_inner().name).map_err(refuse)?;
        let own = self.0.pinned.roster().version;
        match version {
            RosterVersion::Current => {}
            RosterVersion::Number(number) if number == own => {}
            RosterVersion::Number(number) => {
                return Err(invalid(format!(
                    "there is roster {own}, not roster {number}"
                )));
            }
        }
        Ok(Response::new(v1::Roster::from(self.0.roster.clone())))
    }
}
