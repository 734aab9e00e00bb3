//! The shapes of OpenSLO v1 documents as serde reads them. Unknown keys are errors: a misspelt one would silently mean nothing. Not their meaning.

use serde::Deserialize;
use serde_yaml_ng::Value;
use std::collections::BTreeMap;

/// The head every document has; the rest is read by kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document<S> {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Option<String>,
    #[serde(rename = "kind")]
    pub(super) _kind: Option<String>,
    pub(super) metadata: Metadata,
    pub(super) spec: S,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) display_name: Option<String>,
    #[serde(default, rename = "labels")]
    pub(super) _labels: BTreeMap<String, Value>,
    #[serde(default, rename = "annotations")]
    pub(super) _annotations: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SloSpec {
    #[serde(rename = "description")]
    pub(super) _description: Option<String>,
    pub(super) service: String,
    pub(super) indicator: Option<Document<SliSpec>>,
    pub(super) indicator_ref: Option<String>,
    pub(super) time_window: Vec<TimeWindow>,
    pub(super) budgeting_method: String,
    pub(super) objectives: Vec<ObjectiveSpec>,
    #[serde(default)]
    pub(super) alert_policies: Vec<PolicyRef>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TimeWindow {
    pub(super) duration: String,
    #[serde(default)]
    pub(super) is_rolling: bool,
    pub(super) calendar: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ObjectiveSpec {
    pub(super) display_name: Option<String>,
    pub(super) op: Option<String>,
    pub(super) value: Option<f64>,
    pub(super) target: Option<f64>,
    pub(super) target_percent: Option<f64>,
    pub(super) time_slice_target: Option<f64>,
    pub(super) time_slice_window: Option<String>,
    pub(super) composite_weight: Option<f64>,
    pub(super) indicator: Option<Value>,
    pub(super) indicator_ref: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PolicyRef {
    Name(String),
    Ref(AlertPolicyRef),
    Inline(Box<Document<PolicySpec>>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AlertPolicyRef {
    pub(super) alert_policy_ref: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SliSpec {
    #[serde(rename = "description")]
    pub(super) _description: Option<String>,
    pub(super) threshold_metric: Option<Metric>,
    pub(super) ratio_metric: Option<RatioMetric>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RatioMetric {
    pub(super) counter: Option<bool>,
    pub(super) good: Option<Metric>,
    pub(super) bad: Option<Metric>,
    pub(super) total: Option<Metric>,
    pub(super) raw_type: Option<String>,
    pub(super) raw: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metric {
    pub(super) metric_source: MetricSource,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MetricSource {
    pub(super) metric_source_ref: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) spec: MetricSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MetricSpec {
    pub(super) metric: String,
    #[serde(default)]
    pub(super) matchers: BTreeMap<String, String>,
    pub(super) service: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PolicySpec {
    #[serde(rename = "description")]
    pub(super) _description: Option<String>,
    #[serde(default, rename = "alertWhenNoData")]
    pub(super) _alert_when_no_data: bool,
    #[serde(default, rename = "alertWhenBreaching")]
    pub(super) _alert_when_breaching: bool,
    #[serde(default, rename = "alertWhenResolved")]
    pub(super) _alert_when_resolved: bool,
    pub(super) conditions: Vec<ConditionRef>,
    #[serde(default, rename = "notificationTargets")]
    pub(super) _notification_targets: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum ConditionRef {
    Ref(AlertConditionRef),
    Inline(InlineCondition),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AlertConditionRef {
    pub(super) condition_ref: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InlineCondition {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Option<String>,
    #[serde(rename = "kind")]
    pub(super) _kind: Option<String>,
    #[serde(rename = "metadata")]
    pub(super) _metadata: Option<Value>,
    pub(super) spec: ConditionSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConditionSpec {
    #[serde(rename = "description")]
    pub(super) _description: Option<String>,
    #[serde(rename = "severity")]
    pub(super) _severity: Option<String>,
    pub(super) condition: Condition,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Condition {
    pub(super) kind: String,
    pub(super) op: Option<String>,
    pub(super) threshold: f64,
    pub(super) lookback_window: String,
    #[serde(rename = "alertAfter")]
    pub(super) _alert_after: Option<String>,
}
