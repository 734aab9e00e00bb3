#![allow(clippy::unwrap_used)]

use super::*;

const RATIO: &str = r#"apiVersion: openslo/v1
kind: SLO
metadata: { name: api-availability, displayName: API availability }
spec:
  service: awoooi-api
  indicator:
    metadata: { name: good }
    spec:
      ratioMetric:
        counter: true
        good: { metricSource: { type: afferent, spec: { metric: http_requests_total, service: awoooi-api, matchers: { code: "!~5.." } } } }
        total: { metricSource: { type: afferent, spec: { metric: http_requests_total } } }
  timeWindow: [{ duration: 7d, isRolling: true }]
  budgetingMethod: Occurrences
  objectives: [{ target: 0.999 }]
"#;

const LATENCY: &str = r#"apiVersion: openslo/v1
kind: SLI
metadata: { name: latency }
spec:
  thresholdMetric:
    metricSource: { spec: { metric: http_request_duration_seconds_bucket } }
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: { name: pages }
spec:
  conditions:
    - kind: AlertCondition
      metadata: { name: quick }
      spec: { severity: page, condition: { kind: burnrate, op: gt, threshold: 10.5, lookbackWindow: 1h, alertAfter: 5m } }
---
apiVersion: openslo/v1
kind: SLO
metadata: { name: api-latency }
spec:
  service: awoooi-api
  indicatorRef: latency
  timeWindow: [{ duration: 4w, isRolling: true }]
  budgetingMethod: Timeslices
  alertPolicies: [{ alertPolicyRef: pages }]
  objectives:
    - { op: lte, value: 0.3, targetPercent: 95, timeSliceTarget: 0.9, timeSliceWindow: 1m }
    - { displayName: slow, op: lte, value: 1, target: 0.99, timeSliceTarget: 1 }
"#;

#[test]
fn a_ratio_objective_makes_two_rules() {
    let all = Objectives::from_yaml(&[("a.yaml", RATIO)]).unwrap();
    let [objective] = &all.objectives[..] else { panic!("one objective") };
    assert_eq!(
        (objective.slo.as_str(), objective.target_ppm, objective.period.name, objective.indicator),
        ("api-availability", 999_000, "7d", Indicator::Availability)
    );
    assert_eq!(objective.title.as_deref(), Some("API availability"));
    assert_eq!(objective.factors, Factors { page_quick: Some(16_800), page_slow: Some(5_600), ticket_quick: Some(2_800), ticket_slow: Some(1_000) });
    let [good, total] = &all.rules[..] else { panic!("two rules") };
    assert_eq!(
        (good.role, good.matchers.as_str(), good.only_service.as_deref(), good.good_given),
        (Role::Good, r#"{"code":"!~5.."}"#, Some("awoooi-api"), true)
    );
    assert_eq!((total.role, total.matchers.as_str(), total.only_service.as_deref()), (Role::Total, "{}", None));
}

#[test]
fn a_latency_objective_counts_buckets_up_to_its_threshold() {
    let all = Objectives::from_yaml(&[("b.yaml", LATENCY)]).unwrap();
    let [first, second] = &all.objectives[..] else { panic!("two objectives") };
    assert_eq!((first.slo.as_str(), first.target_ppm, first.period.name, first.threshold_s), ("api-latency-1", 950_000, "28d", Some(0.3)));
    // 13.44 x 0.05 < 1, and the policy overrides it; 13.44 would also be reachable.
    assert_eq!(first.factors, Factors { page_quick: Some(10_500), page_slow: Some(5_600), ticket_quick: Some(2_800), ticket_slow: Some(933) });
    assert_eq!((second.title.as_deref(), second.slo.as_str()), (Some("slow"), "api-latency-2"));
    assert_eq!(all.rules.iter().map(|r| r.role).collect::<Vec<_>>(), [Role::Bucket, Role::Total, Role::Bucket, Role::Total]);
    assert_eq!(all.rules[1].matchers, r#"{"le":"+Inf"}"#);
    assert_eq!((all.rules[0].slice_target_ppm, all.rules[2].slice_target_ppm), (Some(900_000), Some(1_000_000)));
}

#[test]
fn a_factor_that_no_burn_rate_can_exceed_is_none() {
    // At 90 % the burn rate is at most 10: 16.8 can never be exceeded, 5.6 can.
    let all = Objectives::from_yaml(&[("a.yaml", &RATIO.replace("0.999", "0.9"))]).unwrap();
    assert_eq!(all.objectives[0].factors, Factors { page_quick: None, page_slow: Some(5_600), ticket_quick: Some(2_800), ticket_slow: Some(1_000) });
    let short = Objectives::from_yaml(&[("a.yaml", &RATIO.replace("7d", "1d"))]).unwrap();
    assert_eq!(short.objectives[0].factors, Factors::default());
}

#[test]
fn errors_name_file_document_and_field() {
    let ratio = |from: &str, to: &str| RATIO.replace(from, to);
    let latency = |from: &str, to: &str| LATENCY.replace(from, to);
    let cases = [
        (ratio("openslo/v1", "openslo/v2"), "apiVersion must be openslo/v1"),
        (ratio("kind: SLO", "kind: Sloth"), "kind \"Sloth\" is not known"),
        (ratio("budgetingMethod", "budgetMethod"), "unknown field `budgetMethod`"),
        (ratio("Occurrences", "RatioTimeslices"), "spec.budgetingMethod \"RatioTimeslices\""),
        (ratio("target: 0.999", "target: 1.0"), "100 % leaves no budget"),
        (ratio("target: 0.999", "targetPercent: 100"), "100 % leaves no budget"),
        (ratio("target: 0.999", "target: 1.2"), "must lie in [0, 1)"),
        (ratio("target: 0.999", "target: -0.1"), "must lie in [0, 1)"),
        (ratio("target: 0.999", "target: 0.9999999"), "finer than a millionth"),
        (ratio("duration: 7d", "duration: 1M"), "rolling windows are kept for 1h, 6h"),
        (ratio("duration: 7d", "duration: week"), "is not a duration"),
        (ratio("isRolling: true", "calendar: { startTime: x, timeZone: UTC }"), "calendar windows are not computed"),
        (ratio("counter: true", "counter: false"), "increases need counters"),
        (ratio("type: afferent", "type: prometheus"), "metricSource.type \"prometheus\""),
        (ratio("!~5..", "!~5("), "matchers: label \"code\""),
        (ratio("good:", "goods:"), "unknown field `goods`"),
        (latency("op: lte, value: 1", "op: gte, value: 1"), "spec.objectives[1]: a thresholdMetric needs op: lte"),
        (latency("_seconds_bucket", "_seconds"), "name its _bucket series"),
        (latency("indicatorRef: latency", "indicatorRef: speed"), "there is no SLI \"speed\""),
        (latency("alertPolicyRef: pages", "alertPolicyRef: x"), "there is no AlertPolicy \"x\""),
        (latency("threshold: 10.5", "threshold: 25"), "can never be exceeded"),
        (latency("timeSliceWindow: 1m", "timeSliceWindow: 5m"), "slices are one minute"),
        (latency(", timeSliceTarget: 1 }", " }"), "needs timeSliceTarget"),
    ];
    for (text, expected) in cases {
        let message = Objectives::from_yaml(&[("slo.yaml", &text)]).unwrap_err().to_string();
        assert!(message.starts_with("slo.yaml") && message.contains(expected), "wanted {expected}: {message}");
    }
    let message = Objectives::from_yaml(&[("slo.yaml", &latency("op: lte, value: 1,", "op: lte, value: -1,"))]).unwrap_err().to_string();
    assert!(message.starts_with("slo.yaml, document 3: SLO \"api-latency\""), "{message}");
    let message = Objectives::from_yaml(&[("a.yaml", RATIO), ("b.yaml", RATIO)]).unwrap_err().to_string();
    assert_eq!(message, "b.yaml: objective \"api-availability\" stands in a.yaml already");
}

#[test]
fn durations_are_openslo_shorthand() {
    use duration::{Duration, parse};
    let cases = [
        ("5m", Duration::Fixed(5)),
        ("2h", Duration::Fixed(120)),
        ("7d", Duration::Fixed(10_080)),
        ("1w", Duration::Fixed(10_080)),
        ("1M", Duration::Months(1)),
        ("2Q", Duration::Months(6)),
        ("1Y", Duration::Months(12)),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
    for text in ["", "d", "0d", "-1d", "7", "7x", "7 d", "1.5h", "週"] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}
