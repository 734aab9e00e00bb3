//! Statements that read much, in stages on several processes: when, by which plan, and that an answer is whole or is computed again by this process
//! alone. Who the others are is told to it; the engine of stages is `datafusion-distributed`.

mod allowed;
mod channel;
mod guests;
mod ordered;
mod wire;

pub use guests::Parts;
pub use wire::QUESTION_BYTES_MAX;

use super::Shared;
use async_trait::async_trait;
use bytes::Bytes;
use channel::{Link, Ways};
use datafusion::catalog::Session;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _, execute_stream};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedExec, DistributedExt as _, DistributedLeafExec, RouteTasksEvent,
    RouteTasksEventResponse, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse, SessionStateBuilderExt as _, WorkerResolver, display_plan_ascii,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use guests::{Guest, House};
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

/// Where a process takes the plan of a stage.
pub const PLAN_PATH: &str = "/internal/v1/stages/plan";

/// Where it runs one partition of it.
pub const RUN_PATH: &str = "/internal/v1/stages/run";

/// Changes with what the processes say to each other, and with what a plan means that looks the same.
const PROTOCOL: u32 = 1;

/// Processes that one statement is spread over.
const PROCESSES_MAX: usize = 16;

/// Bytes that two processes at least share: half of what is worth two of them.
const SHARES: u64 = 2;

/// How a question gets to another process, and its answer back. Dropping it lets go of its connections.
pub trait Wire: Send + Sync {
    /// Sends `body` to a path of the process at `to`; the answer comes as it is made, and dropping it ends what makes it.
    fn post(&self, to: &Url, path: &'static str, body: Bytes) -> BoxFuture<'static, io::Result<BoxStream<'static, io::Result<Bytes>>>>;
}

/// Scans of stored tables that come from another process.
pub trait Scans: Send + Sync {
    /// Makes the store known to an engine.
    fn register(&self, runtime: &RuntimeEnv);

    /// The same scan with this process's own way of reading the store.
    ///
    /// # Errors
    /// Where it is no scan of tables of this store.
    fn adopt(&self, scan: &Arc<dyn ExecutionPlan>, runtime: &RuntimeEnv) -> PlanResult<Arc<dyn ExecutionPlan>>;
}

/// The other processes, and the ways to them.
#[derive(Clone)]
pub struct Neighbours {
    /// Where the others find this process.
    pub own: Url,
    /// Where those are that run stages, of this version, as of now.
    pub others: Arc<dyn Fn() -> Vec<Url> + Send + Sync>,
    /// Connections for one statement.
    pub wire: Arc<dyn Fn() -> Arc<dyn Wire> + Send + Sync>,
    /// The store that all of them read.
    pub scans: Arc<dyn Scans>,
}

/// Runs stages on other processes, and theirs here.
#[derive(Clone)]
pub(super) struct Stages(Arc<House>);

/// A statement in stages.
pub(super) struct Spread {
    pub(super) rows: SendableRecordBatchStream,
    pub(super) kept: Kept,
}

/// What stays until its end: the plan, which pins its files, and its memory.
pub(super) struct Kept {
    _plan: Arc<dyn ExecutionPlan>,
    _host: Arc<Guest>,
}

/// What tells processes apart that would not understand each other's plans: versions, the protocol, and the functions there are.
pub fn version(state: &SessionState) -> String {
    let mut names: BTreeSet<&str> = state.scalar_functions().keys().map(String::as_str).collect();
    names.extend(state.aggregate_functions().keys().map(String::as_str));
    names.extend(state.window_functions().keys().map(String::as_str));
    let names: Vec<&str> = names.into_iter().collect();
    let functions = xxhash_rust::xxh3::xxh3_64(names.join(",").as_bytes());
    format!("{}-{}-{PROTOCOL}-{functions:016x}", env!("CARGO_PKG_VERSION"), datafusion::DATAFUSION_VERSION)
}

impl Stages {
    pub(super) fn new(neighbours: Neighbours, shared: &Shared, slots: Arc<Semaphore>, pool: Handle) -> Self {
        let (state, runtime) = (shared.state.clone(), Arc::clone(&shared.runtime));
        Self(Arc::new(House::new(neighbours, version(&state), state, shared.limits.clone(), slots, runtime, pool)))
    }

    pub(super) async fn plan(&self, body: Bytes) -> Parts {
        Arc::clone(&self.0).plan(body).await
    }

    pub(super) async fn run(&self, body: Bytes) -> Parts {
        Arc::clone(&self.0).run(body).await
    }

    /// The others, where `plan` reads enough for more than one process.
    pub(super) fn worth_it(&self, plan: &Arc<dyn ExecutionPlan>) -> Option<Vec<Url>> {
        if plan.downcast_ref::<AnalyzeExec>().is_some() {
            return None;
        }
        let (bytes, bytes_min) = (largest_scan(plan)?, self.0.limits.spread_bytes_min);
        if bytes < bytes_min {
            return None;
        }
        let mut others: Vec<Url> = (self.0.neighbours.others)().into_iter().filter(|url| *url != self.0.neighbours.own).collect();
        others.truncate(processes(bytes, bytes_min).saturating_sub(1));
        (!others.is_empty()).then_some(others)
    }

    /// A session that plans in stages over this process and `others`.
    fn session(&self, state: SessionState, plan: Arc<dyn ExecutionPlan>, link: &Arc<Link>) -> PlanResult<SessionState> {
        let bytes_min = self.0.limits.spread_bytes_min;
        let urls: Vec<Url> = std::iter::once(link.own.clone()).chain(link.others.iter().cloned()).collect();
        let count = urls.len();
        let desired = move |event: DesiredTaskCountEvent<'_>| {
            let wanted = match scanned(event.plan)? {
                Leaf::Files(bytes) if bytes >= bytes_min => count.min(processes(bytes, bytes_min)),
                Leaf::Files(_) | Leaf::Memory => 1,
            };
            Some(Ok(DesiredTaskCountEventResponse::desired(wanted)))
        };
        let route = {
            let urls = urls.clone();
            move |event: RouteTasksEvent<'_>| Some(Ok(RouteTasksEventResponse::new(urls.iter().cycle().take(event.task_count).cloned().collect())))
        };
        let builder = SessionStateBuilder::new_from_existing(state)
            .with_query_planner(Arc::new(Given(plan)))
            .with_distributed_worker_resolver(Fixed(urls))
            .with_distributed_channel_resolver(Ways(Arc::clone(link)))
            .with_distributed_desired_task_count_handler(desired)
            .with_distributed_scale_up_leaf_node_handler(first_has_memory)
            .with_distributed_route_tasks_handler(route)
            .with_distributed_passthrough_headers(guests::named(&link.statement))?
            // Rows in memory go with the first part of a stage instead of having one to themselves.
            .with_distributed_children_isolator_unions(false)?
            .with_distributed_metrics_collection(false)?;
        Ok(builder.with_distributed_planner().build())
    }

    /// Plans a statement in stages; none where it has but one.
    ///
    /// # Errors
    /// Where the plan cannot be made so.
    async fn planned(
        &self,
        state: &SessionState,
        logical: &LogicalPlan,
        others: Vec<Url>,
        deadline: Instant,
    ) -> PlanResult<Option<(SessionState, Arc<Link>, Arc<dyn ExecutionPlan>)>> {
        let house = &self.0;
        let statement = format!("{:016x}{:016x}", random(), random());
        let wire = (house.neighbours.wire)();
        let own = house.neighbours.own.clone();
        let link = Arc::new(Link::new(statement, house.version.clone(), deadline, own, others, house.worker.clone(), wire));
        // Relations are made of queries that they plan themselves: with a session that knows no stages, or they would be statements of their own.
        let mut plain = state.clone();
        let options = plain.config_mut().options_mut();
        options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
        // A plan for one thread has nothing to take apart.
        options.execution.target_partitions = options.execution.target_partitions.max(2);
        let plan = ordered::ordered(plain.create_physical_plan(logical).await?)?;
        let state = self.session(plain, plan, &link)?;
        let plan = state.query_planner().create_physical_plan(logical, &state).await?;
        Ok(plan.downcast_ref::<DistributedExec>().is_some().then_some((state, link, plan)))
    }

    /// The plan of a statement in stages, in words; none where it has but one.
    ///
    /// # Errors
    /// Where the plan cannot be made so.
    pub(super) async fn shown(&self, state: &SessionState, logical: &LogicalPlan, others: Vec<Url>, deadline: Instant) -> PlanResult<Option<String>> {
        let planned = self.planned(state, logical, others, deadline).await?;
        Ok(planned.map(|(_, _, plan)| display_plan_ascii(plan.as_ref(), false)))
    }

    /// Starts a statement in stages; none where its plan has but one.
    ///
    /// # Errors
    /// Where the plan cannot be made so.
    pub(super) async fn start(
        &self,
        state: &SessionState,
        logical: &LogicalPlan,
        others: Vec<Url>,
        deadline: Instant,
        runtime: Arc<RuntimeEnv>,
    ) -> PlanResult<Option<Spread>> {
        let planned = self.planned(state, logical, others, deadline).await?;
        let Some((state, link, plan)) = planned else { return Ok(None) };
        let host = self.0.host(link, Arc::clone(&runtime)).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let task = TaskContext::from(&state).with_runtime(runtime);
        let rows = execute_stream(Arc::clone(&plan), Arc::new(task))?;
        Ok(Some(Spread { rows, kept: Kept { _plan: plan, _host: host } }))
    }
}

/// Another number each time, in every process.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A plan that is there already, to be taken apart into stages.
#[derive(Debug)]
struct Given(Arc<dyn ExecutionPlan>);

#[async_trait]
impl QueryPlanner for Given {
    async fn create_physical_plan(&self, _: &LogicalPlan, _: &dyn Session) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::clone(&self.0))
    }
}

/// The processes of one statement.
struct Fixed(Vec<Url>);

impl WorkerResolver for Fixed {
    fn get_urls(&self) -> PlanResult<Vec<Url>> {
        Ok(self.0.clone())
    }
}

/// What a leaf of a plan reads.
enum Leaf {
    /// Published files of so many bytes.
    Files(u64),
    /// Rows in memory.
    Memory,
}

fn scanned(plan: &Arc<dyn ExecutionPlan>) -> Option<Leaf> {
    let source = plan.downcast_ref::<DataSourceExec>()?.data_source();
    if source.downcast_ref::<MemorySourceConfig>().is_some() {
        return Some(Leaf::Memory);
    }
    let scan = source.downcast_ref::<FileScanConfig>()?;
    Some(Leaf::Files(scan.file_groups.iter().flat_map(|group| group.iter()).map(|file| file.effective_size()).sum()))
}

/// Bytes of the files that the largest scan of a plan reads.
fn largest_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let mut largest = None;
    let walked = plan.apply(|node| {
        if let Some(Leaf::Files(bytes)) = scanned(node) {
            largest = largest.max(Some(bytes));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok().and(largest)
}

/// Over how many processes a scan is worth being spread.
fn processes(bytes: u64, bytes_min: u64) -> usize {
    let shares = bytes.saturating_mul(SHARES).checked_div(bytes_min).unwrap_or(u64::MAX);
    usize::try_from(shares).unwrap_or(usize::MAX).clamp(2, PROCESSES_MAX)
}

/// Rows in memory are read once, by the first part of their stage, which this process runs; the others have none.
fn first_has_memory(event: ScaleUpLeafNodeEvent<'_>) -> Option<PlanResult<ScaleUpLeafNodeEventResponse>> {
    let source = event.plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<MemorySourceConfig>()?;
    let none = vec![Vec::new(); event.plan.output_partitioning().partition_count()];
    let made = || {
        let empty = MemorySourceConfig::try_new_exec(&none, source.original_schema(), source.projection().clone())?;
        let empty: Arc<dyn ExecutionPlan> = empty;
        let parts = std::iter::once(Arc::clone(event.plan)).chain(std::iter::repeat_n(empty, event.task_count.saturating_sub(1)));
        let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), parts)?;
        Ok(ScaleUpLeafNodeEventResponse::new(Arc::new(leaf)))
    };
    Some(made())
}
