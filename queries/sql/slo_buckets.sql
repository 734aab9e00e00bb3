-- Observations per bucket bound of every latency objective, per minute: what the displayed percentile of a long window is made of.
-- Shape: window over panes joined with slo_rules.
--
-- slo           text       name of the objective
-- le            double     upper bound of the bucket, seconds; +Inf for the last
-- window_start  timestamp  start of the minute
-- observations  bigint     observations <= le in this minute (cumulative over bounds, as Prometheus counts)
CREATE MATERIALIZED VIEW slo_buckets WITH (key = 'slo,le,window_start') AS
SELECT
  r.slo AS slo,
  label_number(p.labels, 'le') AS le,
  tumble(p.window_start, INTERVAL '1 minute') AS window_start,
  SUM(CAST(round(p.increase) AS BIGINT)) AS observations
FROM panes AS p
JOIN slo_rules AS r ON p.metric = r.metric
WHERE r.role = 'bucket'
  AND p.count > 0
  AND label_number(p.labels, 'le') IS NOT NULL
  AND (r.only_service IS NULL OR p.service = r.only_service)
  AND label_match(p.labels, r.matchers)
GROUP BY r.slo, label_number(p.labels, 'le'), tumble(p.window_start, INTERVAL '1 minute')
