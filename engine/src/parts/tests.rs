//! Partitions and the owner of their views as state machines beside each other, with a view that counts samples by five minutes.

mod defined;

use super::{Noticed, Order, Ordered, Part, Parts, Touched};
use crate::checkpoint::Epoch;
use crate::config::EngineConfig;
use crate::error::Result;
use crate::live::ReadView;
use crate::log::{Decoded, DecodedBody, Format, LogName, Position, Record, Topic};
use crate::pipeline::{PANES_KEPT_MAX, Pipeline, Side};
use crate::query::{Compiler, LabelInventory, Program, View, ViewSpec, WindowProgram, WindowQuery, WindowSource};
use crate::sample::{SampleBatch, SeriesSlice};
use crate::schema::TableName;
use crate::series::Labels;
use crate::state::PartContent;
use crate::time::{EventTime, PANE_MS, WallTime};
use arrow::array::{AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const WINDOW_MS: i64 = 5 * PANE_MS;

/// Number of samples by windows of this length.
struct Counts(i64);

fn columns() -> Arc<Schema> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![Field::new("window_start", time, false), Field::new("n", DataType::Int64, false)]))
}

pub(crate) fn counted(rows: &[RecordBatch], column: &str) -> BTreeMap<i64, i64> {
    counted_by(WINDOW_MS, rows, column)
}

fn counted_by(window_ms: i64, rows: &[RecordBatch], column: &str) -> BTreeMap<i64, i64> {
    let mut out = BTreeMap::new();
    for batch in rows {
        let times = batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
        let n = batch.column_by_name(column).unwrap().as_primitive::<Int64Type>();
        for i in 0..batch.num_rows() {
            let start = times.value(i).div_euclid(1000);
            *out.entry(start - start.rem_euclid(window_ms)).or_insert(0) += n.value(i);
        }
    }
    out
}

fn state(counts: &BTreeMap<i64, i64>) -> Result<RecordBatch> {
    let times = TimestampMicrosecondArray::from_iter_values(counts.keys().map(|t| t * 1000)).with_timezone("UTC");
    Ok(RecordBatch::try_new(columns(), vec![Arc::new(times), Arc::new(Int64Array::from_iter_values(counts.values().copied()))])?)
}

impl WindowQuery for Counts {
    fn partial(&self, rows: &[RecordBatch]) -> Result<RecordBatch> {
        state(&counted_by(self.0, rows, "count"))
    }

    fn merge(&self, states: &[RecordBatch]) -> Result<RecordBatch> {
        state(&counted_by(self.0, states, "n"))
    }

    fn finish(&self, states: &[RecordBatch]) -> Result<RecordBatch> {
        state(&counted_by(self.0, states, "n"))
    }
}

fn named(name: &str, generation: u64, program: Program) -> View {
    let spec = ViewSpec { name: TableName::new(name), sql: name.into(), schema: columns(), key: vec!["window_start".into()], generation };
    View { spec, program }
}

fn windows(name: &str, generation: u64, window_ms: i64) -> View {
    let source = WindowSource::Panes { metrics: None };
    let program = WindowProgram { source, window_ms, every_ms: window_ms, query: Arc::new(Counts(window_ms)) };
    named(name, generation, Program::Window(program))
}

pub(crate) fn view(generation: u64) -> View {
    windows("counts", generation, WINDOW_MS)
}

pub(crate) struct OneView;

impl Compiler for OneView {
    fn compile(&self, _: &str, generation: u64, _: &[ViewSpec]) -> Result<View> {
        Ok(view(generation))
    }
}

fn pipeline(views: Vec<View>) -> Pipeline {
    Pipeline::new(EngineConfig::default(), views, Arc::new(LabelInventory)).unwrap()
}

/// Two partitions and the one that has the view.
struct Pair {
    partitions: Vec<Pipeline>,
    owner: Pipeline,
    /// Partitions that say nothing.
    away: Vec<u32>,
    order: Arc<Order>,
    next: u64,
}

fn partition(number: u32, run: u64) -> Pipeline {
    let mut out = pipeline(vec![]);
    out.become_partition(number, run);
    out.caught_up = true;
    out
}

impl Pair {
    fn new() -> Self {
        let mut owner = pipeline(vec![view(1)]);
        owner.become_views();
        Self { partitions: vec![partition(0, 0), partition(1, 1)], owner, away: vec![], order: Arc::default(), next: 0 }
    }

    /// The same after so many minutes of samples in both partitions.
    fn after(count: i64) -> Self {
        let mut pair = Self::new();
        pair.agree();
        minutes(&mut pair, &[0, 1], 0..count);
        pair.agree();
        pair
    }

    /// Several windows are final, and each has every sample of both partitions once.
    fn check_finals(&self) {
        let finals = self.rows().0;
        assert!(finals.len() > 4 && finals.values().all(|n| *n == 10), "{finals:?}");
    }

    /// A sample of a partition's only series.
    fn sample(&mut self, partition: u32, time: i64) {
        let host = format!("h{partition}");
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", host.as_str()), ("job", "api")]).unwrap();
        let mut batch = SampleBatch::default();
        batch.label_bytes.extend_from_slice(labels.canonical());
        (batch.times, batch.values) = (vec![time], vec![1.0]);
        batch.series.push(SeriesSlice { key: labels.key(), labels: 0..batch.label_bytes.len() as u32, samples: 0..1, start_time: 0 });
        let body = Bytes::from(format!("{partition} {time}"));
        let received_at = WallTime(time);
        let body_hash = Record::hash_of(&body);
        let record = Record { format: Format::RemoteWriteV1, source: "s".into(), received_at, body_hash, request_id: 0, body };
        let pipeline = &mut self.partitions[partition as usize];
        let log = LogName { topic: Topic::Metrics, partition };
        pipeline.apply(log, Position(self.next), &record, Decoded { body: DecodedBody::Samples(batch), rejects: vec![] });
        self.next += 1;
        pipeline.settle();
    }

    fn said(&mut self) -> BTreeMap<u32, Option<Arc<Parts>>> {
        let mut out = BTreeMap::new();
        for (number, partition) in (0..).zip(&mut self.partitions) {
            partition.tick(WallTime(0));
            let mut view = ReadView::default();
            partition.show(&mut view);
            out.insert(number, view.parts.filter(|_| !self.away.contains(&number)));
        }
        out
    }

    /// Everybody hears everybody, as often as it takes.
    fn agree(&mut self) {
        for _ in 0..4 {
            let said = self.said();
            self.order = self.owner.take_reports(said, Epoch(1)).unwrap();
            self.owner.tick(WallTime(0));
            for partition in &mut self.partitions {
                partition.take_order(&self.order, &OneView, WallTime(0));
                partition.settle();
            }
        }
    }

    /// Rows of the view by window: final ones, and those that are not.
    fn rows(&self) -> (BTreeMap<i64, i64>, BTreeMap<i64, i64>) {
        let finals: Vec<RecordBatch> = self.owner.views.final_rows().flat_map(|(_, rows)| rows).collect();
        let mut all: Vec<RecordBatch> = self.owner.views.live_rows().into_iter().flat_map(|(_, rows)| rows).collect();
        let provisional = all.pop().map(|rows| counted(&[rows], "n")).unwrap_or_default();
        (counted(&finals, "n"), provisional)
    }

    fn frontier(&self) -> Option<i64> {
        self.owner.panes.frontier().map(|f| f.0)
    }
}

/// A sample a minute of each partition, which is what windows are counted against.
fn minutes(pair: &mut Pair, partitions: &[u32], minutes: std::ops::Range<i64>) {
    for minute in minutes {
        for partition in partitions {
            pair.sample(*partition, minute * PANE_MS + 1_000);
        }
    }
}

#[test]
fn windows_are_final_once_every_partition_is() {
    let mut pair = Pair::after(12);
    let (finals, provisional) = pair.rows();
    assert_eq!(finals, BTreeMap::from([(0, 10)]));
    assert_eq!(provisional, BTreeMap::from([(WINDOW_MS, 10), (2 * WINDOW_MS, 4)]));
    // One goes on, the other stands still without being idle: nothing more is final.
    let before = pair.frontier();
    minutes(&mut pair, &[0], 12..14);
    pair.agree();
    assert_eq!(pair.frontier(), before);
    minutes(&mut pair, &[1], 12..40);
    minutes(&mut pair, &[0], 14..40);
    pair.agree();
    pair.check_finals();
}

#[test]
fn a_partition_without_records_holds_nobody_back_and_is_not_late_when_it_speaks() {
    let mut pair = Pair::new();
    pair.agree();
    minutes(&mut pair, &[0], 0..30);
    pair.agree();
    let frontier = pair.frontier().unwrap();
    assert!(frontier >= 20 * PANE_MS, "{frontier}");
    assert_eq!(pair.partitions[1].panes.frontier(), Some(EventTime(frontier)), "it is final with the others");
    minutes(&mut pair, &[0, 1], 30..50);
    pair.agree();
    assert_eq!(pair.rows().0.get(&(35 * PANE_MS)), Some(&10));
}

#[test]
fn a_partition_that_is_away_holds_what_is_final_but_not_what_is_shown() {
    let mut pair = Pair::after(8);
    let before = pair.frontier();
    pair.away = vec![1];
    minutes(&mut pair, &[0, 1], 8..40);
    pair.agree();
    assert_eq!(pair.frontier(), before);
    let shown = pair.rows().1;
    assert_eq!((shown.get(&(10 * PANE_MS)), shown.get(&0)), (Some(&5), Some(&10)), "what it said before still stands");
    pair.away.clear();
    pair.agree();
    pair.check_finals();
}

#[test]
fn what_is_said_again_by_another_run_counts_once() {
    let mut pair = Pair::after(20);
    let before = pair.rows();
    let mut said = pair.said();
    for parts in said.values_mut().flatten() {
        Arc::make_mut(parts).run += 100;
    }
    pair.owner.take_reports(said, Epoch(1));
    pair.owner.tick(WallTime(0));
    assert_eq!(pair.rows(), before);
    minutes(&mut pair, &[0, 1], 20..40);
    pair.agree();
    pair.check_finals();
}

#[test]
fn a_notice_of_another_run_with_the_same_number_is_another_notice() {
    let mut pair = Pair::after(20);
    let touched = |pane: i64| Touched::from([(pane, BTreeSet::from([Arc::from("up")]))]);
    for (run, pane) in [(1, 0), (8, 2 * PANE_MS)] {
        let mut said = pair.said();
        let parts = Arc::make_mut(said.get_mut(&1).unwrap().as_mut().unwrap());
        (parts.run, parts.notices) = (run, Arc::new(BTreeMap::from([(1, touched(pane))])));
        // What another run says of final panes is read again as well.
        parts.views.clear();
        pair.order = pair.owner.take_reports(said, Epoch(1)).unwrap();
    }
    assert_eq!(pair.owner.background.unknown().into_keys().collect::<Vec<_>>(), [0, 2 * PANE_MS]);
    // Nor does a partition take an answer to one for an answer to the other.
    let Side::Partition(emitter) = &mut pair.partitions[1].side else { panic!("a partition") };
    emitter.tell(touched(PANE_MS));
    for (run, left) in [(8, 1), (1, 0)] {
        let order = Order { notices_taken: BTreeMap::from([(1, Noticed { run, number: 1 })]), ..Order::clone(&pair.order) };
        pair.partitions[1].take_order(&Arc::new(order), &OneView, WallTime(0));
        assert_eq!(pair.said()[&1].as_ref().unwrap().notices.len(), left);
    }
}

#[test]
fn states_that_nobody_takes_are_given_up_for_a_notice() {
    let mut pair = Pair::new();
    pair.agree();
    let far = PANES_KEPT_MAX as i64 + 60;
    minutes(&mut pair, &[0], 0..far + 30);
    let views = vec![Ordered { table: TableName::new("counts"), generation: 1, sql: "counts".into() }];
    let order = Arc::new(Order { epoch: Epoch(1), views, frontier: Some(EventTime(far * PANE_MS)), ..Order::default() });
    pair.partitions[0].take_order(&order, &OneView, WallTime(0));
    pair.partitions[0].settle();
    let said = pair.said().remove(&0).flatten().unwrap();
    let kept = &said.views[&TableName::new("counts")].panes;
    let noticed: Vec<i64> = said.notices.values().flat_map(|touched| touched.keys().copied()).collect();
    assert_eq!(kept.len() + noticed.len(), far as usize + 30);
    assert!(noticed.iter().all(|pane| !kept.contains_key(pane)) && noticed.len() >= 60, "{}", noticed.len());
    // The owner reads those from the lake once they are final everywhere.
    pair.owner.take_reports(BTreeMap::from([(0, Some(said)), (1, None)]), Epoch(1));
    assert!(pair.owner.background.unknown().is_empty(), "partition 1 has said nothing");
    pair.agree();
    let said = pair.said().remove(&0).flatten().unwrap();
    let noticed: Vec<i64> = said.notices.values().flat_map(|touched| touched.keys().copied()).collect();
    let unknown: Vec<i64> = pair.owner.background.unknown().into_keys().collect();
    assert_eq!(unknown, noticed);
}

#[test]
fn a_partition_that_starts_again_says_what_nobody_has_taken() {
    let mut pair = Pair::after(20);
    let before = pair.said().remove(&1).flatten().unwrap();
    let states = pair.partitions[1].save().unwrap();
    let bytes = |content: PartContent| match content {
        PartContent::Bytes(bytes) | PartContent::File(bytes) => bytes,
        PartContent::Unchanged => Bytes::new(),
    };
    let states: BTreeMap<String, Bytes> = states.into_iter().map(|part| (part.name, bytes(part.content))).collect();
    let mut again = partition(1, 7);
    again.load(&states, &OneView).unwrap();
    pair.partitions[1] = again;
    let after = pair.said().remove(&1).flatten().unwrap();
    let panes = |parts: &Parts| -> BTreeMap<i64, RecordBatch> {
        parts.views.values().flat_map(|v| v.panes.iter().map(|(pane, part)| (*pane, part.state.clone()))).collect()
    };
    assert_eq!(panes(&after), panes(&before));
    assert_eq!((after.frontier, &after.targets), (before.frontier, &before.targets));
    minutes(&mut pair, &[0, 1], 20..40);
    pair.agree();
    pair.check_finals();
}

#[test]
fn a_state_that_comes_after_its_pane_was_final_is_read_from_the_lake() {
    let mut pair = Pair::after(20);
    let mut said = pair.said();
    for parts in said.values_mut().flatten() {
        let parts = Arc::make_mut(parts);
        parts.number += 1;
        let view = parts.views.get_mut(&TableName::new("counts")).unwrap();
        view.panes.insert(2 * PANE_MS, Part { version: u64::MAX, state: state(&BTreeMap::from([(0, 9)])).unwrap() });
    }
    let before = pair.rows();
    pair.owner.take_reports(said, Epoch(1));
    assert_eq!(pair.owner.background.unknown().into_keys().collect::<Vec<_>>(), [2 * PANE_MS]);
    assert_eq!(pair.rows(), before);
}

#[test]
fn an_owner_that_was_superseded_is_not_heard() {
    let mut pair = Pair::after(20);
    let before = pair.said().remove(&0).flatten().unwrap();
    let other = Arc::new(Order { epoch: Epoch(0), frontier: Some(EventTime(100 * PANE_MS)), ..Order::default() });
    pair.partitions[0].take_order(&other, &OneView, WallTime(0));
    pair.partitions[0].settle();
    let after = pair.said().remove(&0).flatten().unwrap();
    assert_eq!((after.frontier, after.views.len()), (before.frontier, before.views.len()));
}

#[test]
fn what_a_partition_does_not_give_any_more_is_read_from_the_lake() {
    let mut pair = Pair::after(12);
    let frontier = pair.frontier().unwrap();
    // It was told to forget the view, and to begin again.
    let nothing = Arc::new(Order { epoch: Epoch(1), frontier: pair.order.frontier, ..Order::default() });
    pair.partitions[1].take_order(&nothing, &OneView, WallTime(0));
    minutes(&mut pair, &[0, 1], 12..14);
    pair.partitions[1].take_order(&Arc::new(Order { frontier: Some(EventTime(frontier + PANE_MS)), ..(*nothing).clone() }), &OneView, WallTime(0));
    pair.partitions[1].settle();
    pair.partitions[1].take_order(&Arc::new(Order::clone(&pair.order)), &OneView, WallTime(0));
    pair.agree();
    minutes(&mut pair, &[0, 1], 14..30);
    pair.agree();
    assert_eq!(pair.owner.background.unknown().into_keys().collect::<Vec<_>>(), [frontier]);
}
