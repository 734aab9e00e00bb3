//! How stages reach the processes that run them: this one, or another one over the wire. Not what runs them there (`guests`).

use super::wire::{Frame, Frames, Head, PlanAsked, Rows, RunAsked, question, unavailable};
use super::{PLAN_PATH, RUN_PATH, Wire};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse, MaybeEncoded, ProducerHead,
    SetPlanRequest, Worker, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use http::HeaderMap;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

/// The connections of one statement between this process and the others.
pub(super) struct Link {
    pub(super) statement: String,
    pub(super) version: String,
    pub(super) deadline: Instant,
    pub(super) own: Url,
    /// Those that may be asked; nobody is sent elsewhere by a plan.
    pub(super) others: Vec<Url>,
    pub(super) worker: Worker,
    pub(super) wire: Arc<dyn Wire>,
    /// What went wrong first: whoever waits for rows need not wait any longer.
    failed: watch::Sender<Option<String>>,
}

impl Link {
    pub(super) fn new(
        statement: String,
        version: String,
        deadline: Instant,
        own: Url,
        others: Vec<Url>,
        worker: Worker,
        wire: Arc<dyn Wire>,
    ) -> Self {
        Self { statement, version, deadline, own, others, worker, wire, failed: watch::Sender::new(None) }
    }

    fn fail(&self, error: &DataFusionError) {
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            if first {
                *failed = Some(error.strip_backtrace());
            }
            first
        });
    }
}

/// Finds the way to a process.
pub(super) struct Ways(pub(super) Arc<Link>);

#[async_trait]
impl ChannelResolver for Ways {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let link = Arc::clone(&self.0);
        if *url == link.own {
            return Ok(Box::new(Near(link)));
        }
        if !link.others.contains(url) {
            return Err(unavailable(format!("{url} is no process of this deployment")));
        }
        Ok(Box::new(Far { link, url: url.clone() }))
    }
}

/// This process. Plans go through their bytes here, too: what operators of one stage tell each other must not reach another stage.
struct Near(Arc<Link>);

#[async_trait]
impl WorkerChannel for Near {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        request: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        _: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let request = SetPlanRequest { plan: MaybeEncoded::Encoded(request.plan.encode(context)?), ..request };
        let taken = self.0.worker.coordinator_channel(headers, request, messages.map(Ok).boxed()).await;
        taken.inspect_err(|error| self.0.fail(error))
    }

    async fn execute_task(
        &mut self,
        _: HeaderMap,
        request: ExecuteTaskRequest,
        _: ExecutionPlanMetricsSet,
        _: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let (streams, _) = self.0.worker.execute_task(request).await?;
        Ok(streams.into_iter().map(|stream| stream.boxed()).collect())
    }

    async fn get_worker_info(&mut self, _: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        Ok(GetWorkerInfoResponse { version: self.0.version.clone() })
    }
}

/// Another process.
struct Far {
    link: Arc<Link>,
    url: Url,
}

#[async_trait]
impl WorkerChannel for Far {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        request: SetPlanRequest,
        mut messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        _: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let (link, at) = (Arc::clone(&self.link), self.url.clone());
        let asked = PlanAsked {
            version: link.version.clone(),
            statement: link.statement.clone(),
            task: request.task_key.into(),
            task_count: request.task_count,
            at: at.to_string(),
            started_ns: request.query_start_time_ns,
            settings: headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect(),
            left_ms: u64::try_from(link.deadline.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX),
        };
        let plan = request.plan.encode(context)?;
        let mut answer = Framed::ask(&link, &at, PLAN_PATH, question(&asked, &plan)?);
        let taken = match answer.next().await {
            Ok(Frame::Taken) => Ok(()),
            Ok(Frame::Failed(failure)) => Err(failure.error(at.as_str())),
            Ok(_) => Err(unavailable(format!("{at} did not say that it has taken a stage"))),
            Err(error) => Err(error),
        };
        taken.inspect_err(|error| link.fail(error))?;
        // The stage is kept there for as long as its answer is held here.
        let held = async move {
            loop {
                tokio::select! {
                    message = messages.next() => if message.is_none() { return Ok(()) },
                    ended = answer.next() => {
                        let error = match ended {
                            Err(error) => error,
                            Ok(Frame::Failed(failure)) => failure.error(at.as_str()),
                            Ok(_) => unavailable(format!("{at} let go of a stage before its end")),
                        };
                        link.fail(&error);
                        return Err(error);
                    }
                }
            }
        };
        Ok(stream::once(held).filter_map(|ended: Result<()>| std::future::ready(ended.err().map(Err))).boxed())
    }

    async fn execute_task(
        &mut self,
        _: HeaderMap,
        request: ExecuteTaskRequest,
        _: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let (head, partitioning) = match request.producer_head {
            ProducerHead::None => (Head::Plain, Vec::new()),
            ProducerHead::BroadcastExec { output_partitions } => (Head::Broadcast(output_partitions), Vec::new()),
            ProducerHead::RepartitionExec { partitioning } => (Head::Repartition, partitioning.encode(context)?),
        };
        let partition = |partition| {
            let (version, statement) = (self.link.version.clone(), self.link.statement.clone());
            let asked = RunAsked { version, statement, task: request.task_key.into(), partition, head };
            let body = question(&asked, &partitioning)?;
            let (link, at) = (Arc::clone(&self.link), self.url.clone());
            let rows = async move { Ok::<_, DataFusionError>(rows(Framed::ask(&link, &at, RUN_PATH, body))) };
            Ok(stream::once(rows).try_flatten().boxed())
        };
        (request.target_partition_start..request.target_partition_end).map(partition).collect()
    }

    async fn get_worker_info(&mut self, _: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        Ok(GetWorkerInfoResponse { version: self.link.version.clone() })
    }
}

/// An answer, frame by frame.
struct Framed {
    at: String,
    link: Arc<Link>,
    body: BoxStream<'static, io::Result<Bytes>>,
    frames: Frames,
    failed: watch::Receiver<Option<String>>,
}

impl Framed {
    fn ask(link: &Arc<Link>, at: &Url, path: &'static str, body: Bytes) -> Self {
        let answer = link.wire.post(at, path, body);
        let body = stream::once(answer).try_flatten().boxed();
        Self { at: at.to_string(), link: Arc::clone(link), body, frames: Frames::default(), failed: link.failed.subscribe() }
    }

    /// The next frame; an answer that ends without its last one has failed.
    async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(frame);
            }
            let part = tokio::select! {
                biased;
                failed = self.failed.wait_for(Option::is_some) => {
                    let why = failed.ok().and_then(|why| why.clone()).unwrap_or_default();
                    return Err(unavailable(why));
                }
                part = self.body.next() => part,
            };
            match part {
                Some(Ok(bytes)) => self.frames.take_in(&bytes),
                Some(Err(error)) => return Err(unavailable(format!("{}: {error}", self.at))),
                None => return Err(unavailable(format!("{}: the answer broke off", self.at))),
            }
        }
    }
}

/// The rows of an answer.
fn rows(answer: Framed) -> BoxStream<'static, Result<RecordBatch>> {
    struct Reading {
        answer: Framed,
        rows: Rows,
        ready: VecDeque<RecordBatch>,
    }
    let reading = Reading { answer, rows: Rows::default(), ready: VecDeque::new() };
    let batches = stream::try_unfold(reading, |mut reading| async move {
        loop {
            if let Some(batch) = reading.ready.pop_front() {
                return Ok(Some((batch, reading)));
            }
            match reading.answer.next().await? {
                Frame::Rows(bytes) => reading.rows.take_in(bytes, &mut reading.ready)?,
                Frame::End => return Ok(None),
                Frame::Failed(failure) => {
                    let error = failure.error(&reading.answer.at);
                    reading.answer.link.fail(&error);
                    return Err(error);
                }
                Frame::Taken => return Err(unavailable(format!("{} took a stage instead of running it", reading.answer.at))),
            }
        }
    });
    batches.boxed()
}
