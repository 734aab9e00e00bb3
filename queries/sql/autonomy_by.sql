-- The autonomy index of the last 24 h by source, severity and action type.
-- Shape: snapshot over incidents, range (as_of - 24 h, as_of]. Rules as in `autonomy`.
--
-- dimension       text          source | severity | action_type
-- value           text          the source, severity or action type; `unknown` where the incident names none
-- auto assisted manual self_cleared human n  bigint
-- rate strict_rate  double, null  percent, 0..100
-- ci95_low ci95_high  double, null  Wilson 95 % interval of rate, percent
CREATE MATERIALIZED VIEW autonomy_by WITH (key = 'dimension,value') AS
WITH resolved AS (
  SELECT path, reopened, rolled_back, source, severity, action_type
  FROM incidents
  WHERE state = 'resolved' AND NOT excluded AND resolved_at > as_of() - INTERVAL '24 hours' AND resolved_at <= as_of()
),
long_form AS (
  SELECT 'source' AS dimension, coalesce(source, 'unknown') AS value, path, reopened, rolled_back FROM resolved
  UNION ALL
  SELECT 'severity' AS dimension, coalesce(severity, 'unknown') AS value, path, reopened, rolled_back FROM resolved
  UNION ALL
  SELECT 'action_type' AS dimension, coalesce(action_type, 'unknown') AS value, path, reopened, rolled_back FROM resolved
),
counts AS (
  SELECT dimension, value,
    COUNT(*) FILTER (WHERE path = 'auto') AS auto,
    COUNT(*) FILTER (WHERE path = 'auto' AND reopened = 0 AND NOT rolled_back) AS strict_auto,
    COUNT(*) FILTER (WHERE path = 'assisted') AS assisted,
    COUNT(*) FILTER (WHERE path = 'manual') AS manual,
    COUNT(*) FILTER (WHERE path = 'self_cleared') AS self_cleared,
    COUNT(*) FILTER (WHERE path IN ('assisted', 'manual')) AS human,
    COUNT(*) FILTER (WHERE path IN ('auto', 'assisted', 'manual')) AS n
  FROM long_form
  GROUP BY dimension, value
)
SELECT
  dimension,
  value,
  auto,
  assisted,
  manual,
  self_cleared,
  human,
  n,
  auto * 100.0 / nullif(n, 0) AS rate,
  strict_auto * 100.0 / nullif(n, 0) AS strict_rate,
  wilson_low(auto, n) * 100.0 AS ci95_low,
  wilson_high(auto, n) * 100.0 AS ci95_high
FROM counts
