-- Where every objective stands: attainment, budget, burn rates, alert tiers, status.
-- Shape: snapshot over slo_windows, slo_bucket_windows and the relation slo_objectives. Status, first that holds: no_data (the newest slice is older than 5 minutes,
-- or coverage < 0.90, or no events), breached (SLI < target, compared as integers), at_risk (a tier fires or at most a quarter of the budget remains, now
-- or one evaluation ago: it is left after 2 clean ones), healthy. A tier fires when both its windows burn faster than its factor; page tiers also need 3 bad
-- events in the long window. A tier without a factor (periods other than 7d 28d 30d, or a factor no burn rate can reach) never fires.
-- On no_data the tiers stay as the newest slice left them: they neither fire nor resolve.
--
-- slo                 text            name of the objective
-- service             text            service it belongs to
-- indicator           text            availability | latency
-- target_ppm          bigint          target in millionths
-- target              double          target, 0..1
-- period              text            rolling window: 1h 6h 1d 3d 7d 28d 30d
-- window_end          timestamp,null  W_end: end of the newest slice; null before the first
-- good bad total      bigint, null    over the period
-- sli                 double, null    good / total, 0..1; null without events
-- remaining_ratio     double, null    1 - consumed budget; signed, may be below 0
-- remaining_events    double, null    bad events that may still happen; signed
-- remaining_minutes   double, null    minutes of full outage left; signed
-- burn_5m burn_30m burn_1h burn_2h burn_6h burn_1d burn_3d  double, null  budgets per period; null without events
-- pace                double, null    burn over the whole period
-- exhausted_in_minutes double, null   time to exhaustion at burn_1h; null when nothing burns or nothing is left
-- page_quick_factor page_slow_factor ticket_quick_factor ticket_slow_factor  double, null  thresholds in force; null: the tier cannot fire
-- page_quick page_slow ticket_quick ticket_slow  boolean  the tier fires
-- threshold_ms        double, null    latency objectives: the threshold
-- p95_ms              double, null    latency objectives: interpolated in the histogram summed over the period
-- window_coverage     double          slices seen / slices of the period, 0..1
-- status              text            healthy | at_risk | breached | no_data
CREATE MATERIALIZED VIEW slo_status WITH (key = 'slo') AS
WITH ranked AS (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY slo ORDER BY window_start DESC) AS age
  FROM slo_windows
),
chosen AS (
  SELECT
    o.slo, o.service, o.indicator, o.target_ppm, o.period, o.period_minutes, o.threshold_s,
    o.page_quick_milli, o.page_slow_milli, o.ticket_quick_milli, o.ticket_slow_milli,
    coalesce(w.age, 1) AS age,
    w.window_start,
    CASE o.period WHEN '1h' THEN w.good_1h WHEN '6h' THEN w.good_6h WHEN '1d' THEN w.good_1d WHEN '3d' THEN w.good_3d
                  WHEN '7d' THEN w.good_7d WHEN '28d' THEN w.good_28d WHEN '30d' THEN w.good_30d END AS good,
    CASE o.period WHEN '1h' THEN w.bad_1h WHEN '6h' THEN w.bad_6h WHEN '1d' THEN w.bad_1d WHEN '3d' THEN w.bad_3d
                  WHEN '7d' THEN w.bad_7d WHEN '28d' THEN w.bad_28d WHEN '30d' THEN w.bad_30d END AS bad,
    CASE o.period WHEN '1h' THEN w.total_1h WHEN '6h' THEN w.total_6h WHEN '1d' THEN w.total_1d WHEN '3d' THEN w.total_3d
                  WHEN '7d' THEN w.total_7d WHEN '28d' THEN w.total_28d WHEN '30d' THEN w.total_30d END AS total,
    CASE o.period WHEN '1h' THEN w.observed_1h WHEN '6h' THEN w.observed_6h WHEN '1d' THEN w.observed_1d WHEN '3d' THEN w.observed_3d
                  WHEN '7d' THEN w.observed_7d WHEN '28d' THEN w.observed_28d WHEN '30d' THEN w.observed_30d END AS observed,
    w.bad_5m, w.total_5m, w.bad_30m, w.total_30m, w.bad_1h, w.total_1h, w.bad_2h, w.total_2h,
    w.bad_6h, w.total_6h, w.bad_1d, w.total_1d, w.bad_3d, w.total_3d
  FROM slo_objectives AS o
  LEFT JOIN ranked AS w ON w.slo = o.slo AND w.age <= 2
),
tiers AS (
  SELECT *,
    coalesce(compare_burn(bad_1h, total_1h, target_ppm, page_quick_milli) > 0 AND compare_burn(bad_5m, total_5m, target_ppm, page_quick_milli) > 0
      AND bad_1h >= 3, false) AS page_quick,
    coalesce(compare_burn(bad_6h, total_6h, target_ppm, page_slow_milli) > 0 AND compare_burn(bad_30m, total_30m, target_ppm, page_slow_milli) > 0
      AND bad_6h >= 3, false) AS page_slow,
    coalesce(compare_burn(bad_1d, total_1d, target_ppm, ticket_quick_milli) > 0
      AND compare_burn(bad_2h, total_2h, target_ppm, ticket_quick_milli) > 0, false) AS ticket_quick,
    coalesce(compare_burn(bad_3d, total_3d, target_ppm, ticket_slow_milli) > 0
      AND compare_burn(bad_6h, total_6h, target_ppm, ticket_slow_milli) > 0, false) AS ticket_slow
  FROM chosen
),
risks AS (
  SELECT *,
    bool_or(page_quick OR page_slow OR ticket_quick OR ticket_slow OR coalesce(compare_burn(bad, total, target_ppm, 750) >= 0, false))
      OVER (PARTITION BY slo) AS at_risk
  FROM tiers
),
latest_buckets AS (
  SELECT b.*, ROW_NUMBER() OVER (PARTITION BY slo, le ORDER BY window_start DESC) AS age
  FROM slo_bucket_windows AS b
),
percentiles AS (
  SELECT o.slo AS slo,
    histogram_quantile(0.95, b.le, CAST(
      CASE o.period WHEN '1h' THEN b.observations_1h WHEN '6h' THEN b.observations_6h WHEN '1d' THEN b.observations_1d
                    WHEN '3d' THEN b.observations_3d WHEN '7d' THEN b.observations_7d WHEN '28d' THEN b.observations_28d
                    WHEN '30d' THEN b.observations_30d END AS DOUBLE)) AS p95_s
  FROM latest_buckets AS b
  JOIN slo_objectives AS o ON o.slo = b.slo
  WHERE b.age = 1
  GROUP BY o.slo
),
figures AS (
  SELECT *,
    (1000000 - target_ppm) / 1000000.0 AS allowed_ratio,
    window_start + INTERVAL '1 minute' AS window_end,
    coalesce(CAST(observed AS DOUBLE) / period_minutes, 0.0) AS window_coverage
  FROM risks
  WHERE age = 1
)
SELECT
  f.slo,
  f.service,
  f.indicator,
  f.target_ppm,
  f.target_ppm / 1000000.0 AS target,
  f.period,
  f.window_end,
  f.good,
  f.bad,
  f.total,
  CAST(f.good AS DOUBLE) / nullif(f.total, 0) AS sli,
  1.0 - f.bad / nullif(f.total * f.allowed_ratio, 0.0) AS remaining_ratio,
  f.total * f.allowed_ratio - f.bad AS remaining_events,
  (1.0 - f.bad / nullif(f.total * f.allowed_ratio, 0.0)) * f.period_minutes * f.allowed_ratio AS remaining_minutes,
  f.bad_5m / nullif(f.total_5m * f.allowed_ratio, 0.0) AS burn_5m,
  f.bad_30m / nullif(f.total_30m * f.allowed_ratio, 0.0) AS burn_30m,
  f.bad_1h / nullif(f.total_1h * f.allowed_ratio, 0.0) AS burn_1h,
  f.bad_2h / nullif(f.total_2h * f.allowed_ratio, 0.0) AS burn_2h,
  f.bad_6h / nullif(f.total_6h * f.allowed_ratio, 0.0) AS burn_6h,
  f.bad_1d / nullif(f.total_1d * f.allowed_ratio, 0.0) AS burn_1d,
  f.bad_3d / nullif(f.total_3d * f.allowed_ratio, 0.0) AS burn_3d,
  f.bad / nullif(f.total * f.allowed_ratio, 0.0) AS pace,
  CASE WHEN f.bad_1h > 0 AND compare_burn(f.bad, f.total, f.target_ppm, 1000) < 0
    THEN (1.0 - f.bad / (f.total * f.allowed_ratio)) * f.period_minutes / (f.bad_1h / (f.total_1h * f.allowed_ratio)) END AS exhausted_in_minutes,
  f.page_quick_milli / 1000.0 AS page_quick_factor,
  f.page_slow_milli / 1000.0 AS page_slow_factor,
  f.ticket_quick_milli / 1000.0 AS ticket_quick_factor,
  f.ticket_slow_milli / 1000.0 AS ticket_slow_factor,
  f.page_quick,
  f.page_slow,
  f.ticket_quick,
  f.ticket_slow,
  f.threshold_s * 1000.0 AS threshold_ms,
  p.p95_s * 1000.0 AS p95_ms,
  f.window_coverage,
  CASE
    WHEN f.window_end IS NULL OR as_of() - f.window_end > INTERVAL '5 minutes' OR f.window_coverage < 0.90 OR coalesce(f.total, 0) = 0 THEN 'no_data'
    WHEN compare_burn(f.bad, f.total, f.target_ppm, 1000) > 0 THEN 'breached'
    WHEN f.at_risk THEN 'at_risk'
    ELSE 'healthy'
  END AS status
FROM figures AS f
LEFT JOIN percentiles AS p ON p.slo = f.slo
