-- Every incident as its events tell it, folded by (time, sequence) and not by arrival.
-- Shape: keyed by incident_id over incident and approval events. An incident that is reopened within 24 h of its resolution is the same one and its
-- resolution moves; one reopened later starts a new episode, and the row tells of the newest episode.
-- Path (not who closed it decides): manual (a person acted), assisted (an AI's plan, a person approved), auto (an AI action succeeded and no person
-- approved or acted), manual (nothing recorded but a person resolved it), self_cleared (nobody acted), open (not resolved).
--
-- incident_id      text             never null
-- service source severity title action_type  text, null   the newest that was said; source is the sender's word, action_type that of the newest action
-- state            text             open | acknowledged | mitigated | resolved | merged | cancelled
-- path             text             auto | assisted | manual | self_cleared | open
-- created_at       timestamp, null  when it was detected; null where no `opened` or `reopened` event came
-- acknowledged_at mitigated_at resolved_at  timestamp, null
-- duration_s       double, null     resolved_at - created_at, seconds
-- reopened         bigint           times it was reopened within 24 h, in this episode
-- episode          bigint           1, and one more for each reopening after more than 24 h
-- rolled_back cancelled merged false_positive  boolean
-- excluded         boolean          cancelled, merged or a false positive: not in MTTR and autonomy
-- event_count      bigint           events that were folded
-- last_event_at    timestamp        time of the newest event
CREATE MATERIALIZED VIEW incidents WITH (key = 'incident_id') AS
SELECT
  incident_id,
  service,
  source,
  severity,
  title,
  action_type,
  story['state'] AS state,
  story['path'] AS path,
  story['created_at'] AS created_at,
  story['acknowledged_at'] AS acknowledged_at,
  story['mitigated_at'] AS mitigated_at,
  story['resolved_at'] AS resolved_at,
  (CAST(story['resolved_at'] AS BIGINT) - CAST(story['created_at'] AS BIGINT)) / 1000000.0 AS duration_s,
  story['reopened'] AS reopened,
  story['episode'] AS episode,
  story['rolled_back'] AS rolled_back,
  story['cancelled'] AS cancelled,
  story['merged'] AS merged,
  story['false_positive'] AS false_positive,
  story['cancelled'] OR story['merged'] OR story['false_positive'] AS excluded,
  event_count,
  last_event_at
FROM (
  SELECT
    coalesce(json_text(attributes, 'incident_id'), fingerprint) AS incident_id,
    incident_story(time, sequence, kind, attributes) AS story,
    last_value(CAST(service AS VARCHAR) ORDER BY time, sequence) FILTER (WHERE service IS NOT NULL) AS service,
    last_value(json_text(attributes, 'source') ORDER BY time, sequence) FILTER (WHERE kind = 'incident' AND json_text(attributes, 'source') IS NOT NULL) AS source,
    last_value(CAST(severity AS VARCHAR) ORDER BY time, sequence) FILTER (WHERE kind = 'incident' AND severity IS NOT NULL) AS severity,
    first_value(title ORDER BY time, sequence) FILTER (WHERE kind = 'incident') AS title,
    last_value(coalesce(json_text(attributes, 'action.type'), json_text(attributes, 'action_type')) ORDER BY time, sequence)
      FILTER (WHERE coalesce(json_text(attributes, 'action.type'), json_text(attributes, 'action_type')) IS NOT NULL) AS action_type,
    COUNT(*) AS event_count,
    COUNT(*) FILTER (WHERE kind = 'incident') AS incident_event_count,
    MAX(time) AS last_event_at
  FROM events
  WHERE kind IN ('incident', 'approval')
  GROUP BY coalesce(json_text(attributes, 'incident_id'), fingerprint)
) AS told
WHERE incident_id IS NOT NULL AND incident_event_count > 0
