//! Answers over files and memory equal a naive reading of the rows, bit for bit, and files are left out where they can be.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::table::delta::DeltaTables;
use crate::testing::{self, MIDNIGHT, Sample};
use afferent_engine::checkpoint::{Epoch, GroupName};
use afferent_engine::schema::{self, TableName};
use afferent_engine::table::TableStore;
use arrow::array::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
use datafusion::physical_plan::{StatisticsArgs, StatisticsContext, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::BTreeMap;
use std::sync::Mutex;

const DAY: i64 = 86_400_000_000;
const NANS: [u64; 4] = [0x7ff8_0000_0000_0000, 0xfff8_0000_0000_0001, 0x7ff0_0000_0000_0002, 0x7ff8_dead_beef_0001];

/// Rows in memory that remember what they were asked for and honour it.
struct Recorded {
    rows: Vec<Sample>,
    asked: Mutex<Vec<LiveFilter>>,
}

impl LiveRows for Recorded {
    fn scan(&self, filter: &LiveFilter) -> afferent_engine::error::Result<Vec<RecordBatch>> {
        self.asked.lock().unwrap().push(filter.clone());
        let keep = |r: &&Sample| filter.metric.as_ref().is_none_or(|m| *m == r.0) && filter.micros.as_ref().is_none_or(|range| range.contains(&r.2));
        let rows: Vec<Sample> = self.rows.iter().filter(keep).cloned().collect();
        Ok(rows.chunks(7).map(testing::batch).collect())
    }
}

struct Lake {
    _folder: tempfile::TempDir,
    context: SessionContext,
    rows: Vec<Sample>,
    live: Arc<Recorded>,
}

/// Three published epochs over two days, and rows in memory after them; values with every kind of NaN, infinity and zero.
async fn lake() -> Lake {
    let (folder, store) = testing::store();
    let tables = DeltaTables::new(store.clone());
    let def = schema::samples();
    tables.ensure(&def).await.unwrap();
    let odd = [NANS[0], NANS[1], NANS[2], NANS[3], f64::INFINITY.to_bits(), f64::NEG_INFINITY.to_bits(), (-0.0f64).to_bits(), 0];
    let epoch_rows = |epoch: i64| {
        let mut rows = testing::grid(MIDNIGHT - 45_000_000 + epoch * 30_000_000, 5, 30);
        rows.iter_mut().enumerate().for_each(|(i, r)| match i % 11 {
            0 => r.3 = None,
            1 => r.3 = Some(odd[i % odd.len()]),
            _ => {}
        });
        rows.push((format!("only_{epoch}"), 77, MIDNIGHT + epoch, Some(1f64.to_bits())));
        rows
    };
    let mut rows = Vec::new();
    for epoch in 1..=3 {
        let part = testing::sorted(epoch_rows(epoch));
        let batches: Vec<_> = part.chunks(64).map(testing::batch).collect();
        let files = tables.write(&def, Epoch(epoch as u64), Box::new(batches.into_iter())).await.unwrap();
        let files = BTreeMap::from([(TableName::new(schema::SAMPLES), files)]);
        tables.publish(&GroupName::of_partition(0), Epoch(epoch as u64), &files).await.unwrap();
        rows.extend(part);
    }
    let live = Arc::new(Recorded { rows: epoch_rows(4), asked: Mutex::default() });
    rows.extend(live.rows.clone());
    let files = tables.files(&def.name).await.unwrap();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    context.register_table("samples", Arc::new(LakeTable::new(store, def, files, Some(live.clone())))).unwrap();
    Lake { _folder: folder, context, rows, live }
}

async fn query(lake: &Lake, sql: &str) -> Vec<RecordBatch> {
    lake.context.sql(sql).await.unwrap().collect().await.unwrap()
}

async fn plan(lake: &Lake, sql: &str) -> String {
    let plan = lake.context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    displayable(plan.as_ref()).indent(false).to_string()
}

#[tokio::test]
async fn every_row_is_seen_once_bit_for_bit() {
    let lake = lake().await;
    let got = query(&lake, "SELECT metric, series_id, time, value FROM samples").await;
    assert_eq!(testing::sorted(testing::rows(&got)), testing::sorted(lake.rows.clone()));
    assert!(got.iter().all(|b| b.schema().field(0).data_type() == &schema::word()));
}

#[tokio::test]
async fn filters_equal_a_naive_reading() {
    let lake = lake().await;
    let time = |micros: i64| format!("TIMESTAMP '{}'", chrono::DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339());
    let middle = MIDNIGHT + 15_000_000;
    type Keep = Box<dyn Fn(&Sample) -> bool>;
    let value = |r: &Sample| r.3.map(f64::from_bits);
    let cases: Vec<(String, Keep)> = vec![
        ("metric = 'cpu'".to_owned(), Box::new(|r| r.0 == "cpu")),
        ("metric = 'only_2'".to_owned(), Box::new(|r| r.0 == "only_2")),
        ("metric = 'none'".to_owned(), Box::new(|_| false)),
        ("metric IN ('only_1', 'only_4')".to_owned(), Box::new(|r| r.0 == "only_1" || r.0 == "only_4")),
        ("metric LIKE 'only%'".to_owned(), Box::new(|r| r.0.starts_with("only"))),
        ("date = '2026-11-21'".to_owned(), Box::new(|r| r.2 < MIDNIGHT)),
        ("date > DATE '2026-11-21' AND series_id = 3".to_owned(), Box::new(|r| r.2 >= MIDNIGHT && r.1 == 3)),
        (format!("time >= {} AND metric = 'mem'", time(middle)), Box::new(move |r| r.2 >= middle && r.0 == "mem")),
        (format!("time > {} AND time < {}", time(middle), time(middle + 40_000_000)), Box::new(move |r| r.2 > middle && r.2 < middle + 40_000_000)),
        (format!("time BETWEEN {} AND {}", time(middle), time(middle + 1)), Box::new(move |r| r.2 >= middle && r.2 <= middle + 1)),
        (format!("time = {}", time(MIDNIGHT + 4)), Box::new(|r| r.2 == MIDNIGHT + 4)),
        (format!("{} <= time", time(middle)), Box::new(move |r| middle <= r.2)),
        (format!("time < {} OR series_id = 77", time(middle)), Box::new(move |r| r.2 < middle || r.1 == 77)),
        // NaN is greater than every number to SQL here: a file of numbers and NaN must not be left out by its greatest number.
        ("value > 1e300".to_owned(), Box::new(move |r| value(r).is_some_and(|v| v.is_nan() && v.is_sign_positive() || v > 1e300))),
        ("value IS NULL".to_owned(), Box::new(|r| r.3.is_none())),
        ("isnan(value)".to_owned(), Box::new(move |r| value(r).is_some_and(f64::is_nan))),
        ("value = 3.5 AND metric <> 'cpu'".to_owned(), Box::new(move |r| value(r) == Some(3.5) && r.0 != "cpu")),
    ];
    for (filter, keep) in cases {
        let got = query(&lake, &format!("SELECT metric, series_id, time, value FROM samples WHERE {filter}")).await;
        let wanted: Vec<Sample> = lake.rows.iter().filter(|r| keep(r)).cloned().collect();
        assert_eq!(testing::sorted(testing::rows(&got)), testing::sorted(wanted), "{filter}");
    }
}

#[tokio::test]
async fn dates_and_counts_agree() {
    let lake = lake().await;
    let got = query(&lake, "SELECT cast(date AS varchar) d, count(*) n FROM samples GROUP BY date ORDER BY date").await;
    let text = arrow::util::pretty::pretty_format_batches(&got).unwrap().to_string();
    let before = lake.rows.iter().filter(|r| r.2 < MIDNIGHT).count();
    let after = lake.rows.len() - before;
    assert!(text.contains(&format!("| 2026-11-21 | {before} ")) && text.contains(&format!("| 2026-11-22 | {after} ")), "{text}");
    let got = query(&lake, "SELECT count(*) AS n FROM samples").await;
    assert_eq!(got[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0), lake.rows.len() as i64);
    let plan = plan(&lake, "SELECT count(*) FROM samples").await;
    assert!(!plan.contains("DataSourceExec"), "the count is known without reading: {plan}");
}

#[tokio::test]
async fn files_and_pages_are_left_out() {
    let lake = lake().await;
    let all = plan(&lake, "SELECT value FROM samples").await;
    assert_eq!(all.matches(".parquet").count(), 4, "{all}");
    for (filter, files) in [
        ("metric = 'only_3'", 1),
        ("date = '2026-11-21'", 1),
        ("time >= '2026-11-22T00:01:05Z'", 1),
        ("time < '2026-11-21T23:00:00Z'", 0),
        ("metric = 'zzz'", 0),
    ] {
        let plan = plan(&lake, &format!("SELECT value FROM samples WHERE {filter}")).await;
        assert_eq!(plan.matches(".parquet").count(), files, "{filter}: {plan}");
        assert!(files == 0 || plan.contains("predicate="), "the reader of the file has the filter: {plan}");
    }
}

#[tokio::test]
async fn rows_in_memory_are_asked_for_narrowly() {
    let lake = lake().await;
    let asked = |lake: &Lake| lake.live.asked.lock().unwrap().pop().unwrap();
    query(&lake, "SELECT value FROM samples WHERE metric = 'cpu' AND time >= '2026-11-22T00:00:00Z' AND time < '2026-11-22T00:01:00Z'").await;
    let filter = asked(&lake);
    assert_eq!(filter.metric.as_deref(), Some("cpu"));
    let range = filter.micros.unwrap();
    assert!(range.start == MIDNIGHT && (MIDNIGHT + 60_000_000..=MIDNIGHT + 60_000_001).contains(&range.end));
    query(&lake, "SELECT value FROM samples WHERE metric = 'cpu' OR series_id = 1").await;
    let filter = asked(&lake);
    assert!(filter.metric.is_none() && filter.micros.is_none());
}

#[tokio::test]
async fn an_empty_table_has_its_columns() {
    let (_folder, store) = testing::store();
    let table = LakeTable::new(store, schema::events(), Arc::default(), None);
    let context = SessionContext::new();
    context.register_table("events", Arc::new(table)).unwrap();
    let got = context.sql("SELECT date, title FROM events").await.unwrap().collect().await.unwrap();
    assert_eq!(got.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

/// Maps, lists and words of other tables: from a file and from memory alike.
#[tokio::test]
async fn nested_columns_come_back() {
    let (_folder, store) = testing::store();
    let tables = DeltaTables::new(store.clone());
    let def = TableDef {
        name: TableName::new("nested"),
        schema: Arc::new(Schema::new(vec![
            arrow::datatypes::Field::new("time", schema::timestamp(), false),
            arrow::datatypes::Field::new("labels", schema::labels(), false),
            arrow::datatypes::Field::new("spans", DataType::List(Arc::new(arrow::datatypes::Field::new("item", DataType::Int64, true))), true),
            arrow::datatypes::Field::new("kind", schema::word(), true),
        ])),
        date_from: "time",
        sort: vec!["time".to_owned()],
        supersedes: None,
    };
    tables.ensure(&def).await.unwrap();
    let names = arrow::array::MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    let mut spans = ListBuilder::new(Int64Builder::new());
    for row in 0..3 {
        for label in 0..row {
            labels.keys().append_value(format!("k{label}"));
            labels.values().append_value(format!("v{row}"));
            spans.values().append_value(row * 10 + label);
        }
        labels.append(true).unwrap();
        spans.append(row != 1);
    }
    let times = arrow::array::TimestampMicrosecondArray::from_iter_values([MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + DAY]).with_timezone("UTC");
    let kinds: arrow::array::DictionaryArray<arrow::datatypes::Int32Type> = [Some("a"), None, Some("b")].into_iter().collect();
    let batch = RecordBatch::try_new(def.schema.clone(), vec![Arc::new(times), Arc::new(labels.finish()), Arc::new(spans.finish()), Arc::new(kinds)])
        .unwrap();
    let files = tables.write(&def, Epoch(1), Box::new(std::iter::once(batch.clone()))).await.unwrap();
    tables.publish(&GroupName::of_partition(0), Epoch(1), &BTreeMap::from([(def.name.clone(), files)])).await.unwrap();
    let files = tables.files(&def.name).await.unwrap();
    let table = LakeTable::new(store, def, files, Some(Arc::new(vec![batch])));
    let context = SessionContext::new();
    context.register_table("nested", Arc::new(table)).unwrap();
    let got = context.sql("SELECT * FROM nested ORDER BY time, kind").await.unwrap().collect().await.unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&got).unwrap().to_string();
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("2026")).collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(lines.chunks(2).all(|pair| pair[0] == pair[1]), "the row from the file equals the row from memory: {text}");
    assert!(text.contains("{k0: v2, k1: v2}") && text.contains("[20, 21]") && text.contains("2026-11-23"), "{text}");
}

/// Files and batches of first writings only are not looked at for later ones.
#[tokio::test]
async fn revisions_are_looked_for_only_where_they_may_be() {
    let (_folder, store) = testing::store();
    let tables = DeltaTables::new(store.clone());
    let field = arrow::datatypes::Field::new;
    let def = TableDef {
        name: TableName::new("revised"),
        schema: Arc::new(Schema::new(vec![field("time", schema::timestamp(), false), field(REVISION, DataType::Int64, true)])),
        date_from: "time",
        sort: vec!["time".to_owned()],
        supersedes: None,
    };
    tables.ensure(&def).await.unwrap();
    let batch = |revisions: Vec<Option<i64>>| {
        let times = arrow::array::TimestampMicrosecondArray::from(vec![MIDNIGHT; revisions.len()]).with_timezone("UTC");
        RecordBatch::try_new(def.schema.clone(), vec![Arc::new(times), Arc::new(arrow::array::Int64Array::from(revisions))]).unwrap()
    };
    let written = [vec![None, None], vec![Some(0), None], vec![None, Some(2)]];
    for (epoch, revisions) in (1..).zip(written) {
        let files = tables.write(&def, Epoch(epoch), Box::new(std::iter::once(batch(revisions)))).await.unwrap();
        tables.publish(&GroupName::of_partition(0), Epoch(epoch), &BTreeMap::from([(def.name.clone(), files)])).await.unwrap();
    }
    let all = tables.files(&def.name).await.unwrap();
    let live: Arc<dyn LiveRows> = Arc::new(vec![batch(vec![None, Some(0)]), batch(vec![Some(1)])]);
    let context = SessionContext::new();
    let again = [datafusion::prelude::ident(REVISION).gt(datafusion::prelude::lit(0_i64))];
    let rows_of = |files: TableFiles, live: Option<Arc<dyn LiveRows>>| {
        let table = LakeTable::new(store.clone(), def.clone(), Arc::new(files), live);
        let (state, again) = (context.state(), again.clone());
        async move {
            let plan = table.scan(&state, None, &again, None).await.unwrap();
            StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).unwrap().num_rows
        }
    };
    use datafusion::common::stats::Precision;
    assert_eq!(rows_of(TableFiles::clone(&all), Some(live)).await, Precision::Exact(3), "two rows of the third file, one in memory");
    let first = TableFiles { version: all.version, files: all.files[..2].to_vec() };
    assert_eq!(first.files.len(), 2);
    let live: Arc<dyn LiveRows> = Arc::new(vec![batch(vec![None, Some(0)])]);
    assert_eq!(rows_of(first, Some(live)).await, Precision::Exact(0));
}

#[tokio::test]
async fn rows_in_memory_are_taken_once_per_question() {
    let lake = lake().await;
    query(&lake, "SELECT count(*) FROM samples a JOIN samples b ON a.series_id = b.series_id AND a.time = b.time").await;
    assert_eq!(lake.live.asked.lock().unwrap().len(), 1);
}
