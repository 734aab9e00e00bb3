-- Is a host's CPU, memory or disk far from its usual? One judgement per host and minute.
-- Shape: fold over host_signals with the deviation detector (engine's deviation module: sources and constants).
--
-- service instance window_start   as in host_signals
-- cpu memory disk   struct   ratios 0..1; only rises count
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
CREATE MATERIALIZED VIEW host_anomalies WITH (key = 'service,instance,window_start') AS
SELECT
  service,
  instance,
  window_start,
  deviation(cpu_busy_ratio, 'cpu', window_start) OVER w AS cpu,
  deviation(memory_used_ratio, 'memory', window_start) OVER w AS memory,
  deviation(disk_used_ratio, 'disk', window_start) OVER w AS disk
FROM host_signals
WINDOW w AS (PARTITION BY service, instance ORDER BY window_start)
