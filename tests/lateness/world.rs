//! An engine on ports in memory with a few views, fed by hand. Knows how to wait for it, not what must come out.

use crate::continuous::rows;
use afferent_engine::checkpoint::GroupName;
use afferent_engine::clock::{Clock, ManualClock};
use afferent_engine::config::EngineConfig;
use afferent_engine::control::{Control, Define, Origin, control};
use afferent_engine::error::Result;
use afferent_engine::intake::{Delivery, Intake, intake};
use afferent_engine::live::{Live, LiveFilter, ViewInfo};
use afferent_engine::log::{Decoded, DecodedBody, Decoder, Format, LogName, LogReader, LogWriter, Record, Topic};
use afferent_engine::query::LabelInventory;
use afferent_engine::sample::{SampleBatch, SeriesSlice};
use afferent_engine::schema::{self, TableName};
use afferent_engine::series::{Labels, SeriesKey};
use afferent_engine::sim::{MemoryCheckpoints, MemoryLog, MemoryTables};
use afferent_engine::status::{GenerationState, ViewStatus};
use afferent_engine::supervisor::{EngineHandle, EngineParts, start};
use afferent_engine::time::{EventTime, PANE_MS, WallTime};
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::Statements;
use afferent_queries::run::once::run_once;
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The streams begin here: a midnight, so that whole hours and days are easy to name.
pub(super) const BASE_MS: i64 = 1_795_305_600_000;

/// Host, time and value.
type Sample = (String, i64, f64);

pub(super) const MINUTES: &str = "SELECT label(labels, 'host') AS host, tumble(window_start, INTERVAL '1 minute') AS window_start, SUM(count) AS n, SUM(increase) AS gained, COUNT(*) AS series FROM panes WHERE metric = 'steps_total' GROUP BY 1, 2";
pub(super) const HOURS: &str = "SELECT label(labels, 'host') AS host, tumble(window_start, INTERVAL '1 hour') AS window_start, SUM(count) AS n, SUM(increase) AS gained, MAX(last) AS newest FROM panes WHERE metric = 'steps_total' GROUP BY 1, 2";
const SUMS: &str = "SELECT host, window_start, SUM(n) OVER (PARTITION BY host ORDER BY window_start RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS n60 FROM minutes";

const HOPS: &str = "SELECT label(labels, 'host') AS host, hop(window_start, INTERVAL '5 minutes', INTERVAL '15 minutes') AS window_start, SUM(count) AS n FROM panes WHERE metric = 'steps_total' GROUP BY 1, 2";
const HOURS_OF: &str = "SELECT host, tumble(window_start, INTERVAL '1 hour') AS window_start, SUM(n) AS n, COUNT(*) AS minutes FROM minutes GROUP BY 1, 2 HAVING SUM(n) < 240";

/// One minute of the view `minutes`, all hosts together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) count: i64,
    pub(super) hosts: usize,
    /// The highest of its rows.
    pub(super) revision: i64,
}

struct JsonBodies;

impl Decoder for JsonBodies {
    fn decode(&self, record: &Record) -> Result<Decoded> {
        let samples: Vec<Sample> = serde_json::from_slice(&record.body).unwrap();
        let mut batch = SampleBatch::default();
        for (i, (host, time, value)) in samples.into_iter().enumerate() {
            let labels = Labels::from_pairs([("__name__", "steps_total"), ("host", host.as_str()), ("job", "walk")]).unwrap();
            let start = batch.label_bytes.len() as u32;
            batch.label_bytes.extend_from_slice(labels.canonical());
            batch.times.push(time);
            batch.values.push(value);
            let labels_at = start..batch.label_bytes.len() as u32;
            batch.series.push(SeriesSlice { key: labels.key(), labels: labels_at, samples: i as u32..i as u32 + 1, start_time: 0 });
        }
        Ok(Decoded { body: DecodedBody::Samples(batch), rejects: vec![] })
    }
}

/// A view's columns without the envelope.
fn own_columns(info: &ViewInfo) -> SchemaRef {
    let own = info.schema.fields().len() - schema::view_envelope().len();
    Arc::new(info.schema.project(&(0..own).collect::<Vec<_>>()).unwrap())
}

pub(super) struct World {
    log: Arc<MemoryLog>,
    tables: Arc<MemoryTables>,
    checkpoints: Arc<MemoryCheckpoints>,
    clock: Arc<ManualClock>,
    live: Arc<Live>,
    control: Control,
    intake: Intake,
    engine: Option<tokio::task::JoinHandle<Result<()>>>,
    cancel: CancellationToken,
    sent: BTreeSet<(String, i64)>,
    waiting: Vec<Record>,
    definitions: BTreeMap<String, String>,
}

impl World {
    pub(super) async fn new() -> Self {
        let (control, _) = control();
        let (intake, _) = intake();
        let mut world = Self {
            log: Arc::default(),
            tables: Arc::default(),
            checkpoints: Arc::default(),
            clock: Arc::new(ManualClock::at(WallTime(BASE_MS))),
            live: Arc::default(),
            control,
            intake,
            engine: None,
            cancel: CancellationToken::new(),
            sent: BTreeSet::new(),
            waiting: vec![],
            definitions: BTreeMap::new(),
        };
        world.start();
        world.define("minutes", MINUTES, false).await;
        world.define("hours", HOURS, false).await;
        world.define("sums", SUMS, false).await;
        world.define("hops", HOPS, false).await;
        world.define("hours_of", HOURS_OF, false).await;
        world
    }

    fn start(&mut self) {
        let (control, commands) = control();
        let (sender, receiver) = intake();
        (self.live, self.cancel) = (Arc::default(), CancellationToken::new());
        let parts = EngineParts {
            config: EngineConfig {
                tick_ms: 10,
                checkpoint_interval_ms: 200,
                repair_interval_ms: 10,
                background_share: 1.0,
                ..EngineConfig::default()
            },
            group: GroupName::of_partition(0),
            writer: "test".into(),
            logs: Topic::ALL.into_iter().map(LogName::first).collect(),
            takes_over: false,
            intake: receiver,
            log: self.log.clone(),
            decoder: Arc::new(JsonBodies),
            tables: self.tables.clone(),
            checkpoints: self.checkpoints.clone(),
            history: self.tables.clone(),
            views: vec![],
            compiler: Statements::new(Arc::new(Dimensions::load(None, None, None).unwrap())).unwrap(),
            commands,
            inventory: Arc::new(LabelInventory),
            live: self.live.clone(),
            share: afferent_engine::supervisor::Share::Whole,
            clock: self.clock.clone(),
            cancel: self.cancel.clone(),
            halt: CancellationToken::new(),
        };
        (self.control, self.intake) = (control, sender);
        let engine: EngineHandle = start(parts).unwrap();
        self.engine = Some(tokio::runtime::Handle::current().spawn(engine.join()));
    }

    pub(super) async fn restart(&mut self) {
        self.settled().await;
        self.cancel.cancel();
        self.engine.take().unwrap().await.unwrap().unwrap();
        self.start();
    }

    /// Takes a body to be sent by the next [`Self::settled`].
    pub(super) fn send(&mut self, source: &str, received_at: i64, samples: Vec<Sample>) {
        let body = serde_json::to_vec(&samples).unwrap();
        self.sent.extend(samples.into_iter().map(|(host, time, _)| (host, time)));
        self.waiting.push(Record {
            format: Format::RemoteWriteV1,
            source: source.into(),
            received_at: WallTime(received_at),
            body_hash: SeriesKey::of(&body).0,
            request_id: 0,
            body: body.into(),
        });
    }

    /// Hands over what waits, and waits until everything is taken, repaired and shown.
    pub(super) async fn settled(&mut self) {
        let log = LogName::first(Topic::Metrics);
        for record in std::mem::take(&mut self.waiting) {
            self.clock.advance_ms((record.received_at.0 - self.clock.now().0).max(0));
            let position = self.log.append(log, record.clone()).await.unwrap();
            let place = self.intake.reserve().await.unwrap();
            place.deliver(Delivery { log, position, decoded: JsonBodies.decode(&record).unwrap(), record });
        }
        let (_, end) = self.log.bounds(log).await.unwrap();
        let mut quiet = 0;
        while quiet < 3 {
            tokio::time::sleep(Duration::from_millis(15)).await;
            let view = self.live.view();
            let status = &view.status;
            if self.engine.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
                panic!("the engine stopped: {:?}", self.engine.take().unwrap().await);
            }
            let errors: Vec<_> = status.views.iter().filter_map(|(name, v)| Some((name, v.error.as_ref()?))).collect();
            assert!(errors.is_empty(), "{errors:?}");
            let reached = status.logs.get("metrics/0").is_none_or(|l| l.next >= end);
            let done = status.recovered && reached && status.repair.waiting == 0 && status.repair.corrections == 0;
            quiet = if done { quiet + 1 } else { 0 };
        }
    }

    pub(super) async fn define(&mut self, name: &str, select: &str, replace: bool) {
        let sql = format!("CREATE MATERIALIZED VIEW {name} AS {select}");
        let define = Define { name: TableName::new(name), sql: sql.clone(), replace, origin: Origin::Statement };
        self.control.define(define).await.unwrap();
        self.definitions.insert(name.to_owned(), sql);
    }

    pub(super) async fn drop_view(&mut self, name: &str) {
        self.control.drop_view(TableName::new(name)).await.unwrap();
        self.definitions.remove(name);
    }

    pub(super) async fn roll_back(&mut self, name: &str) -> u64 {
        let generation = self.control.roll_back(TableName::new(name)).await.unwrap();
        self.definitions.insert(name.to_owned(), format!("CREATE MATERIALIZED VIEW {name} AS {HOURS}"));
        generation
    }

    pub(super) fn status(&self, view: &str) -> ViewStatus {
        self.live.view().status.views[view].clone()
    }

    /// Waits until readers see a generation.
    pub(super) async fn served(&mut self, view: &str, generation: u64) {
        self.settled().await;
        let serves = |s: &ViewStatus| s.generations.iter().any(|g| g.generation == generation && g.state == GenerationState::Serving);
        for _ in 0..400 {
            if self.live.view().status.views.get(view).is_some_and(serves) {
                return self.settled().await;
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        panic!("generation {generation} of {view} never served: {:?}", self.live.view().status.views.get(view));
    }

    fn table(&self, name: &TableName) -> Vec<RecordBatch> {
        let view = self.live.view();
        let mut rows = view.files.get(name).map(|f| self.tables.rows(f)).unwrap_or_default();
        rows.extend(view.live.get(name).map(|l| l.scan(&LiveFilter::default()).unwrap()).unwrap_or_default());
        rows
    }

    /// Rows of a view as readers see them, final and provisional.
    pub(super) fn rows(&self, view: &str) -> Vec<String> {
        let info = self.live.view().views[&TableName::new(view)].clone();
        rows::newest(&self.table(&info.table), &info.key, &own_columns(&info))
    }

    /// Its rows that are written, once there are any; none where that takes longer than some checkpoints.
    pub(super) async fn written(&self, view: &str) -> Vec<String> {
        let info = self.live.view().views[&TableName::new(view)].clone();
        for _ in 0..100 {
            let files = self.live.view().files.get(&info.table).cloned();
            let rows = files.map(|f| self.tables.rows(&f)).unwrap_or_default();
            if !rows.is_empty() {
                return rows::newest(&rows, &info.key, &own_columns(&info));
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        vec![]
    }

    /// The same as [`Self::rows`] by one plain run over the accepted rows.
    pub(super) async fn plain(&self) -> BTreeMap<String, Vec<String>> {
        let dimensions = Dimensions::load(None, None, None).unwrap();
        let as_of = self.live.view().status.as_of.unwrap_or(EventTime(0));
        let panes = rows::panes(&self.table(&TableName::new(schema::ROLLUP_1M)), &self.table(&TableName::new(schema::SERIES)));
        let mut relations: Vec<(String, Vec<RecordBatch>)> = vec![("panes".into(), panes)];
        let mut out = BTreeMap::new();
        let order = self.definitions.iter().filter(|(n, _)| *n == "minutes").chain(self.definitions.iter().filter(|(n, _)| *n != "minutes"));
        for (name, sql) in order {
            let info = self.live.view().views[&TableName::new(name)].clone();
            let columns = own_columns(&info);
            let result = run_once(sql, relations.clone(), &dimensions, as_of).await.unwrap();
            out.insert(name.clone(), rows::plain(&result, &columns));
            relations.push((name.clone(), if result.is_empty() { vec![RecordBatch::new_empty(columns)] } else { result }));
        }
        out
    }

    /// A minute of `minutes`.
    pub(super) fn shown(&self, minute: i64) -> Shown {
        let start = (BASE_MS + minute * PANE_MS) * 1000;
        let mut newest: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for batch in self.table(&TableName::new("minutes")) {
            let hosts = batch.column_by_name("host").unwrap().as_string::<i32>();
            let times = batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
            let counts = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
            let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int64Type>();
            for i in (0..batch.num_rows()).filter(|i| times.value(*i) == start) {
                let slot = newest.entry(hosts.value(i).to_owned()).or_insert((-1, 0));
                if revisions.value(i) > slot.0 {
                    *slot = (revisions.value(i), counts.value(i));
                }
            }
        }
        // A host that comes late is new in its window: the window as a whole is revised all the same.
        let repaired = self.revised_panes(start);
        let revision = newest.values().map(|(r, _)| *r).max().unwrap_or(0).max(i64::from(repaired));
        Shown { count: newest.values().map(|(_, n)| n).sum(), hosts: newest.len(), revision }
    }

    fn revised_panes(&self, start: i64) -> bool {
        self.table(&TableName::new(schema::ROLLUP_1M)).iter().any(|batch| {
            let times = batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
            let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int64Type>();
            (0..batch.num_rows()).any(|i| times.value(i) == start && revisions.value(i) > 0)
        })
    }

    /// Samples and increase over all minutes, as `minutes` has them.
    pub(super) fn total(&self) -> (i64, i64) {
        let mut newest: BTreeMap<(String, i64), (i64, i64, f64)> = BTreeMap::new();
        for batch in self.table(&TableName::new("minutes")) {
            let hosts = batch.column_by_name("host").unwrap().as_string::<i32>();
            let times = batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
            let counts = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
            let gained = batch.column_by_name("gained").unwrap().as_primitive::<Float64Type>();
            let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int64Type>();
            for i in 0..batch.num_rows() {
                let slot = newest.entry((hosts.value(i).to_owned(), times.value(i))).or_insert((-1, 0, 0.0));
                if revisions.value(i) > slot.0 {
                    *slot = (revisions.value(i), counts.value(i), gained.value(i));
                }
            }
        }
        (newest.values().map(|(_, n, _)| n).sum(), newest.values().map(|(.., g)| *g as i64).sum())
    }

    /// Rows of `samples`.
    pub(super) fn stored_samples(&self) -> usize {
        self.table(&TableName::new(schema::SAMPLES)).iter().map(RecordBatch::num_rows).sum()
    }

    /// Distinct samples that were sent.
    pub(super) fn accepted(&self) -> usize {
        self.sent.len()
    }

    /// Samples that were told as late.
    pub(super) fn late(&self) -> usize {
        let told: BTreeSet<(i64, i64)> = self
            .table(&TableName::new(schema::LATE_SAMPLES))
            .iter()
            .flat_map(|batch| {
                let ids = batch.column_by_name("series_id").unwrap().as_primitive::<Int64Type>().clone();
                let times = batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
                (0..batch.num_rows()).map(move |i| (ids.value(i), times.value(i))).collect::<Vec<_>>()
            })
            .collect();
        told.len()
    }
}
