//! Puts the parts together: log, store, tables, dimensions, views, engine, upkeep, HTTP. Starts them inside out and stops them outside in.

mod chains;
mod instance;
mod log;
mod moved;
mod partitions;
mod work;

pub(crate) use moved::move_log;
pub(crate) use work::address_of;

use crate::config::{Config, LogConfig, StorePlace};
use crate::partitions::Hosted;
use crate::partitions::reached::Reached;
use crate::replica::Replica;
use crate::roster::{Key, Place, Roster};
use crate::standby::Standby;
use crate::state::AppState;
use crate::views::files::ViewFiles;
use crate::views::follow::Follower;
use crate::{http, stages, telemetry};
use afferent_engine::checkpoint::GroupName;
use afferent_engine::clock::{Clock, SystemClock};
use afferent_engine::config::EngineConfig;
use afferent_engine::control::control;
use afferent_engine::error::{Error, ErrorKind, Result};
use afferent_engine::intake::{Deliveries, Intake, intake};
use afferent_engine::live::{Live, ReadView};
use afferent_engine::log::{LogName, Topic};
use afferent_engine::query::View;
use afferent_engine::schema::TableDef;
use afferent_engine::supervisor::{EngineParts, Share};
use afferent_ingest::appender::Appender;
use afferent_ingest::decoder::Decoders;
use afferent_ingest::http::IngestState;
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::{Statements, shipped};
use afferent_queries::session::{SqlEngine, TableSource};
use afferent_storage::checkpoint::ObjectCheckpoints;
use afferent_storage::history::ParquetHistory;
use afferent_storage::maintain::Maintainer;
use afferent_storage::object_store::{self, Store};
use afferent_storage::steps::Steps;
use afferent_storage::table::delta::DeltaTables;
use afferent_storage::table::provider::LakeTable;
use axum::Router;
use instance::Instance;
use log::Log;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;
use work::Work;

/// Time between two rounds in which histograms are folded, so that they do not grow while nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Time between two looks at what the process that works has published.
const REPLICA_EVERY: Duration = Duration::from_secs(1);

/// A running server. Dropping it leaves everything as it is, which is safe; [`Server::stop`] is the graceful way.
pub struct Server {
    address: SocketAddr,
    state: AppState,
    /// The HTTP server alone: it ends first.
    http: JoinSet<Ended>,
    parts: JoinSet<Ended>,
    appender: Appender,
    log: Log,
    doors: CancellationToken,
    inner: CancellationToken,
    _halt: DropGuard,
    _instance: Option<Instance>,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Http,
    Engine,
    Partition,
    Maintainer,
    Upkeep,
    Replica,
    ViewFiles,
}

/// Which part ended, and how.
type Ended = (Part, Result<()>);

/// What was opened before anything runs.
struct Opened {
    instance: Option<Instance>,
    log: Log,
    store: Store,
    dimensions: Arc<Dimensions>,
    views: Vec<View>,
}

/// Starts everything and returns once the address is bound; recovery then goes on behind it (`/readyz`).
///
/// # Errors
/// `Invalid` for definitions, `Conflict` where another process has the folder, `Unavailable` for disk, brokers and address, `Corrupt` for the log.
pub async fn start(config: Config) -> Result<Server> {
    start_watched(config, Steps::default()).await
}

/// The same, and tells `steps` what becomes durable.
///
/// # Errors
/// As [`start`].
pub async fn start_watched(config: Config, steps: Steps) -> Result<Server> {
    let config = Arc::new(config);
    let metrics = telemetry::start_metrics().map_err(|e| Error::caused(ErrorKind::Internal, "metrics cannot be recorded", e))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // First of all, so that a taken address is told before a long log is read.
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|e| Error::caused(ErrorKind::Unavailable, format!("cannot listen on {listen}"), e))?;
    let address = listener.local_addr().map_err(|e| Error::caused(ErrorKind::Unavailable, "the listening address is not known", e))?;
    let opened = open(config.clone(), steps).await?;
    partitions::check_engines(&config, &opened.log, &opened.store).await?;
    chains::check_start(&config, &opened.store, &opened.log).await?;
    let key = key(&config, &opened.store).await?;
    assemble(Assembly { config, clock, metrics, listener, address, key }, opened)
}

/// What [`start`] knows by the time the parts are put together.
struct Assembly {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    metrics: PrometheusHandle,
    listener: TcpListener,
    address: SocketAddr,
    /// What the processes of the deployment know each other by.
    key: Option<Key>,
}

/// Opens what is kept, definitions first: a wrong one is told before a long log is read. Files are read apart from the async threads.
async fn open(config: Arc<Config>, steps: Steps) -> Result<Opened> {
    let files = config.files.clone();
    let (dimensions, views) = on_thread(move || {
        let dimensions = Dimensions::load(files.inventory.as_deref(), files.slo.as_deref(), files.prices.as_deref())?;
        let views = shipped(&dimensions)?;
        Ok((Arc::new(dimensions), views))
    })
    .await?;
    let instance = Instance::take(&config)?;
    let log = Log::open(&config.log, steps.clone()).await?;
    let store = open_store(&config.store, steps).await?;
    Ok(Opened { instance, log, store, dimensions, views })
}

async fn open_store(place: &StorePlace, steps: Steps) -> Result<Store> {
    let store = match place.clone() {
        StorePlace::Folder(folder) => on_thread(move || object_store::open(&folder.to_string_lossy())).await?,
        StorePlace::Bucket(bucket) => bucket.open_waiting().await?,
    };
    Ok(store.owned()?.watched(steps))
}

async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::caused(ErrorKind::Internal, "opening the data folder failed", e))?
}

fn assemble(assembly: Assembly, opened: Opened) -> Result<Server> {
    let Assembly { config, clock, metrics, listener, address, key } = assembly;
    let Opened { instance, log, store, dimensions, views } = opened;
    let (doors, inner, halt) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let live = Arc::new(Live::default());
    let tables = DeltaTables::new(store.clone());
    let decoders = Arc::new(Decoders::new(config.ingest.limits()));
    let (hand_over, taken) = intake();
    let (control, commands) = control();
    let compiler = Statements::new(dimensions.clone())?;
    let started_at = clock.now();
    let standby = Arc::new(Standby::default());
    let seat = log.join(instance.as_ref())?;
    let sql = SqlEngine::new(&dimensions, live.clone(), table_source(store.clone()), config.sql.clone())?;
    let own = helps_at(&config).map(|at| Place { at, version: sql.version() });
    let roster = Arc::new(Roster::new(own, key));
    let whole = EngineParts {
        config: EngineConfig { kept_days: config.maintain.pane_days(), ..config.engine.clone() },
        group: GroupName::of_partition(0),
        writer: work::writer_name(started_at, config.server.advertise.as_deref()),
        logs: log.names(),
        takes_over: false,
        intake: taken,
        log: log.reader(),
        decoder: decoders.clone(),
        tables: tables.clone(),
        checkpoints: ObjectCheckpoints::new(store.clone()),
        history: ParquetHistory::new(store.clone()),
        views,
        compiler: compiler.clone(),
        commands,
        inventory: dimensions.inventory.clone(),
        live: live.clone(),
        share: Share::Whole,
        clock: clock.clone(),
        cancel: inner.clone(),
        halt: halt.clone(),
    };
    let mut parts = JoinSet::new();
    let (hosted, whole, own_tables) = if config.server.engine_per_partition {
        let ground =
            Spread { config: &config, instance: instance.as_ref(), log: &log, store: &store, tables: &tables, roster: &roster, standby: &standby };
        ground.over_partitions(whole, &mut parts)?
    } else {
        (Arc::default(), whole, tables)
    };
    let engine_live = whole.live.clone();
    let work = Work::begin(whole, seat, &standby)?;
    let maintainer = Maintainer::new(store.clone(), own_tables, engine_live.clone(), config.maintain.clone())?;
    let sql = Arc::new(match (roster.own(), roster.key()) {
        (Some(own), Some(key)) => sql.beside(stages::neighbours(own.at.clone(), key.clone(), roster.clone(), store)),
        _ => sql,
    });
    let appender = Appender::new(log.writer(), log.spread(), hand_over, clock.clone());
    let receivers = IngestState::new(config.ingest.clone(), appender.clone(), decoders, clock.clone());
    let view_files = Arc::new(ViewFiles::default());
    let follower = config.files.views.clone().map(|folder| Follower::new(folder, control.clone(), live.clone(), view_files.clone()));
    let (metrics_now, config_now) = (metrics.clone(), config.clone());
    let state = AppState {
        sql,
        live,
        control,
        compiler,
        view_files,
        dimensions,
        clock,
        config: config_now,
        metrics: metrics_now,
        standby: standby.clone(),
        replica: Arc::new(Replica::new(roster)),
        partitions: hosted,
        reads: Arc::default(),
        started_at,
    };

    let doors_in = if config.server.roles.intake { afferent_ingest::http::router(receivers) } else { http::no_receivers() };
    let router = http::router(state.clone(), doors_in);
    let mut http = JoinSet::new();
    parts.spawn(run_engine(work, standby));
    parts.spawn(run_maintainer(maintainer, engine_live, inner.clone()));
    parts.spawn(run_upkeep(metrics, inner.clone()));
    parts.spawn(run_replica(state.clone(), inner.clone()));
    if let Some(follower) = follower {
        parts.spawn(run_follower(follower, inner.clone()));
    }
    http.spawn(run_http(listener, router, config, doors.clone()));
    Ok(Server { address, state, http, parts, appender, log, doors, inner, _halt: halt.drop_guard(), _instance: instance })
}

/// What engines of partitions are put together from.
struct Spread<'a> {
    config: &'a Config,
    instance: Option<&'a Instance>,
    log: &'a Log,
    store: &'a Store,
    tables: &'a Arc<DeltaTables>,
    roster: &'a Arc<Roster>,
    standby: &'a Arc<Standby>,
}

impl Spread<'_> {
    /// Makes of an engine of the whole log the one of events and views, and begins those of the partitions.
    ///
    /// # Errors
    /// As [`Log::join_partitions`].
    fn over_partitions(self, whole: EngineParts, running: &mut JoinSet<Ended>) -> Result<(Arc<Hosted>, EngineParts, Arc<DeltaTables>)> {
        let Self { config, instance, log, store, tables, roster, standby } = self;
        let hosted = Arc::<Hosted>::default();
        let (group, views) = (GroupName::of_views(), Arc::<Live>::default());
        let (partitions, checkpoints) = (log.spread().partitions, whole.checkpoints.clone());
        let reached = Reached::new(partitions, hosted.clone(), roster.clone(), standby.clone(), checkpoints.clone(), tables.clone());
        let ground = Arc::new(partitions::Ground {
            config: whole.config.clone(),
            maintain: config.maintain.clone(),
            writer: whole.writer.clone(),
            log: whole.log.clone(),
            decoder: whole.decoder.clone(),
            store: store.clone(),
            tables: tables.clone(),
            checkpoints,
            history: whole.history.clone(),
            compiler: whole.compiler.clone(),
            inventory: whole.inventory.clone(),
            hosted: hosted.clone(),
            clock: whole.clock.clone(),
            cancel: whole.cancel.clone(),
            halt: whole.halt.clone(),
        });
        for (partition, seat) in (0..).zip(log.join_partitions(instance)?) {
            let ground = ground.clone();
            running.spawn(async move { (Part::Partition, ground.run(partition, seat).await) });
        }
        let (shown, stop) = (whole.live, whole.cancel.clone());
        running.spawn(run_reached(reached.clone(), views.clone(), shown, stop));
        let (to_views, taken) = intake();
        running.spawn(run_hand_out(whole.intake, hosted.clone(), to_views, whole.cancel.clone()));
        let own_tables = tables.of(&group);
        let logs = vec![LogName::first(Topic::Events)];
        let share = Share::Views(reached);
        let whole = EngineParts { group, logs, tables: own_tables.clone(), intake: taken, live: views, share, ..whole };
        Ok((hosted, whole, own_tables))
    }
}

/// Where those find this process that look for help with a statement; nothing where the log is not shared, or where it answers no readers.
fn helps_at(config: &Config) -> Option<Url> {
    let helps = matches!(config.log, LogConfig::Kafka(_)) && config.server.roles.query;
    let at = config.server.advertise.as_deref().filter(|_| helps)?.parse::<Url>().ok()?;
    (at.scheme() == "http").then_some(at)
}

/// What the processes of a deployment know each other by, where this one has to do with others. Without it each answers statements alone, and engines
/// of partitions cannot be reached.
async fn key(config: &Config, store: &Store) -> Result<Option<Key>> {
    if helps_at(config).is_none() && !config.server.engine_per_partition {
        return Ok(None);
    }
    match store.shared_secret().await {
        Ok(secret) => Ok(Key::new(&secret)),
        Err(error) if config.server.engine_per_partition => Err(error),
        Err(error) => {
            tracing::warn!(%error, "what the processes know each other by cannot be read: this one answers statements alone");
            Ok(None)
        }
    }
}

/// Stored tables as relations: published files and, after them, the rows in memory.
fn table_source(store: Store) -> TableSource {
    Arc::new(move |def: &TableDef, view: &ReadView| {
        let files = view.files.get(&def.name).cloned().unwrap_or_default();
        let live = view.live.get(&def.name).cloned();
        Arc::new(LakeTable::new(store.clone(), def.clone(), files, live))
    })
}

async fn run_engine(work: Work, standby: Arc<Standby>) -> Ended {
    (Part::Engine, work.run(standby).await)
}

/// While this process has the views, it asks the partitions.
async fn run_reached(reached: Arc<Reached>, views: Arc<Live>, shown: Arc<Live>, stop: CancellationToken) -> Ended {
    reached.run(views, shown, stop).await;
    (Part::Partition, Ok(()))
}

/// What was taken in goes to the engines that run here.
async fn run_hand_out(mut taken: Deliveries, hosted: Arc<Hosted>, views: Intake, stop: CancellationToken) -> Ended {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return (Part::Partition, Ok(())),
            deliveries = taken.recv() => match deliveries {
                Some(deliveries) => hosted.hand_out(deliveries, &views),
                None => return (Part::Partition, Ok(())),
            },
        }
    }
}

/// The lake is kept by the process that works.
async fn run_maintainer(maintainer: Arc<Maintainer>, live: Arc<Live>, stop: CancellationToken) -> Ended {
    tokio::select! {
        () = stop.cancelled() => return (Part::Maintainer, Ok(())),
        () = recovered(&live) => {}
    }
    maintainer.run(stop).await;
    (Part::Maintainer, Ok(()))
}

async fn run_upkeep(metrics: PrometheusHandle, stop: CancellationToken) -> Ended {
    loop {
        tokio::select! {
            () = stop.cancelled() => return (Part::Upkeep, Ok(())),
            () = tokio::time::sleep(UPKEEP_EVERY) => metrics.run_upkeep(),
        }
    }
}

/// While this process waits, it keeps up with what the one that works has published: that is what it can answer from when that one is gone.
async fn run_replica(state: AppState, stop: CancellationToken) -> Ended {
    loop {
        tokio::select! {
            () = stop.cancelled() => return (Part::Replica, Ok(())),
            () = tokio::time::sleep(REPLICA_EVERY) => {}
        }
        if let Some(works_at) = state.standby.works_at() {
            drop(state.replica.read(Some(&works_at)).await);
        }
    }
}

async fn run_follower(follower: Follower, stop: CancellationToken) -> Ended {
    follower.run(stop).await;
    (Part::ViewFiles, Ok(()))
}

async fn run_http(listener: TcpListener, router: Router, config: Arc<Config>, stop: CancellationToken) -> Ended {
    let served = http::serve(listener, router, &config.server, stop).await;
    (Part::Http, served.map_err(|e| Error::caused(ErrorKind::Unavailable, "the HTTP server failed", e)))
}

impl Server {
    /// Where it listens; tells the port where the configuration says 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its handlers see.
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Returns when a part ends that should run until it is stopped.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn failed(&mut self) -> Error {
        let ended = tokio::select! {
            Some(ended) = self.http.join_next() => ended,
            Some(ended) = self.parts.join_next() => ended,
            else => return Error::internal("nothing runs any more"),
        };
        match ended {
            Ok((_, Err(error))) => error,
            Ok((part, Ok(()))) => Error::internal(format!("the part {part:?} ended by itself")),
            Err(error) => Error::caused(ErrorKind::Internal, "a part of the server died", error),
        }
    }

    /// Waits until answers are complete.
    ///
    /// # Errors
    /// What kept it from recovering.
    pub async fn ready(&mut self) -> Result<()> {
        let live = self.state.live.clone();
        tokio::select! {
            () = recovered(&live) => Ok(()),
            error = self.failed() => Err(error),
        }
    }

    /// Stops accepting, finishes what is in flight, writes a last checkpoint, closes the log.
    ///
    /// # Errors
    /// The first part that did not end well; everything acknowledged is durable all the same.
    ///
    /// # Cancel safety
    /// Dropping it stops at once, which is safe.
    pub async fn stop(mut self) -> Result<()> {
        self.doors.cancel();
        let closed = join(&mut self.http).await;
        self.appender.drained().await;
        self.inner.cancel();
        let stopped = join(&mut self.parts).await;
        let flushed = self.log.close().await;
        closed.and(stopped).and(flushed)
    }
}

/// Waits for all of them; the first that did not end well is told.
async fn join(parts: &mut JoinSet<Ended>) -> Result<()> {
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        let result = match ended {
            Ok((_, result)) => result,
            Err(error) => Err(Error::caused(ErrorKind::Internal, "a part of the server died", error)),
        };
        outcome = outcome.and(result);
    }
    outcome
}

/// Returns once answers are complete.
async fn recovered(live: &Live) {
    while !live.view().status.recovered {
        tokio::time::sleep(READY_POLL).await;
    }
}

/// How often [`recovered`] looks.
const READY_POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
