//! The topics at start: made where they are missing, else checked for settings that could lose or refuse records. Records pass elsewhere.

use super::cluster::Cluster;
use super::config::{KafkaLogConfig, PARTITIONS_MAX};
use super::error::KafkaLogError;
use afferent_engine::log::Topic;
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long brokers that do not answer are waited for at start.
const START_WAIT: Duration = Duration::from_secs(20);

/// Between two lines that say what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// How long one question at start may take.
const ASK_WAIT: Duration = Duration::from_secs(3);

/// How long making a topic may take.
const MAKE_WAIT: Duration = Duration::from_secs(20);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Partitions of a topic, unless it is that of metrics and the configuration or the topic itself says otherwise.
const PARTITIONS: usize = 1;

/// Replicas where the configuration names no number and the cluster has as many brokers.
const REPLICAS: usize = 3;

/// Replicas that must have a record before it is acknowledged, where there are [`REPLICAS`] or more.
const IN_SYNC: usize = 2;

/// The name of a topic.
pub(super) fn name(config: &KafkaLogConfig, topic: Topic) -> String {
    format!("{}.{}", config.topic_prefix, topic.as_str())
}

/// What the cluster says of itself.
#[derive(Debug, Clone, Default)]
struct Facts {
    broker_ids: Vec<i32>,
    /// Of each of our topics, the replicas of each partition and whether all have a leader.
    topics: BTreeMap<String, (Vec<Vec<i32>>, bool)>,
}

/// A topic as it was found.
#[derive(Debug, Clone)]
struct Found {
    partitions: usize,
    /// Of the partition that has fewest.
    replicas: usize,
    settings: BTreeMap<String, String>,
}

/// What is wrong with a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    Partitions { found: usize, needed: usize },
    Replicas { found: usize, needed: usize },
    Setting { name: &'static str, found: String, needed: String },
}

/// Waits for the brokers, then makes or checks every topic; how many partitions that of metrics has.
pub(super) async fn prepare(cluster: &Arc<Cluster>) -> Result<u32, KafkaLogError> {
    let names: Vec<String> = Topic::ALL.into_iter().map(|topic| name(&cluster.config, topic)).collect();
    let metrics = name(&cluster.config, Topic::Metrics);
    let partitions_wanted = |topic: &String| if *topic == metrics { cluster.config.partitions as usize } else { PARTITIONS };
    let facts = await_brokers(cluster, &names).await?;
    let wanted = replicas_wanted(cluster.config.replication, facts.broker_ids.len());
    for topic in names.iter().filter(|topic| !facts.topics.contains_key(*topic)) {
        make(cluster, topic, partitions_wanted(topic).max(PARTITIONS), wanted).await?;
    }
    let facts = await_topics(cluster, &names).await?;
    for topic in &names {
        let settings = settings(cluster, topic).await?;
        let partitions = facts.topics.get(topic).map(|(partitions, _)| partitions.clone()).unwrap_or_default();
        let replicas = partitions.iter().map(Vec::len).min().unwrap_or_default();
        let found = Found { partitions: partitions.len(), replicas, settings };
        let problems = problems(&found, partitions_wanted(topic), wanted, cluster.config.message_bytes_max());
        if !problems.is_empty() {
            let commands = commands(cluster, topic, &facts.broker_ids, &found, &problems);
            return Err(KafkaLogError::Topic { topic: topic.clone(), problems: problems.iter().map(Problem::text).collect(), commands });
        }
        let in_sync = found.settings.get("min.insync.replicas").cloned().unwrap_or_default();
        tracing::info!(topic, partitions = found.partitions, replicas, in_sync, brokers = cluster.brokers, "the log's topic is in order");
    }
    let partitions = facts.topics.get(&metrics).map_or(PARTITIONS, |(partitions, _)| partitions.len());
    Ok(u32::try_from(partitions).unwrap_or(u32::MAX))
}

/// Replicas a topic should have: as configured, else by the number of brokers.
fn replicas_wanted(configured: u32, brokers: usize) -> usize {
    match configured {
        0 if brokers >= REPLICAS => REPLICAS,
        0 => 1,
        n => n as usize,
    }
}

/// Replicas that must be in sync for a topic of so many.
fn in_sync_wanted(replicas: usize) -> usize {
    if replicas >= REPLICAS { IN_SYNC } else { 1 }
}

/// Everything that is wrong with a topic; any number of partitions is right where 0 are wanted.
fn problems(found: &Found, partitions_wanted: usize, replicas_wanted: usize, message_bytes_max: u64) -> Vec<Problem> {
    let mut problems = Vec::new();
    let too_many = found.partitions > PARTITIONS_MAX as usize;
    if too_many || (partitions_wanted > 0 && found.partitions != partitions_wanted) {
        let needed = if partitions_wanted > 0 { partitions_wanted } else { PARTITIONS_MAX as usize };
        problems.push(Problem::Partitions { found: found.partitions, needed });
    }
    if found.replicas < replicas_wanted {
        problems.push(Problem::Replicas { found: found.replicas, needed: replicas_wanted });
    }
    let in_sync = in_sync_wanted(found.replicas.max(replicas_wanted));
    let mut check = |name: &'static str, needed: String, fits: &dyn Fn(&str) -> bool| {
        let value = found.settings.get(name).map_or("unknown", String::as_str);
        if !fits(value) {
            problems.push(Problem::Setting { name, found: value.to_owned(), needed });
        }
    };
    let between = |value: &str, least: u64, most: u64| value.parse::<u64>().is_ok_and(|n| (least..=most).contains(&n));
    let most = found.replicas.max(replicas_wanted) as u64;
    check("min.insync.replicas", in_sync.to_string(), &|value| between(value, in_sync as u64, most));
    check("cleanup.policy", "delete".to_owned(), &|value| value == "delete");
    check("retention.ms", "-1".to_owned(), &|value| value == "-1");
    check("retention.bytes", "-1".to_owned(), &|value| value == "-1");
    check("unclean.leader.election.enable", "false".to_owned(), &|value| value == "false");
    check("max.message.bytes", message_bytes_max.to_string(), &|value| between(value, message_bytes_max, u64::MAX));
    problems
}

impl Problem {
    fn text(&self) -> String {
        match self {
            Self::Partitions { found, needed } => format!("it has {found} partitions and must have {needed}"),
            Self::Replicas { found, needed } => format!("it has {found} replicas and needs {needed}"),
            Self::Setting { name, found, needed } => {
                let least = if matches!(*name, "max.message.bytes" | "min.insync.replicas") { "at least " } else { "" };
                format!("{name} is {found} and must be {least}{needed}{}", why(name))
            }
        }
    }
}

fn why(name: &str) -> &'static str {
    match name {
        "retention.ms" | "retention.bytes" => " (Kafka would delete records that are not in tables yet)",
        "cleanup.policy" => " (compaction would delete records)",
        "unclean.leader.election.enable" => " (a replica that lacks acknowledged records could become leader)",
        _ => "",
    }
}

/// Commands of Kafka's own tools that put a topic right.
fn commands(cluster: &Cluster, topic: &str, broker_ids: &[i32], found: &Found, problems: &[Problem]) -> Vec<String> {
    let login = if cluster.config.settings.is_empty() { "" } else { " --command-config CLIENT.properties" };
    let tool = |tool: &str, what: String| format!("{tool} --bootstrap-server {}{login} {what}", cluster.brokers);
    let mut commands = Vec::new();
    let mut settings = Vec::new();
    for problem in problems {
        match problem {
            Problem::Setting { name, needed, .. } => settings.push(format!("{name}={needed}")),
            Problem::Partitions { found, needed } if found < needed => {
                commands.push(tool("kafka-topics.sh", format!("--alter --topic {topic} --partitions {needed}")));
            }
            Problem::Partitions { found, .. } => commands.push(format!(
                "{}   (loses what it holds; or set log.partitions = {found} if it is that of metrics, or name another log.topic_prefix)",
                tool("kafka-topics.sh", format!("--delete --topic {topic}"))
            )),
            Problem::Replicas { needed, .. } => {
                let ids: Vec<String> = broker_ids.iter().take(*needed).map(i32::to_string).collect();
                let one = |n| format!("{{\"topic\":{topic:?},\"partition\":{n},\"replicas\":[{}]}}", ids.join(","));
                let all: Vec<String> = (0..found.partitions).map(one).collect();
                let plan = format!("{{\"version\":1,\"partitions\":[{}]}}", all.join(","));
                let command = tool("kafka-reassign-partitions.sh", "--execute --reassignment-json-file PLAN.json".to_owned());
                commands.push(format!("echo '{plan}' > PLAN.json && {command}"));
            }
        }
    }
    if !settings.is_empty() {
        let change = format!("--alter --entity-type topics --entity-name {topic} --add-config {}", settings.join(","));
        commands.push(tool("kafka-configs.sh", change));
    }
    commands
}

/// Asks for the brokers until one answers, and says so meanwhile.
async fn await_brokers(cluster: &Arc<Cluster>, names: &[String]) -> Result<Facts, KafkaLogError> {
    let began = Instant::now();
    let mut said: Option<Instant> = None;
    loop {
        let error = match facts(cluster, names).await {
            Ok(facts) => return Ok(facts),
            Err(error) => error,
        };
        if began.elapsed() >= START_WAIT {
            return Err(error);
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            let left_s = START_WAIT.saturating_sub(began.elapsed()).as_secs();
            tracing::warn!(brokers = cluster.brokers, %error, left_s, "waiting for Kafka");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until every topic is there with leaders: one that was just made is known to all brokers a moment later.
async fn await_topics(cluster: &Arc<Cluster>, names: &[String]) -> Result<Facts, KafkaLogError> {
    let deadline = Instant::now() + START_WAIT;
    loop {
        let facts = facts(cluster, names).await?;
        let missing = names.iter().find(|topic| !facts.topics.get(*topic).is_some_and(|(_, led)| *led));
        let Some(missing) = missing else { return Ok(facts) };
        if Instant::now() >= deadline {
            let reason = format!("topic {missing} has no leader");
            return Err(KafkaLogError::Away { brokers: cluster.brokers.clone(), doing: "finding the leaders of topics", reason });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn facts(cluster: &Arc<Cluster>, names: &[String]) -> Result<Facts, KafkaLogError> {
    let (asked, names) = (Arc::clone(cluster), names.to_vec());
    let ask = move || {
        // All topics: asking for one by its name makes brokers create it where they are told to.
        let metadata = asked.admin().inner().fetch_metadata(None, ASK_WAIT);
        let metadata = metadata.map_err(|error| asked.error("finding brokers", &names.join(", "), &error))?;
        let mut facts = Facts { broker_ids: metadata.brokers().iter().map(|broker| broker.id()).collect(), ..Facts::default() };
        for topic in metadata.topics().iter().filter(|topic| names.iter().any(|name| name == topic.name())) {
            let partitions: Vec<Vec<i32>> = topic.partitions().iter().map(|partition| partition.replicas().to_vec()).collect();
            let led = !partitions.is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0);
            facts.topics.insert(topic.name().to_owned(), (partitions, led));
        }
        facts.broker_ids.sort_unstable();
        Ok(facts)
    };
    super::blocking(cluster, ask).await
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(MAKE_WAIT)).operation_timeout(Some(MAKE_WAIT))
}

/// Makes a topic, again where nobody answered: brokers that have just started may be slow.
async fn make(cluster: &Cluster, topic: &str, partitions: usize, replicas: usize) -> Result<(), KafkaLogError> {
    let deadline = Instant::now() + START_WAIT;
    loop {
        match try_make(cluster, topic, partitions, replicas).await {
            Err(error @ KafkaLogError::Away { .. }) if Instant::now() < deadline => tracing::debug!(%error, "the topic is made again"),
            made => return made,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// That somebody else has just made it is fine.
async fn try_make(cluster: &Cluster, topic: &str, partitions: usize, replicas: usize) -> Result<(), KafkaLogError> {
    let doing = "make the topic";
    let (in_sync, bytes) = (in_sync_wanted(replicas).to_string(), cluster.config.message_bytes_max().to_string());
    let replication = TopicReplication::Fixed(i32::try_from(replicas).unwrap_or(i32::MAX));
    let new = NewTopic::new(topic, i32::try_from(partitions).unwrap_or(i32::MAX), replication)
        .set("min.insync.replicas", &in_sync)
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("unclean.leader.election.enable", "false")
        .set("max.message.bytes", &bytes);
    let made = cluster.admin().create_topics([&new], &options()).await.map_err(|error| cluster.error(doing, topic, &error))?;
    match made.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
            let problem = format!("the cluster has too few brokers for {replicas} replicas of topic {topic}");
            Err(KafkaLogError::setting("replication", problem))
        }
        Some(Err((_, code))) => Err(cluster.error(doing, topic, &KafkaError::AdminOp(code))),
        Some(Ok(_)) | None => {
            tracing::info!(topic, partitions, replicas, in_sync, brokers = cluster.brokers, "made a topic for the log");
            Ok(())
        }
    }
}

/// The settings of a topic; a broker that has not heard of a new topic yet is asked again.
async fn settings(cluster: &Cluster, topic: &str) -> Result<BTreeMap<String, String>, KafkaLogError> {
    let doing = "read the settings";
    let deadline = Instant::now() + START_WAIT;
    loop {
        let asked = cluster.admin().describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
        let answer = asked.map_err(|error| cluster.error(doing, topic, &error))?;
        let entries = match answer.into_iter().next() {
            Some(Ok(resource)) => resource.entries,
            Some(Err(code)) => return Err(cluster.error(doing, topic, &KafkaError::AdminOp(code))),
            None => Vec::new(),
        };
        if !entries.is_empty() {
            return Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect());
        }
        if Instant::now() >= deadline {
            // What the broker says instead is not handed on by the library.
            let reason = "it tells no settings".to_owned();
            return Err(KafkaLogError::Denied { brokers: cluster.brokers.clone(), doing, topic: topic.to_owned(), reason });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests;
