-- Is a service answering less than usual, and since when does it answer as it does?
-- Shape: fold over service_up.
--
-- service window_start targets up_targets   as in service_up
-- held_since   timestamp   start of the first minute of the unbroken run with this up_ratio
-- up           struct      ratio of targets that answer, 0..1; only falls count
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
CREATE MATERIALIZED VIEW up_anomalies WITH (key = 'service,window_start') AS
SELECT
  service,
  window_start,
  targets,
  up_targets,
  held_since(up_ratio, window_start) OVER w AS held_since,
  deviation(up_ratio, 'up', window_start) OVER w AS up
FROM service_up
WINDOW w AS (PARTITION BY service ORDER BY window_start)
