-- Every signal's newest judgement in long form: what is anomalous now, and the numbers that explain it.
-- Shape: snapshot over host_anomalies, service_anomalies and up_anomalies; the newest minute per (service, instance, signal), at most 5 minutes old.
--
-- service        text             never null
-- instance       text             host; empty for signals of a whole service
-- signal         text             cpu_busy_ratio | memory_used_ratio | disk_used_ratio | error_ratio | p95_ms | up_ratio
-- window_start   timestamp        the judged minute
-- method         text             deviation
-- value expected lower upper score  double, null   null as in the folds
-- state          text             warming | live
-- outside        bigint           points outside the band among the newest 5
-- anomalous      boolean          verdict 3 of 5, recovery 5 of 5
-- since          timestamp, null  when the verdict last changed
-- level_shift    boolean          a new level was accepted in this minute
-- points span_minutes  bigint     size and span of the baseline
-- seen_ratio     double           coverage of the baseline, 0..1
CREATE MATERIALIZED VIEW anomalies WITH (key = 'service,instance,signal') AS
WITH long_form AS (
  SELECT CAST(service AS VARCHAR) AS service, CAST(instance AS VARCHAR) AS instance, 'cpu_busy_ratio' AS signal, window_start, cpu AS judged FROM host_anomalies WHERE window_start >= as_of() - INTERVAL '6 minutes'
  UNION ALL
  SELECT CAST(service AS VARCHAR) AS service, CAST(instance AS VARCHAR) AS instance, 'memory_used_ratio' AS signal, window_start, memory AS judged FROM host_anomalies WHERE window_start >= as_of() - INTERVAL '6 minutes'
  UNION ALL
  SELECT CAST(service AS VARCHAR) AS service, CAST(instance AS VARCHAR) AS instance, 'disk_used_ratio' AS signal, window_start, disk AS judged FROM host_anomalies WHERE window_start >= as_of() - INTERVAL '6 minutes'
  UNION ALL
  SELECT CAST(service AS VARCHAR) AS service, '' AS instance, 'error_ratio' AS signal, window_start, error_ratio AS judged FROM service_anomalies WHERE window_start >= as_of() - INTERVAL '6 minutes'
  UNION ALL
  SELECT CAST(service AS VARCHAR) AS service, '' AS instance, 'p95_ms' AS signal, window_start, p95_ms AS judged FROM service_anomalies WHERE window_start >= as_of() - INTERVAL '6 minutes'
  UNION ALL
  SELECT CAST(service AS VARCHAR) AS service, '' AS instance, 'up_ratio' AS signal, window_start, up AS judged FROM up_anomalies WHERE window_start >= as_of() - INTERVAL '6 minutes'
),
ranked AS (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY service, instance, signal ORDER BY window_start DESC) AS age
  FROM long_form
)
SELECT
  service,
  instance,
  signal,
  window_start,
  'deviation' AS method,
  judged['value'] AS value,
  judged['expected'] AS expected,
  judged['lower'] AS lower,
  judged['upper'] AS upper,
  judged['score'] AS score,
  judged['state'] AS state,
  judged['outside'] AS outside,
  judged['anomalous'] AS anomalous,
  judged['since'] AS since,
  judged['level_shift'] AS level_shift,
  judged['points'] AS points,
  judged['span_minutes'] AS span_minutes,
  judged['seen_ratio'] AS seen_ratio
FROM ranked
WHERE age = 1 AND judged['state'] IS NOT NULL
