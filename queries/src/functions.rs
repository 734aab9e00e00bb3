//! The SQL functions beyond DataFusion's own, and bounds of some of those, one file each, and their registration. Not `as_of()`: its instant belongs to whoever runs a plan.

mod bounded;
mod chronicle;
mod distinct_words;
mod joined;
mod scalar;

pub mod burn;
pub mod deviation;
pub mod fold;
pub mod held_since;
pub mod histogram;
pub mod hop;
pub mod incident_story;
pub mod json;
pub mod label;
pub mod label_match;
pub mod last_change;
pub mod llm;
pub mod matchers;
pub mod median_interval;
pub(crate) mod newest_event;
pub mod novelty;
pub mod tumble;
pub mod wilson;
pub mod zone;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use std::sync::Arc;

/// Every scalar function.
pub fn scalars() -> Vec<ScalarUDF> {
    vec![
        tumble::tumble(),
        hop::hop(),
        tumble::session(),
        label::label(),
        label::label_number(),
        label_match::label_match(),
        json::json_text(),
        json::json_int(),
        json::json_float(),
        json::json_time(),
        json::json_nano(),
        zone::day_in_zone(),
        zone::month_in_zone(),
        zone::day_start(),
        llm::llm_provider(),
        llm::llm_cost_nano(),
        burn::compare_burn(),
        wilson::wilson_low(),
        wilson::wilson_high(),
        median_interval::median_interval(),
    ]
}

/// Every aggregate function.
pub fn aggregates() -> Vec<AggregateUDF> {
    vec![
        histogram::histogram_quantile(),
        histogram::histogram_below(),
        histogram::histogram_bound(),
        incident_story::incident_story(),
        last_change::last_change(),
    ]
}

/// Every fold function, as window functions that DataFusion can run over whole partitions.
pub fn windows() -> Vec<WindowUDF> {
    vec![
        fold::window_function(Arc::new(deviation::Deviation)),
        fold::window_function(Arc::new(novelty::Novelty)),
        fold::window_function(Arc::new(held_since::HeldSince)),
    ]
}

/// Makes every function known to a session, with the rule that carries out `hop`, and takes away what has no bound.
///
/// # Errors
/// Where a name cannot be registered.
pub fn register(state: &mut SessionState) -> Result<()> {
    bounded::bound(state)?;
    for function in scalars() {
        state.register_udf(Arc::new(function))?;
    }
    for function in aggregates() {
        state.register_udaf(Arc::new(function))?;
    }
    for function in windows() {
        state.register_udwf(Arc::new(function))?;
    }
    state.register_function_rewrite(Arc::new(distinct_words::DistinctWords))?;
    state.add_analyzer_rule(Arc::new(hop::HopRule));
    Ok(())
}

#[cfg(test)]
mod tests;
