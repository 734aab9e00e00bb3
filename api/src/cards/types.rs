//! The kinds of cards there are. Not their contents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of card; the names are those of the front end's components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CardType {
    /// One status per service.
    SystemHealthCard,
    /// Traffic, errors and latency of one service.
    ServiceDetailCard,
    /// Every objective with its budget.
    SLODashboardCard,
    /// The month's cost.
    FinOpsCard,
    /// Share of incidents resolved without a person.
    AutonomyIndexPanel,
    /// Time to resolution.
    MTTRCard,
}

impl CardType {
    /// Every kind, in the order they are listed.
    pub const ALL: [Self; 6] =
        [Self::AutonomyIndexPanel, Self::SystemHealthCard, Self::SLODashboardCard, Self::FinOpsCard, Self::MTTRCard, Self::ServiceDetailCard];

    /// The name in paths and in `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SystemHealthCard => "SystemHealthCard",
            Self::ServiceDetailCard => "ServiceDetailCard",
            Self::SLODashboardCard => "SLODashboardCard",
            Self::FinOpsCard => "FinOpsCard",
            Self::AutonomyIndexPanel => "AutonomyIndexPanel",
            Self::MTTRCard => "MTTRCard",
        }
    }

    /// The kind of exactly this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for CardType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
