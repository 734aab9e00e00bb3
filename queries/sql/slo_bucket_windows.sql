-- Observations per bucket bound summed over every period an objective may have.
-- Shape: fold over slo_buckets; frames as in slo_windows.
--
-- slo             text       name of the latency objective
-- le              double     upper bound of the bucket, seconds
-- window_start    timestamp  start of the newest minute of the windows
-- observations_P  bigint     observations <= le over period P, one of 1h 6h 1d 3d 7d 28d 30d
CREATE MATERIALIZED VIEW slo_bucket_windows WITH (key = 'slo,le,window_start') AS
SELECT
  slo,
  le,
  window_start,
  SUM(observations) OVER w1h AS observations_1h,
  SUM(observations) OVER w6h AS observations_6h,
  SUM(observations) OVER w1d AS observations_1d,
  SUM(observations) OVER w3d AS observations_3d,
  SUM(observations) OVER w7d AS observations_7d,
  SUM(observations) OVER w28d AS observations_28d,
  SUM(observations) OVER w30d AS observations_30d
FROM slo_buckets
WINDOW
  w1h AS (PARTITION BY slo, le ORDER BY window_start RANGE BETWEEN INTERVAL '59 minutes' PRECEDING AND CURRENT ROW),
  w6h AS (PARTITION BY slo, le ORDER BY window_start RANGE BETWEEN INTERVAL '359 minutes' PRECEDING AND CURRENT ROW),
  w1d AS (PARTITION BY slo, le ORDER BY window_start RANGE BETWEEN INTERVAL '1439 minutes' PRECEDING AND CURRENT ROW),
  w3d AS (PARTITION BY slo, le ORDER BY window_start RANGE BETWEEN INTERVAL '4319 minutes' PRECEDING AND CURRENT ROW),
  w7d AS (PARTITION BY slo, le ORDER BY window_start RANGE BETWEEN INTERVAL '10079 minutes' PRECEDING AND CURRENT ROW),
  w28d AS (PARTITION BY slo, le ORDER BY window_start RANGE BETWEEN INTERVAL '40319 minutes' PRECEDING AND CURRENT ROW),
  w30d AS (PARTITION BY slo, le ORDER BY window_start RANGE BETWEEN INTERVAL '43199 minutes' PRECEDING AND CURRENT ROW)
