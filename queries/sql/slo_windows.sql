-- Sums of the slices over every period that an objective, a burn rate or a budget needs.
-- Shape: fold over slo_slices. The window of a row is (W_end - period, W_end], W_end = window_start + 1 minute: for period P the frame reaches P - 1 minute back.
--
-- slo            text       name of the objective
-- window_start   timestamp  start of the newest slice of the windows
-- good_P bad_P total_P  bigint  sums over period P, one of 5m 30m 1h 2h 6h 1d 3d 7d 28d 30d
-- observed_P     bigint     slices seen in period P; coverage = observed_P / minutes of P
CREATE MATERIALIZED VIEW slo_windows WITH (key = 'slo,window_start') AS
SELECT
  slo,
  window_start,
  SUM(good) OVER w5m AS good_5m, SUM(bad) OVER w5m AS bad_5m, SUM(total) OVER w5m AS total_5m, SUM(observed) OVER w5m AS observed_5m,
  SUM(good) OVER w30m AS good_30m, SUM(bad) OVER w30m AS bad_30m, SUM(total) OVER w30m AS total_30m, SUM(observed) OVER w30m AS observed_30m,
  SUM(good) OVER w1h AS good_1h, SUM(bad) OVER w1h AS bad_1h, SUM(total) OVER w1h AS total_1h, SUM(observed) OVER w1h AS observed_1h,
  SUM(good) OVER w2h AS good_2h, SUM(bad) OVER w2h AS bad_2h, SUM(total) OVER w2h AS total_2h, SUM(observed) OVER w2h AS observed_2h,
  SUM(good) OVER w6h AS good_6h, SUM(bad) OVER w6h AS bad_6h, SUM(total) OVER w6h AS total_6h, SUM(observed) OVER w6h AS observed_6h,
  SUM(good) OVER w1d AS good_1d, SUM(bad) OVER w1d AS bad_1d, SUM(total) OVER w1d AS total_1d, SUM(observed) OVER w1d AS observed_1d,
  SUM(good) OVER w3d AS good_3d, SUM(bad) OVER w3d AS bad_3d, SUM(total) OVER w3d AS total_3d, SUM(observed) OVER w3d AS observed_3d,
  SUM(good) OVER w7d AS good_7d, SUM(bad) OVER w7d AS bad_7d, SUM(total) OVER w7d AS total_7d, SUM(observed) OVER w7d AS observed_7d,
  SUM(good) OVER w28d AS good_28d, SUM(bad) OVER w28d AS bad_28d, SUM(total) OVER w28d AS total_28d, SUM(observed) OVER w28d AS observed_28d,
  SUM(good) OVER w30d AS good_30d, SUM(bad) OVER w30d AS bad_30d, SUM(total) OVER w30d AS total_30d, SUM(observed) OVER w30d AS observed_30d
FROM slo_slices
WINDOW
  w5m AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '4 minutes' PRECEDING AND CURRENT ROW),
  w30m AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '29 minutes' PRECEDING AND CURRENT ROW),
  w1h AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '59 minutes' PRECEDING AND CURRENT ROW),
  w2h AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '119 minutes' PRECEDING AND CURRENT ROW),
  w6h AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '359 minutes' PRECEDING AND CURRENT ROW),
  w1d AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '1439 minutes' PRECEDING AND CURRENT ROW),
  w3d AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '4319 minutes' PRECEDING AND CURRENT ROW),
  w7d AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '10079 minutes' PRECEDING AND CURRENT ROW),
  w28d AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '40319 minutes' PRECEDING AND CURRENT ROW),
  w30d AS (PARTITION BY slo ORDER BY window_start RANGE BETWEEN INTERVAL '43199 minutes' PRECEDING AND CURRENT ROW)
