//! `ClusterService`: the roster.

use quorate_model::Digest;
use quorate_proto::{
    names::{self, RosterVersion},
    v1::{self, cluster_service_server::ClusterService},
};
use tonic::{Request, Response, Status};

use super::{Api, invalid, refuse};

#[tonic::async_trait]
impl ClusterService for Api {
    async fn get_roster(
        &self,
        request: Request<v1::GetRosterRequest>,
    ) -> Result<Response<v1::Roster>, Status> {
        self.caller(&request)?;
        let request = request.into_inner();
        let version = names::parse_roster(&request.name).map_err(refuse)?;
        let own = self.engine().pinned().roster().version;
        match version {
            RosterVersion::Current => {}
            RosterVersion::Number(number) if number == own => {}
            RosterVersion::Number(number) => {
                return Err(invalid(format!(
                    "roster {own} is in force, not roster {number}: ask for `rosters/current`, \
                     which brings those before it"
                )));
            }
        }
        let since = request
            .since
            .map(|bytes| {
                <[u8; 32]>::try_from(&*bytes)
                    .map(Digest::new)
                    .map_err(|_| invalid("since: expected the hash of a roster, 32 bytes"))
            })
            .transpose()?;
        let view = self
            .engine()
            .query(move |core| core.roster_view(since.as_ref()))
            .await
            .map_err(refuse)?;
        let roster = v1::Roster::try_from(view).map_err(refuse)?;
        Ok(Response::new(roster))
    }
}
