//! One consistent state of the lake as a background step reads it: published files and, after them, final rows in memory. Blocks its thread.

use super::newest;
use crate::error::{Error, Result};
use crate::live::{LiveFilter, ReadView};
use crate::query::Inventory;
use crate::registry::{Directory, MetricInfo};
use crate::rows::{self, PaneRow, label_maps, words};
use crate::schema::{self, REVISION, TableDef, TableName};
use crate::series::{Labels, METRIC_LABEL};
use crate::table::{DataFile, History, TableFiles, Wanted};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, MapArray, UInt32Array};
use arrow::compute::{cast, filter_record_batch, take};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

/// See the module.
pub(crate) struct Lake {
    pub(crate) history: Arc<dyn History>,
    pub(crate) files: BTreeMap<TableName, Arc<TableFiles>>,
    /// Final rows in memory, by table; those of panes stand in `panes`.
    pub(crate) memory: BTreeMap<TableName, Vec<RecordBatch>>,
    pub(crate) panes: Vec<Arc<Vec<PaneRow>>>,
    /// Where the stream's panes lie, if not here.
    pub(crate) partitions: Option<Arc<ReadView>>,
    pub(crate) directory: Directory,
    pub(crate) metrics: Arc<Vec<MetricInfo>>,
    pub(crate) inventory: Arc<dyn Inventory>,
    pub(crate) runtime: Handle,
}

/// Takes rows as they are read.
pub(crate) type Take<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<()>;

/// Rows handed on at a time, so that plans run over columns and not over scraps.
const ROWS_AT_ONCE: usize = 65_536;

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Microseconds of a range of milliseconds.
pub(crate) fn micros(range: &Range<i64>) -> Range<i64> {
    range.start.saturating_mul(1000)..range.end.saturating_mul(1000)
}

impl Lake {
    fn scan(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted, take: Take<'_>) -> Result<()> {
        let mut scanned = self.runtime.block_on(self.history.scan(table, files, wanted))?;
        while let Some(batch) = scanned.blocking_recv() {
            take(fitting(table, &batch?)?)?;
        }
        Ok(())
    }

    fn files(&self, table: &TableName) -> Arc<TableFiles> {
        self.files.get(table).cloned().unwrap_or_default()
    }

    /// Rows in the memory of partitions.
    fn elsewhere(&self, table: &TableName, filter: &LiveFilter) -> Result<Vec<RecordBatch>> {
        match self.partitions.as_ref().and_then(|view| view.live.get(table)) {
            Some(rows) => rows.scan(filter),
            None => Ok(vec![]),
        }
    }

    /// Raw rows of these series.
    pub(crate) fn samples(&self, wanted: &Wanted) -> Result<Vec<RecordBatch>> {
        let table = schema::samples();
        let mut out = vec![];
        self.scan(&table, &self.files(&table.name), wanted, &mut |batch| {
            out.push(batch);
            Ok(())
        })?;
        Ok(out)
    }

    /// Every row of a table.
    pub(crate) fn all(&self, table: &TableDef, take: Take<'_>) -> Result<()> {
        self.scan(table, &self.files(&table.name), &Wanted::default(), take)?;
        self.memory.get(&table.name).into_iter().flatten().try_for_each(|batch| take(fitting(table, batch)?))
    }

    /// Rows of a view's table in a range of `window_start` (milliseconds), the newest revision of each key, retracted ones among them.
    pub(crate) fn rows(&self, table: &TableDef, range: &Range<i64>) -> Result<RecordBatch> {
        let wanted = Wanted { micros: Some(micros(range)), ..Wanted::default() };
        let mut found = vec![];
        self.scan(table, &self.files(&table.name), &wanted, &mut |batch| {
            found.push(batch);
            Ok(())
        })?;
        for batch in self.memory.get(&table.name).into_iter().flatten() {
            found.push(within(table, batch, range)?);
        }
        newest::per_key(table, &found)
    }

    /// Ranges of a day each in which a table has rows, oldest first; one range over all time where the files do not say.
    pub(crate) fn days(&self, table: &TableDef) -> Result<Vec<Range<i64>>> {
        let mut days = BTreeSet::new();
        for file in &self.files(&table.name).files {
            match chrono::NaiveDate::parse_from_str(&file.date, "%Y-%m-%d") {
                Ok(date) => days.insert(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()),
                Err(_) => return Ok(std::iter::once(i64::MIN / 1000..i64::MAX / 1000).collect()),
            };
        }
        for batch in self.memory.get(&table.name).into_iter().flatten() {
            let times = times_of(table, batch)?;
            days.extend(times.iter().flatten().map(|t| floor_day(t.div_euclid(1000))));
        }
        if table.name.as_str() == schema::ROLLUP_1M {
            days.extend(self.panes.iter().flat_map(|rows| rows.iter()).map(|row| floor_day(row.cell.start)));
        }
        Ok(days.into_iter().map(|day| day..day + DAY_MS).collect())
    }

    /// Pane rows of metrics in a range of `window_start` (milliseconds), the newest revision of each, as the relation that views read. Gives their
    /// number.
    pub(crate) fn panes(&self, metrics: Option<&BTreeSet<String>>, range: &Range<i64>, take: Take<'_>) -> Result<u64> {
        let table = schema::rollup_1m();
        let files = self.files(&table.name);
        let wanted = Wanted { metrics: metrics.cloned(), micros: Some(micros(range)), series: None };
        let in_memory = self.panes_in_memory(metrics, range)?;
        let revised = self.revised(&table, &files, &wanted, &in_memory)?;
        let mut described = Descriptions::of(self, metrics)?;
        let mut waiting = Waiting { rows: vec![], count: 0, read: 0 };
        let mut add = |batch: RecordBatch, waiting: &mut Waiting| -> Result<()> {
            let batch = not_superseded(&batch, &revised)?;
            if batch.num_rows() == 0 {
                return Ok(());
            }
            waiting.count += batch.num_rows();
            waiting.rows.push(described.describe(self, &batch)?);
            if waiting.count >= ROWS_AT_ONCE { waiting.hand_on(take) } else { Ok(()) }
        };
        self.scan(&table, &files, &wanted, &mut |batch| add(batch, &mut waiting))?;
        for batch in in_memory {
            add(batch, &mut waiting)?;
        }
        waiting.hand_on(take)?;
        Ok(waiting.read)
    }

    fn panes_in_memory(&self, metrics: Option<&BTreeSet<String>>, range: &Range<i64>) -> Result<Vec<RecordBatch>> {
        let chosen: Vec<bool> = self.metrics.iter().map(|m| metrics.is_none_or(|names| names.contains(m.name.as_ref()))).collect();
        let wanted = |row: &PaneRow| {
            let info = self.directory.get(row.series as usize).and_then(Option::as_ref);
            range.contains(&row.cell.start) && info.is_some_and(|i| chosen.get(i.metric as usize) == Some(&true))
        };
        let rows: Vec<PaneRow> = self.panes.iter().flat_map(|rows| rows.iter().copied()).filter(wanted).collect();
        let own = rows.chunks(ROWS_AT_ONCE).map(|rows| rows::rollup(rows, &self.directory, &self.metrics));
        let mut all = own.collect::<Result<Vec<_>>>()?;
        let table = schema::rollup_1m();
        let names = match metrics {
            Some(names) => names.iter().cloned().map(Some).collect(),
            None => vec![None],
        };
        for metric in names {
            for batch in self.elsewhere(&table.name, &LiveFilter { metric, micros: Some(micros(range)) })? {
                all.push(within(&table, &fitting(&table, &batch)?, range)?);
            }
        }
        Ok(all)
    }

    /// Panes that were repaired, with their newest revision: few. Only files whose statistics leave the possibility are read.
    fn revised(&self, table: &TableDef, files: &TableFiles, wanted: &Wanted, in_memory: &[RecordBatch]) -> Result<HashMap<(i64, i64), i64>> {
        let mut revised = HashMap::new();
        let mut note = |batch: &RecordBatch| {
            let (ids, times, revisions) = identity(batch)?;
            for i in (0..batch.num_rows()).filter(|i| revisions.is_valid(*i) && revisions.value(*i) > 0) {
                let newest = revised.entry((ids.value(i), times.value(i))).or_insert(0);
                *newest = revisions.value(i).max(*newest);
            }
            Ok::<_, Error>(())
        };
        let some = TableFiles { version: files.version, files: files.files.iter().filter(|f| may_be_revised(f)).cloned().collect() };
        self.scan(table, &some, wanted, &mut |batch| note(&batch))?;
        in_memory.iter().try_for_each(&mut note)?;
        Ok(revised)
    }
}

struct Waiting {
    rows: Vec<RecordBatch>,
    count: usize,
    read: u64,
}

impl Waiting {
    fn hand_on(&mut self, take: Take<'_>) -> Result<()> {
        self.read += self.count as u64;
        self.count = 0;
        let rows = std::mem::take(&mut self.rows);
        let Some(first) = rows.first() else { return Ok(()) };
        take(arrow::compute::concat_batches(&first.schema(), &rows)?)
    }
}

fn floor_day(time: i64) -> i64 {
    time - time.rem_euclid(DAY_MS)
}

/// False where the file's statistics say that every row of it is as it was first written.
fn may_be_revised(file: &DataFile) -> bool {
    let stats: Option<serde_json::Value> = serde_json::from_str(&file.stats).ok();
    let max = stats.as_ref().and_then(|s| s.get("maxValues")?.get(REVISION)?.as_i64());
    let nulls = stats.as_ref().and_then(|s| s.get("nullCount")?.get(REVISION)?.as_i64());
    max != Some(0) && nulls != i64::try_from(file.row_count).ok()
}

/// The batch in the table's own column types, missing columns null.
fn fitting(table: &TableDef, batch: &RecordBatch) -> Result<RecordBatch> {
    if batch.schema_ref() == &table.schema {
        return Ok(batch.clone());
    }
    let column = |field: &Arc<arrow::datatypes::Field>| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => Ok(cast(column, field.data_type())?),
        None if field.is_nullable() => Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows())),
        None => Err(Error::corrupt(format!("rows of {} lack the column {}", table.name, field.name()))),
    };
    let columns = table.schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(table.schema.clone(), columns)?)
}

fn times_of<'a>(table: &TableDef, batch: &'a RecordBatch) -> Result<&'a arrow::array::TimestampMicrosecondArray> {
    let column = batch.column_by_name(table.date_from).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    column.ok_or_else(|| Error::internal(format!("rows of {} have no timestamps in {}", table.name, table.date_from)))
}

fn within(table: &TableDef, batch: &RecordBatch, range: &Range<i64>) -> Result<RecordBatch> {
    let (times, range) = (times_of(table, batch)?, micros(range));
    let mask: BooleanArray = times.iter().map(|t| Some(t.is_some_and(|t| range.contains(&t)))).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

type Identity<'a> = (&'a Int64Array, &'a arrow::array::TimestampMicrosecondArray, &'a Int64Array);

/// Series, window start and revision of pane rows.
fn identity(batch: &RecordBatch) -> Result<Identity<'_>> {
    let lacks = || Error::corrupt("pane rows lack a column");
    let ids = batch.column_by_name("series_id").and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(lacks)?;
    let times = batch.column_by_name("window_start").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()).ok_or_else(lacks)?;
    let revisions = batch.column_by_name(REVISION).and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(lacks)?;
    Ok((ids, times, revisions))
}

fn not_superseded(batch: &RecordBatch, revised: &HashMap<(i64, i64), i64>) -> Result<RecordBatch> {
    if revised.is_empty() {
        return Ok(batch.clone());
    }
    let (ids, times, revisions) = identity(batch)?;
    let stands = |i: usize| {
        let own = if revisions.is_valid(i) { revisions.value(i) } else { 0 };
        revised.get(&(ids.value(i), times.value(i))).is_none_or(|newest| own >= *newest)
    };
    let mask: BooleanArray = (0..batch.num_rows()).map(|i| Some(stands(i))).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

/// Service and labels of series, as columns to take from.
struct Descriptions {
    place: HashMap<i64, u32>,
    service: ArrayRef,
    labels: ArrayRef,
    /// Series that left memory, with what the table `series` says of them.
    read: bool,
    known: Vec<(i64, Option<Arc<str>>, Labels)>,
    wanted: Option<BTreeSet<String>>,
}

impl Descriptions {
    fn of(lake: &Lake, metrics: Option<&BTreeSet<String>>) -> Result<Self> {
        let named = |i: u32| metrics.is_none_or(|names| lake.metrics.get(i as usize).is_some_and(|m| names.contains(m.name.as_ref())));
        let known = lake.directory.iter().flatten().filter(|i| named(i.metric));
        let known = known.map(|i| (i.id.0, i.service.clone(), i.labels.clone())).collect();
        let empty = arrow::array::new_empty_array(&DataType::Null);
        let mut out = Self { place: HashMap::new(), service: empty.clone(), labels: empty, read: false, known, wanted: metrics.cloned() };
        out.build()?;
        Ok(out)
    }

    fn build(&mut self) -> Result<()> {
        self.place = self.known.iter().enumerate().map(|(i, (id, ..))| (*id, i as u32)).collect();
        self.service = words(self.known.iter().map(|(_, service, _)| service.as_deref()));
        self.labels = Arc::new(label_maps(self.known.iter().map(|(_, _, labels)| labels.iter().filter(|(n, _)| *n != METRIC_LABEL)))?);
        Ok(())
    }

    /// Adds series that are not in memory any more.
    fn read(&mut self, lake: &Lake) -> Result<()> {
        self.read = true;
        let table = schema::series();
        let wanted = Wanted { metrics: self.wanted.clone(), ..Wanted::default() };
        let mut found: BTreeMap<i64, Labels> = BTreeMap::new();
        lake.scan(&table, &lake.files(&table.name), &wanted, &mut |batch| described_series(&batch, &self.place, &mut found))?;
        for batch in lake.elsewhere(&table.name, &LiveFilter::default())? {
            described_series(&batch, &self.place, &mut found)?;
        }
        for (id, labels) in found {
            self.known.push((id, lake.inventory.service_of_series(&labels), labels));
        }
        self.build()
    }

    /// Columns of [`schema::panes`].
    fn describe(&mut self, lake: &Lake, batch: &RecordBatch) -> Result<RecordBatch> {
        let (ids, ..) = identity(batch)?;
        if !self.read && ids.values().iter().any(|id| !self.place.contains_key(id)) {
            self.read(lake)?;
        }
        let place = |id: &i64| self.place.get(id).copied().ok_or_else(|| Error::corrupt(format!("series {id} of rollup_1m is not in series")));
        let places: UInt32Array = ids.values().iter().map(place).collect::<Result<Vec<u32>>>()?.into();
        let relation = schema::panes();
        let own = relation.fields().len() - 2;
        let mut columns: Vec<ArrayRef> = batch.columns().iter().take(own).cloned().collect();
        columns.extend([take(&self.service, &places, None)?, take(&self.labels, &places, None)?]);
        Ok(RecordBatch::try_new(relation, columns)?)
    }
}

/// Labels of the series in a batch of `series` that are not known yet.
fn described_series(batch: &RecordBatch, known: &HashMap<i64, u32>, found: &mut BTreeMap<i64, Labels>) -> Result<()> {
    let lacks = || Error::corrupt("rows of series lack a column");
    let ids = batch.column_by_name("series_id").and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(lacks)?;
    let names = cast(batch.column_by_name("metric").ok_or_else(lacks)?, &DataType::Utf8)?;
    let names = names.as_string::<i32>();
    let maps: &MapArray = batch.column_by_name("labels").and_then(|c| c.as_map_opt()).ok_or_else(lacks)?;
    for i in 0..batch.num_rows() {
        if known.contains_key(&ids.value(i)) || found.contains_key(&ids.value(i)) {
            continue;
        }
        let entries = maps.value(i);
        let (keys, values) = (cast(entries.column(0), &DataType::Utf8)?, cast(entries.column(1), &DataType::Utf8)?);
        let (keys, values) = (keys.as_string::<i32>(), values.as_string::<i32>());
        let mut pairs: Vec<(&str, &str)> = (0..entries.len()).map(|j| (keys.value(j), values.value(j))).collect();
        pairs.push((METRIC_LABEL, names.value(i)));
        pairs.sort_unstable();
        let labels = Labels::from_pairs(pairs).map_err(|e| Error::corrupt(format!("labels of series {}: {e}", ids.value(i))))?;
        found.insert(ids.value(i), labels);
    }
    Ok(())
}
