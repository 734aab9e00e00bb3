-- The state of every alert, by fingerprint.
-- Shape: keyed over alert events, folded by (time, sequence).
--
-- fingerprint     text             never null
-- status          text             firing | resolved
-- starts_at       timestamp, null  when the newest firing began, as the sender says
-- last_change_at  timestamp        when the status last changed
-- changes         bigint           status changes seen, the first one included
-- firing_count    bigint           times it went to firing
-- severity service title alert_name source  text, null   as the newest event says
-- event_count     bigint           events folded
-- last_event_at   timestamp        time of the newest event
CREATE MATERIALIZED VIEW alerts WITH (key = 'fingerprint') AS
SELECT
  fingerprint,
  change['status'] AS status,
  starts_at,
  change['since'] AS last_change_at,
  change['changes'] AS changes,
  change['firings'] AS firing_count,
  severity,
  service,
  title,
  alert_name,
  source,
  event_count,
  last_event_at
FROM (
  SELECT
    fingerprint,
    last_change(time, sequence, status) AS change,
    last_value(json_time(attributes, 'startsAt') ORDER BY time, sequence) FILTER (WHERE status = 'firing') AS starts_at,
    last_value(CAST(severity AS VARCHAR) ORDER BY time, sequence) AS severity,
    last_value(CAST(service AS VARCHAR) ORDER BY time, sequence) AS service,
    last_value(title ORDER BY time, sequence) AS title,
    last_value(json_text(attributes, 'labels.alertname') ORDER BY time, sequence) AS alert_name,
    last_value(CAST(source AS VARCHAR) ORDER BY time, sequence) AS source,
    COUNT(*) AS event_count,
    MAX(time) AS last_event_at
  FROM events
  WHERE kind = 'alert' AND fingerprint IS NOT NULL AND status IS NOT NULL
  GROUP BY fingerprint
) AS told
