//! The cluster as every part of the log sees it: how clients are made, what they say on their own, and what their errors mean. No records pass here.

use super::config::KafkaLogConfig;
use super::error::KafkaLogError;
use super::settings::Settings;
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a broker may say nothing to a request before its connection is made anew and the leaders are looked up. Shorter than Kafka takes to give
/// up a broker that stands still (9 s), so that whoever led is known to be silent by the time there is another; longer than a broker's pause, and than
/// a third of the producer's queue takes on its way at 35 MB/s.
const ANSWER_WAIT_MS: &str = "5000";

/// How often every client looks up who leads, also one at rest: what it knows would else be as old as its last request.
const LEADERS_EVERY_MS: &str = "3000";

/// How long what it knows holds where nobody answers such a look: what librdkafka takes by itself when looks are rare.
const LEADERS_VALID_MS: &str = "900000";

/// How long a connection may take to be made.
const CONNECT_WAIT_MS: &str = "5000";

/// Pauses between tries to connect: the first, and the longest. A broker that comes back is found within a second.
const RECONNECT_MS: (&str, &str) = ("100", "1000");

/// How long what a client said on its own explains an error that comes after it.
const SAID_VALID: Duration = Duration::from_secs(60);

/// One cluster and how to talk to it.
pub(super) struct Cluster {
    /// What was configured.
    pub(super) config: KafkaLogConfig,
    /// Where it is, for messages.
    pub(super) brokers: String,
    watcher: Watcher,
    admin: AdminClient<Watcher>,
}

impl Cluster {
    /// Makes the client for questions; connects to nothing yet.
    pub(super) fn new(config: KafkaLogConfig) -> Result<Self, KafkaLogError> {
        let said = Arc::new(Said { settings: config.settings.clone(), last: Mutex::default() });
        let (brokers, watcher) = (config.bootstrap(), Watcher(said));
        let mut all = base(&config);
        // Nobody hears what this client says on its own: it would gather in memory. The producer's connections fail for the same reasons.
        all.set_log_level(RDKafkaLogLevel::Emerg);
        let admin = make(&all, &config.settings, watcher.clone())?;
        Ok(Self { config, brokers, watcher, admin })
    }

    /// The client for questions, topics and trims.
    pub(super) fn admin(&self) -> &AdminClient<Watcher> {
        &self.admin
    }

    /// A client with these settings on top of those that every client has.
    pub(super) fn client<T: FromClientConfigAndContext<Watcher>>(&self, settings: &[(&str, &str)]) -> Result<T, KafkaLogError> {
        self.client_with(settings, self.watcher())
    }

    /// The same with a context of its own, which is to hand what it hears to a [`Watcher`].
    pub(super) fn client_with<C: ClientContext, T: FromClientConfigAndContext<C>>(
        &self,
        settings: &[(&str, &str)],
        context: C,
    ) -> Result<T, KafkaLogError> {
        let mut all = base(&self.config);
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        make(&all, &self.config.settings, context)
    }

    /// What hears the clients.
    pub(super) fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    /// The name that the cluster was made with; `None` where it has none, as those before Kafka 0.10.1. Blocks.
    pub(super) fn id(&self, wait: Duration) -> Result<Option<String>, KafkaLogError> {
        let id = self.admin.inner().fetch_cluster_id(wait);
        if id.is_none() {
            // It may be that nobody answered: then it would be taken for a cluster without a name.
            let asked = self.admin.inner().fetch_metadata(None, wait);
            asked.map_err(|error| self.error("ask which cluster this is", "", &error))?;
        }
        Ok(id.filter(|id| !id.is_empty()))
    }

    /// Has the client for questions ask what a topic is like now. Of a partition that it once heard to have no leader it would go on believing so.
    /// Blocks.
    pub(super) fn look_again(&self, topic: &str, wait: Duration) {
        if let Err(error) = self.admin.inner().fetch_metadata(Some(topic), wait) {
            tracing::debug!(%error, topic, "the topic cannot be looked at");
        }
    }

    /// What an error means, while something was done with a topic.
    pub(super) fn error(&self, doing: &'static str, topic: &str, error: &KafkaError) -> KafkaLogError {
        use RDKafkaErrorCode as Code;
        let (brokers, topic) = (self.brokers.clone(), topic.to_owned());
        let Some(code) = error.rdkafka_error_code() else {
            return KafkaLogError::Other { brokers, doing, reason: self.reason(error) };
        };
        match code {
            Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => KafkaLogError::FewReplicas { brokers, topic },
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => KafkaLogError::TopicGone { brokers, topic },
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed | Code::GroupAuthorizationFailed => {
                KafkaLogError::Denied { brokers, doing, topic, reason: self.reason(error) }
            }
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::Resolve
            | Code::NetworkException
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::SSL => KafkaLogError::Away { brokers, doing, reason: self.reason(error) },
            _ => KafkaLogError::Other { brokers, doing, reason: self.reason(error) },
        }
    }

    /// The error in words, with what the clients said of late on their own.
    pub(super) fn reason(&self, error: &KafkaError) -> String {
        let text = self.config.settings.masked(&error.to_string());
        match self.watcher.0.recently() {
            Some(said) => format!("{text}, {said}"),
            None => text,
        }
    }

    /// What the clients said of late on their own, if anything.
    pub(super) fn said(&self) -> Option<String> {
        self.watcher.0.recently()
    }
}

/// What every client has; what the configuration passes through comes last and cannot replace what [`Settings`] does not allow.
fn base(config: &KafkaLogConfig) -> ClientConfig {
    let mut all = ClientConfig::new();
    all.set_log_level(RDKafkaLogLevel::Warning);
    for (name, value) in [
        ("bootstrap.servers", config.bootstrap().as_str()),
        ("client.id", "afferent"),
        ("socket.nagle.disable", "true"),
        ("socket.keepalive.enable", "true"),
        ("socket.timeout.ms", ANSWER_WAIT_MS),
        ("socket.connection.setup.timeout.ms", CONNECT_WAIT_MS),
        ("topic.metadata.refresh.interval.ms", LEADERS_EVERY_MS),
        ("metadata.max.age.ms", LEADERS_VALID_MS),
        ("reconnect.backoff.ms", RECONNECT_MS.0),
        ("reconnect.backoff.max.ms", RECONNECT_MS.1),
    ] {
        all.set(name, value);
    }
    all.extend(config.settings.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    all
}

fn make<C: ClientContext, T: FromClientConfigAndContext<C>>(all: &ClientConfig, settings: &Settings, context: C) -> Result<T, KafkaLogError> {
    all.create_with_context(context).map_err(|error| settings.refused(&error))
}

/// Hears what clients say on their own, without secrets.
#[derive(Clone)]
pub(super) struct Watcher(Arc<Said>);

struct Said {
    settings: Settings,
    last: Mutex<Option<(Instant, String)>>,
}

impl Said {
    fn recently(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(at, _)| at.elapsed() < SAID_VALID).map(|(_, said)| said.clone())
    }
}

impl ClientContext for Watcher {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        let message = self.0.settings.masked(message);
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(message, "Kafka client");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(message, "Kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That a consumer has read to the end is told the same way.
        if !matches!(error, KafkaError::PartitionEOF(_)) && !reason.is_empty() {
            let said = self.0.settings.masked(reason);
            *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), said));
        }
    }
}

impl ConsumerContext for Watcher {}
