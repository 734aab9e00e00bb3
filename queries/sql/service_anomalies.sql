-- Is a service's error ratio or latency far from its usual? One judgement per service and minute.
-- Shape: fold over service_traffic. A minute with fewer than 20 requests says nothing about ratios and percentiles and is a gap.
--
-- service window_start   as in service_traffic
-- error_ratio  struct   0..1; only rises count
-- p95_ms       struct   milliseconds; only rises count
--
-- A signal's column is a struct, every field null while unknown:
--   value      double     what was judged
--   score      double     deviation / band; > 1 is outside the band; null while warming or without a value
--   expected lower upper  double  the baseline and its band, in the signal's unit; null while warming
--   state      text       warming (fewer than 60 points, or fewer than 80 % of the expected ones) | live
--   outside    bigint     points outside the band among the newest 5
--   anomalous  boolean    the verdict: 3 of 5 outside in the signal's direction, until 5 of 5 are clean
--   since      timestamp  start of the minute in which the verdict last changed; null before the first change
--   level_shift boolean   this minute a level that held for 6 h was accepted as the new baseline
--   points     bigint     points in the baseline
--   span_minutes bigint   minutes since the first point
--   seen_ratio double     share of expected points seen
CREATE MATERIALIZED VIEW service_anomalies WITH (key = 'service,window_start') AS
SELECT
  service,
  window_start,
  deviation(error_ratio, 'error_ratio', window_start, requests) OVER w AS error_ratio,
  deviation(p95_ms, 'latency_ms', window_start, requests) OVER w AS p95_ms
FROM service_traffic
WINDOW w AS (PARTITION BY service ORDER BY window_start)
