//! Running compiled plans: synchronously, in one partition, on the caller's thread, over columns in memory. Not how plans are made.

pub(crate) mod aggregate;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod fold;
pub(crate) mod frame;
pub(crate) mod instant;
pub(crate) mod keys;
pub(crate) mod lag;
pub mod once;
mod sequence;
pub(crate) mod sliding;
pub(crate) mod snapshot;
pub(crate) mod source;
pub(crate) mod state;

use crate::error::{Error, Result};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use source::Inputs;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use tokio::runtime::Runtime;

/// Bytes that all plans of one view may hold while they run.
pub const VIEW_MEMORY_BYTES_MAX: usize = 1 << 30;

/// What every plan of one view runs with.
#[derive(Debug)]
pub(crate) struct Runner {
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
}

impl Runner {
    /// A runner with the session settings the plans were made under.
    pub(crate) fn new(config: SessionConfig) -> Result<Arc<Self>> {
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(VIEW_MEMORY_BYTES_MAX)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|e| Error::plan("the runner", e))?;
        Ok(Arc::new(Self { config, runtime }))
    }

    fn task(&self, inputs: Inputs) -> Arc<TaskContext> {
        let config = self.config.clone().with_extension(Arc::new(inputs));
        let runtime = Arc::clone(&self.runtime);
        Arc::new(TaskContext::new(None, String::new(), config, HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new(), runtime))
    }
}

/// A physical plan made once and run many times over different rows.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    what: Arc<str>,
    plan: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    runner: Arc<Runner>,
}

impl Prepared {
    pub(crate) fn new(what: &str, plan: Arc<dyn ExecutionPlan>, runner: Arc<Runner>) -> Result<Self> {
        let plan = sequence::on_one_thread(plan).map_err(|cause| Error::plan(what, cause))?;
        Ok(Self { what: what.into(), schema: plan.schema(), plan, runner })
    }

    /// The same with results under another schema: the same names and types, with nulls allowed where the plan knows of none.
    pub(crate) fn with_schema(mut self, schema: SchemaRef) -> Self {
        self.schema = schema;
        self
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The plan as text, line by line.
    pub(crate) fn lines(&self) -> Vec<String> {
        displayable(self.plan.as_ref()).indent(false).to_string().lines().map(str::to_owned).collect()
    }

    /// Runs the plan over `inputs` and gives its rows as one batch.
    pub(crate) fn run(&self, inputs: Inputs) -> Result<RecordBatch> {
        let failed = |cause: DataFusionError| Error::plan(&self.what, cause);
        // A run leaves hash tables and metrics behind in the plan's nodes; fresh nodes cost less than a microsecond each.
        let plan = reset_plan_states(Arc::clone(&self.plan)).map_err(failed)?;
        let batches = block_on(collect(plan, self.runner.task(inputs))).map_err(failed)?;
        one_batch(&self.schema, batches).map_err(|cause| failed(cause.into()))
    }
}

/// Joins batches into one with exactly this schema.
pub(crate) fn one_batch(schema: &SchemaRef, mut batches: Vec<RecordBatch>) -> Result<RecordBatch, arrow::error::ArrowError> {
    batches.retain(|b| b.num_rows() > 0);
    match batches.len() {
        0 => Ok(RecordBatch::new_empty(Arc::clone(schema))),
        1 => match batches.pop() {
            Some(batch) => batch.with_schema(Arc::clone(schema)),
            None => Ok(RecordBatch::new_empty(Arc::clone(schema))),
        },
        _ => concat_batches(schema, &batches),
    }
}

/// Wakes the thread that waits in [`block_on`].
struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Runs what plans spawn.
static SPAWNED: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("afferent-views").build();
    built.inspect_err(|error| tracing::error!(%error, "the views' helper thread cannot start")).ok()
});

/// Drives a future that needs no reactor to its end on this thread, also where the thread belongs to an async runtime.
///
/// What a plan spawns (the sides of a union, a buffered sort) runs on a thread of its own: on the caller's runtime it would wait for the very
/// thread that waits here. The cooperative budget of a surrounding task is lifted because nobody would refill it.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let _spawning = SPAWNED.as_ref().map(Runtime::enter);
    let parked = Arc::new(Parked { thread: std::thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&parked));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while !parked.woken.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
    }
}
