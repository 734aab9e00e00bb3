//! Stages that this process runs for statements of other processes, within the limits of its own. Not what may be asked of it (`allowed`).

use super::channel::{Link, Ways};
use super::wire::{Batches, Failure, Frame, PlanAsked, RunAsked, read_question, unavailable};
use super::{Neighbours, allowed};
use crate::config::SqlLimits;
use crate::error::{Error, Result};
use crate::metrics::Metric;
use crate::session::limits;
use bytes::Bytes;
use datafusion::error::Result as PlanResult;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion_distributed::{
    CoordinatorToWorkerMsg, DistributedExt as _, ExecuteTaskRequest, MaybeEncoded, ProducerHead, SetPlanRequest, TaskKey, Worker,
    WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext,
};
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use url::Url;
use uuid::Uuid;

/// Says of which statement a stage is.
const STATEMENT: HeaderName = HeaderName::from_static("x-afferent-statement");

/// How long a question for rows may be ahead of its plan.
const PLAN_WAIT: Duration = Duration::from_secs(5);

/// How often it is looked for.
const PLAN_POLL: Duration = Duration::from_millis(5);

/// How much longer than its statement a stage is kept, so that it is the statement that says why it ends.
const KEPT_BEYOND: Duration = Duration::from_secs(1);

/// Time between the end of a statement's stages here and the question after which nothing is left of them.
const TIDY_AFTER: Duration = Duration::from_millis(500);

/// Frames that lie ready between a stage and its reader.
const FRAMES_AHEAD_MAX: usize = 2;

/// An answer on its way.
pub type Parts = BoxStream<'static, Bytes>;

/// A statement of which this process runs stages: its own, or another's.
pub(super) struct Guest {
    runtime: Arc<RuntimeEnv>,
    link: Arc<Link>,
    deadline: Instant,
    _slot: Option<OwnedSemaphorePermit>,
    pool: Handle,
}

impl Drop for Guest {
    /// The worker lets go of what a stage held (the rows of a join, say) when it is asked something after that: it is asked something.
    fn drop(&mut self) {
        let worker = self.link.worker.clone();
        self.pool.spawn(async move {
            for _ in 0..2 {
                tokio::time::sleep(TIDY_AFTER).await;
                let task_key = TaskKey { query_id: Uuid::nil(), stage_id: 0, task_number: 0 };
                let nothing = ExecuteTaskRequest { task_key, target_partition_start: 0, target_partition_end: 0, producer_head: ProducerHead::None };
                drop(tokio::time::timeout(Duration::from_millis(1), worker.execute_task(nothing)).await);
            }
        });
    }
}

/// All of them, for as long as somebody holds them.
#[derive(Default)]
pub(super) struct Guests(Mutex<HashMap<String, Weak<Guest>>>);

impl Guests {
    fn find(&self, statement: &str) -> Option<Arc<Guest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(statement).and_then(Weak::upgrade)
    }

    fn find_or(&self, statement: &str, make: impl FnOnce() -> Result<Guest>) -> Result<Arc<Guest>> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = guests.get(statement).and_then(Weak::upgrade) {
            return Ok(guest);
        }
        guests.retain(|_, guest| guest.strong_count() > 0);
        let guest = Arc::new(make()?);
        guests.insert(statement.to_owned(), Arc::downgrade(&guest));
        Ok(guest)
    }

    /// A statement of this process.
    fn host(&self, link: Arc<Link>, runtime: Arc<RuntimeEnv>, pool: Handle) -> Result<Arc<Guest>> {
        let (statement, deadline) = (link.statement.clone(), link.deadline);
        self.find_or(&statement, || Ok(Guest { runtime, link, deadline, _slot: None, pool }))
    }
}

/// What stages of others run on.
pub(super) struct House {
    pub(super) neighbours: Neighbours,
    pub(super) version: String,
    pub(super) worker: Worker,
    guests: Arc<Guests>,
    pub(super) limits: SqlLimits,
    slots: Arc<Semaphore>,
    runtime: Arc<RuntimeEnv>,
    pool: Handle,
}

impl House {
    pub(super) fn new(
        neighbours: Neighbours,
        version: String,
        state: SessionState,
        limits: SqlLimits,
        slots: Arc<Semaphore>,
        runtime: Arc<RuntimeEnv>,
        pool: Handle,
    ) -> Self {
        neighbours.scans.register(&runtime);
        let guests = Arc::<Guests>::default();
        let (known, scans) = (Arc::clone(&guests), Arc::clone(&neighbours.scans));
        let session = move |context: WorkerQueryContext| std::future::ready(session(&state, &known, &scans, context));
        let worker = Worker::from_session_builder(session).with_runtime_env(Arc::clone(&runtime));
        Self { neighbours, version, worker, guests, limits, slots, runtime, pool }
    }

    /// Makes a statement of this process known to its stages here.
    pub(super) fn host(&self, link: Arc<Link>, runtime: Arc<RuntimeEnv>) -> Result<Arc<Guest>> {
        self.guests.host(link, runtime, self.pool.clone())
    }

    /// Takes a plan and keeps it while the answer is held.
    pub(super) async fn plan(self: Arc<Self>, body: Bytes) -> Parts {
        let house = Arc::clone(&self);
        self.spawn(async move |parts: mpsc::Sender<Bytes>| {
            if let Err(error) = house.take(body, &parts).await {
                send(&parts, &Frame::Failed(error)).await;
            }
        })
    }

    /// Runs one partition of a plan.
    pub(super) async fn run(self: Arc<Self>, body: Bytes) -> Parts {
        let house = Arc::clone(&self);
        self.spawn(async move |parts: mpsc::Sender<Bytes>| {
            let last = match house.rows(body, &parts).await {
                Ok(()) => Frame::End,
                Err(error) => Frame::Failed(Failure::of(&error)),
            };
            send(&parts, &last).await;
        })
    }

    /// Runs `work` on the threads for queries until its answer is dropped.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Parts {
        let (sender, parts) = mpsc::channel(FRAMES_AHEAD_MAX);
        let running = Running(self.pool.spawn(work(sender)).abort_handle());
        stream::unfold((parts, running), async |(mut parts, running)| parts.recv().await.map(|part| (part, (parts, running)))).boxed()
    }

    async fn take(&self, body: Bytes, parts: &mpsc::Sender<Bytes>) -> Result<(), Failure> {
        let (asked, plan): (PlanAsked, Bytes) = read_question(body).map_err(|e| Failure::of(&e))?;
        self.same_version(&asked.version).map_err(|e| Failure::of(&e))?;
        let refused = |error: Error| Failure::other(error.to_string());
        let at = Url::parse(&asked.at).map_err(|e| refused(Error::Internal(format!("{:?} is no address: {e}", asked.at))))?;
        let left = Duration::from_millis(asked.left_ms).min(Duration::from_secs(self.limits.seconds_max));
        let guest = self.guests.find_or(&asked.statement, || self.admit(&asked, &at, Instant::now() + left)).map_err(refused)?;
        let key = asked.task.key().map_err(|e| Failure::of(&e))?;
        let request = SetPlanRequest {
            task_key: key,
            task_count: asked.task_count,
            plan: MaybeEncoded::Encoded(plan.to_vec()),
            work_unit_feed_declarations: Vec::new(),
            target_worker_url: at,
            query_start_time_ns: asked.started_ns,
        };
        // The plan is let go of when this end is dropped: with the answer, at the latest at the deadline.
        let (held, let_go) = oneshot::channel::<()>();
        let until = let_go.map(|_| ()).into_stream().filter_map(|()| std::future::ready(None::<PlanResult<CoordinatorToWorkerMsg>>));
        let taken = self.worker.coordinator_channel(settings(&asked), request, until.boxed()).await;
        drop(taken.map_err(|e| Failure::of(&e))?);
        let _running = Counted::begin();
        send(parts, &Frame::Taken).await;
        let late = tokio::time::sleep_until(guest.deadline + KEPT_BEYOND);
        tokio::select! {
            () = late => {}
            () = parts.closed() => {}
        }
        drop(held);
        Err(Failure::other(limits::seconds(&self.limits).to_string()))
    }

    /// A statement that is new here takes one of the places of all statements.
    fn admit(&self, asked: &PlanAsked, own: &Url, deadline: Instant) -> Result<Guest> {
        let busy = Error::Busy { value: self.limits.concurrent_max };
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| busy)?;
        let wire = (self.neighbours.wire)();
        let others = (self.neighbours.others)();
        let (statement, version) = (asked.statement.clone(), self.version.clone());
        let link = Arc::new(Link::new(statement, version, deadline, own.clone(), others, self.worker.clone(), wire));
        Ok(Guest { runtime: limits::per_query(&self.runtime, &self.limits)?, link, deadline, _slot: Some(slot), pool: self.pool.clone() })
    }

    async fn rows(&self, body: Bytes, parts: &mpsc::Sender<Bytes>) -> PlanResult<()> {
        let (asked, partitioning): (RunAsked, Bytes) = read_question(body)?;
        self.same_version(&asked.version)?;
        let guest = self.awaited(&asked.statement).await?;
        let request = ExecuteTaskRequest {
            task_key: asked.task.key()?,
            target_partition_start: asked.partition,
            target_partition_end: asked.partition + 1,
            producer_head: asked.head.with(partitioning.to_vec()),
        };
        let deadline = guest.deadline + KEPT_BEYOND;
        // Not held: a stage ends with its plan.
        drop(guest);
        let run = async {
            let (streams, _) = self.worker.execute_task(request).await?;
            for mut rows in streams {
                let mut batches = Batches::new(&rows.schema())?;
                while let Some(batch) = rows.next().await {
                    if !send(parts, &batches.frame(&batch?)?).await {
                        break;
                    }
                }
            }
            Ok(())
        };
        let late = || unavailable(limits::seconds(&self.limits).to_string());
        timeout_at(deadline, run).await.unwrap_or_else(|_| Err(late()))
    }

    /// Rows may be asked for before the plan has come: the two come from different processes.
    async fn awaited(&self, statement: &str) -> PlanResult<Arc<Guest>> {
        let until = Instant::now() + PLAN_WAIT;
        loop {
            match self.guests.find(statement) {
                Some(guest) => return Ok(guest),
                None if Instant::now() < until => tokio::time::sleep(PLAN_POLL).await,
                None => return Err(unavailable("no stage of this statement is known here".to_owned())),
            }
        }
    }

    fn same_version(&self, theirs: &str) -> PlanResult<()> {
        if theirs == self.version {
            return Ok(());
        }
        Err(unavailable(format!("this process is of version {}, the other of {theirs}", self.version)))
    }
}

/// Counts a part of a stage for as long as it is there.
struct Counted;

impl Counted {
    fn begin() -> Self {
        metrics::counter!(Metric::StagesRun.name()).increment(1);
        metrics::gauge!(Metric::StagesRunning.name()).increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(Metric::StagesRunning.name()).decrement(1.0);
    }
}

/// Ends a task when its answer is dropped.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// False where nobody listens any more.
async fn send(parts: &mpsc::Sender<Bytes>, frame: &Frame) -> bool {
    parts.send(frame.bytes()).await.is_ok()
}

/// What the engine of stages reads of a question: the settings of the statement, and whose it is.
fn settings(asked: &PlanAsked) -> HeaderMap {
    let pairs = asked.settings.iter().filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?)));
    let mut headers: HeaderMap = pairs.collect();
    if let Ok(statement) = HeaderValue::try_from(&asked.statement) {
        headers.insert(STATEMENT, statement);
    }
    headers
}

/// What names a statement to the stages of this process.
pub(super) fn named(statement: &str) -> HeaderMap {
    let value = HeaderValue::try_from(statement).ok();
    value.map(|value| (STATEMENT, value)).into_iter().collect()
}

/// The session of one stage: functions and settings as for statements of this process, memory shared by all stages of its statement.
fn session(state: &SessionState, guests: &Guests, scans: &Arc<dyn super::Scans>, context: WorkerQueryContext) -> PlanResult<SessionState> {
    let statement = context.headers.get(STATEMENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let gone = || unavailable("the statement of this stage is not known here".to_owned());
    let guest = guests.find(statement).ok_or_else(gone)?;
    let mut builder = context.builder;
    let mut config = builder.config().take().unwrap_or_default();
    let mut options = state.config().options().as_ref().clone();
    options.extensions = config.options().extensions.clone();
    *config.options_mut() = options;
    let (scans, runtime) = (Arc::clone(scans), Arc::clone(&guest.runtime));
    let check =
        move |event: WorkerPlanRewriteEvent<'_>| allowed::allowed(event.plan, scans.as_ref(), &runtime).map(WorkerPlanRewriteEventResponse::new);
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .with_runtime_env(Arc::clone(&guest.runtime))
        .with_distributed_channel_resolver(Ways(Arc::clone(&guest.link)))
        .with_distributed_worker_plan_rewrite_handler(check);
    Ok(state.build())
}
