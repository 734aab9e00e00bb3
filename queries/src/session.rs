//! SQL for people and programs: one read-only statement over everything that is stored, in memory, and computed. Not the continuous views.

mod answer;
mod catalog;
mod described;
mod latest;
mod limits;
mod newest;
mod sandbox;
pub mod stages;

pub use answer::{Answer, AnswerStats};

use crate::config::{SLOT_WAIT_MS, SqlLimits};
use crate::dimensions::Dimensions;
use crate::error::{Error, Result};
use crate::functions;
use crate::metrics::Metric;
use crate::plan::{configure, shipped_plain};
use crate::run::instant;
use afferent_engine::live::{Live, ReadView};
use afferent_engine::query::STACK_BYTES;
use afferent_engine::schema::TableDef;
use answer::Sender;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use catalog::{CATALOG, PUBLIC, Relations};
use datafusion::catalog::TableProvider;
use datafusion::common::display::{PlanType, StringifiedPlan};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry, SendableRecordBatchStream, SessionStateBuilder, SessionStateDefaults, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::explain::ExplainExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use stages::{Neighbours, Parts, Spread, Stages};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// Makes the relation of a stored table out of one state of all tables: published files and the rows after them.
pub type TableSource = Arc<dyn Fn(&TableDef, &ReadView) -> Arc<dyn TableProvider> + Send + Sync>;

/// Answers statements. Clones share their threads and limits.
#[derive(Clone)]
pub struct SqlEngine {
    live: Arc<Live>,
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    pool: Arc<Pool>,
    stages: Option<Stages>,
}

/// What every query needs.
struct Shared {
    tables: TableSource,
    limits: SqlLimits,
    state: SessionState,
    runtime: Arc<RuntimeEnv>,
    fixed: Arc<catalog::Fixed>,
}

/// Threads of its own: a query computes for seconds, which the threads that accept connections must not.
struct Pool(Option<Runtime>);

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Bytes of an answer of several processes that are held back.
const HELD_BYTES_MAX: usize = 8 << 20;

/// Threads that run queries at most, however many may run at once.
const POOL_THREADS_MAX: usize = 256;

impl SqlEngine {
    /// An engine over the current state of all tables.
    ///
    /// # Errors
    /// `Invalid` where a limit is out of range; `Internal` where threads cannot be had.
    pub fn new(dimensions: &Dimensions, live: Arc<Live>, tables: TableSource, limits: SqlLimits) -> Result<Self> {
        limits.check()?;
        // A join may hold its thread long past its limit; with a share of threads for every query, the others go on meanwhile.
        let pool = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(limits.threads.saturating_mul(limits.concurrent_max).min(POOL_THREADS_MAX))
            .thread_name("afferent-sql")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|e| Error::Internal(format!("threads for queries: {e}")))?;
        let runtime = limits::runtime()?;
        let state = base_state(&limits, Arc::clone(&runtime))?;
        let mut constant: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        for (name, rows) in dimensions.relations() {
            constant.insert(name, Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(Error::statement)?));
        }
        let fixed = Arc::new(catalog::Fixed { constant, plain: shipped_plain()? });
        let slots = Arc::new(Semaphore::new(limits.concurrent_max));
        Ok(Self { live, shared: Arc::new(Shared { tables, limits, state, runtime, fixed }), slots, pool: Arc::new(Pool(Some(pool))), stages: None })
    }

    /// The same engine with other processes that help it, and that it helps.
    #[must_use]
    pub fn beside(mut self, neighbours: Neighbours) -> Self {
        self.stages = self.pool.0.as_ref().map(|pool| Stages::new(neighbours, &self.shared, Arc::clone(&self.slots), pool.handle().clone()));
        self
    }

    /// What a process has to be of to run stages for this one.
    pub fn version(&self) -> String {
        stages::version(&self.shared.state)
    }

    /// Takes the plan of a stage of another process and keeps it for as long as the answer is held; none where this engine has no neighbours.
    pub async fn take_stage(&self, body: Bytes) -> Option<Parts> {
        Some(self.stages.as_ref()?.plan(body).await)
    }

    /// Runs one partition of it; none where this engine has no neighbours.
    pub async fn run_stage(&self, body: Bytes) -> Option<Parts> {
        Some(self.stages.as_ref()?.run(body).await)
    }

    /// The same engine over other tables.
    #[must_use]
    pub fn over(&self, live: Arc<Live>) -> Self {
        Self { live, ..self.clone() }
    }

    /// Starts one statement; its rows come as they are computed.
    ///
    /// # Errors
    /// `Invalid`: the statement is wrong, not allowed, or reached a limit (named). `Unavailable`: all slots are taken.
    ///
    /// # Cancel safety
    /// Dropping the future, or later the answer, ends the query.
    pub async fn query(&self, sql: &str) -> Result<Answer> {
        metrics::counter!(Metric::StatementsIn.name()).increment(1);
        let answer = self.start(sql).await;
        if let Err(error) = &answer {
            answer::count_failure(error);
        }
        answer
    }

    async fn start(&self, sql: &str) -> Result<Answer> {
        let statement = sandbox::check(sql)?;
        let limits = &self.shared.limits;
        let busy = || Error::Busy { value: limits.concurrent_max };
        let slot = timeout(Duration::from_millis(SLOT_WAIT_MS), Arc::clone(&self.slots).acquire_owned()).await;
        let slot = slot.map_err(|_| busy())?.map_err(|_| busy())?;
        let view = self.live.view();
        let (sender, mut answer) = answer::channel(Arc::clone(&view.status), limits);
        let deadline = Instant::now() + Duration::from_secs(limits.seconds_max);
        let Some(pool) = &self.pool.0 else {
            return Err(Error::Internal("the query threads are gone".to_owned()));
        };
        let job = job(Arc::clone(&self.shared), self.stages.clone(), view, statement, sender, deadline, slot);
        answer.cancels(pool.handle().spawn(job).abort_handle());
        // Planning cannot be interrupted, but nobody needs to wait for it.
        match timeout_at(deadline + Duration::from_secs(1), answer.begin()).await {
            Ok(begun) => begun?,
            Err(_) => return Err(limits::seconds(limits)),
        }
        Ok(answer)
    }
}

/// Plans and runs one query until its end, its deadline, or until nobody listens.
async fn job(
    shared: Arc<Shared>,
    stages: Option<Stages>,
    view: Arc<ReadView>,
    statement: datafusion::sql::parser::Statement,
    sender: Sender,
    deadline: Instant,
    slot: OwnedSemaphorePermit,
) {
    let work = async {
        let mut planned = shared.plan(Arc::clone(&view), statement).await?;
        if let Some(stages) = &stages {
            shared.explain(stages, &mut planned, deadline).await?;
            if shared.in_stages(stages, &planned, &sender, deadline).await? {
                return Ok(());
            }
        }
        let rows = shared.alone(&planned)?;
        sender.columns(rows.schema(), 1).await;
        shared.forward(rows, 0, &sender).await
    };
    let outcome = timeout_at(deadline, work).await.unwrap_or_else(|_| Err(limits::seconds(&shared.limits)));
    sender.end(outcome);
    // The files of this state stay until here, wherever they are read.
    drop(view);
    drop(slot);
}

/// A statement that can be run.
struct Planned {
    state: SessionState,
    logical: LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
}

impl Shared {
    async fn plan(&self, view: Arc<ReadView>, statement: datafusion::sql::parser::Statement) -> Result<Planned> {
        let mut state = self.state.clone();
        state.mark_start_execution();
        let as_of = view.status.as_of.map(|t| t.micros());
        state.register_udf(Arc::new(instant::constant(as_of))).map_err(Error::statement)?;
        let relations = Relations::new(view, Arc::clone(&self.tables), Arc::clone(&self.fixed), state.clone());
        let relations = Arc::new(relations);
        state.register_catalog_list(catalog::list(&relations)?);
        let logical = state.statement_to_plan(statement).await.map_err(|e| relations.explain(e))?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&logical).map_err(|e| Error::Forbidden(e.strip_backtrace()))?;
        let physical = state.create_physical_plan(&logical).await.map_err(|e| limits::planning(e, &self.limits))?;
        Ok(Planned { state, logical, physical })
    }

    /// Runs it in this process.
    fn alone(&self, planned: &Planned) -> Result<SendableRecordBatchStream> {
        let runtime = limits::per_query(&self.runtime, &self.limits)?;
        let (none, config) = (HashMap::new, planned.state.config().clone());
        let task = TaskContext::new(None, String::new(), config, none(), HashMap::new(), HashMap::new(), HashMap::new(), runtime);
        execute_stream(Arc::clone(&planned.physical), Arc::new(task)).map_err(|e| limits::execution(e, &self.limits))
    }

    /// Hands rows on until their end; `count` went before.
    async fn forward(&self, mut rows: SendableRecordBatchStream, mut count: u64, sender: &Sender) -> Result<()> {
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|e| limits::execution(e, &self.limits))?;
            if !self.hand_on(batch, &mut count, sender).await? {
                break;
            }
        }
        Ok(())
    }

    /// False where nobody listens any more.
    async fn hand_on(&self, batch: RecordBatch, count: &mut u64, sender: &Sender) -> Result<bool> {
        *count += batch.num_rows() as u64;
        if *count > self.limits.rows_max {
            return Err(limits::rows(&self.limits));
        }
        Ok(sender.rows(batch).await)
    }

    /// Runs it on several processes where it is worth that; false where it is this one alone that has to, and nothing was sent yet. Its first rows are
    /// held back, so that most of what goes wrong elsewhere goes unnoticed.
    async fn in_stages(&self, stages: &Stages, planned: &Planned, sender: &Sender, deadline: Instant) -> Result<bool> {
        let Some(others) = stages.worth_it(&planned.physical) else { return Ok(false) };
        let processes = others.len() + 1;
        let runtime = limits::per_query(&self.runtime, &self.limits)?;
        let begin = async {
            let started = stages.start(&planned.state, &planned.logical, others, deadline, runtime).await;
            let Some(mut spread) = started.map_err(|e| ("plan", e))? else { return Ok(None) };
            let (mut held, mut bytes, mut over) = (Vec::new(), 0, false);
            while bytes < HELD_BYTES_MAX && !over {
                match spread.rows.next().await {
                    Some(batch) => {
                        let batch = batch.map_err(|e| ("failed", e))?;
                        bytes += batch.get_array_memory_size();
                        held.push(batch);
                    }
                    None => over = true,
                }
            }
            Ok::<_, (&str, DataFusionError)>(Some((spread, held)))
        };
        let now = Instant::now();
        // The rest is enough to begin again, if this machine is not slower than all of them.
        let begun = match timeout_at(now + deadline.saturating_duration_since(now) / 2, begin).await {
            Ok(Ok(Some(begun))) => begun,
            Ok(Ok(None)) => return Ok(false),
            Ok(Err((reason, error))) => return Ok(told_alone(reason, &error.strip_backtrace())),
            Err(_) => return Ok(told_alone("time", "the first rows took too long")),
        };
        let (spread, held) = begun;
        metrics::counter!(Metric::StatementsSpread.name()).increment(1);
        sender.columns(spread.rows.schema(), processes).await;
        let mut count = 0;
        for batch in held {
            if !self.hand_on(batch, &mut count, sender).await? {
                return Ok(true);
            }
        }
        let Spread { rows, kept } = spread;
        let outcome = self.forward(rows, count, sender).await;
        drop(kept);
        outcome.map(|()| true)
    }

    /// Adds to an `EXPLAIN` what other processes would do.
    async fn explain(&self, stages: &Stages, planned: &mut Planned, deadline: Instant) -> Result<()> {
        let LogicalPlan::Explain(asked) = &planned.logical else { return Ok(()) };
        let Some(shown) = planned.physical.downcast_ref::<ExplainExec>() else { return Ok(()) };
        let planning = |e| limits::planning(e, &self.limits);
        let physical = planned.state.create_physical_plan(&asked.plan).await.map_err(planning)?;
        let Some(others) = stages.worth_it(&physical) else { return Ok(()) };
        let processes = others.len() + 1;
        let plan = match stages.shown(&planned.state, &asked.plan, others, deadline).await {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(()),
            Err(error) => format!("not in stages: {}", error.strip_backtrace()),
        };
        // Of the kinds that are always shown; its text says what it is.
        let spread = StringifiedPlan::new(PlanType::FinalPhysicalPlan, format!("over {processes} processes:\n{plan}"));
        let plans = shown.stringified_plans().iter().cloned().chain([spread]);
        planned.physical = Arc::new(ExplainExec::new(shown.schema(), plans.collect(), shown.verbose()));
        Ok(())
    }
}

/// Says why this process computes alone what others were to help with.
fn told_alone(reason: &'static str, why: &str) -> bool {
    metrics::counter!(Metric::StatementsAlone.name(), "reason" => reason).increment(1);
    tracing::debug!(reason, why, "a statement that was to be spread over several processes is computed by this one alone");
    false
}

/// The session every query starts from: functions and settings, no relations, no file formats.
fn base_state(limits: &SqlLimits, runtime: Arc<RuntimeEnv>) -> Result<SessionState> {
    let config = SessionConfig::new()
        .with_target_partitions(limits.threads)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, PUBLIC)
        .with_information_schema(true);
    let mut state = SessionStateBuilder::new()
        .with_config(configure(config))
        .with_runtime_env(runtime)
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(SessionStateDefaults::default_scalar_functions())
        .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_table_function_list(SessionStateDefaults::default_table_functions())
        .build();
    functions::register(&mut state).map_err(Error::statement)?;
    Ok(state)
}

#[cfg(test)]
mod tests;
