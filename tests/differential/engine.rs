//! The real engine on ports in memory, driven over arrivals by a schedule: how it is interrupted, and how often it looks.

use super::chance::Chance;
use super::mutant::Mutant;
use super::stream::FUTURE_MS_MAX;
use afferent_engine::checkpoint::GroupName;
use afferent_engine::clock::ManualClock;
use afferent_engine::config::EngineConfig;
use afferent_engine::control::{BackfillRange, Control, Define, Origin, control};
use afferent_engine::error::ErrorKind;
use afferent_engine::intake::{Delivery, Intake, intake};
use afferent_engine::live::{Live, LiveFilter};
use afferent_engine::log::{Decoder, LogName, LogReader, LogWriter, Position, Record, Topic};
use afferent_engine::query::View;
use afferent_engine::schema::TableName;
use afferent_engine::sim::{MemoryCheckpoints, MemoryLog, MemoryTables};
use afferent_engine::status::{BackfillState, GenerationState};
use afferent_engine::supervisor::{EngineHandle, EngineParts, start};
use afferent_engine::time::{EventTime, WallTime};
use afferent_ingest::decoder::{Decoders, Limits};
use afferent_ingest::spread::{Share, Spread};
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::Statements;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a run may take before it counts as hanging.
const RUN_SECONDS_MAX: u64 = 120;

/// Milliseconds between two looks of the engine; shorter ones look at every body.
const TICK_MS: u64 = 30;

/// Deliveries that may overtake each other.
const OVERTAKEN_MAX: usize = 6;

/// What happens between two parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The engine looks at everything taken so far.
    Tick,
    /// It is stopped in the middle of whatever it does after so many milliseconds, and started again.
    Halt(u64),
    /// It stops with everything checkpointed, and is started again.
    Stop,
    /// The views that were left out at the start are defined.
    Define,
    /// One of the views (counted round) is computed again from what is stored.
    Backfill(usize),
}

/// How arrivals reach the engine.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) name: &'static str,
    /// What happens after so many arrivals.
    pub(super) parts: Vec<(usize, Then)>,
    /// Deliveries overtake each other on their way from the log.
    pub(super) overtaking: bool,
    /// Milliseconds between checkpoints.
    pub(super) checkpoint_ms: u64,
    /// Bodies are shuffled by up to so many milliseconds.
    pub(super) shuffle_ms: i64,
    /// Partitions over which series are spread.
    pub(super) partitions: u32,
    /// Views that are defined in mid-stream, where the parts say so.
    pub(super) late_views: BTreeSet<String>,
    pub(super) seed: u64,
}

impl Schedule {
    /// The plainest one: everything at once.
    pub(super) fn straight(seed: u64) -> Self {
        let late_views = BTreeSet::new();
        Self { name: "straight", parts: vec![], overtaking: false, checkpoint_ms: 3_600_000, shuffle_ms: 0, partitions: 1, late_views, seed }
    }

    /// The schedules every stream is run by.
    pub(super) fn all(chance: &mut Chance, arrivals: usize, lateness_ms: i64) -> Vec<Self> {
        let seed = chance.next();
        let places = |chance: &mut Chance, n: i64| {
            let mut at: Vec<usize> = (0..n).map(|_| chance.index(arrivals.max(1))).collect();
            at.sort_unstable();
            at
        };
        let ticks = places(chance, 4).into_iter().map(|at| (at, Then::Tick)).collect();
        let watched = Self { name: "watched", parts: ticks, checkpoint_ms: 10, overtaking: true, ..Self::straight(seed) };
        let stops = places(chance, 3).into_iter().map(|at| (at, if chance.one_in(3) { Then::Tick } else { Then::Stop })).collect();
        let stopped = Self { name: "stopped", parts: stops, ..Self::straight(seed) };
        let halts =
            places(chance, 5).into_iter().map(|at| (at, *chance.pick(&[Then::Halt(0), Then::Halt(3), Then::Halt(15), Then::Halt(30), Then::Tick])));
        let halted = Self { name: "halted", parts: halts.collect(), checkpoint_ms: 10, ..Self::straight(seed) };
        let ticks = places(chance, 2).into_iter().map(|at| (at, *chance.pick(&[Then::Tick, Then::Halt(12)]))).collect();
        let shuffle_ms = *chance.pick(&[5_000, lateness_ms / 2, lateness_ms, lateness_ms * 2]);
        let shuffled = Self { name: "shuffled", parts: ticks, checkpoint_ms: 20, shuffle_ms, ..Self::straight(seed) };
        let mut parts: Vec<(usize, Then)> = places(chance, 1).into_iter().map(|at| (at, Then::Define)).collect();
        let after = |chance: &mut Chance| *chance.pick(&[Then::Tick, Then::Halt(0), Then::Halt(9), Then::Stop]);
        parts.extend(places(chance, 2).into_iter().map(|at| (at, after(chance))));
        parts.extend(places(chance, 2).into_iter().map(|at| (at, Then::Backfill(chance.index(100)))));
        parts.sort_by_key(|(at, _)| *at);
        let defined = Self { name: "defined", parts, checkpoint_ms: 20, ..Self::straight(seed) };
        let interrupted = [watched, stopped, halted, shuffled, defined].map(|s| Self { partitions: *chance.pick(&[1, 4, 12]), ..s });
        [Self::straight(seed)].into_iter().chain(interrupted).collect()
    }

    /// The views of the start and those that come later.
    fn parted<'v>(&self, views: &'v [View]) -> (Vec<&'v View>, Vec<&'v View>) {
        let come_later = self.parts.iter().any(|(_, then)| *then == Then::Define);
        views.iter().partition(|v| !come_later || !self.late_views.contains(v.spec.name.as_str()))
    }

    /// True where something is computed beside the stream that the end has to wait for.
    fn computes_history(&self) -> bool {
        self.parts.iter().any(|(_, then)| matches!(then, Then::Define | Then::Backfill(_)))
    }
}

/// What every engine shares.
pub(super) struct Ground {
    pub(super) dimensions: Arc<Dimensions>,
    compiler: Arc<Statements>,
}

impl Ground {
    pub(super) fn new(dimensions: Arc<Dimensions>) -> Arc<Self> {
        let compiler = Statements::new(dimensions.clone()).unwrap();
        Arc::new(Self { dimensions, compiler })
    }
}

/// What one engine runs on, across its restarts.
pub(super) struct World {
    ground: Arc<Ground>,
    log: Arc<MemoryLog>,
    pub(super) tables: Arc<MemoryTables>,
    checkpoints: Arc<MemoryCheckpoints>,
    decoder: Arc<dyn Decoder>,
    receiver: Arc<Decoders>,
    partitions: u32,
    mutant: Option<Mutant>,
}

/// One engine at work.
struct Running {
    intake: Intake,
    control: Control,
    live: Arc<Live>,
    cancel: CancellationToken,
    halt: CancellationToken,
    handle: EngineHandle,
}

/// The real decoders with the usual limits.
fn decoders() -> Arc<Decoders> {
    Arc::new(Decoders::new(Limits {
        inflated_bytes_max: 32 << 20,
        future_ms_max: FUTURE_MS_MAX,
        series_labels_max: 64,
        label_bytes_max: 16 << 10,
        known_series_max: 10_000,
    }))
}

/// Returns once what was there before is replayed; a stop does not wait for it.
async fn recovered(live: &Live) {
    while !live.view().status.recovered {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl World {
    pub(super) fn new(ground: Arc<Ground>, partitions: u32, mutant: Option<Mutant>) -> Self {
        let receiver = decoders();
        let decoder = Mutant::decoder(mutant, receiver.clone());
        Self { ground, log: Arc::default(), tables: Arc::default(), checkpoints: Arc::default(), decoder, receiver, partitions, mutant }
    }

    fn logs(&self) -> Vec<LogName> {
        let metrics = (0..self.partitions).map(|partition| LogName { topic: Topic::Metrics, partition });
        metrics.chain([LogName::first(Topic::Events)]).collect()
    }

    fn start(&self, views: &[&View], config: &EngineConfig) -> Result<Running, String> {
        let (intake, receiver) = intake();
        let (control, commands) = control();
        let (cancel, halt, live) = (CancellationToken::new(), CancellationToken::new(), Arc::new(Live::default()));
        let parts = EngineParts {
            config: config.clone(),
            group: GroupName::of_partition(0),
            writer: "test".into(),
            logs: self.logs(),
            takes_over: false,
            intake: receiver,
            log: self.log.clone(),
            decoder: self.decoder.clone(),
            tables: self.tables.clone(),
            checkpoints: self.checkpoints.clone(),
            history: self.tables.clone(),
            views: views.iter().map(|v| super::copied(v)).collect(),
            compiler: self.ground.compiler.clone(),
            commands,
            inventory: self.ground.dimensions.inventory.clone(),
            live: live.clone(),
            clock: Arc::new(ManualClock::at(WallTime(super::stream::DAY_MS))),
            cancel: cancel.clone(),
            halt: halt.clone(),
        };
        let parts = Mutant::apply(self.mutant, parts);
        let handle = start(parts).map_err(|e| format!("the engine does not start: {e}"))?;
        Ok(Running { intake, control, live, cancel, halt, handle })
    }

    /// Runs the engine over the records by a schedule, waiting for repairs if any sample is `late`; what readers see at the end.
    pub(super) async fn run(
        &self,
        views: &[View],
        config: &EngineConfig,
        schedule: &Schedule,
        records: &[Record],
        late: bool,
    ) -> Result<Arc<Live>, String> {
        let background = EngineConfig { repair_interval_ms: 10, background_share: 1.0, ..config.clone() };
        let config = EngineConfig { tick_ms: TICK_MS, checkpoint_interval_ms: schedule.checkpoint_ms, ..background };
        let work = self.run_parts(views, &config, schedule, records, late);
        let limit = Duration::from_secs(RUN_SECONDS_MAX);
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(format!("the engine was not done after {RUN_SECONDS_MAX} s")))
    }

    async fn run_parts(
        &self,
        views: &[View],
        config: &EngineConfig,
        schedule: &Schedule,
        records: &[Record],
        late: bool,
    ) -> Result<Arc<Live>, String> {
        let mut chance = Chance::new(schedule.seed);
        let (of_the_start, of_later) = schedule.parted(views);
        let mut engine = self.start(&of_the_start, config)?;
        let mut done = 0;
        for (until, then) in &schedule.parts {
            let part = records.get(done..*until).unwrap_or_default();
            done = done.max(*until);
            self.deliver(&engine.intake, part, schedule.overtaking.then_some(&mut chance)).await?;
            match then {
                Then::Tick => self.shown(&engine.live).await?,
                Then::Halt(after_ms) => {
                    tokio::time::sleep(Duration::from_millis(*after_ms)).await;
                    engine.halt.cancel();
                    // A checkpoint that was under way may say so.
                    match engine.handle.join().await {
                        Err(error) if error.kind() != ErrorKind::Unavailable => return Err(format!("halted engine: {error}")),
                        _ => {}
                    }
                    engine = self.start(&of_the_start, config)?;
                }
                Then::Define => {
                    for View { spec, .. } in &of_later {
                        let define = Define { name: spec.name.clone(), sql: spec.sql.clone(), replace: false, origin: Origin::Statement };
                        // One that reads another has to wait until that one's history is computed.
                        while let Err(error) = engine.control.define(define.clone()).await {
                            if error.kind() != ErrorKind::Unavailable {
                                return Err(format!("{} cannot be defined: {error}", spec.name));
                            }
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                }
                Then::Backfill(_) if views.is_empty() => {}
                Then::Backfill(place) => {
                    let view = views[place % views.len()].spec.name.clone();
                    // A view that is filled just now, or has no history of its own, says so.
                    match engine.control.backfill(BackfillRange { view, from: EventTime(0), to: EventTime(i64::MAX / 2_000) }).await {
                        Err(error) if error.kind() != ErrorKind::Invalid => return Err(format!("backfill: {error}")),
                        _ => {}
                    }
                }
                Then::Stop => {
                    recovered(&engine.live).await;
                    engine.cancel.cancel();
                    engine.handle.join().await.map_err(|e| format!("stopped engine: {e}"))?;
                    engine = self.start(&of_the_start, config)?;
                }
            }
        }
        self.deliver(&engine.intake, records.get(done..).unwrap_or_default(), schedule.overtaking.then_some(&mut chance)).await?;
        if late || schedule.computes_history() {
            self.shown(&engine.live).await?;
        }
        recovered(&engine.live).await;
        engine.cancel.cancel();
        engine.handle.join().await.map_err(|e| format!("stopping engine: {e}"))?;
        Ok(engine.live)
    }

    async fn deliver(&self, intake: &Intake, records: &[Record], mut overtaking: Option<&mut Chance>) -> Result<(), String> {
        for group in records.chunks(OVERTAKEN_MAX) {
            let mut deliveries = vec![];
            for record in group {
                let spread = Spread { partitions: self.partitions, ..Spread::default() };
                for Share { log, record, .. } in self.receiver.read_spread(record.clone(), spread).map_err(|e| e.to_string())? {
                    let position = self.log.append(log, record.clone()).await.map_err(|e| e.to_string())?;
                    let decoded = self.decoder.decode(&record).map_err(|e| e.to_string())?;
                    deliveries.push(Delivery { log, position, decoded, record });
                }
            }
            if let Some(chance) = overtaking.as_deref_mut() {
                deliveries.sort_by_cached_key(|_| chance.next());
            }
            for delivery in deliveries {
                let place = intake.reserve().await.map_err(|e| e.to_string())?;
                place.deliver(delivery);
            }
        }
        Ok(())
    }

    /// Waits until readers are shown everything that was appended, and everything late is repaired.
    async fn shown(&self, live: &Live) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let status = live.view().status.clone();
            let mut behind = false;
            for log in self.logs() {
                let (_, end) = self.log.bounds(log).await.map_err(|e| e.to_string())?;
                let next = status.logs.get(&log.to_string()).map_or(Position(0), |l| l.next);
                behind |= next < end;
            }
            behind |= !status.recovered || status.repair.waiting > 0 || status.repair.corrections > 0;
            behind |= status.backfills.values().any(|b| b.state == BackfillState::Running);
            behind |= status.views.values().any(|v| v.generations.iter().any(|g| g.state == GenerationState::Filling && g.error.is_none()));
            if !behind {
                return Ok(());
            }
            if started.elapsed() > Duration::from_secs(RUN_SECONDS_MAX / 2) {
                return Err("what was delivered was never shown".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// All rows of a table: published ones, then those in memory.
    pub(super) fn table(&self, live: &Live, name: &str) -> Vec<RecordBatch> {
        let (view, name) = (live.view(), TableName::new(name));
        let mut rows = view.files.get(&name).map(|f| self.tables.rows(f)).unwrap_or_default();
        rows.extend(view.live.get(&name).map(|l| l.scan(&LiveFilter::default()).unwrap()).unwrap_or_default());
        rows
    }
}
