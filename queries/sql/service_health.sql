-- One status per service out of up, SLO, alerts and anomalies.
-- Shape: snapshot over up_anomalies, service_traffic, slo_status, alerts, anomalies and the relation services. Services are those of the inventory; without an
-- inventory, those that sent `up` or traffic in the last 24 h.
-- critical: no target answers, an SLO is breached or pages, or an alert of severity critical fires. warning: some targets are down, an SLO is at risk,
-- another alert fires, or a signal is anomalous. no_data: nothing was heard of it for 5 minutes and no alert fires. healthy: everything else.
--
-- service          text             never null
-- layer owner policy  text, null    from the inventory
-- status           text             healthy | warning | critical | no_data
-- reason           text             ok | down | partly_down | slo_breached | slo_page | alert_critical | slo_at_risk | alert | anomaly | silent
-- since            timestamp, null  since when the reason holds, where known
-- targets up_targets  bigint, null  newest minute
-- firing_alerts critical_alerts anomalous_signals  bigint
-- slo_status       text, null       worst of its objectives: breached > at_risk > no_data > healthy
-- top_alert        text, null       title of the newest most severe firing alert
-- top_signal       text, null       the anomalous signal with the highest score
CREATE MATERIALIZED VIEW service_health WITH (key = 'service') AS
WITH heard AS (
  SELECT service FROM up_anomalies WHERE window_start > as_of() - INTERVAL '24 hours'
  UNION
  SELECT service FROM service_traffic WHERE window_start > as_of() - INTERVAL '24 hours'
),
names AS (
  SELECT service, layer, owner, policy FROM services
  UNION ALL
  SELECT CAST(h.service AS VARCHAR) AS service, CAST(NULL AS VARCHAR) AS layer, CAST(NULL AS VARCHAR) AS owner, CAST(NULL AS VARCHAR) AS policy
  FROM heard AS h
  CROSS JOIN (SELECT COUNT(*) AS service_count FROM services) AS listed
  WHERE listed.service_count = 0
),
up_now AS (
  SELECT service, window_start, targets, up_targets, held_since
  FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY service ORDER BY window_start DESC) AS age FROM up_anomalies) AS u
  WHERE age = 1 AND window_start >= as_of() - INTERVAL '6 minutes'
),
traffic_now AS (
  SELECT service, MAX(window_start) AS window_start
  FROM service_traffic
  WHERE window_start >= as_of() - INTERVAL '6 minutes'
  GROUP BY service
),
slo_now AS (
  SELECT service,
    MAX(CASE status WHEN 'breached' THEN 3 WHEN 'at_risk' THEN 2 WHEN 'no_data' THEN 1 ELSE 0 END) AS worst,
    bool_or(status <> 'no_data') AS known,
    bool_or(status <> 'no_data' AND (page_quick OR page_slow)) AS pages
  FROM slo_status
  GROUP BY service
),
alerts_now AS (
  SELECT service,
    COUNT(*) AS firing_alerts,
    COUNT(*) FILTER (WHERE severity = 'critical') AS critical_alerts,
    MIN(coalesce(starts_at, last_change_at)) AS since,
    MIN(coalesce(starts_at, last_change_at)) FILTER (WHERE severity = 'critical') AS critical_since,
    first_value(title ORDER BY CASE severity WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'warning' THEN 2 WHEN 'medium' THEN 2 ELSE 3 END, last_change_at DESC, fingerprint) AS top_alert
  FROM alerts
  WHERE status = 'firing' AND service IS NOT NULL
  GROUP BY service
),
anomalies_now AS (
  SELECT service,
    COUNT(*) AS anomalous_signals,
    MIN(since) AS since,
    first_value(signal ORDER BY score DESC NULLS LAST, instance, signal) AS top_signal
  FROM anomalies
  WHERE anomalous
  GROUP BY service
),
joined AS (
  SELECT
    n.service, n.layer, n.owner, n.policy,
    u.targets, u.up_targets, u.held_since,
    t.window_start AS traffic_at,
    s.worst, coalesce(s.known, false) AS slo_known, coalesce(s.pages, false) AS pages,
    coalesce(a.firing_alerts, 0) AS firing_alerts, coalesce(a.critical_alerts, 0) AS critical_alerts, a.since AS alert_since, a.critical_since, a.top_alert,
    coalesce(d.anomalous_signals, 0) AS anomalous_signals, d.since AS anomaly_since, d.top_signal
  FROM names AS n
  LEFT JOIN up_now AS u ON u.service = n.service
  LEFT JOIN traffic_now AS t ON t.service = n.service
  LEFT JOIN slo_now AS s ON s.service = n.service
  LEFT JOIN alerts_now AS a ON a.service = n.service
  LEFT JOIN anomalies_now AS d ON d.service = n.service
),
reasons AS (
  SELECT *,
    CASE
      WHEN up_targets = 0 THEN 'down'
      WHEN worst = 3 THEN 'slo_breached'
      WHEN pages THEN 'slo_page'
      WHEN critical_alerts > 0 THEN 'alert_critical'
      WHEN up_targets < targets THEN 'partly_down'
      WHEN worst = 2 THEN 'slo_at_risk'
      WHEN firing_alerts > 0 THEN 'alert'
      WHEN anomalous_signals > 0 THEN 'anomaly'
      WHEN targets IS NULL AND traffic_at IS NULL AND NOT slo_known THEN 'silent'
      ELSE 'ok'
    END AS reason
  FROM joined
)
SELECT
  service,
  layer,
  owner,
  policy,
  CASE
    WHEN reason IN ('down', 'slo_breached', 'slo_page', 'alert_critical') THEN 'critical'
    WHEN reason IN ('partly_down', 'slo_at_risk', 'alert', 'anomaly') THEN 'warning'
    WHEN reason = 'silent' THEN 'no_data'
    ELSE 'healthy'
  END AS status,
  reason,
  CASE
    WHEN reason IN ('down', 'partly_down') THEN held_since
    WHEN reason = 'alert_critical' THEN critical_since
    WHEN reason = 'alert' THEN alert_since
    WHEN reason = 'anomaly' THEN anomaly_since
  END AS since,
  targets,
  up_targets,
  firing_alerts,
  critical_alerts,
  anomalous_signals,
  CASE worst WHEN 3 THEN 'breached' WHEN 2 THEN 'at_risk' WHEN 1 THEN 'no_data' WHEN 0 THEN 'healthy' END AS slo_status,
  top_alert,
  top_signal
FROM reasons
