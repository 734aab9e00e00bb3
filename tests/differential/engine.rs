//! The real engine on ports in memory, driven over arrivals by a schedule: how it is interrupted, and how often it looks.

use super::chance::Chance;
use super::mutant::Mutant;
use super::schedule::{Schedule, Then};
use super::stream::FUTURE_MS_MAX;
use afferent_engine::checkpoint::GroupName;
use afferent_engine::clock::ManualClock;
use afferent_engine::config::EngineConfig;
use afferent_engine::control::{BackfillRange, Control, Define, Origin, control};
use afferent_engine::error::ErrorKind;
use afferent_engine::intake::{Delivery, Intake, intake};
use afferent_engine::live::{Live, LiveFilter, ReadView};
use afferent_engine::log::{Decoder, LogName, LogReader, LogWriter, Record, Topic};
use afferent_engine::parts::{LocalPartition, LocalPartitions, Order, Partitions, Parts};
use afferent_engine::query::View;
use afferent_engine::schema::TableName;
use afferent_engine::sim::{MemoryCheckpoints, MemoryLog, MemoryTables};
use afferent_engine::status::{BackfillState, GenerationState, GenerationStatus};
use afferent_engine::supervisor::{EngineHandle, EngineParts, Share, start};
use afferent_engine::time::{EventTime, WallTime};
use afferent_ingest::decoder::{Decoders, Limits};
use afferent_ingest::spread::Spread;
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::Statements;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a run may take before it counts as hanging.
const RUN_SECONDS_MAX: u64 = 120;

/// Milliseconds between two looks of the engine; shorter ones look at every body.
const TICK_MS: u64 = 30;

/// Deliveries that may overtake each other.
const OVERTAKEN_MAX: usize = 6;

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
pub(crate) struct World {
    ground: Arc<Ground>,
    log: Arc<MemoryLog>,
    pub(super) tables: Arc<MemoryTables>,
    checkpoints: Arc<MemoryCheckpoints>,
    decoder: Arc<dyn Decoder>,
    receiver: Arc<Decoders>,
    partitions: u32,
    workers: bool,
    reached: Arc<Reached>,
    runs: AtomicU64,
    now: WallTime,
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

/// The engines of one stream: the one that has the views, then those of the partitions if they have their own.
type Team = Vec<Running>;

/// The partitions as the owner of the views reaches them, across their restarts.
#[derive(Default)]
struct Reached(Mutex<BTreeMap<u32, LocalPartition>>);

impl Reached {
    fn now(&self) -> LocalPartitions {
        LocalPartitions(self.0.lock().unwrap().values().cloned().collect())
    }
}

#[async_trait]
impl Partitions for Reached {
    fn tell(&self, order: Arc<Order>) {
        self.now().tell(order);
    }

    fn reports(&self) -> BTreeMap<u32, Option<Arc<Parts>>> {
        self.now().reports()
    }

    async fn tables(&self) -> afferent_engine::error::Result<Arc<ReadView>> {
        self.now().tables().await
    }
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

/// Defines views in order.
async fn define(control: &Control, views: &[&View]) -> Result<(), String> {
    for View { spec, .. } in views {
        let define = Define { name: spec.name.clone(), sql: spec.sql.clone(), replace: false, origin: Origin::Statement };
        // One that reads another has to wait until that one's history is computed.
        while let Err(error) = control.define(define.clone()).await {
            if error.kind() != ErrorKind::Unavailable {
                return Err(format!("{} cannot be defined: {error}", spec.name));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(())
}

impl World {
    pub(super) fn new(ground: Arc<Ground>, schedule: &Schedule, mutant: Option<Mutant>) -> Self {
        let receiver = decoders();
        let decoder = Mutant::decoder(mutant, receiver.clone());
        Self {
            ground,
            log: Arc::default(),
            tables: Arc::default(),
            checkpoints: Arc::default(),
            decoder,
            receiver,
            partitions: schedule.partitions,
            workers: schedule.workers,
            reached: Arc::default(),
            runs: AtomicU64::new(0),
            now: WallTime(super::stream::DAY_MS),
            mutant,
        }
    }

    fn logs(&self) -> Vec<LogName> {
        let metrics = (0..self.partitions).map(|partition| LogName { topic: Topic::Metrics, partition });
        metrics.chain([LogName::first(Topic::Events)]).collect()
    }

    /// Logs, views and share of the engine at a place of the team, and where readers see it.
    fn part_of(&self, place: usize, views: &[&View]) -> (Vec<LogName>, GroupName, Vec<View>, Share, Arc<Live>) {
        let copied = || views.iter().map(|v| super::copied(v)).collect();
        if !self.workers {
            return (self.logs(), GroupName::of_partition(0), copied(), Share::Whole, Arc::default());
        }
        let live = Arc::<Live>::default();
        if place == 0 {
            let reached: Arc<dyn Partitions> = self.reached.clone();
            return (vec![LogName::first(Topic::Events)], GroupName::of_views(), copied(), Share::Views(reached), live);
        }
        let partition = place as u32 - 1;
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        let orders = {
            let mut reached = self.reached.0.lock().unwrap();
            let known = reached.get(&partition).map(|p| p.orders.clone()).unwrap_or_default();
            reached.insert(partition, LocalPartition { partition, live: live.clone(), orders: known.clone() });
            known
        };
        let log = LogName { topic: Topic::Metrics, partition };
        (vec![log], GroupName::of_metrics(partition), vec![], Share::Partition { partition, run, orders }, live)
    }

    /// Starts all engines.
    fn start(&self, views: &[&View], config: &EngineConfig) -> Result<Team, String> {
        // The partitions first: their owner has to know how many there are.
        let engines = if self.workers { 1 + self.partitions as usize } else { 1 };
        let mut team = (1..engines).map(|place| self.start_one(place, views, config)).collect::<Result<Team, String>>()?;
        team.insert(0, self.start_one(0, views, config)?);
        Ok(team)
    }

    fn start_one(&self, place: usize, views: &[&View], config: &EngineConfig) -> Result<Running, String> {
        let (intake, receiver) = intake();
        let (control, commands) = control();
        let (cancel, halt) = (CancellationToken::new(), CancellationToken::new());
        let (logs, group, views, share, live) = self.part_of(place, views);
        let tables = if self.workers { self.tables.of(&group) } else { self.tables.clone() };
        let parts = EngineParts {
            config: config.clone(),
            group,
            writer: "test".into(),
            logs,
            takes_over: false,
            intake: receiver,
            log: self.log.clone(),
            decoder: self.decoder.clone(),
            tables,
            checkpoints: self.checkpoints.clone(),
            history: self.tables.clone(),
            views,
            compiler: self.ground.compiler.clone(),
            commands,
            inventory: self.ground.dimensions.inventory.clone(),
            live: live.clone(),
            share,
            clock: Arc::new(ManualClock::at(self.now)),
            cancel: cancel.clone(),
            halt: halt.clone(),
        };
        let parts = Mutant::apply(self.mutant, parts);
        let handle = start(parts).map_err(|e| format!("the engine does not start: {e}"))?;
        Ok(Running { intake, control, live, cancel, halt, handle })
    }

    /// Ends some engines of a team, all of a team of one, and starts them again.
    async fn again(&self, team: Team, gently: bool, views: &[&View], config: &EngineConfig, chance: &mut Chance) -> Result<Team, String> {
        let hit: Vec<bool> = (0..team.len()).map(|_| team.len() == 1 || chance.one_in(2)).collect();
        for (engine, _) in team.iter().zip(&hit).filter(|(_, hit)| **hit) {
            if gently {
                recovered(&engine.live).await;
                engine.cancel.cancel();
            } else {
                engine.halt.cancel();
            }
        }
        let mut next = Team::new();
        for (place, (engine, hit)) in team.into_iter().zip(hit).enumerate() {
            if !hit {
                next.push(engine);
                continue;
            }
            match engine.handle.join().await {
                // A checkpoint that was under way may say so.
                Err(error) if gently || error.kind() != ErrorKind::Unavailable => return Err(format!("engine {place} ended: {error}")),
                _ => next.push(self.start_one(place, views, config)?),
            }
        }
        Ok(next)
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
        let mut team = self.start(&of_the_start, config)?;
        let mut done = 0;
        for (until, then) in &schedule.parts {
            let part = records.get(done..*until).unwrap_or_default();
            done = done.max(*until);
            self.deliver(&team, part, schedule.overtaking.then_some(&mut chance)).await?;
            match then {
                Then::Tick => self.shown(&team).await?,
                Then::Halt(after_ms) => {
                    tokio::time::sleep(Duration::from_millis(*after_ms)).await;
                    team = self.again(team, false, &of_the_start, config, &mut chance).await?;
                }
                Then::Stop => team = self.again(team, true, &of_the_start, config, &mut chance).await?,
                Then::Define => define(&team[0].control, &of_later).await?,
                Then::Backfill(_) if views.is_empty() => {}
                Then::Backfill(place) => {
                    let view = views[place % views.len()].spec.name.clone();
                    // A view that is filled just now, or has no history of its own, says so.
                    match team[0].control.backfill(BackfillRange { view, from: EventTime(0), to: EventTime(i64::MAX / 2_000) }).await {
                        Err(error) if error.kind() != ErrorKind::Invalid => return Err(format!("backfill: {error}")),
                        _ => {}
                    }
                }
            }
        }
        self.deliver(&team, records.get(done..).unwrap_or_default(), schedule.overtaking.then_some(&mut chance)).await?;
        if late || schedule.computes_history() {
            self.shown(&team).await?;
        }
        self.finish(team).await
    }

    /// Stops everything and gives what readers see then.
    async fn finish(&self, mut team: Team) -> Result<Arc<Live>, String> {
        let mut lives = vec![];
        // What partitions say last is taken by the owner of the views, which stops last.
        team.rotate_left(1);
        for engine in team {
            recovered(&engine.live).await;
            engine.cancel.cancel();
            engine.handle.join().await.map_err(|e| format!("stopping engine: {e}"))?;
            lives.push(engine.live);
        }
        let Some(owner) = lives.pop() else { return Err("there is no engine".into()) };
        let partitions: Vec<Arc<ReadView>> = lives.iter().map(|live| live.view()).collect();
        Ok(if partitions.is_empty() { owner } else { Arc::new(Live::from(Arc::new(ReadView::whole(&owner.view(), &partitions)))) })
    }

    async fn deliver(&self, team: &Team, records: &[Record], mut overtaking: Option<&mut Chance>) -> Result<(), String> {
        for group in records.chunks(OVERTAKEN_MAX) {
            let mut deliveries = vec![];
            for record in group {
                let spread = Spread { partitions: self.partitions, ..Spread::default() };
                for afferent_ingest::spread::Share { log, record, .. } in
                    self.receiver.read_spread(record.clone(), spread).map_err(|e| e.to_string())?
                {
                    let position = self.log.append(log, record.clone()).await.map_err(|e| e.to_string())?;
                    let decoded = self.decoder.decode(&record).map_err(|e| e.to_string())?;
                    deliveries.push(Delivery { log, position, decoded, record });
                }
            }
            if let Some(chance) = overtaking.as_deref_mut() {
                deliveries.sort_by_cached_key(|_| chance.next());
            }
            for delivery in deliveries {
                let of_partition = self.workers && delivery.log.topic == Topic::Metrics;
                let engine = &team[if of_partition { 1 + delivery.log.partition as usize } else { 0 }];
                // One that was just halted finds it in the log.
                if let Ok(place) = engine.intake.reserve().await {
                    place.deliver(delivery);
                }
            }
        }
        Ok(())
    }

    /// Waits until readers are shown everything that was appended, and everything late is repaired.
    async fn shown(&self, team: &Team) -> Result<(), String> {
        let started = Instant::now();
        while self.is_behind(team).await? {
            if started.elapsed() > Duration::from_secs(RUN_SECONDS_MAX / 2) {
                let told: Vec<_> =
                    team.iter().map(|e| e.live.view()).map(|v| (v.status.logs.clone(), v.status.repair, v.status.partitions.clone())).collect();
                return Err(format!("what was delivered was never shown: {told:?}"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn is_behind(&self, team: &Team) -> Result<bool, String> {
        // The owner of the views last: what it says has to be of a time after what the partitions said.
        let mut views: Vec<Arc<ReadView>> = team.iter().skip(1).map(|e| e.live.view()).collect();
        views.extend(team.first().map(|owner| owner.live.view()));
        for log in self.logs() {
            let (_, end) = self.log.bounds(log).await.map_err(|e| e.to_string())?;
            let next = views.iter().filter_map(|v| v.status.logs.get(&log.to_string())).map(|l| l.next).max().unwrap_or_default();
            if next < end {
                return Ok(true);
            }
        }
        let busy = |view: &Arc<ReadView>| {
            let status = &view.status;
            let filling = |g: &GenerationStatus| g.state == GenerationState::Filling && g.error.is_none();
            !status.recovered
                || status.repair.waiting > 0
                || status.repair.corrections > 0
                || status.backfills.values().any(|b| b.state == BackfillState::Running)
                || status.views.values().any(|v| v.generations.iter().any(filling))
        };
        Ok(views.iter().any(busy) || self.disagree(&views))
    }

    /// True while something that one engine said has not reached the others.
    fn disagree(&self, views: &[Arc<ReadView>]) -> bool {
        let Some((owner, partitions)) = views.split_last() else { return true };
        partitions.iter().zip(0..).any(|(view, partition): (_, u32)| {
            let order = self.reached.0.lock().unwrap().get(&partition).and_then(|p| p.orders.newest());
            let (Some(order), Some(said)) = (order, &view.parts) else { return true };
            let taken = owner.status.partitions.get(&partition).is_some_and(|p| p.said >= (said.run, said.number));
            !taken || order.targets.iter().any(|(name, target)| said.targets.get(name) != Some(target))
        })
    }

    /// An engine for each of so many partitions and one for the shipped views, none of which is disturbed, over the records.
    pub(crate) async fn of_partitions(partitions: u32, dimensions: Arc<Dimensions>, now: WallTime, records: &[Record]) -> (Self, Arc<Live>) {
        let views = afferent_queries::plan::shipped(&dimensions).unwrap();
        let schedule = Schedule { partitions, workers: true, ..Schedule::straight(0) };
        let world = Self { now, ..Self::new(Ground::new(dimensions), &schedule, None) };
        let live = world.run(&views, &EngineConfig::default(), &schedule, records, true).await.unwrap();
        (world, live)
    }

    /// All rows of a table: published ones, then those in memory.
    pub(crate) fn table(&self, live: &Live, name: &str) -> Vec<RecordBatch> {
        let (view, name) = (live.view(), TableName::new(name));
        let mut rows = view.files.get(&name).map(|f| self.tables.rows(f)).unwrap_or_default();
        rows.extend(view.live.get(&name).map(|l| l.scan(&LiveFilter::default()).unwrap()).unwrap_or_default());
        rows
    }
}
