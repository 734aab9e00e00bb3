//! The groups of the processes that share a log: Kafka says which of them works it, or which of its partitions. No record is read here, and no
//! offset is committed.
//!
//! A process that Kafka has not heard of for [`SESSION_MS`] loses the log to another one. One that only stood still learns of it when it goes on;
//! until then it is the create-only checkpoint that keeps the two apart.

use super::KafkaLog;
use super::cluster::{Cluster, Watcher};
use super::error::KafkaLogError;
use super::topics;
use afferent_engine::error::{Error, Result};
use afferent_engine::log::Topic;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Silence after which a process has lost the log; brokers take no less than 6 s unless they are told to.
const SESSION_MS: &str = "9000";

/// How long one that has gone may still be told as a member: a session, and what the group takes to notice.
const GONE_WAIT: Duration = Duration::from_secs(15);

/// Names of the groups, after the topics' prefix: of who works the whole log, or has the views; and of who share the partitions.
const WORKERS: &str = "workers";
const PARTITIONS: &str = "partitions";

/// How often a process says that it is there.
const HEARTBEAT_MS: &str = "2000";

/// How long the group waits for a process to let go of the log before it goes on without it.
const LET_GO_WAIT: Duration = Duration::from_secs(8);

/// How long the group waits for one of its processes to join again, and, three seconds more, a process for an answer to that: a broker that stands
/// still with the request would else be waited for five minutes. Longer than [`LET_GO_WAIT`].
const JOIN_WAIT_MS: &str = "15000";

/// How long a process that leaves may take to find out whether another one waits for the log.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// Characters of the number in a member's id, a UUID.
const MEMBER_NUMBER_CHARS: usize = 36;

/// What a request to join is given to be answered before its process leaves: the others hear of it with their next heartbeat.
const JOINED_WAIT: Duration = Duration::from_secs(3);

/// What a client that leaves is given to stop reading, before which it does not tell the group; it does not say when it has.
const LEAVE_WAIT: Duration = Duration::from_millis(500);

/// Pause before a process joins again under another name.
const REJOIN_PAUSE: Duration = Duration::from_secs(1);

/// Longest sleep in one poll.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// This process as one of a group, as far as one log is concerned. The work must have ended before it is dropped. The last one that is leaves the
/// group where another process waits, which has the logs at once; else the group keeps the place for its session, and a process that comes back
/// has them at once.
pub struct Membership {
    standing: watch::Receiver<Standing>,
    let_go: Arc<LetGo>,
    _client: Arc<Client>,
}

/// The thread that hears the group.
struct Client {
    lets_go: Vec<Arc<LetGo>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How sure it is that another process is to work the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The group says so, and waits some seconds for [`Membership::let_go`].
    Surely,
    /// The group is not heard of: [`Membership::assigned`] may come again, or the other one's checkpoint.
    Perhaps,
}

/// What Kafka says of this process.
#[derive(Debug, Clone, Default)]
enum Standing {
    /// Another one works the log, or none yet.
    #[default]
    Waits,
    /// This one does.
    Works,
    /// This one did, and the group has not been heard of for so long that it may have given the log to another one. Or the brokers are away.
    Unsure,
    /// The group does not take it.
    Refused(KafkaLogError),
}

/// Told by the worker when nothing of its can be published any more.
#[derive(Default)]
struct LetGo {
    done: Mutex<bool>,
    told: Condvar,
}

impl LetGo {
    fn set(&self, done: bool) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = done;
        self.told.notify_all();
    }

    fn wait(&self, until: Instant) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = until.saturating_duration_since(Instant::now());
        drop(self.told.wait_timeout_while(done, wait, |done| !*done).unwrap_or_else(PoisonError::into_inner));
    }
}

/// One log of the group, told and heard from this process's side.
#[derive(Clone)]
struct Seat {
    partition: i32,
    tell: watch::Sender<Standing>,
    let_go: Arc<LetGo>,
}

impl Seat {
    /// The group may have given the log to another process.
    fn may_have_lost(&self) {
        self.tell.send_if_modified(|standing| {
            let worked = matches!(standing, Standing::Works);
            if worked {
                *standing = Standing::Unsure;
            }
            worked
        });
    }
}

impl KafkaLog {
    /// Joins the group of the processes of which one works the whole log. `instance` names this process across its restarts: one that comes back
    /// within the session has the log again at once, and one that joins under the same name takes it over. The one whose name was taken, be it by a
    /// request of its own that the brokers answered late, joins again under another one.
    ///
    /// # Errors
    /// `Invalid` where the client refuses the settings; what the brokers say is told by [`Membership::assigned`].
    pub fn join(&self, instance: &str) -> Result<Membership> {
        // Whoever has its one partition works the whole log.
        let mut seats = self.join_group(Topic::Events, 1, WORKERS, instance)?;
        seats.pop().ok_or_else(|| Error::internal("a group without a seat"))
    }

    /// Joins the group of the processes that share the partitions of the metrics, each of which is worked by one of them; one seat for each partition.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn join_partitions(&self, instance: &str) -> Result<Vec<Membership>> {
        self.join_group(Topic::Metrics, self.partitions(), PARTITIONS, instance)
    }

    /// True while a process is in one of the groups. One that was stopped keeps its place for its session, which is waited for.
    ///
    /// # Errors
    /// `Unavailable` where the brokers do not say.
    pub async fn is_worked(&self) -> Result<bool> {
        let deadline = Instant::now() + GONE_WAIT;
        loop {
            let cluster = Arc::clone(&self.cluster);
            let members = super::blocking(&self.cluster, move || {
                let mut members = 0;
                for name in [WORKERS, PARTITIONS] {
                    let group = format!("{}.{name}", cluster.config.topic_prefix);
                    let list = cluster.admin().inner().fetch_group_list(Some(&group), LOOK_WAIT * 5);
                    let list = list.map_err(|error| cluster.error("look who is in the group", &group, &error))?;
                    members += list.groups().iter().map(|group| group.members().len()).sum::<usize>();
                }
                Ok(members)
            });
            if members.await? == 0 {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn join_group(&self, topic: Topic, partitions: u32, name: &str, instance: &str) -> Result<Vec<Membership>> {
        let seat = |partition| Seat { partition, tell: watch::channel(Standing::default()).0, let_go: Arc::default() };
        let seats: Vec<Seat> = (0..i32::try_from(partitions).unwrap_or(i32::MAX)).map(seat).collect();
        let standings: Vec<_> = seats.iter().map(|seat| (seat.tell.subscribe(), Arc::clone(&seat.let_go))).collect();
        let stop = Arc::<AtomicBool>::default();
        let group = format!("{}.{name}", self.cluster.config.topic_prefix);
        let topic = topics::name(&self.cluster.config, topic);
        let names = Names { cluster: Arc::clone(&self.cluster), group, topic, instance: instance.to_owned(), taken: 0, seats };
        let consumer = names.consumer()?;
        let (stopped, lets_go): (_, Vec<_>) = (Arc::clone(&stop), standings.iter().map(|(_, let_go)| Arc::clone(let_go)).collect());
        let going = lets_go.clone();
        let run = move || {
            names.hear(consumer, &stopped);
            // The one who waits for the work to end has been waited for.
            going.iter().for_each(|let_go| let_go.set(true));
        };
        let thread = Builder::new().name("kafka-group".into()).spawn(run);
        let brokers = self.cluster.brokers.clone();
        let thread = thread.map_err(|e| KafkaLogError::Other { brokers, doing: "start a thread", reason: e.to_string() })?;
        let client = Arc::new(Client { lets_go, stop, thread: Some(thread) });
        Ok(standings.into_iter().map(|(standing, let_go)| Membership { standing, let_go, _client: Arc::clone(&client) }).collect())
    }
}

/// The names that this process has had in the group, one after the other.
struct Names {
    cluster: Arc<Cluster>,
    group: String,
    topic: String,
    instance: String,
    /// How many of them another member took.
    taken: usize,
    seats: Vec<Seat>,
}

impl Names {
    fn now(&self) -> String {
        if self.taken == 0 { self.instance.clone() } else { format!("{}-{}", self.instance, self.taken) }
    }

    /// A client that joins under the name of now.
    fn consumer(&self) -> Result<BaseConsumer<Member>, KafkaLogError> {
        let instance = self.now();
        let settings = [
            ("group.id", self.group.as_str()),
            ("group.instance.id", instance.as_str()),
            ("session.timeout.ms", SESSION_MS),
            ("heartbeat.interval.ms", HEARTBEAT_MS),
            ("max.poll.interval.ms", JOIN_WAIT_MS),
            // Who has the log keeps it when others come.
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "latest"),
            ("queued.min.messages", "1"),
        ];
        let (topic, seats) = (self.topic.clone(), self.seats.clone());
        let context = Member { watcher: self.cluster.watcher(), topic, seats, ended: AtomicBool::new(false) };
        let consumer: BaseConsumer<Member> = self.cluster.client_with(&settings, context)?;
        consumer.subscribe(&[&self.topic]).map_err(|error| self.cluster.error("join the group of", &self.topic, &error))?;
        Ok(consumer)
    }

    /// Hears what the group says, until it is to stop or cannot go on.
    fn hear(mut self, mut consumer: BaseConsumer<Member>, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let Some(Err(error)) = consumer.poll(POLL_WAIT) else { continue };
            let context = consumer.context();
            context.heard(&self.cluster, &error);
            if !context.ended.load(Ordering::Acquire) {
                continue;
            }
            drop(consumer);
            self.taken += 1;
            tracing::warn!(name = self.now(), "joins the group again under another name");
            std::thread::sleep(REJOIN_PAUSE);
            consumer = match self.consumer() {
                Ok(consumer) => consumer,
                Err(error) => {
                    self.seats.iter().for_each(|seat| drop(seat.tell.send_replace(Standing::Refused(error.clone()))));
                    return;
                }
            };
        }
        // Leaving revokes what is assigned, which waits for the worker.
        self.seats.iter().for_each(|seat| seat.let_go.set(true));
        if self.others_wait(&consumer) {
            leave(&consumer);
        }
        drop(consumer);
    }

    /// True where another process is in the group; also where that cannot be found out, because leaving costs less than its wait for our session.
    fn others_wait(&self, consumer: &BaseConsumer<Member>) -> bool {
        match consumer.fetch_group_list(Some(&self.group), LOOK_WAIT) {
            Ok(list) => list.groups().iter().flat_map(|group| group.members()).any(|member| name_of(member.id()) != Some(self.now().as_str())),
            Err(error) => {
                tracing::debug!(%error, "who else is in the group cannot be looked up");
                true
            }
        }
    }
}

/// The name that a member joined with, which Kafka puts before a number of its own.
fn name_of(member_id: &str) -> Option<&str> {
    member_id.get(..member_id.len().checked_sub(MEMBER_NUMBER_CHARS)?)?.strip_suffix('-')
}

/// Tells the group that this process goes. A client with a name of its own that is only closed tells nothing: its group waits for its session. One
/// that wants no topic any more leaves, unless it does not know yet that it was let in.
fn leave(consumer: &BaseConsumer<Member>) {
    poll_while(consumer, JOINED_WAIT, || matches!(consumer.rebalance_protocol(), RebalanceProtocol::None));
    consumer.unsubscribe();
    poll_while(consumer, LEAVE_WAIT, || true);
}

fn poll_while(consumer: &BaseConsumer<Member>, wait: Duration, goes_on: impl Fn() -> bool) {
    let deadline = Instant::now() + wait;
    while Instant::now() < deadline && goes_on() {
        if let Some(Err(error)) = consumer.poll(POLL_WAIT) {
            tracing::debug!(%error, "while the group is left");
        }
    }
}

impl Membership {
    /// Returns when this process is to work the log.
    ///
    /// # Errors
    /// `Unavailable` where the group does not take it: no permission.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn assigned(&mut self) -> Result<()> {
        loop {
            match &*self.standing.borrow_and_update() {
                Standing::Works => break,
                Standing::Refused(error) => return Err(error.clone().into()),
                Standing::Waits | Standing::Unsure => {}
            }
            if self.standing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        self.let_go.set(false);
        Ok(())
    }

    /// Returns when this process is not, or may not be, the one that works the log any more.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn lost(&mut self) -> Lost {
        loop {
            match &*self.standing.borrow_and_update() {
                Standing::Works => {}
                Standing::Unsure => return Lost::Perhaps,
                Standing::Waits | Standing::Refused(_) => return Lost::Surely,
            }
            if self.standing.changed().await.is_err() {
                return Lost::Surely;
            }
        }
    }

    /// Tells that nothing this process has in flight can be published any more.
    pub fn let_go(&self) {
        self.let_go.set(true);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.let_go.set(true);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.lets_go.iter().for_each(|let_go| let_go.set(true));
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread of the group died");
        }
    }
}

/// Hears what the group decides.
struct Member {
    watcher: Watcher,
    topic: String,
    seats: Vec<Seat>,
    /// This client can do nothing more.
    ended: AtomicBool,
}

impl Member {
    /// Those that are named.
    fn named(&self, partitions: &TopicPartitionList) -> Vec<&Seat> {
        self.seats.iter().filter(|seat| partitions.find_partition(&self.topic, seat.partition).is_some()).collect()
    }

    fn heard(&self, cluster: &Cluster, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        let said = cluster.error("join the group of", &self.topic, error);
        match error.rdkafka_error_code() {
            Some(Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed) => {
                self.seats.iter().for_each(|seat| drop(seat.tell.send_replace(Standing::Refused(said.clone()))));
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                tracing::warn!(error = %said, "the client of the group can do nothing more");
                self.ended.store(true, Ordering::Release);
                self.seats.iter().for_each(Seat::may_have_lost);
            }
            // What passes by itself; the group is told again and again by the client.
            _ => tracing::debug!(error = %said, "the group of workers"),
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watcher.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watcher.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(partitions) = rebalance else { return };
        let named = self.named(partitions);
        if named.is_empty() {
            return;
        }
        let numbers: Vec<i32> = named.iter().map(|seat| seat.partition).collect();
        if consumer.assignment_lost() || self.ended.load(Ordering::Acquire) {
            tracing::warn!(topic = self.topic, partitions = ?numbers, "the group has not been heard of for a while: another process may have the log");
            named.into_iter().for_each(Seat::may_have_lost);
            return;
        }
        tracing::info!(topic = self.topic, partitions = ?numbers, "the group gives the log to another process");
        named.iter().for_each(|seat| drop(seat.tell.send_replace(Standing::Waits)));
        // What is in flight becomes unpublishable before the group hears that we let go.
        let until = Instant::now() + LET_GO_WAIT;
        named.iter().for_each(|seat| seat.let_go.wait(until));
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        let named = self.named(partitions);
        if named.is_empty() {
            return;
        }
        // Records come through a reader of their own, from where the checkpoint says.
        if let Err(error) = consumer.pause(partitions) {
            tracing::debug!(%error, "the group's consumer could not be paused");
        }
        let numbers: Vec<i32> = named.iter().map(|seat| seat.partition).collect();
        tracing::info!(topic = self.topic, partitions = ?numbers, "the group gives the log to this process");
        named.iter().for_each(|seat| drop(seat.tell.send_replace(Standing::Works)));
    }
}
