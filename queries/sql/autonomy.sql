-- The autonomy index: what share of resolved incidents needed no person.
-- Shape: snapshot over incidents. Two rows: `rolling_24h` is (as_of - 24 h, as_of], `today` the calendar day in Asia/Taipei up to as_of.
-- rate = auto / (auto + assisted + manual) x 100; 0/0 is null. Incidents that cleared themselves or are excluded are not in it.
--
-- scope           text          rolling_24h | today
-- from_time to_time  timestamp  the range; its start is exclusive for rolling_24h, inclusive for today
-- auto assisted manual self_cleared  bigint  resolved in the range, by path
-- human           bigint        assisted + manual
-- n               bigint        auto + assisted + manual
-- rate            double, null  percent, 0..100
-- strict_rate     double, null  percent; an auto resolution that was reopened within 24 h or rolled back does not count as auto
-- ci95_low ci95_high  double, null  Wilson 95 % interval of rate, percent
-- yesterday_n     bigint        n of the same range 24 h earlier (for today: up to the same time of day)
-- yesterday_rate  double, null  rate of it, percent
-- daily_trend_pp  double, null  rate - yesterday_rate, percentage points
CREATE MATERIALIZED VIEW autonomy WITH (key = 'scope') AS
WITH scopes AS (
  SELECT 'rolling_24h' AS scope, as_of() - INTERVAL '24 hours' AS from_time, as_of() - INTERVAL '24 hours' AS after_time, as_of() AS to_time
  UNION ALL
  SELECT 'today' AS scope, day_start(as_of(), 'Asia/Taipei') AS from_time,
    day_start(as_of(), 'Asia/Taipei') - INTERVAL '1 microsecond' AS after_time, as_of() AS to_time
),
resolved AS (
  SELECT path, reopened, rolled_back, resolved_at
  FROM incidents
  WHERE state = 'resolved' AND resolved_at IS NOT NULL AND NOT excluded
),
now_counts AS (
  SELECT s.scope, s.from_time, s.to_time,
    COUNT(*) FILTER (WHERE i.path = 'auto') AS auto,
    COUNT(*) FILTER (WHERE i.path = 'auto' AND i.reopened = 0 AND NOT i.rolled_back) AS strict_auto,
    COUNT(*) FILTER (WHERE i.path = 'assisted') AS assisted,
    COUNT(*) FILTER (WHERE i.path = 'manual') AS manual,
    COUNT(*) FILTER (WHERE i.path = 'self_cleared') AS self_cleared
  FROM scopes AS s
  LEFT JOIN resolved AS i ON i.resolved_at > s.after_time AND i.resolved_at <= s.to_time
  GROUP BY s.scope, s.from_time, s.to_time
),
then_counts AS (
  SELECT s.scope,
    COUNT(*) FILTER (WHERE i.path = 'auto') AS auto,
    COUNT(*) FILTER (WHERE i.path IN ('auto', 'assisted', 'manual')) AS n
  FROM scopes AS s
  LEFT JOIN resolved AS i ON i.resolved_at > s.after_time - INTERVAL '24 hours' AND i.resolved_at <= s.to_time - INTERVAL '24 hours'
  GROUP BY s.scope
),
both_counts AS (
  SELECT c.*, c.assisted + c.manual AS human, c.auto + c.assisted + c.manual AS n, y.n AS yesterday_n,
    y.auto * 100.0 / nullif(y.n, 0) AS yesterday_rate
  FROM now_counts AS c
  JOIN then_counts AS y ON y.scope = c.scope
)
SELECT
  scope,
  from_time,
  to_time,
  auto,
  assisted,
  manual,
  self_cleared,
  human,
  n,
  auto * 100.0 / nullif(n, 0) AS rate,
  strict_auto * 100.0 / nullif(n, 0) AS strict_rate,
  wilson_low(auto, n) * 100.0 AS ci95_low,
  wilson_high(auto, n) * 100.0 AS ci95_high,
  yesterday_n,
  yesterday_rate,
  auto * 100.0 / nullif(n, 0) - yesterday_rate AS daily_trend_pp
FROM both_counts
