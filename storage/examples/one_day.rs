//! One day of commits every second, with the upkeep that runs beside it, on a clock that is moved by hand.
//!
//! `cargo run --release --example one_day -- [folder] [epochs]`: prints what lies on disk hour by hour, what opening the tables costs, and
//! what retention and the vacuum leave. Not a benchmark of writing: rows are few.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use afferent_engine::checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointStore, Epoch, GroupName};
use afferent_engine::clock::{Clock, ManualClock, SystemClock};
use afferent_engine::live::Live;
use afferent_engine::schema::{self, TableDef, TableName};
use afferent_engine::table::{DataFile, TableStore};
use afferent_engine::time::WallTime;
use afferent_storage::checkpoint::ObjectCheckpoints;
use afferent_storage::config::MaintainConfig;
use afferent_storage::maintain::{Maintainer, Watch};
use afferent_storage::object_store::{self, Store};
use afferent_storage::table::delta::DeltaTables;
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Series that report every second.
const SERIES: i64 = 10;

/// Seconds between two rounds of upkeep, and between two vacuums.
const ROUND_S: u64 = 30;
const VACUUM_S: u64 = 300;

/// Checkpoints that are kept.
const CHECKPOINTS_KEPT: usize = 3;

const DAY_MS: i64 = 86_400_000;

/// The group whose chain is written.
fn group() -> GroupName {
    GroupName::of_partition(0)
}

struct Day {
    store: Store,
    tables: Arc<DeltaTables>,
    checkpoints: Arc<ObjectCheckpoints>,
    maintainer: Arc<Maintainer>,
    live: Arc<Live>,
    clock: Arc<ManualClock>,
}

impl Day {
    async fn open(folder: &Path) -> Result<Self> {
        let store = object_store::open(&folder.to_string_lossy())?.owned()?;
        let (tables, live) = (DeltaTables::new(store.clone()), Arc::new(Live::default()));
        for def in [schema::samples(), schema::rollup_1m()] {
            tables.ensure(&def).await?;
        }
        // Midnight, after now: files are then never younger than the clock says.
        let midnight = (SystemClock.now().0 / DAY_MS + 1) * DAY_MS;
        let clock = Arc::new(ManualClock::at(WallTime(midnight)));
        let retention_days = BTreeMap::from([(schema::SAMPLES.to_owned(), 1), (schema::ROLLUP_1M.to_owned(), 1)]);
        let config = MaintainConfig { vacuum_grace_s: 300, retention_days, ..MaintainConfig::default() };
        let maintainer = Maintainer::on_watch(store.clone(), tables.clone(), live.clone(), config, Watch::manual(clock.clone()))?;
        Ok(Self { checkpoints: ObjectCheckpoints::new(store.clone()), store, tables, maintainer, live, clock })
    }

    /// One epoch: what came in this second, and every minute the panes of it.
    async fn epoch(&self, number: u64) -> Result<u64> {
        let now = self.clock.now().0 * 1000;
        let mut tables = BTreeMap::new();
        let mut rows = 0;
        for def in [schema::samples(), schema::rollup_1m()] {
            if def.name.as_str() == schema::ROLLUP_1M && !number.is_multiple_of(60) {
                continue;
            }
            let batch = batch(&def, now)?;
            rows += batch.num_rows() as u64;
            tables.insert(def.name.clone(), self.tables.write(&def, Epoch(number), Box::new(std::iter::once(batch))).await?);
        }
        self.commit(number, tables).await?;
        Ok(rows)
    }

    /// The checkpoint of an epoch and what follows from it.
    async fn commit(&self, number: u64, tables: BTreeMap<TableName, Vec<DataFile>>) -> Result<()> {
        let state = self.checkpoints.write_state(&group(), Epoch(number), "state", vec![7; 1000].into()).await?;
        let checkpoint = Checkpoint {
            version: CHECKPOINT_VERSION,
            group: group(),
            epoch: Epoch(number),
            writer: "one_day".to_owned(),
            created_at: self.clock.now(),
            log: None,
            positions: BTreeMap::new(),
            tables,
            states: vec![state],
        };
        self.checkpoints.commit(&checkpoint).await?;
        let _commit = self.live.commit.lock().await;
        self.tables.publish(&group(), checkpoint.epoch, &checkpoint.tables).await?;
        for name in checkpoint.tables.into_keys() {
            let files = self.tables.files(&name).await?;
            self.live.update(|view| drop(view.files.insert(name, files)));
        }
        self.checkpoints.prune(&group(), CHECKPOINTS_KEPT).await?;
        Ok(())
    }

    async fn upkeep(&self, second: u64) -> Result<()> {
        if second.is_multiple_of(ROUND_S) {
            self.maintainer.round(&CancellationToken::new()).await;
        }
        if second.is_multiple_of(VACUUM_S) {
            self.maintainer.retain_now().await?;
            self.maintainer.vacuum_now().await?;
        }
        Ok(())
    }

    async fn rows(&self) -> Result<u64> {
        let mut rows = 0;
        for name in [schema::SAMPLES, schema::ROLLUP_1M] {
            rows += self.tables.files(&TableName::new(name)).await?.files.iter().map(|f| f.row_count).sum::<u64>();
        }
        Ok(rows)
    }

    async fn live_files(&self) -> Result<usize> {
        let mut files = 0;
        for name in [schema::SAMPLES, schema::ROLLUP_1M] {
            files += self.tables.files(&TableName::new(name)).await?.files.len();
        }
        Ok(files)
    }
}

fn batch(def: &TableDef, now_micros: i64) -> Result<RecordBatch> {
    let n = usize::try_from(SERIES)?;
    let (times, halves): (ArrayRef, ArrayRef) = (
        Arc::new(TimestampMicrosecondArray::from(vec![now_micros; n]).with_timezone("UTC")),
        Arc::new((0..SERIES).map(|i| (now_micros / 1_000_000 + i) as f64 / 2.0).collect::<Float64Array>()),
    );
    let ones: ArrayRef = Arc::new(Int64Array::from(vec![1; n]));
    let columns = def.schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "metric" => Arc::new(vec!["cpu_seconds_total"; n].into_iter().collect::<DictionaryArray<Int32Type>>()),
            "series_id" => Arc::new((0..SERIES).map(|i| i * 7_919_113_579).collect::<Int64Array>()),
            "time" | "window_start" => times.clone(),
            "count" | "resets" | "revision" => ones.clone(),
            _ => halves.clone(),
        }
    });
    Ok(RecordBatch::try_new(def.schema.clone(), columns.collect())?)
}

/// What lies below a folder: files and bytes, by kind.
#[derive(Debug, Default)]
struct OnDisk {
    data: (u64, u64),
    delta_log: (u64, u64),
    checkpoints: (u64, u64),
}

impl OnDisk {
    fn of(folder: &Path) -> Result<Self> {
        let mut found = Self::default();
        found.add(folder)?;
        Ok(found)
    }

    fn add(&mut self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.add(&path)?;
                continue;
            }
            let text = path.to_string_lossy();
            let kind = if text.contains("_delta_log") {
                &mut self.delta_log
            } else if text.contains("/checkpoints/") {
                &mut self.checkpoints
            } else if text.ends_with(".parquet") {
                &mut self.data
            } else {
                continue;
            };
            kind.0 += 1;
            kind.1 += std::fs::metadata(&path)?.len();
        }
        Ok(())
    }

    fn print(&self, at: &str, live: usize) {
        let kib = |bytes: u64| bytes.div_ceil(1024);
        println!(
            "{at}: {live} live files, {} on disk ({} KiB); Delta logs {} files ({} KiB); checkpoints {} files ({} KiB)",
            self.data.0,
            kib(self.data.1),
            self.delta_log.0,
            kib(self.delta_log.1),
            self.checkpoints.0,
            kib(self.checkpoints.1)
        );
    }
}

async fn play(folder: &Path, epochs: u64) -> Result<()> {
    let day = Day::open(folder).await?;
    let (started, mut rows, mut most) = (Instant::now(), 0, 0);
    for second in 1..=epochs {
        rows += day.epoch(second).await?;
        day.upkeep(second).await?;
        most = most.max(day.live_files().await?);
        if second.is_multiple_of(3600) {
            OnDisk::of(folder)?.print(&format!("after {} h ({} s)", second / 3600, started.elapsed().as_secs()), day.live_files().await?);
        }
        day.clock.advance_ms(1000);
    }
    OnDisk::of(folder)?.print("at the end of the commits", day.live_files().await?);
    println!("{epochs} epochs, {rows} rows in {} s; at most {most} live files", started.elapsed().as_secs());
    if day.rows().await? != rows {
        return Err(format!("{} rows are in the tables, {rows} were committed", day.rows().await?).into());
    }
    let started = Instant::now();
    let again = DeltaTables::new(day.store.clone());
    for name in [schema::SAMPLES, schema::ROLLUP_1M] {
        let files = again.files(&TableName::new(name)).await?;
        println!(
            "opened {name} at version {} with {} files, {:.1} ms in all",
            files.version,
            files.files.len(),
            started.elapsed().as_secs_f64() * 1e3
        );
    }
    drop(again);
    after_the_day(&day, folder, epochs).await
}

/// The next day but one: the first is past its retention, and what is left is what came after it.
async fn after_the_day(day: &Day, folder: &Path, epochs: u64) -> Result<()> {
    let rest = DAY_MS - i64::try_from(epochs)? * 1000 % DAY_MS;
    day.clock.advance_ms(rest + DAY_MS);
    let mut rows = 0;
    for second in epochs + 1..=epochs + 3 * VACUUM_S {
        if second <= epochs + 5 {
            rows += day.epoch(second).await?;
        } else if second <= epochs + 5 + CHECKPOINTS_KEPT as u64 {
            // The last checkpoints name their files too, so they make room for some without any.
            day.commit(second, BTreeMap::new()).await?;
        }
        day.upkeep(second).await?;
        day.clock.advance_ms(1000);
    }
    let (found, live, disk) = (day.rows().await?, day.live_files().await?, OnDisk::of(folder)?);
    disk.print("after retention and vacuum", live);
    println!("{found} rows left of {rows} that came after the day");
    if found != rows || disk.data.0 != live as u64 {
        return Err(format!("{rows} rows and {live} files should be left, {found} rows and {} files are", disk.data.0).into());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| std::env::temp_dir().join("afferent-one-day"), Into::into);
    let epochs = arguments.next().map_or(Ok(86_400), |n| n.parse())?;
    if folder.exists() {
        return Err(format!("{} exists: give another folder or remove it", folder.display()).into());
    }
    play(&folder, epochs).await
}
