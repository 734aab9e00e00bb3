//! The month's cost as one typed summary, for the endpoint and the card alike. Not its computation: every figure is a cell of `finops_month`.

use super::rows::{FinOpsRow, Stamp, Standing};
use super::shape::{ZONE, merged, stand};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Cost drivers listed.
const DRIVERS_MAX: usize = 5;

/// The month's cost. Null is unknown: no call of that provider was priced, or nothing computes the figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FinOpsSummary {
    /// Month, `2026-03`.
    pub period: Option<String>,
    /// `ok` or `no_data`.
    pub status: String,
    /// Sum over providers, exactly.
    pub total_cost_usd: Option<f64>,
    /// US dollars.
    pub ollama_cost: Option<f64>,
    /// US dollars.
    pub gemini_cost: Option<f64>,
    /// US dollars.
    pub claude_cost: Option<f64>,
    /// US dollars that would leave the next invoice.
    pub realizable_savings: Option<f64>,
    /// US dollars of allocation released on hardware that is still paid for; no money saved.
    pub freed_capacity: Option<f64>,
    /// US dollars, verified after the change.
    pub realized_savings: Option<f64>,
    /// Days whose cost is far from usual.
    pub anomalies: Option<Vec<CostAnomaly>>,
    /// The dearest models.
    pub top_cost_drivers: Vec<CostDriver>,
    /// What would save money.
    pub recommendations: Vec<Recommendation>,
    /// Per provider.
    pub by_provider: Vec<CostPart>,
    /// Per provider and model.
    pub by_model: Vec<CostPart>,
    /// Against the month's budget.
    pub budget: CostBudget,
    /// Always `USD`.
    pub currency: String,
    /// Zone of the month.
    pub tz: String,
    /// Calls with a price / calls, 0..1.
    pub completeness: Option<f64>,
    /// Version of the price file behind computed costs.
    pub price_map_version: Option<String>,
}

/// A day whose cost is far from usual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostAnomaly {
    /// Day.
    pub day: String,
    /// US dollars.
    pub cost_usd: f64,
    /// US dollars.
    pub expected_usd: f64,
}

/// One of the dearest models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostDriver {
    /// Provider.
    pub provider: String,
    /// Model.
    pub model: String,
    /// US dollars.
    pub cost_usd: Option<f64>,
    /// Share of the total, 0..1.
    pub share_ratio: Option<f64>,
    /// Calls.
    pub calls: i64,
}

/// Something that would save money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recommendation {
    /// Kind.
    pub kind: String,
    /// US dollars.
    pub amount_usd: f64,
    /// What the amount stands on.
    pub basis: String,
    /// 0..1.
    pub confidence_ratio: f64,
}

/// Cost and tokens of a provider or a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostPart {
    /// Provider.
    pub provider: String,
    /// Model; null for a whole provider.
    pub model: Option<String>,
    /// Calls.
    pub calls: i64,
    /// Tokens.
    pub input: i64,
    /// Tokens.
    pub cache_read: i64,
    /// Tokens.
    pub cache_write: i64,
    /// Tokens.
    pub output: i64,
    /// US dollars.
    pub cost_usd: Option<f64>,
    /// Tokens of calls without a price.
    pub unpriced_tokens: i64,
}

/// The month's budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostBudget {
    /// US dollars; null where none is set.
    pub amount: Option<f64>,
    /// US dollars so far.
    pub spent: Option<f64>,
    /// US dollars expected at the month's end.
    pub forecast_end: Option<f64>,
    /// Spending over the even pace.
    pub burn: Option<f64>,
}

/// US dollars of nano-dollars.
pub fn usd(nano: i64) -> f64 {
    nano as f64 / 1e9
}

/// The summary of the month whose rows these are, the dearest first; `month` is what was asked for.
pub fn summary(rows: &[FinOpsRow], month: Option<&str>) -> FinOpsSummary {
    let total = rows.iter().find(|r| r.level == "total");
    let level = |level: &'static str| rows.iter().filter(move |r| r.level == level);
    let provider = |name: &str| level("provider").find(|r| r.provider == name).and_then(|r| r.cost_nano_usd).map(usd);
    let cost = total.and_then(|r| r.cost_nano_usd);
    let driver = |r: &FinOpsRow| CostDriver {
        provider: r.provider.clone(),
        model: r.model.clone(),
        cost_usd: r.cost_nano_usd.map(usd),
        share_ratio: cost.filter(|c| *c > 0).zip(r.cost_nano_usd).map(|(all, own)| own as f64 / all as f64),
        calls: r.calls,
    };
    FinOpsSummary {
        period: total.map(|r| r.month.as_str()).or(month).map(ToOwned::to_owned),
        status: if total.is_some() { "ok" } else { "no_data" }.to_owned(),
        total_cost_usd: cost.map(usd),
        ollama_cost: provider("ollama"),
        gemini_cost: provider("gemini"),
        claude_cost: provider("claude"),
        realizable_savings: None,
        freed_capacity: None,
        realized_savings: None,
        anomalies: None,
        top_cost_drivers: level("model").filter(|r| r.cost_nano_usd.is_some_and(|c| c > 0)).take(DRIVERS_MAX).map(driver).collect(),
        recommendations: Vec::new(),
        by_provider: level("provider").map(part).collect(),
        by_model: level("model").map(part).collect(),
        budget: CostBudget { amount: None, spent: cost.map(usd), forecast_end: None, burn: None },
        currency: "USD".to_owned(),
        tz: ZONE.to_owned(),
        completeness: total.and_then(|r| r.priced_ratio),
        price_map_version: total.and_then(|r| r.price_map_version.clone()),
    }
}

fn part(row: &FinOpsRow) -> CostPart {
    CostPart {
        provider: row.provider.clone(),
        model: (row.level == "model").then(|| row.model.clone()),
        calls: row.calls,
        input: row.input_tokens,
        cache_read: row.cache_read_tokens,
        cache_write: row.cache_write_tokens,
        output: row.output_tokens,
        cost_usd: row.cost_nano_usd.map(usd),
        unpriced_tokens: row.unpriced_tokens,
    }
}

/// `/finops/summary`.
pub fn answer(rows: &[FinOpsRow], month: Option<&str>, standing: &Standing) -> Value {
    let body = serde_json::to_value(summary(rows, month)).unwrap_or_default();
    merged(body, stand(Stamp::of_all(rows.iter().map(|r| r.stamp)), standing))
}
