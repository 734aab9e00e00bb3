//! Answers of a process that waits: it reads published files itself, and asks the process that works for the rows in memory. Where that one is gone,
//! the answer says what it lacks. Not the running of statements (queries), nor who works (standby).

mod report;
mod rows;
pub mod serve;

use crate::error::ApiError;
use crate::roster::{KEY, Roster};
use afferent_engine::live::{LiveRows, ReadView};
use afferent_engine::schema::TableName;
use report::{Asked, Told};
use rows::{Lease, RemoteRows};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where a process that works tells what it shows.
pub(crate) const VIEW_PATH: &str = "/internal/v1/view";

/// Where it gives rows in memory.
pub(crate) const ROWS_PATH: &str = "/internal/v1/rows";

/// How long the process that works may take to say what it shows: one that stands still is not waited for longer.
const VIEW_WAIT: Duration = Duration::from_secs(5);

/// A question that fails sooner met a connection that the other end had closed: it is asked once more.
const STALE_WITHIN: Duration = Duration::from_millis(500);

/// The process that works is asked every second while this one waits: it does not answer where it has said nothing for so long.
const SILENT_AFTER: Duration = Duration::from_millis(if cfg!(test) { 1_500 } else { 3_000 });

/// How long it may take to give the rows of one table.
const ROWS_WAIT: Duration = Duration::from_secs(20);

/// How long the process of a partition may take until the first of them comes: one that stands still is missing in the answer after that.
const PARTITION_ROWS_WAIT: Duration = Duration::from_secs(3);

/// Bytes that are read of what it says.
const VIEW_BYTES_MAX: u64 = 256 << 20;

/// What the process that works shows, as this one knows it.
pub struct Replica {
    agent: ureq::Agent,
    known: Mutex<Option<Arc<Known>>>,
    /// Reads that are over; the process that works is told with the next question.
    over: Arc<Mutex<Vec<u64>>>,
    /// The last question was not answered at all.
    unheard: AtomicBool,
    /// Who else runs stages of statements: what is asked and told says so, too.
    pub(crate) roster: Arc<Roster>,
    /// Only the engine of this partition is asked.
    partition: Option<u32>,
}

/// What was told last. Its rows in memory are not there: they grow old at once.
struct Known {
    works_at: String,
    heard_at: Instant,
    view: ReadView,
    catalog: u64,
}

/// What a statement can be answered from.
pub enum Reading {
    /// Everything that the process that works shows.
    Whole(Whole),
    /// What it had published when it was last heard of.
    Part(Arc<ReadView>, Missing),
}

/// A state of all tables whose rows in memory come when they are asked for.
pub struct Whole {
    /// The state.
    pub view: Arc<ReadView>,
    lease: Arc<Lease>,
}

/// What an answer lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The process that would have the rest.
    pub works_at: String,
    /// The newest published epoch that the answer holds.
    pub epoch: u64,
    /// Seconds since that process was last heard of.
    pub silent_s: u64,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { works_at, epoch, silent_s } = self;
        write!(f, "rows that came after epoch {epoch} was published are missing: the process at {works_at} has not answered for {silent_s} s")
    }
}

impl Whole {
    /// The process that works did not give the rows it was asked for.
    pub fn has_failed(&self) -> bool {
        self.lease.has_failed()
    }

    /// It has more of them than it gives away: it is to be asked the whole statement.
    pub fn is_too_large(&self) -> bool {
        self.lease.is_too_large()
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Replica {
    /// Of a process that knows others by `roster`.
    pub fn new(roster: Arc<Roster>) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        Self { agent: config.build().into(), known: Mutex::default(), over: Arc::default(), unheard: AtomicBool::new(false), roster, partition: None }
    }

    /// The same for the engine of one partition.
    pub(crate) fn of_partition(partition: u32, roster: Arc<Roster>) -> Self {
        Self { partition: Some(partition), ..Self::new(roster) }
    }

    /// What can be read now, where something was ever heard of the process that works.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn read(self: &Arc<Self>, works_at: Option<&str>) -> Option<Reading> {
        let Some(works_at) = works_at else { return self.part() };
        let (replica, at) = (Arc::clone(self), works_at.to_owned());
        match tokio::task::spawn_blocking(move || replica.ask(&at)).await {
            Ok(Ok(whole)) => Some(Reading::Whole(whole)),
            Ok(Err(error)) => {
                tracing::debug!(%error, works_at, "the process that works does not say what it shows");
                self.part()
            }
            Err(error) => {
                tracing::error!(%error, "asking the process that works failed");
                self.part()
            }
        }
    }

    /// What was published when the process that works was last heard of.
    fn part(&self) -> Option<Reading> {
        let (view, missing) = Self::last(&*self.known()?);
        Some(Reading::Part(view, missing))
    }

    /// The same where it still is the one that works, and does not answer at all: one that says that it is being recovered does.
    pub fn silent(&self, works_at: &str) -> Option<(Arc<ReadView>, Missing)> {
        let is_silent = |known: &Arc<Known>| known.works_at == works_at && known.heard_at.elapsed() >= SILENT_AFTER;
        let known = self.known().filter(is_silent).filter(|_| self.unheard.load(Ordering::Relaxed))?;
        Some(Self::last(&known))
    }

    fn last(known: &Known) -> (Arc<ReadView>, Missing) {
        let missing = Missing { works_at: known.works_at.clone(), epoch: known.view.status.epoch, silent_s: known.heard_at.elapsed().as_secs() };
        (Arc::new(known.view.clone()), missing)
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks what the process that works shows, and leases it.
    fn ask(&self, works_at: &str) -> Result<Whole, ApiError> {
        let before = self.known();
        let over = std::mem::take(&mut *self.over.lock().unwrap_or_else(PoisonError::into_inner));
        let mut asked = Asked::new(before.as_deref().map(|known| (&known.view, known.catalog)), over);
        (asked.from, asked.partition) = (self.roster.own().cloned(), self.partition);
        let base = works_at.trim_end_matches('/');
        let (url, started) = (format!("{base}{VIEW_PATH}"), Instant::now());
        let told: Told = match self.post(&url, &asked) {
            Err(_) if started.elapsed() < STALE_WITHIN => self.post(&url, &asked)?,
            told => told?,
        };
        let (read, live) = (told.read, told.live.clone());
        // Where the process that works is stands in its checkpoint: what it says of others is true.
        told.places.iter().for_each(|place| self.roster.hear(place.clone(), Instant::now()));
        let wait = if self.partition.is_some() { PARTITION_ROWS_WAIT } else { ROWS_WAIT };
        let lease = Lease::new(self.agent.clone(), format!("{base}{ROWS_PATH}"), read, wait, Arc::clone(&self.over));
        let (mut view, catalog) = told.onto(before.as_deref().map(|known| (&known.view, known.catalog)))?;
        // It may have been said at any moment since it was asked for.
        view.status = Arc::new(view.status.aged(started.elapsed()));
        let known = Known { works_at: works_at.to_owned(), heard_at: Instant::now(), view: view.clone(), catalog };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
        let remote = |table: TableName| {
            let rows: Arc<dyn LiveRows> = Arc::new(RemoteRows::new(table.clone(), Arc::clone(&lease)));
            (table, rows)
        };
        let view = ReadView { live: live.into_iter().map(remote).collect::<BTreeMap<_, _>>(), ..view };
        Ok(Whole { view: Arc::new(view), lease })
    }

    fn post(&self, url: &str, asked: &Asked) -> Result<Told, ApiError> {
        let failed = |error: &dyn std::fmt::Display| ApiError::unavailable(format!("{url}: {error}"));
        let body = serde_json::to_vec(asked).map_err(|e| failed(&e))?;
        let mut request = self.agent.post(url).config().timeout_global(Some(VIEW_WAIT)).build().header("content-type", "application/json");
        if let Some(key) = self.roster.key() {
            request = request.header(KEY, key.header());
        }
        let sent = request.send(body.as_slice());
        self.unheard.store(sent.is_err(), Ordering::Relaxed);
        let mut answer = sent.map_err(|e| failed(&e))?;
        if !answer.status().is_success() {
            return Err(failed(&answer.status()));
        }
        let text = answer.body_mut().with_config().limit(VIEW_BYTES_MAX).read_to_vec().map_err(|e| failed(&e))?;
        serde_json::from_slice(&text).map_err(|e| failed(&e))
    }
}

#[cfg(test)]
mod tests;
