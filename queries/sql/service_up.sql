-- How many scrape targets of a service answered, per minute.
-- Shape: window over panes.
--
-- service        word      never null
-- window_start   timestamp start of the minute
-- targets        bigint    series of metric `up` with a value in this minute
-- up_targets     bigint    those whose last value was 1
-- up_ratio       double    up_targets / targets, 0..1
CREATE MATERIALIZED VIEW service_up WITH (key = 'service,window_start') AS
SELECT
  service,
  window_start,
  targets,
  up_targets,
  CAST(up_targets AS DOUBLE) / targets AS up_ratio
FROM (
  SELECT
    service,
    tumble(window_start, INTERVAL '1 minute') AS window_start,
    COUNT(last) AS targets,
    SUM(CASE WHEN last = 1.0 THEN 1 ELSE 0 END) AS up_targets
  FROM panes
  WHERE service IS NOT NULL AND metric = 'up' AND last IS NOT NULL
  GROUP BY service, tumble(window_start, INTERVAL '1 minute')
) AS minute
