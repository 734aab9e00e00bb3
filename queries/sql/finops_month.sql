-- The month's cost of LLM calls: total, per provider, per model.
-- Shape: snapshot over llm_cost. The total is exactly the sum of the providers and of the models.
--
-- month             text          2026-03, Asia/Taipei
-- level             text          total | provider | model
-- provider          text          `*` at level total
-- model             text          `*` at levels total and provider
-- calls failed_calls input_tokens cache_read_tokens cache_write_tokens output_tokens reasoning_tokens unpriced_calls unpriced_tokens  bigint
-- cost_nano_usd     bigint, null  null where no call was priced
-- cost_usd          double, null  the same in USD, for display
-- priced_ratio      double, null  calls with a price / calls, 0..1
-- is_current        boolean       as_of lies in this month
-- day_count         bigint        days with calls
-- price_map_version text, null    newest version behind computed costs
CREATE MATERIALIZED VIEW finops_month WITH (key = 'month,level,provider,model') AS
WITH levels AS (
  SELECT 'total' AS level, '*' AS by_provider, '*' AS by_model, c.* FROM llm_cost AS c
  UNION ALL
  SELECT 'provider' AS level, c.provider AS by_provider, '*' AS by_model, c.* FROM llm_cost AS c
  UNION ALL
  SELECT 'model' AS level, c.provider AS by_provider, c.model AS by_model, c.* FROM llm_cost AS c
)
SELECT
  month,
  level,
  by_provider AS provider,
  by_model AS model,
  SUM(calls) AS calls,
  SUM(failed_calls) AS failed_calls,
  SUM(input_tokens) AS input_tokens,
  SUM(cache_read_tokens) AS cache_read_tokens,
  SUM(cache_write_tokens) AS cache_write_tokens,
  SUM(output_tokens) AS output_tokens,
  SUM(reasoning_tokens) AS reasoning_tokens,
  SUM(unpriced_calls) AS unpriced_calls,
  SUM(unpriced_tokens) AS unpriced_tokens,
  SUM(cost_nano_usd) AS cost_nano_usd,
  SUM(cost_nano_usd) / 1000000000.0 AS cost_usd,
  1.0 - SUM(unpriced_calls) / nullif(CAST(SUM(calls) AS DOUBLE), 0.0) AS priced_ratio,
  month = month_in_zone(as_of(), 'Asia/Taipei') AS is_current,
  COUNT(DISTINCT day) AS day_count,
  MAX(price_map_version) AS price_map_version
FROM levels
GROUP BY month, level, by_provider, by_model
