-- Tokens and cost of LLM calls per day, provider, model and service.
-- Shape: keyed over llm_usage events joined with the relation model_prices (one row per provider, model and range of input tokens; model '*' = any of
-- that provider). Money is integer nano-USD, rounded per call, so that every total is exactly the sum of its parts. The cost a sender states beats the computed
-- one. Sub-counters are subsets: cached tokens lie inside input_tokens unless the call says usage_convention "exclusive"; reasoning inside output.
--
-- day                date          calendar day in Asia/Taipei
-- month              text          its month, 2026-03
-- provider           text          canonical name (ollama, gemini, claude, openai, ...); `unknown` where the call names none
-- model              text          as the caller names it, lower case; `unknown` where the call names none
-- service            text, null    service that paid for it
-- calls failed_calls bigint        all calls; those with a status other than ok, success or none
-- input_tokens cache_read_tokens cache_write_tokens output_tokens reasoning_tokens  bigint  as stated, missing ones count 0
-- duration_ms        bigint        sum of durations
-- cost_nano_usd      bigint, null  sum over the priced calls; null where none is priced
-- unpriced_calls unpriced_tokens  bigint  calls without any price and their input + output tokens
-- cost_basis         text          ingested | computed | mixed | unpriced
-- price_map_version  text, null    version of the price file behind computed costs; null where none was computed
CREATE MATERIALIZED VIEW llm_cost WITH (key = 'day,provider,model,service') AS
SELECT
  day,
  month,
  provider,
  model,
  service,
  calls,
  failed_calls,
  input_tokens,
  cache_read_tokens,
  cache_write_tokens,
  output_tokens,
  reasoning_tokens,
  duration_ms,
  cost_nano_usd,
  unpriced_calls,
  unpriced_tokens,
  CASE
    WHEN unpriced_calls = calls THEN 'unpriced'
    WHEN ingested_calls = calls THEN 'ingested'
    WHEN computed_calls = calls THEN 'computed'
    ELSE 'mixed'
  END AS cost_basis,
  price_map_version
FROM (
  SELECT
    day,
    month,
    provider,
    model,
    service,
    COUNT(*) AS calls,
    SUM(failed) AS failed_calls,
    SUM(input_tokens) AS input_tokens,
    SUM(cache_read_tokens) AS cache_read_tokens,
    SUM(cache_write_tokens) AS cache_write_tokens,
    SUM(output_tokens) AS output_tokens,
    SUM(reasoning_tokens) AS reasoning_tokens,
    SUM(duration_ms) AS duration_ms,
    SUM(coalesce(ingested_nano, computed_nano)) AS cost_nano_usd,
    COUNT(ingested_nano) AS ingested_calls,
    SUM(CASE WHEN ingested_nano IS NULL AND computed_nano IS NOT NULL THEN 1 ELSE 0 END) AS computed_calls,
    SUM(CASE WHEN ingested_nano IS NULL AND computed_nano IS NULL THEN 1 ELSE 0 END) AS unpriced_calls,
    SUM(CASE WHEN ingested_nano IS NULL AND computed_nano IS NULL THEN input_tokens + output_tokens ELSE 0 END) AS unpriced_tokens,
    MAX(CASE WHEN ingested_nano IS NULL AND computed_nano IS NOT NULL THEN price_map_version END) AS price_map_version
  FROM (
    SELECT
      c.*,
      coalesce(p.price_map_version, w.price_map_version) AS price_map_version,
      CASE
        WHEN p.input_pico_usd IS NOT NULL THEN llm_cost_nano(c.input_tokens, c.cache_read_tokens, c.cache_write_tokens, c.output_tokens, c.exclusive,
          p.input_pico_usd, p.cache_read_pico_usd, p.cache_write_pico_usd, p.output_pico_usd)
        ELSE llm_cost_nano(c.input_tokens, c.cache_read_tokens, c.cache_write_tokens, c.output_tokens, c.exclusive,
          w.input_pico_usd, w.cache_read_pico_usd, w.cache_write_pico_usd, w.output_pico_usd)
      END AS computed_nano
    FROM (
      SELECT
        day_in_zone(time, 'Asia/Taipei') AS day,
        month_in_zone(time, 'Asia/Taipei') AS month,
        coalesce(llm_provider(json_text(attributes, 'provider')), 'unknown') AS provider,
        coalesce(lower(json_text(attributes, 'model')), 'unknown') AS model,
        CAST(service AS VARCHAR) AS service,
        CASE WHEN coalesce(lower(json_text(attributes, 'status')), 'ok') IN ('ok', 'success') THEN 0 ELSE 1 END AS failed,
        coalesce(json_int(attributes, 'input_tokens'), 0) AS input_tokens,
        coalesce(json_int(attributes, 'cache_read_tokens'), 0) AS cache_read_tokens,
        coalesce(json_int(attributes, 'cache_write_tokens'), 0) AS cache_write_tokens,
        coalesce(json_int(attributes, 'output_tokens'), 0) AS output_tokens,
        coalesce(json_int(attributes, 'reasoning_tokens'), 0) AS reasoning_tokens,
        CAST(round(coalesce(json_float(attributes, 'duration_ms'), 0.0)) AS BIGINT) AS duration_ms,
        coalesce(json_text(attributes, 'usage_convention') = 'exclusive', false) AS exclusive,
        json_nano(attributes, 'cost_usd') AS ingested_nano
      FROM events
      WHERE kind = 'llm_usage'
    ) AS c
    LEFT JOIN model_prices AS p
      ON p.provider = c.provider AND p.model = c.model AND c.input_tokens > p.input_tokens_above AND c.input_tokens <= p.input_tokens_to
    LEFT JOIN model_prices AS w
      ON w.provider = c.provider AND w.model = '*' AND c.input_tokens > w.input_tokens_above AND c.input_tokens <= w.input_tokens_to
  ) AS priced
  GROUP BY day, month, provider, model, service
) AS totals
