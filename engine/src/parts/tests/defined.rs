//! Views that are defined while partitions run: their history and what partitions give of them meet without a gap, and no row counts twice.

use super::*;
use crate::control::{Define, Origin};
use crate::pipeline::{Stored, earliest_pane};
use crate::query::{Fold, FoldProgram};
use crate::recompute;
use crate::sim::MemoryTables;

/// Numbers the rows of `minutes`, from 1.
struct Numbers(i64);

impl Fold for Numbers {
    fn advance(&mut self, rows: &[RecordBatch]) -> Result<()> {
        self.0 += rows.iter().map(|batch| batch.num_rows() as i64).sum::<i64>();
        Ok(())
    }

    fn evaluate(&self, rows: &[RecordBatch]) -> Result<RecordBatch> {
        let starts: Vec<i64> = rows.iter().flat_map(starts_of).collect();
        let numbers = Int64Array::from_iter_values((self.0 + 1..).take(starts.len()));
        let times = TimestampMicrosecondArray::from_iter_values(starts.into_iter().map(|t| t * 1000)).with_timezone("UTC");
        Ok(RecordBatch::try_new(columns(), vec![Arc::new(times), Arc::new(numbers)])?)
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(self.0.to_le_bytes().to_vec())
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        self.0 = i64::from_le_bytes(bytes.try_into().unwrap());
        Ok(())
    }
}

fn starts_of(rows: &RecordBatch) -> Vec<i64> {
    let times = rows.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
    times.values().iter().map(|t| t.div_euclid(1000)).collect()
}

/// The view of the start, the same under another name, one that counts by the minute, and a fold over that one.
struct FourViews;

impl Compiler for FourViews {
    fn compile(&self, sql: &str, generation: u64, _: &[ViewSpec]) -> Result<View> {
        Ok(match sql {
            "minutes" => windows("minutes", generation, PANE_MS),
            "fives" => windows("fives", generation, WINDOW_MS),
            "numbers" => {
                let make = Arc::new(|| Box::new(Numbers(0)) as Box<dyn Fold>);
                named("numbers", generation, Program::Fold(FoldProgram { input: TableName::new("minutes"), memory_ms: None, make }))
            }
            _ => view(generation),
        })
    }
}

/// Computes everything of the past that waits in one engine.
fn work(pipeline: &mut Pipeline, partitions: Option<Arc<ReadView>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let history = Arc::new(MemoryTables::default());
    let earliest = partitions.as_ref().and_then(|view| earliest_pane(view).unwrap());
    let stored = Stored { history, files: BTreeMap::new(), partitions, earliest_pane: earliest, runtime: runtime.handle().clone() };
    while let Some(job) = pipeline.next_job(WallTime(0), &stored) {
        let outcome = recompute::run(&job.lake, &job.step).unwrap();
        pipeline.take_outcome(job.purpose, outcome, WallTime(0)).unwrap();
    }
    pipeline.tick(WallTime(0));
}

impl Pair {
    /// After twelve minutes of samples that no view has read.
    fn without_a_view() -> Self {
        let mut pair = Self::new();
        pair.owner = pipeline(vec![]);
        pair.owner.become_views();
        pair.agree();
        minutes(&mut pair, &[0, 1], 0..12);
        pair.agree();
        pair
    }

    fn define(&mut self, name: &str) {
        let define = Define { name: TableName::new(name), sql: name.into(), replace: false, origin: Origin::Statement };
        assert!(self.owner.define(&define, &FourViews, WallTime(0)).unwrap().changed);
    }

    /// A partition takes what the owner said last.
    fn tell(&mut self, partition: usize) {
        self.partitions[partition].take_order(&self.order, &FourViews, WallTime(0));
        self.partitions[partition].settle();
    }

    /// The owner takes what partitions say.
    fn hear(&mut self) {
        let said = self.said();
        self.order = self.owner.take_reports(said, Epoch(1)).unwrap();
        self.owner.tick(WallTime(0));
    }

    /// Computes everything of the past that waits, in the partitions first.
    fn work(&mut self) {
        for partition in &mut self.partitions {
            work(partition, None);
        }
        self.hear();
        let shown = self.partitions.iter_mut().map(|partition| {
            let mut view = ReadView::default();
            partition.show(&mut view);
            Arc::new(view)
        });
        work(&mut self.owner, Some(Arc::new(ReadView::of_partitions(&shown.collect::<Vec<_>>()))));
    }

    /// Rows of a view in the order of time, final ones and those that are not: start and number.
    fn all_of(&self, name: &str) -> Vec<(i64, i64)> {
        let rows = self.owner.views.live_rows().into_iter().filter(|(table, _)| table.as_str() == name).flat_map(|(_, rows)| rows);
        let numbers = |batch: &RecordBatch| batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec();
        let mut all: Vec<(i64, i64)> = rows.flat_map(|batch| starts_of(&batch).into_iter().zip(numbers(&batch))).collect();
        all.sort_unstable();
        all
    }

    /// Partition 1 has gone on before `minutes` is defined, partition 0 hears of both at once: the next two minutes are final, and partition 1 has
    /// not said from where on it gives states.
    fn with_one_that_does_not_know() -> Self {
        let mut pair = Self::after(12);
        let before = pair.frontier().unwrap();
        minutes(&mut pair, &[0, 1], 12..14);
        pair.hear();
        pair.tell(1);
        pair.define("minutes");
        pair.hear();
        pair.tell(0);
        pair.hear();
        assert_eq!((pair.frontier(), pair.owner.views.waiting_for_parts()), (Some(before + 2 * PANE_MS), vec![TableName::new("minutes")]));
        pair
    }

    /// Now it does.
    fn begin(&mut self) {
        self.tell(1);
        self.hear();
        assert!(self.owner.views.waiting_for_parts().is_empty());
    }

    /// Every minute stands once in `minutes`, with two samples where `more` does not say otherwise, and counts once in a fold over it.
    fn check_minutes(&self, count: i64, more: &[(i64, i64)]) {
        let more: BTreeMap<i64, i64> = more.iter().copied().collect();
        let minutes: Vec<(i64, i64)> = (0..count).map(|minute| (minute * PANE_MS, more.get(&minute).copied().unwrap_or(2))).collect();
        assert_eq!(self.all_of("minutes"), minutes);
        let numbers: Vec<(i64, i64)> = (0..count).map(|minute| (minute * PANE_MS, minute + 1)).collect();
        assert_eq!(self.all_of("numbers"), numbers);
    }

    /// Fills `minutes`, then defines the fold over it.
    fn fill(&mut self) {
        self.work();
        self.define("numbers");
        self.work();
    }
}

#[test]
fn a_minute_that_was_shown_while_a_partition_did_not_know_of_the_view_counts_once() {
    let mut pair = Pair::with_one_that_does_not_know();
    pair.begin();
    pair.fill();
    pair.check_minutes(14, &[]);
    // The next minutes come with the stream.
    minutes(&mut pair, &[0, 1], 14..30);
    pair.hear();
    pair.tell(0);
    pair.tell(1);
    pair.hear();
    pair.check_minutes(30, &[]);
}

#[test]
fn a_minute_that_was_repaired_while_a_partition_did_not_know_of_the_view_counts_once() {
    let mut pair = Pair::with_one_that_does_not_know();
    pair.sample(1, 5 * PANE_MS + 30_000);
    assert_eq!(pair.partitions[1].late.len(), 1);
    pair.work();
    pair.begin();
    pair.fill();
    pair.check_minutes(14, &[(5, 3)]);
}

#[test]
fn minutes_that_became_final_before_partitions_that_knew_of_the_view_were_started_anew_are_history() {
    let mut pair = Pair::without_a_view();
    let before = pair.frontier().unwrap();
    minutes(&mut pair, &[0, 1], 12..14);
    pair.hear();
    pair.define("minutes");
    pair.tell(0);
    pair.tell(1);
    pair.hear();
    assert_eq!(pair.frontier(), Some(before + 2 * PANE_MS));
    // Neither has said that it knows of the view when both crash, and they have no checkpoint.
    pair.partitions = vec![partition(0, 7), partition(1, 8)];
    for number in 0..2 {
        pair.partitions[number].replays = true;
        pair.tell(number);
    }
    minutes(&mut pair, &[0, 1], 0..14);
    pair.partitions.iter_mut().for_each(|partition| partition.replays = false);
    pair.hear();
    assert!(pair.owner.views.waiting_for_parts().is_empty());
    pair.fill();
    pair.check_minutes(14, &[]);
}

#[test]
fn a_pane_that_was_written_again_before_a_view_had_joined_its_windows_counts_as_it_is() {
    let mut pair = Pair::without_a_view();
    pair.define("fives");
    for minute in [12, 13, 14] {
        pair.hear();
        pair.tell(0);
        pair.tell(1);
        minutes(&mut pair, &[0, 1], minute..minute + 1);
    }
    pair.hear();
    pair.tell(0);
    pair.tell(1);
    pair.hear();
    assert_eq!((pair.frontier(), pair.owner.views.waiting_for_parts()), (Some(8 * PANE_MS), vec![]));
    // Late, and repaired before the window that was open at the definition has its older part.
    pair.sample(0, 6 * PANE_MS + 30_000);
    assert_eq!(pair.partitions[0].late.len(), 1);
    pair.work();
    assert_eq!(pair.all_of("fives"), [(0, 10), (WINDOW_MS, 11), (2 * WINDOW_MS, 10)]);
}
