-- Time to resolution: resolved - created over the incidents resolved in the range.
-- Shape: snapshot over incidents; ranges are (as_of - period, as_of]. Nine rows: three periods by three scopes. Open incidents are not in the means
-- but counted in every row; excluded ones (merged, cancelled, false positives) are counted too. A mean alone misleads (Davidovic 2021), so the
-- median comes with a bootstrap interval, and a change only counts when that interval does not hold the previous period's median.
--
-- period            text          24h | 7d | 30d
-- scope             text          overall | auto | human (assisted + manual); overall also holds self_cleared
-- n                 bigint        incidents
-- mean_s median_s p90_s  double, null  seconds; percentiles interpolate between neighbours
-- geometric_mean_s  double, null  seconds; durations below 1 s count as 1 s
-- median_low_s median_high_s  double, null  95 % bootstrap interval of the median, seeded: same incidents, same interval
-- previous_n        bigint        n of the period before
-- previous_median_s double, null  its median
-- trend             text, null    faster | slower | no_clear_change; null under 5 incidents in either period
-- open_count        bigint        incidents open at as_of (not excluded)
-- oldest_open_s     double, null  age of the oldest of them, seconds
-- excluded_count    bigint        excluded incidents whose newest event lies in the range
CREATE MATERIALIZED VIEW mttr WITH (key = 'period,scope') AS
WITH periods AS (
  SELECT '24h' AS period, as_of() - INTERVAL '24 hours' AS after_time, as_of() - INTERVAL '48 hours' AS before_time
  UNION ALL
  SELECT '7d' AS period, as_of() - INTERVAL '7 days' AS after_time, as_of() - INTERVAL '14 days' AS before_time
  UNION ALL
  SELECT '30d' AS period, as_of() - INTERVAL '30 days' AS after_time, as_of() - INTERVAL '60 days' AS before_time
),
scopes AS (
  SELECT 'overall' AS scope UNION ALL SELECT 'auto' AS scope UNION ALL SELECT 'human' AS scope
),
resolved AS (
  SELECT 'overall' AS scope, resolved_at, duration_s FROM incidents
  WHERE state = 'resolved' AND NOT excluded AND duration_s IS NOT NULL
  UNION ALL
  SELECT CASE WHEN path = 'auto' THEN 'auto' ELSE 'human' END AS scope, resolved_at, duration_s FROM incidents
  WHERE state = 'resolved' AND NOT excluded AND duration_s IS NOT NULL AND path IN ('auto', 'assisted', 'manual')
),
current_figures AS (
  SELECT p.period, i.scope,
    COUNT(*) AS n,
    AVG(i.duration_s) AS mean_s,
    percentile_cont(i.duration_s, 0.5) AS median_s,
    percentile_cont(i.duration_s, 0.9) AS p90_s,
    exp(AVG(ln(CASE WHEN i.duration_s < 1.0 THEN 1.0 ELSE i.duration_s END))) AS geometric_mean_s,
    median_interval(array_agg(i.duration_s)) AS median_range
  FROM periods AS p
  JOIN resolved AS i ON i.resolved_at > p.after_time AND i.resolved_at <= as_of()
  GROUP BY p.period, i.scope
),
previous_figures AS (
  SELECT p.period, i.scope, COUNT(*) AS n, percentile_cont(i.duration_s, 0.5) AS median_s
  FROM periods AS p
  JOIN resolved AS i ON i.resolved_at > p.before_time AND i.resolved_at <= p.after_time
  GROUP BY p.period, i.scope
),
open_figures AS (
  SELECT COUNT(*) AS open_count,
    (CAST(as_of() AS BIGINT) - CAST(MIN(created_at) AS BIGINT)) / 1000000.0 AS oldest_open_s
  FROM incidents
  WHERE path = 'open' AND NOT excluded
),
excluded_figures AS (
  SELECT p.period, COUNT(*) AS excluded_count
  FROM periods AS p
  JOIN incidents AS i ON i.last_event_at > p.after_time AND i.last_event_at <= as_of()
  WHERE i.excluded
  GROUP BY p.period
)
SELECT
  p.period,
  s.scope,
  coalesce(c.n, 0) AS n,
  c.mean_s,
  c.median_s,
  c.p90_s,
  c.geometric_mean_s,
  c.median_range['low'] AS median_low_s,
  c.median_range['high'] AS median_high_s,
  coalesce(b.n, 0) AS previous_n,
  b.median_s AS previous_median_s,
  CASE
    WHEN coalesce(c.n, 0) < 5 OR coalesce(b.n, 0) < 5 THEN NULL
    WHEN b.median_s > c.median_range['high'] THEN 'faster'
    WHEN b.median_s < c.median_range['low'] THEN 'slower'
    ELSE 'no_clear_change'
  END AS trend,
  o.open_count,
  o.oldest_open_s,
  coalesce(e.excluded_count, 0) AS excluded_count
FROM periods AS p
CROSS JOIN scopes AS s
CROSS JOIN open_figures AS o
LEFT JOIN current_figures AS c ON c.period = p.period AND c.scope = s.scope
LEFT JOIN previous_figures AS b ON b.period = p.period AND b.scope = s.scope
LEFT JOIN excluded_figures AS e ON e.period = p.period
