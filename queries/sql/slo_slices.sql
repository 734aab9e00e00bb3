-- Good, bad and all events of every objective, per slice of one minute, as integers that add up to windows exactly.
-- Shape: window over panes joined with the relation slo_rules (one row per objective and SLI metric, out of the OpenSLO files).
-- Rules: `bad` absent while `total` is there counts 0; `total` absent is a gap (no row); good > total is clamped and flagged; the good events
-- of a latency objective are those of the largest bucket bound <= threshold in the summed histogram.
-- An objective budgeted by Timeslices has slices of one "event": good 1 when the slice met its own target; a slice without events is a gap of it (total 0).
--
-- slo                    text           name of the objective, never null
-- window_start           timestamp      start of the slice
-- good bad total         bigint         good + bad = total
-- observed               bigint         1: the slice was seen
-- sli_inconsistent       boolean        the counters said more good (or bad) than total; they were clamped
-- threshold_effective_s  double, null   for latency objectives the bucket bound that was used, seconds; null where none is <= the threshold
CREATE MATERIALIZED VIEW slo_slices WITH (key = 'slo,window_start') AS
SELECT
  slo,
  window_start,
  CASE WHEN slice_target_ppm IS NULL THEN good WHEN total = 0 THEN 0 WHEN good * 1000000 >= total * slice_target_ppm THEN 1 ELSE 0 END AS good,
  CASE WHEN slice_target_ppm IS NULL THEN total - good WHEN total = 0 THEN 0 WHEN good * 1000000 >= total * slice_target_ppm THEN 0 ELSE 1 END AS bad,
  CASE WHEN slice_target_ppm IS NULL THEN total WHEN total = 0 THEN 0 ELSE 1 END AS total,
  CAST(1 AS BIGINT) AS observed,
  sli_inconsistent,
  threshold_effective_s
FROM (
  SELECT
    slo,
    window_start,
    slice_target_ppm,
    total,
    CASE
      WHEN counted > total AND good_given THEN total
      WHEN counted > total THEN 0
      WHEN good_given THEN counted
      ELSE total - counted
    END AS good,
    counted > total AS sli_inconsistent,
    threshold_effective_s
  FROM (
    SELECT
      r.slo AS slo,
      tumble(p.window_start, INTERVAL '1 minute') AS window_start,
      MAX(r.slice_target_ppm) AS slice_target_ppm,
      bool_or(r.good_given) AS good_given,
      SUM(CAST(round(p.increase) AS BIGINT)) FILTER (WHERE r.role = 'total') AS total,
      coalesce(
        histogram_below(r.threshold_s, label_number(p.labels, 'le'), p.increase) FILTER (WHERE r.role = 'bucket'),
        SUM(CAST(round(p.increase) AS BIGINT)) FILTER (WHERE r.role IN ('good', 'bad')),
        0
      ) AS counted,
      histogram_bound(r.threshold_s, label_number(p.labels, 'le'), p.increase) FILTER (WHERE r.role = 'bucket') AS threshold_effective_s
    FROM panes AS p
    JOIN slo_rules AS r ON p.metric = r.metric
    WHERE p.count > 0 AND (r.only_service IS NULL OR p.service = r.only_service) AND label_match(p.labels, r.matchers)
    GROUP BY r.slo, tumble(p.window_start, INTERVAL '1 minute')
  ) AS counters
  WHERE total IS NOT NULL
) AS slice
