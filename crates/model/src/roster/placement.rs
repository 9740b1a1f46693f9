//! Which committees may hold a key, by where nodes run and who runs them (P27).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Roster;
use crate::{
    ids::NodeId,
    refusal::{Reason, Refusal},
};

/// What a committee must be like. Checked where a key is created and where it is reshared; a rule
/// moves no share by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// At most t-1 holders run in one region, so that who takes a region signs nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spread_regions: bool,
    /// At most t-1 holders are run by one organisation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spread_organisations: bool,
    /// The least threshold of a key; 0 for no rule.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_threshold: u16,
    /// The least number of holders; 0 for no rule.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_nodes: u16,
    /// In how many regions holders run at least; 0 for no rule.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_regions: u16,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(value: &u16) -> bool {
    *value == 0
}

impl Placement {
    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether every committee that these rules allow is one that the others allow.
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        self.spread_regions >= other.spread_regions
            && self.spread_organisations >= other.spread_organisations
            && self.least_threshold >= other.least_threshold
            && self.least_nodes >= other.least_nodes
            && self.least_regions >= other.least_regions
    }
}

impl Roster {
    /// Checks that a committee may receive a key under the rules of this roster: every node is
    /// listed and not drained, and stands where the rules want it.
    ///
    /// # Errors
    ///
    /// [`Reason::NodeUnknown`], [`Reason::NodeDrained`] or [`Reason::PlacementViolated`].
    pub fn check_committee(&self, nodes: &[NodeId], threshold: u16) -> Result<(), Refusal> {
        let mut regions = BTreeMap::new();
        let mut organisations = BTreeMap::new();
        for id in nodes {
            let card = self.node(id).ok_or_else(|| {
                Refusal::new(
                    Reason::NodeUnknown,
                    format!("node \"{id}\" is not in the roster"),
                )
                .with("node", id)
            })?;
            if self.drained.contains(id) {
                let message = format!(
                    "node \"{id}\" is drained and receives no share: choose another node, or end \
                     its draining with `quorate node drain {id} --cancel`"
                );
                return Err(Refusal::new(Reason::NodeDrained, message).with("node", id));
            }
            regions
                .entry(&*card.region)
                .or_insert_with(Vec::new)
                .push(id);
            organisations
                .entry(&*card.organisation)
                .or_insert_with(Vec::new)
                .push(id);
        }
        let rules = &self.placement;
        least("threshold", threshold.into(), rules.least_threshold)?;
        least("number of nodes", nodes.len(), rules.least_nodes)?;
        least("number of regions", regions.len(), rules.least_regions)?;
        if rules.spread_regions {
            spread("region", &regions, threshold)?;
        }
        if rules.spread_organisations {
            spread("organisation", &organisations, threshold)?;
        }
        Ok(())
    }
}

fn least(what: &str, found: usize, least: u16) -> Result<(), Refusal> {
    if found >= usize::from(least) {
        return Ok(());
    }
    let message =
        format!("the committee's {what} is {found}, the roster asks for at least {least}");
    Err(Refusal::new(Reason::PlacementViolated, message))
}

fn spread(
    what: &str,
    places: &BTreeMap<&str, Vec<&NodeId>>,
    threshold: u16,
) -> Result<(), Refusal> {
    let crowded = places
        .iter()
        .find(|(_, nodes)| nodes.len() >= usize::from(threshold));
    let Some((place, nodes)) = crowded else {
        return Ok(());
    };
    let names: Vec<&str> = nodes.iter().map(|id| id.as_str()).collect();
    let message = format!(
        "{} of the nodes are in {what} \"{place}\" ({}), enough to sign without any other: the \
         roster allows at most {} there, one fewer than the threshold",
        nodes.len(),
        names.join(", "),
        threshold.saturating_sub(1),
    );
    Err(Refusal::new(Reason::PlacementViolated, message).with(what, place))
}

#[cfg(test)]
mod tests;
