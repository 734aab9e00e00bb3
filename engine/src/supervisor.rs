//! The loop around the pipeline: recovery, replay, intake in order, ticks, checkpoints, graceful stop. All I/O of the engine is here.

mod ends;
mod follow;
mod merge;
mod outage;
mod past;
mod recover;
mod share;

use crate::checkpoint::{Checkpoint, Epoch, GroupName};
use crate::clock::Clock;
use crate::commit::{Chain, Published};
use crate::config::EngineConfig;
use crate::control::Command;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::{Deliveries, Delivery};
use crate::live::Live;
use crate::log::{Decoder, LogName, LogReader, Position, Record};
use crate::metrics::Metric;
use crate::parts::{OrderBook, Partitions};
use crate::pipeline::{LATE_WAITING_MAX, Pipeline};
use crate::query::{Compiler, Inventory, STACK_BYTES, View};
use crate::table::{History, TableStore};
use ::metrics::Label;
use follow::Following;
use outage::{Outage, commit_until_done};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Everything an engine of one partition is made of.
pub struct EngineParts {
    /// Its knobs.
    pub config: EngineConfig,
    /// Which partition's chain.
    pub group: GroupName,
    /// Name of this process in checkpoints.
    pub writer: String,
    /// Logs it consumes.
    pub logs: Vec<LogName>,
    /// Another process may still believe that these logs are its own: a checkpoint is written before readers are answered, which stops that one.
    pub takes_over: bool,
    /// The receivers' deliveries.
    pub intake: Deliveries,
    /// The log, for replays and trimming.
    pub log: Arc<dyn LogReader>,
    /// How records are read.
    pub decoder: Arc<dyn Decoder>,
    /// The lake.
    pub tables: Arc<dyn TableStore>,
    /// The checkpoints.
    pub checkpoints: Arc<dyn crate::checkpoint::CheckpointStore>,
    /// Raw rows of the lake.
    pub history: Arc<dyn History>,
    /// Compiled shipped views in dependency order.
    pub views: Vec<View>,
    /// Makes views of definitions that come later.
    pub compiler: Arc<dyn Compiler>,
    /// What is asked of it while it runs.
    pub commands: mpsc::Receiver<Command>,
    /// Services.
    pub inventory: Arc<dyn Inventory>,
    /// What readers see.
    pub live: Arc<Live>,
    /// What it has of the stream.
    pub share: Share,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Stops it gracefully.
    pub cancel: CancellationToken,
    /// Stops it at once, in the middle of whatever it does: everything durable is found again by the next start.
    pub halt: CancellationToken,
}

/// What an engine has of a stream.
pub enum Share {
    /// All of it.
    Whole,
    /// The samples of one partition; the views are another engine's.
    Partition {
        /// Which.
        partition: u32,
        /// Another number with each start.
        run: u64,
        /// What the owner of the views wants.
        orders: Arc<OrderBook>,
    },
    /// Events, and the views over all partitions.
    Views(Arc<dyn Partitions>),
}

/// A running engine.
pub struct EngineHandle {
    done: oneshot::Receiver<Result<()>>,
}

impl EngineHandle {
    /// Waits until it has stopped: after a cancel with everything checkpointed, or with the error that stopped it.
    ///
    /// # Errors
    /// `Conflict` where another writer took over; `Corrupt` or `Internal` where a person must look.
    pub async fn join(self) -> Result<()> {
        self.done.await.unwrap_or_else(|_| Err(Error::internal("the engine's thread died")))
    }
}

/// Starts the engine on a thread of its own. Must be called within a multi-threaded runtime, which does its writing.
///
/// # Errors
/// `Invalid` where views or configuration do not fit; what recovery meets is told by [`EngineHandle::join`].
pub fn start(parts: EngineParts) -> Result<EngineHandle> {
    let mut pipeline = Pipeline::new(parts.config.clone(), parts.views, parts.inventory)?;
    match &parts.share {
        Share::Whole => {}
        Share::Partition { partition, run, .. } => pipeline.become_partition(*partition, *run),
        Share::Views(_) => pipeline.become_views(),
    }
    let chain = Chain {
        group: parts.group,
        writer: parts.writer,
        tables: parts.tables,
        checkpoints: parts.checkpoints,
        log: parts.log.clone(),
        live: parts.live.clone(),
        clock: parts.clock.clone(),
    };
    let labels = match &parts.share {
        Share::Partition { partition, .. } => vec![Label::new("partition", partition.to_string())],
        Share::Whole | Share::Views(_) => vec![],
    };
    let engine = Engine {
        labels,
        pipeline,
        chain,
        logs: parts.logs,
        takes_over: parts.takes_over,
        log: parts.log,
        decoder: parts.decoder,
        history: parts.history,
        live: parts.live,
        share: parts.share,
        clock: parts.clock,
        cancel: parts.cancel,
        halt: parts.halt,
        writing: Handle::current(),
        config: parts.config,
        waiting: BTreeMap::new(),
        compiler: parts.compiler,
        working: None,
        rest_until: Instant::now(),
        last_late_round: None,
        answers: vec![],
        answers_at_work: vec![],
        following: Following::default(),
        checkpoint: None,
        committing: None,
        last_cut: Instant::now(),
        replayed: None,
        outage: Arc::default(),
        recovered: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::caused(ErrorKind::Internal, "the engine's runtime cannot start", e))?;
    let (tell, done) = oneshot::channel();
    let run = move || {
        let ended = runtime.block_on(engine.run_until_halted(parts.intake, parts.commands));
        // Nobody waits any more when the process is going down: then there is nobody to tell.
        drop(tell.send(ended));
    };
    std::thread::Builder::new()
        .name("engine".into())
        .stack_size(STACK_BYTES)
        .spawn(run)
        .map_err(|e| Error::caused(ErrorKind::Internal, "the engine's thread cannot start", e))?;
    Ok(EngineHandle { done })
}

struct Engine {
    /// Of its metrics.
    labels: Vec<Label>,
    pipeline: Pipeline,
    chain: Chain,
    logs: Vec<LogName>,
    takes_over: bool,
    log: Arc<dyn LogReader>,
    decoder: Arc<dyn Decoder>,
    history: Arc<dyn History>,
    live: Arc<Live>,
    share: Share,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    halt: CancellationToken,
    writing: Handle,
    config: EngineConfig,
    /// Deliveries that came before their predecessors.
    waiting: BTreeMap<LogName, BTreeMap<Position, Delivery>>,
    compiler: Arc<dyn Compiler>,
    /// A step that computes the past again, at work.
    working: Option<past::Working>,
    /// Live work has the machine until then.
    rest_until: Instant,
    /// None yet: what waited through a restart has waited long enough.
    last_late_round: Option<Instant>,
    /// Answers for the next checkpoint, and for the one at work.
    answers: Vec<past::Answer>,
    answers_at_work: Vec<past::Answer>,
    following: Following,
    checkpoint: Option<Checkpoint>,
    committing: Option<Committing>,
    last_cut: Instant,
    /// When the replay after the start had caught up.
    replayed: Option<Instant>,
    outage: Arc<Outage>,
    /// Readers are answered.
    recovered: bool,
}

/// A checkpoint at work on the writing runtime.
struct Committing {
    done: tokio::task::JoinHandle<Result<Published>>,
    started: Instant,
}

/// What woke the loop.
enum Event {
    Tick,
    Stop,
    Committed(Result<Published>),
    Delivered(Option<Vec<Delivery>>),
    Worked(past::Worked),
    Asked(Command),
}

/// Deliveries taken in one go before the loop looks at the clock again.
const BURST: usize = 32;

/// Deliveries that wait for their predecessors before no more are taken.
const WAITING_MAX: usize = 1024;

/// How often a process that ends with an error looks whether another one has gone past it, while the store does not answer.
const OVERTAKEN_TRIES: usize = if cfg!(test) { 20 } else { 5 };

/// How long readers wait at most, after a restart, for repairs that the process before had shown and not yet checkpointed.
const REDO_WAIT: Duration = Duration::from_secs(15);

impl Engine {
    async fn run_until_halted(mut self, intake: Deliveries, commands: mpsc::Receiver<Command>) -> Result<()> {
        let halt = self.halt.clone();
        let done = tokio::select! {
            biased;
            () = halt.cancelled() => Ok(()),
            done = self.run(intake, commands) => done,
        };
        // An engine that ended writes nothing any more, just as if its process had.
        if let Some(work) = self.committing.take() {
            work.done.abort();
            drop(work.done.await);
        }
        match done {
            Err(error) if error.kind() != ErrorKind::Conflict => tokio::select! {
                biased;
                () = halt.cancelled() => Ok(()),
                overtaken = self.overtaken() => Err(overtaken.unwrap_or(error)),
            },
            done => done,
        }
    }

    /// What an error comes down to where another process has written a newer checkpoint: that one works the log, and trims it.
    async fn overtaken(&self) -> Option<Error> {
        let mut tries = OVERTAKEN_TRIES;
        let newest = loop {
            match self.chain.checkpoints.latest(&self.chain.group).await {
                Ok(newest) => break newest?,
                Err(_) if tries == 0 => return None,
                Err(_) => tokio::time::sleep(outage::RETRY_WAIT).await,
            }
            tries -= 1;
        };
        let (epoch, writer) = (newest.epoch.0, &newest.writer);
        let message = format!("epoch {epoch} was written by {writer} meanwhile, which works the log now");
        (newest.epoch > self.epoch() && *writer != self.chain.writer).then(|| Error::new(ErrorKind::Conflict, message))
    }

    async fn run(&mut self, mut intake: Deliveries, mut commands: mpsc::Receiver<Command>) -> Result<()> {
        self.recover().await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(self.config.tick_ms));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let full = self.is_full();
            let event = tokio::select! {
                biased;
                () = self.cancel.cancelled() => Event::Stop,
                done = committed(&mut self.committing) => Event::Committed(done),
                worked = past::worked(&mut self.working) => Event::Worked(worked),
                _ = ticks.tick() => Event::Tick,
                Some(command) = commands.recv() => Event::Asked(command),
                delivery = intake.recv(), if !full && !self.is_crowded() => Event::Delivered(delivery),
            };
            match event {
                Event::Stop | Event::Delivered(None) => break,
                Event::Committed(done) => self.committed(done?).await?,
                Event::Tick => self.tick().await?,
                Event::Worked(worked) => self.take_worked(worked).await?,
                Event::Asked(command) => self.command(command).await,
                Event::Delivered(Some(first)) => {
                    self.accept(first).await?;
                    for _ in 0..BURST {
                        if self.is_enough() {
                            break;
                        }
                        let Ok(next) = intake.try_recv() else { break };
                        self.accept(next).await?;
                    }
                    self.cut_if_due()?;
                }
            }
        }
        self.stop(intake).await
    }

    /// True while no more records may come into memory.
    fn is_full(&self) -> bool {
        // No more than one epoch's rows wait behind the one that is written.
        (self.committing.is_some() && self.is_enough())
            // A flood of old samples waits with its senders, not in memory.
            || self.pipeline.late.len() >= LATE_WAITING_MAX
            || self.pipeline.is_slow_full()
    }

    /// True while too many deliveries wait for a record that is not delivered: it is read from the log meanwhile.
    fn is_crowded(&self) -> bool {
        self.waiting.values().map(BTreeMap::len).sum::<usize>() >= WAITING_MAX
    }

    /// True when the rows in memory are those of one epoch.
    fn is_enough(&self) -> bool {
        self.pipeline.fresh_rows() >= self.config.buffer_rows_max
    }

    /// Takes what was promised, then writes a last checkpoint.
    async fn stop(&mut self, mut intake: Deliveries) -> Result<()> {
        intake.close();
        while let Some(deliveries) = intake.recv().await {
            self.accept(deliveries).await?;
        }
        self.finish_commit().await?;
        self.agree().await?;
        self.resolve_all().await?;
        if self.has_news() || !self.answers.is_empty() {
            self.begin_cut()?;
            self.finish_commit().await?;
        }
        tracing::info!(epoch = self.epoch().0, "the engine stopped with everything checkpointed");
        Ok(())
    }

    /// Takes a record that was read from its log.
    async fn take_read(&mut self, log: LogName, position: Position, record: Record) -> Result<()> {
        let decoded = self.decoder.decode(&record)?;
        self.take(Delivery { log, position, record, decoded }).await
    }

    async fn take(&mut self, delivery: Delivery) -> Result<()> {
        self.pipeline.apply(delivery.log, delivery.position, &delivery.record, delivery.decoded);
        if let Some(request) = self.pipeline.settle_request() {
            self.resolve_if_there(request).await?;
        }
        self.pipeline.settle();
        Ok(())
    }

    async fn tick(&mut self) -> Result<()> {
        let started = Instant::now();
        self.follow().await?;
        self.agree().await?;
        if let Some(request) = self.pipeline.slow_request() {
            self.resolve_if_there(request).await?;
        }
        self.look_how_far();
        self.pipeline.tick(self.clock.now());
        self.answer_if_whole();
        self.show(None);
        self.cut_if_due()?;
        self.work_if_due().await;
        metrics::histogram!(Metric::TickSeconds.name()).record(started.elapsed().as_secs_f64());
        // Several engines of one process do not write over each other.
        let labels = self.labels.clone();
        metrics::gauge!(Metric::Series.name(), labels.clone()).set(self.pipeline.registry.len() as f64);
        metrics::gauge!(Metric::BufferedRows.name(), labels.clone()).set(self.pipeline.buffered_rows() as f64);
        metrics::gauge!(Metric::LateWaiting.name(), labels.clone()).set(self.pipeline.late.len() as f64);
        if let Some(watermark) = self.pipeline.watermark_time() {
            metrics::gauge!(Metric::WatermarkLag.name(), labels).set((self.clock.now().0 - watermark.0) as f64);
        }
        Ok(())
    }

    /// Shows readers what is in memory, together with new files if there are any.
    fn show(&mut self, published: Option<Published>) {
        let positions = self.checkpoint.as_ref().map(Chain::positions).unwrap_or_default();
        let mut status = self.pipeline.status(self.clock.now(), self.recovered, self.epoch().0, &positions);
        status.store = self.outage.status(self.checkpoint.as_ref());
        for (log, until) in &self.following.read_until {
            status.logs.entry(log.to_string()).and_modify(|log| log.read_until = Some(*until));
        }
        let status = Arc::new(status);
        let pipeline = &mut self.pipeline;
        self.live.update(|view| {
            if let Some(published) = published {
                view.files.extend(published.files);
            }
            pipeline.show(view);
            view.status = status;
        });
    }

    /// Readers are answered from when the log is replayed *and* what was repaired since the last checkpoint is repaired again: else rows that a
    /// reader has seen would go back for some seconds.
    fn answer_if_whole(&mut self) {
        let Some(replayed) = self.replayed.filter(|_| !self.recovered) else { return };
        let repairs = self.pipeline.repair_status();
        self.recovered = (repairs.waiting == 0 && repairs.corrections == 0) || replayed.elapsed() >= REDO_WAIT;
        if self.recovered {
            tracing::info!(waited_ms = replayed.elapsed().as_millis() as u64, repairs_left = repairs.waiting, "answering");
        }
    }

    fn epoch(&self) -> Epoch {
        self.checkpoint.as_ref().map_or(Epoch::default(), |c| c.epoch)
    }

    fn has_news(&self) -> bool {
        let checkpointed = self.checkpoint.as_ref().map(Chain::positions).unwrap_or_default();
        self.pipeline.has_news() || self.pipeline.next.iter().any(|(log, at)| checkpointed.get(log) != Some(at))
    }

    fn cut_if_due(&mut self) -> Result<()> {
        let full = self.is_enough();
        let asked = !self.answers.is_empty();
        let due = asked || self.last_cut.elapsed() >= Duration::from_millis(self.config.checkpoint_interval_ms);
        // Out-of-order samples are resolved by the next tick; a cut waits for it.
        if self.committing.is_some() || !(full || due) || !(asked || self.has_news()) || self.pipeline.slow_request().is_some() {
            return Ok(());
        }
        self.begin_cut()
    }

    fn begin_cut(&mut self) -> Result<()> {
        self.last_cut = Instant::now();
        self.answers_at_work = std::mem::take(&mut self.answers);
        let cut = self.pipeline.cut(self.clock.now())?;
        let (chain, previous, epoch) = (self.chain.clone(), self.checkpoint.clone(), self.epoch().next());
        let (cancel, halt, outage) = (self.cancel.clone(), self.halt.clone(), self.outage.clone());
        let done = self.writing.spawn(async move {
            tokio::select! {
                biased;
                () = halt.cancelled() => Err(Error::unavailable("halted")),
                done = commit_until_done(&chain, cut, previous, epoch, &cancel, &outage) => done,
            }
        });
        self.committing = Some(Committing { done, started: Instant::now() });
        Ok(())
    }

    async fn finish_commit(&mut self) -> Result<()> {
        if self.committing.is_some() {
            let published = committed(&mut self.committing).await?;
            self.committed(published).await?;
        }
        Ok(())
    }

    /// Swaps what was in flight for the published files, in one step.
    async fn committed(&mut self, published: Published) -> Result<()> {
        self.checkpoint = Some(published.checkpoint.clone());
        self.pipeline.published();
        self.show(Some(published));
        self.answers_at_work.drain(..).for_each(|answer| answer(&Ok(())));
        metrics::counter!(Metric::Epochs.name()).increment(1);
        Ok(())
    }
}

/// Resolves when the checkpoint at work is done; never, while there is none.
async fn committed(committing: &mut Option<Committing>) -> Result<Published> {
    match committing {
        None => std::future::pending().await,
        Some(work) => {
            let done = (&mut work.done).await;
            metrics::histogram!(Metric::CheckpointSeconds.name()).record(work.started.elapsed().as_secs_f64());
            *committing = None;
            done.map_err(|e| Error::caused(ErrorKind::Internal, "a checkpoint's task died", e))?
        }
    }
}
