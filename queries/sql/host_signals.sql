-- Saturation of every host, per minute, out of node_exporter's metrics.
-- Shape: window over panes.
--
-- service            word          service of the exporter's series, never null
-- instance           text          label `instance`, never null
-- window_start       timestamp     start of the minute
-- cpu_busy_ratio     double, null  share of CPU time that was not mode "idle", 0..1; null where no CPU time passed
-- memory_used_ratio  double, null  1 - MemAvailable / MemTotal, newest values of the minute, 0..1
-- disk_used_ratio    double, null  1 - avail / size of the file system at mountpoint "/", 0..1; null where the host shows none
-- load1              double, null  node_load1, newest value of the minute
CREATE MATERIALIZED VIEW host_signals WITH (key = 'service,instance,window_start') AS
SELECT
  service,
  instance,
  window_start,
  1.0 - cpu_idle_s / nullif(cpu_s, 0.0) AS cpu_busy_ratio,
  1.0 - memory_available_bytes / nullif(memory_bytes, 0.0) AS memory_used_ratio,
  1.0 - disk_available_bytes / nullif(disk_bytes, 0.0) AS disk_used_ratio,
  load1
FROM (
  SELECT
    service,
    label(labels, 'instance') AS instance,
    tumble(window_start, INTERVAL '1 minute') AS window_start,
    SUM(CASE WHEN label(labels, 'mode') = 'idle' THEN increase ELSE 0.0 END) FILTER (WHERE metric = 'node_cpu_seconds_total') AS cpu_idle_s,
    SUM(increase) FILTER (WHERE metric = 'node_cpu_seconds_total') AS cpu_s,
    MAX(last) FILTER (WHERE metric = 'node_memory_MemAvailable_bytes') AS memory_available_bytes,
    MAX(last) FILTER (WHERE metric = 'node_memory_MemTotal_bytes') AS memory_bytes,
    MAX(last) FILTER (WHERE metric = 'node_filesystem_avail_bytes' AND label(labels, 'mountpoint') = '/') AS disk_available_bytes,
    MAX(last) FILTER (WHERE metric = 'node_filesystem_size_bytes' AND label(labels, 'mountpoint') = '/') AS disk_bytes,
    MAX(last) FILTER (WHERE metric = 'node_load1') AS load1
  FROM panes
  WHERE service IS NOT NULL
    AND count > 0
    AND label(labels, 'instance') IS NOT NULL
    AND metric IN ('node_cpu_seconds_total', 'node_memory_MemAvailable_bytes', 'node_memory_MemTotal_bytes',
                   'node_filesystem_avail_bytes', 'node_filesystem_size_bytes', 'node_load1')
  GROUP BY service, label(labels, 'instance'), tumble(window_start, INTERVAL '1 minute')
) AS minute
