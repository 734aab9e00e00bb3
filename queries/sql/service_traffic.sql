-- Requests, errors and latency of every service, per minute.
-- Shape: window over panes. Source of the semantics: counters are increases per series (engine panes), percentiles interpolate in the summed histogram.
--
-- service        word            the service of the series, never null
-- window_start   timestamp       start of the minute
-- requests       bigint, null    requests finished in the minute (http_requests_total); null where the service has no such counter
-- errors         bigint, null    those with a 5xx code (label code, else status, else status_code); null as above, 0 where none failed
-- error_ratio    double, null    errors / requests, 0..1; null without requests
-- rps            double, null    requests per second
-- p50_ms p95_ms p99_ms double, null   latency out of http_request_duration_seconds_bucket, milliseconds; null without observations
CREATE MATERIALIZED VIEW service_traffic WITH (key = 'service,window_start') AS
SELECT
  service,
  window_start,
  requests,
  errors,
  CAST(errors AS DOUBLE) / nullif(requests, 0) AS error_ratio,
  requests / 60.0 AS rps,
  p50_s * 1000.0 AS p50_ms,
  p95_s * 1000.0 AS p95_ms,
  p99_s * 1000.0 AS p99_ms
FROM (
  SELECT
    service,
    tumble(window_start, INTERVAL '1 minute') AS window_start,
    SUM(CAST(round(increase) AS BIGINT)) FILTER (WHERE metric = 'http_requests_total') AS requests,
    SUM(CASE WHEN starts_with(label(labels, 'code', 'status', 'status_code'), '5') THEN CAST(round(increase) AS BIGINT) ELSE 0 END)
      FILTER (WHERE metric = 'http_requests_total') AS errors,
    histogram_quantile(0.50, label_number(labels, 'le'), increase) FILTER (WHERE metric = 'http_request_duration_seconds_bucket') AS p50_s,
    histogram_quantile(0.95, label_number(labels, 'le'), increase) FILTER (WHERE metric = 'http_request_duration_seconds_bucket') AS p95_s,
    histogram_quantile(0.99, label_number(labels, 'le'), increase) FILTER (WHERE metric = 'http_request_duration_seconds_bucket') AS p99_s
  FROM panes
  WHERE service IS NOT NULL
    AND count > 0
    AND metric IN ('http_requests_total', 'http_request_duration_seconds_bucket')
  GROUP BY service, tumble(window_start, INTERVAL '1 minute')
) AS minute
