//! From OpenSLO documents to objectives and rules: references resolved, everything that cannot be kept refused by name.

use super::duration::{Duration, parse};
use super::openslo::{
    Condition, ConditionRef, ConditionSpec, Document, Metadata, Metric, ObjectiveSpec, PolicyRef, PolicySpec, RatioMetric, SliSpec, SloSpec,
};
use super::{Factors, Indicator, OBJECTIVES_MAX, Objective, Objectives, PERIODS, Period, Role, Rule, reachable};
use crate::error::{Error, Result};
use crate::functions::burn::PPM;
use crate::functions::matchers::Matchers;
use crate::prices::decimal::scaled;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::Value;
use std::collections::BTreeMap;

const API_VERSION: &str = "openslo/v1";
/// The label of a histogram's bounds.
const BOUND_LABEL: &str = "le";

/// Documents by kind and name, each with its place.
#[derive(Default)]
pub(super) struct Documents {
    slos: Vec<(String, Metadata, SloSpec)>,
    indicators: BTreeMap<String, SliSpec>,
    policies: BTreeMap<String, PolicySpec>,
    conditions: BTreeMap<String, ConditionSpec>,
    services: Vec<String>,
}

impl Documents {
    /// Reads one document.
    pub(super) fn add(&mut self, place: String, document: serde_yaml_ng::Deserializer<'_>) -> Result<(), String> {
        let whole = Value::deserialize(document).map_err(|e| e.to_string())?;
        if whole.is_null() {
            return Ok(());
        }
        let word = |key: &str| whole.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if word("apiVersion") != API_VERSION {
            return Err(format!("apiVersion must be {API_VERSION}, found {:?}", word("apiVersion")));
        }
        let kind = word("kind");
        match kind.as_str() {
            "SLO" => {
                let Document { metadata, spec, .. } = read::<SloSpec>(whole)?;
                self.slos.push((place, metadata, spec));
            }
            "SLI" => keep(&mut self.indicators, "SLI", read(whole)?)?,
            "AlertPolicy" => keep(&mut self.policies, "AlertPolicy", read(whole)?)?,
            "AlertCondition" => keep(&mut self.conditions, "AlertCondition", read(whole)?)?,
            "Service" => self.services.push(read::<Value>(whole)?.metadata.name),
            "DataSource" | "AlertNotificationTarget" => {}
            other => {
                return Err(format!(
                    "kind {other:?} is not known; there are SLO, SLI, Service, AlertPolicy, AlertCondition, DataSource, AlertNotificationTarget"
                ));
            }
        }
        Ok(())
    }

    /// Makes objectives out of everything read.
    pub(super) fn build(self) -> Result<Objectives> {
        let mut all = Objectives::default();
        for (place, metadata, spec) in &self.slos {
            self.slo(&mut all, place, metadata, spec)
                .map_err(|problem| Error::definition(place.clone(), format!("SLO {:?}: {problem}", metadata.name)))?;
            if all.objectives.len() > OBJECTIVES_MAX {
                return Err(Error::definition(place.clone(), format!("more than {OBJECTIVES_MAX} objectives")));
            }
        }
        all.objectives.sort_by(|a, b| a.slo.cmp(&b.slo));
        if let Some([first, second]) = all.objectives.array_windows::<2>().find(|[a, b]| a.slo == b.slo) {
            return Err(Error::definition(second.file.clone(), format!("objective {:?} stands in {} already", second.slo, first.file)));
        }
        Ok(all)
    }

    fn slo(&self, all: &mut Objectives, place: &str, metadata: &Metadata, spec: &SloSpec) -> Result<(), String> {
        if !self.services.is_empty() && !self.services.contains(&spec.service) {
            return Err(format!("spec.service {:?} has no Service document, though others have", spec.service));
        }
        let sli = match (&spec.indicator, &spec.indicator_ref) {
            (Some(inline), None) => &inline.spec,
            (None, Some(name)) => self.indicators.get(name).ok_or_else(|| format!("spec.indicatorRef: there is no SLI {name:?}"))?,
            _ => return Err("spec needs exactly one of indicator and indicatorRef".to_owned()),
        };
        let period = period(spec)?;
        let timeslices = match spec.budgeting_method.as_str() {
            "Occurrences" => false,
            "Timeslices" => true,
            other => return Err(format!("spec.budgetingMethod {other:?} is not computed; write Occurrences or Timeslices")),
        };
        if spec.objectives.is_empty() {
            return Err("spec.objectives is empty".to_owned());
        }
        for (index, objective) in spec.objectives.iter().enumerate() {
            let slo = if spec.objectives.len() == 1 { metadata.name.clone() } else { format!("{}-{}", metadata.name, index + 1) };
            let at = |problem: String| format!("spec.objectives[{index}]: {problem}");
            let target_ppm = target(objective).map_err(at)?;
            let slice_target_ppm = slice_target(objective, timeslices).map_err(at)?;
            let (indicator, threshold_s, rules) = rules(&slo, sli, objective, slice_target_ppm).map_err(at)?;
            all.objectives.push(Objective {
                slo,
                file: place.to_owned(),
                title: objective.display_name.clone().or_else(|| metadata.display_name.clone()),
                service: spec.service.clone(),
                indicator,
                target_ppm,
                period,
                threshold_s,
                factors: self.factors(spec, period, target_ppm)?,
            });
            all.rules.extend(rules);
        }
        Ok(())
    }

    /// The window's usual factors, overridden by the SLO's own burn-rate conditions.
    fn factors(&self, spec: &SloSpec, period: Period, target_ppm: i64) -> Result<Factors, String> {
        let mut factors = Factors::of(period).reachable(target_ppm);
        for policy in &spec.alert_policies {
            let named = |name: &str| self.policies.get(name).ok_or_else(|| format!("spec.alertPolicies: there is no AlertPolicy {name:?}"));
            let policy = match policy {
                PolicyRef::Name(name) => named(name)?,
                PolicyRef::Ref(reference) => named(&reference.alert_policy_ref)?,
                PolicyRef::Inline(inline) => &inline.spec,
            };
            for condition in &policy.conditions {
                let condition = match condition {
                    ConditionRef::Inline(inline) => &inline.spec.condition,
                    ConditionRef::Ref(reference) => {
                        let name = &reference.condition_ref;
                        &self.conditions.get(name).ok_or_else(|| format!("spec.alertPolicies: there is no AlertCondition {name:?}"))?.condition
                    }
                };
                override_factor(&mut factors, condition, target_ppm)?;
            }
        }
        Ok(factors)
    }
}

fn read<S: DeserializeOwned>(whole: Value) -> Result<Document<S>, String> {
    serde_yaml_ng::from_value(whole).map_err(|e| e.to_string())
}

fn keep<S>(place: &mut BTreeMap<String, S>, kind: &str, document: Document<S>) -> Result<(), String> {
    let name = document.metadata.name;
    match place.insert(name.clone(), document.spec) {
        Some(_) => Err(format!("{kind} {name:?} stands twice")),
        None => Ok(()),
    }
}

fn period(spec: &SloSpec) -> Result<Period, String> {
    let [window] = spec.time_window.as_slice() else {
        return Err(format!("spec.timeWindow must hold exactly one window, found {}", spec.time_window.len()));
    };
    if window.calendar.is_some() || !window.is_rolling {
        return Err("spec.timeWindow[0]: calendar windows are not computed; write isRolling: true and no calendar".to_owned());
    }
    let length = parse(&window.duration).map_err(|problem| format!("spec.timeWindow[0].duration: {problem}"))?;
    let known = PERIODS.iter().find(|p| length == Duration::Fixed(p.minutes)).copied();
    known.ok_or_else(|| {
        let names: Vec<_> = PERIODS.iter().map(|p| p.name).collect();
        format!("spec.timeWindow[0].duration {:?}: rolling windows are kept for {}", window.duration, names.join(", "))
    })
}

/// A share as millionths, exactly.
fn ppm(field: &str, share: f64, places: u32) -> Result<i64, String> {
    let amount = scaled(&share.to_string(), places).map_err(|problem| format!("{field}: {problem}"))?;
    if !amount.exact {
        return Err(format!("{field} {share} is finer than a millionth"));
    }
    Ok(amount.rounded)
}

fn target(objective: &ObjectiveSpec) -> Result<i64, String> {
    if objective.indicator.is_some() || objective.indicator_ref.is_some() || objective.composite_weight.is_some() {
        return Err("composite SLOs (indicator, indicatorRef or compositeWeight at an objective) are not computed; write one SLO for each".to_owned());
    }
    let target = match (objective.target, objective.target_percent) {
        (Some(share), None) => ppm("target", share, 6)?,
        (None, Some(percent)) => ppm("targetPercent", percent, 4)?,
        _ => return Err("needs exactly one of target and targetPercent".to_owned()),
    };
    if target == PPM {
        return Err("a target of 100 % leaves no budget; write a target below 1".to_owned());
    }
    if !(0..PPM).contains(&target) {
        return Err("the target must lie in [0, 1)".to_owned());
    }
    Ok(target)
}

fn slice_target(objective: &ObjectiveSpec, timeslices: bool) -> Result<Option<i64>, String> {
    match (timeslices, objective.time_slice_target, &objective.time_slice_window) {
        (false, None, None) => Ok(None),
        (false, _, _) => Err("timeSliceTarget and timeSliceWindow belong to budgetingMethod Timeslices".to_owned()),
        (true, Some(share), window) => {
            if let Some(window) = window
                && parse(window) != Ok(Duration::Fixed(1))
            {
                return Err(format!("timeSliceWindow {window:?}: slices are one minute; write 1m"));
            }
            let target = ppm("timeSliceTarget", share, 6)?;
            (1..=PPM).contains(&target).then_some(Some(target)).ok_or_else(|| "timeSliceTarget must lie in (0, 1]".to_owned())
        }
        (true, None, _) => Err("budgetingMethod Timeslices needs timeSliceTarget".to_owned()),
    }
}

type Counted = (Indicator, Option<f64>, Vec<Rule>);

fn rules(slo: &str, sli: &SliSpec, objective: &ObjectiveSpec, slice_target_ppm: Option<i64>) -> Result<Counted, String> {
    match (&sli.ratio_metric, &sli.threshold_metric) {
        (Some(ratio), None) => {
            if objective.op.is_some() || objective.value.is_some() {
                return Err("op and value belong to a thresholdMetric".to_owned());
            }
            Ok((Indicator::Availability, None, ratio_rules(slo, ratio, slice_target_ppm)?))
        }
        (None, Some(metric)) => {
            let threshold = match (objective.op.as_deref(), objective.value) {
                (Some("lte"), Some(value)) if value.is_finite() && value > 0.0 => value,
                _ => return Err("a thresholdMetric needs op: lte and a positive value".to_owned()),
            };
            if !metric.metric_source.spec.metric.ends_with("_bucket") {
                return Err(format!(
                    "thresholdMetric {:?}: a threshold is judged on a classic histogram; name its _bucket series",
                    metric.metric_source.spec.metric
                ));
            }
            if metric.metric_source.spec.matchers.contains_key(BOUND_LABEL) {
                return Err("thresholdMetric: leave the label le out; the bound comes from value".to_owned());
            }
            let rule = |role, extra| rule(slo, role, "thresholdMetric", metric, extra, Some(threshold), true, slice_target_ppm);
            let rules = vec![rule(Role::Bucket, None)?, rule(Role::Total, Some((BOUND_LABEL, "+Inf")))?];
            Ok((Indicator::Latency, Some(threshold), rules))
        }
        _ => Err("the indicator needs exactly one of ratioMetric and thresholdMetric".to_owned()),
    }
}

fn ratio_rules(slo: &str, ratio: &RatioMetric, slice_target_ppm: Option<i64>) -> Result<Vec<Rule>, String> {
    if ratio.raw.is_some() || ratio.raw_type.is_some() {
        return Err("ratioMetric.raw is not computed: averaging ratios misstates errors; give good or bad, and total".to_owned());
    }
    if ratio.counter == Some(false) {
        return Err("ratioMetric.counter: false is not computed: increases need counters".to_owned());
    }
    let total = ratio.total.as_ref().ok_or_else(|| "ratioMetric.total is missing".to_owned())?;
    let (role, field, counted) = match (&ratio.good, &ratio.bad) {
        (Some(good), None) => (Role::Good, "ratioMetric.good", good),
        (None, Some(bad)) => (Role::Bad, "ratioMetric.bad", bad),
        _ => return Err("ratioMetric needs exactly one of good and bad".to_owned()),
    };
    let good_given = role == Role::Good;
    Ok(vec![
        rule(slo, role, field, counted, None, None, good_given, slice_target_ppm)?,
        rule(slo, Role::Total, "ratioMetric.total", total, None, None, good_given, slice_target_ppm)?,
    ])
}

#[expect(clippy::too_many_arguments, reason = "one plain record, made in three places")]
fn rule(
    slo: &str,
    role: Role,
    field: &str,
    metric: &Metric,
    extra: Option<(&str, &str)>,
    threshold_s: Option<f64>,
    good_given: bool,
    slice_target_ppm: Option<i64>,
) -> Result<Rule, String> {
    let source = &metric.metric_source;
    if let Some(kind) = source.kind.as_deref().filter(|k| *k != "afferent") {
        return Err(format!("{field}.metricSource.type {kind:?}: write afferent, with spec: {{metric, matchers, service}}"));
    }
    if source.metric_source_ref.is_some() {
        return Err(format!("{field}.metricSource.metricSourceRef: there is one source, afferent; leave it out"));
    }
    if source.spec.metric.is_empty() {
        return Err(format!("{field}.metricSource.spec.metric is empty"));
    }
    let mut matchers = source.spec.matchers.clone();
    Matchers::parse(&matchers).map_err(|problem| format!("{field}.metricSource.spec.matchers: {problem}"))?;
    if let Some((label, value)) = extra {
        matchers.insert(label.to_owned(), value.to_owned());
    }
    Ok(Rule {
        slo: slo.to_owned(),
        role,
        metric: source.spec.metric.clone(),
        // A map of texts always has a JSON form.
        matchers: serde_json::to_string(&matchers).unwrap_or_default(),
        only_service: source.spec.service.clone(),
        threshold_s,
        good_given,
        slice_target_ppm,
    })
}

fn override_factor(factors: &mut Factors, condition: &Condition, target_ppm: i64) -> Result<(), String> {
    let at = |problem: String| format!("spec.alertPolicies: {problem}");
    if condition.kind != "burnrate" {
        return Err(at(format!("condition kind {:?} is not computed; write burnrate", condition.kind)));
    }
    if condition.op.as_deref().is_some_and(|op| op != "gt") {
        return Err(at("a burn-rate condition's op must be gt".to_owned()));
    }
    let factor = scaled(&condition.threshold.to_string(), 3).map_err(at)?;
    if !factor.exact || factor.rounded <= 0 {
        return Err(at(format!("threshold {} must be positive, with at most 3 decimal places", condition.threshold)));
    }
    if !reachable(factor.rounded, target_ppm) {
        return Err(at(format!(
            "threshold {} can never be exceeded: with this target a burn rate is at most {}",
            condition.threshold,
            PPM as f64 / (PPM - target_ppm) as f64
        )));
    }
    let slot = match parse(&condition.lookback_window).map_err(at)? {
        Duration::Fixed(60) => &mut factors.page_quick,
        Duration::Fixed(360) => &mut factors.page_slow,
        Duration::Fixed(1_440) => &mut factors.ticket_quick,
        Duration::Fixed(4_320) => &mut factors.ticket_slow,
        _ => {
            return Err(at(format!(
                "lookbackWindow {:?}: there are 1h (with 5m), 6h (with 30m), 1d (with 2h) and 3d (with 6h)",
                condition.lookback_window
            )));
        }
    };
    *slot = Some(factor.rounded);
    Ok(())
}
