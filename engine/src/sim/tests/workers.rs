//! The same with an engine per partition and one for a view over all of them: any of them crashes, is superseded while it goes on, and comes back. The
//! view counts every sample once.

use super::*;
use crate::live::ReadView;
use crate::parts::tests::{OneView, WINDOW_MS, counted, view};
use crate::parts::{Asked, LocalPartition, LocalPartitions, Order, OrderBook, Partitions, Parts, Question, Targets};
use async_trait::async_trait;
use std::sync::Mutex;

/// Seeds of a run where `AFFERENT_SEEDS` does not say otherwise.
const SEEDS: u64 = 60;

/// Seeds at work at the same time.
const AT_ONCE: usize = 6;

/// How long one seed may take.
const SEED_SECONDS_MAX: u64 = 120;

/// Partitions as the owner reaches them: whoever was started last, over a wire that loses questions and answers.
struct Reached(Mutex<(Dice, BTreeMap<u32, Member>)>);

struct Member {
    partition: LocalPartition,
    /// What it took last.
    taken: Option<Arc<Order>>,
    known: Option<Arc<Parts>>,
    told: Option<Arc<Targets>>,
}

/// How many of a hundred questions, and answers, are lost.
const LOST: u64 = 10;

impl Member {
    fn ask(&mut self, order: &Arc<Order>, dice: &mut Dice) -> Result<()> {
        let asked = Asked { order: order.clone(), known: self.known.clone(), told: self.told.clone() }.encode()?;
        if dice.below(100) < LOST {
            return Ok(());
        }
        let question = Question::decode(&asked, self.taken.as_ref())?;
        self.taken = Some(question.order.clone());
        self.partition.orders.put(question.order.clone());
        let view = self.partition.live.view();
        let Some(parts) = view.parts.as_ref().filter(|_| view.status.recovered) else { return Ok(()) };
        let answer = parts.encode(&question)?;
        if dice.below(100) < LOST {
            return Ok(());
        }
        let said = Arc::new(Parts::decode(&answer, self.known.as_ref())?);
        // One that was started anew knows of nothing.
        let same = self.known.as_ref().is_some_and(|known| known.run == said.run);
        (self.told, self.known) = (same.then(|| order.targets.clone()), Some(said));
        Ok(())
    }
}

impl Reached {
    fn with<T>(&self, work: impl FnOnce(&mut Dice, &mut BTreeMap<u32, Member>) -> T) -> T {
        let mut inner = self.0.lock().unwrap();
        let (dice, members) = &mut *inner;
        work(dice, members)
    }

    /// A partition has another engine from now on.
    fn put(&self, partition: LocalPartition) {
        self.with(|_, members| {
            let known = members.remove(&partition.partition).and_then(|before| before.known);
            members.insert(partition.partition, Member { partition, taken: None, known, told: None });
        });
    }
}

#[async_trait]
impl Partitions for Reached {
    fn tell(&self, order: Arc<Order>) {
        self.with(|dice, members| members.values_mut().for_each(|member| member.ask(&order, dice).unwrap()));
    }

    fn reports(&self) -> BTreeMap<u32, Option<Arc<Parts>>> {
        let said = |member: &Member| member.known.clone().filter(|_| member.partition.live.view().status.recovered);
        self.with(|_, members| members.iter().map(|(partition, member)| (*partition, said(member))).collect())
    }

    async fn tables(&self) -> Result<Arc<ReadView>> {
        let all = self.with(|_, members| LocalPartitions(members.values().map(|member| member.partition.clone()).collect()));
        all.tables().await
    }
}

/// The place of one engine: the one of the views, or that of a partition.
struct Place {
    witness: Arc<Witness>,
    process: Process,
    zombies: Vec<Process>,
    started: u64,
}

struct Team {
    dice: Dice,
    rates: Rates,
    world: World,
    reached: Arc<Reached>,
    places: Vec<Place>,
    crashes: u64,
    fenced: u64,
    runs: u64,
}

impl Team {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let rates = rates(&mut dice, Rates { fails: 60, unanswered: 60, dies_before: 15, dies_after: 15, torn: 40, pauses: 40 });
        let world = World::new(2 + dice.below(2) as u32);
        let reached = Arc::new(Reached(Mutex::new((Dice::new(dice.next()), BTreeMap::new()))));
        let mut team = Self { dice, rates, world, reached, places: vec![], crashes: 0, fenced: 0, runs: 0 };
        // The partitions before the owner of the view, who has to know how many there are.
        let witnesses: Vec<Arc<Witness>> = (0..=team.world.partitions).map(|_| Arc::default()).collect();
        let mut processes: Vec<Process> = (1..witnesses.len()).map(|place| team.start(place, 1, &witnesses[place], false)).collect();
        processes.insert(0, team.start(0, 1, &witnesses[0], false));
        let place = |(process, witness)| Place { witness, process, zombies: vec![], started: 1 };
        team.places = processes.into_iter().zip(witnesses).map(place).collect();
        team
    }

    fn start(&mut self, place: usize, number: u64, witness: &Arc<Witness>, calm: bool) -> Process {
        let (live, compiler) = (Arc::<Live>::default(), Arc::new(OneView));
        let rates = if calm { Rates::default() } else { self.rates };
        self.runs += 1;
        let (group, logs, views, share) = match place.checked_sub(1) {
            None => {
                let partitions: Arc<dyn Partitions> = self.reached.clone();
                (GroupName::of_views(), vec![LogName::first(Topic::Events)], vec![view(1)], Share::Views(partitions))
            }
            Some(partition) => {
                let partition = partition as u32;
                let orders: Arc<OrderBook> = Arc::default();
                self.reached.put(LocalPartition { partition, live: live.clone(), orders: orders.clone() });
                let share = Share::Partition { partition, run: self.runs, orders };
                (GroupName::of_metrics(partition), vec![LogName { topic: Topic::Metrics, partition }], vec![], share)
            }
        };
        let seat = Seat { group, logs, takes_over: number > 1, views, compiler, share, live, witness: witness.clone() };
        self.world.start_at(seat, &format!("{place}-{number}"), self.dice.next(), rates)
    }

    /// Another process at a place; the one before is dead, or does not know that it is superseded.
    async fn replace(&mut self, place: usize, calm: bool, zombie: bool) -> std::result::Result<(), String> {
        self.places[place].started += 1;
        let (number, witness) = (self.places[place].started, self.places[place].witness.clone());
        if !zombie {
            self.places[place].process.halt.cancel();
        }
        let next = self.start(place, number, &witness, calm);
        let before = std::mem::replace(&mut self.places[place].process, next);
        if zombie {
            self.places[place].zombies.push(before);
            return Ok(());
        }
        self.ended(before).await
    }

    async fn ended(&mut self, process: Process) -> std::result::Result<(), String> {
        process.halt.cancel();
        match process.handle.join().await {
            Ok(()) => self.crashes += 1,
            Err(error) if starts_again(&error) => self.crashes += 1,
            Err(error) if superseded(&error) => self.fenced += 1,
            Err(error) => return Err(format!("a process ended with {}: {error}", error.kind())),
        }
        Ok(())
    }

    async fn run(mut self) -> std::result::Result<(u64, u64, usize), String> {
        let mut acknowledged = vec![];
        for record in records(&mut self.dice) {
            for (log, share) in spread(&record, self.world.partitions) {
                self.world.log.append(log, share.clone()).await.map_err(|e| e.to_string())?;
                acknowledged.push(share);
            }
            let place = self.dice.below(self.places.len() as u64) as usize;
            match self.dice.below(40) {
                0 => self.replace(place, false, false).await?,
                1 | 2 if self.places[place].zombies.is_empty() => self.replace(place, false, true).await?,
                3..=12 => tokio::time::sleep(Duration::from_millis(self.dice.below(25))).await,
                _ => {}
            }
            for place in 0..self.places.len() {
                if self.places[place].process.halt.is_cancelled() || self.places[place].process.intake.reserve().await.is_err() {
                    self.replace(place, false, false).await?;
                }
            }
        }
        self.finish(acknowledged).await
    }

    /// Ends every process, then lets a team without faults come to its end.
    async fn finish(mut self, acknowledged: Vec<Record>) -> std::result::Result<(u64, u64, usize), String> {
        for place in 0..self.places.len() {
            for zombie in std::mem::take(&mut self.places[place].zombies) {
                self.ended(zombie).await?;
            }
        }
        // What a process that is gone had under way may still take effect, and then the one after it has to start again.
        for _ in 0..LAST_PROCESSES_MAX {
            for place in 0..self.places.len() {
                self.replace(place, true, false).await?;
            }
            let settled = async {
                while !self.settled().await {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            if tokio::time::timeout(RECOVERED_WAIT * 5, settled).await.is_ok() {
                return self.check(&acknowledged).await;
            }
        }
        let told: Vec<_> = self.places.iter().map(|p| p.process.live.view().status.clone()).collect();
        Err(format!("the last processes never came to their end: {told:#?}"))
    }

    /// True once every record is taken, everything repaired, and the owner of the view has heard of all of it.
    async fn settled(&self) -> bool {
        let partitions: Vec<Arc<ReadView>> = self.places.iter().skip(1).map(|p| p.process.live.view()).collect();
        for (partition, view) in (0..).zip(&partitions) {
            // One that has not been told of the view says nothing of it.
            if !view.parts.as_ref().is_some_and(|parts| parts.views.contains_key(&TableName::new("counts"))) {
                return false;
            }
            let log = LogName { topic: Topic::Metrics, partition };
            let end = crate::log::LogReader::bounds(self.world.log.as_ref(), log).await.map(|(_, end)| end).unwrap_or_default();
            if view.status.logs.get(&log.to_string()).is_none_or(|l| l.next < end) {
                return false;
            }
        }
        let Some(owner) = self.places.first() else { return false };
        let said = |view: &ReadView| view.parts.as_ref().map(|parts| (parts.run, parts.number));
        let heard = |status: &Status| {
            let of = |partition: u32| status.partitions.get(&partition).map(|p| p.said);
            (0..).zip(&partitions).all(|(partition, view)| said(view).is_some_and(|said| of(partition) >= Some(said)))
        };
        let mut views = partitions.clone();
        loop {
            let view = owner.process.live.view();
            if heard(&view.status) {
                views.push(view);
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        views.iter().all(|v| v.status.recovered && v.status.repair.waiting == 0 && v.status.repair.corrections == 0)
    }

    async fn check(mut self, acknowledged: &[Record]) -> std::result::Result<(u64, u64, usize), String> {
        let mut views = vec![];
        self.places.rotate_left(1);
        for place in self.places {
            place.process.cancel.cancel();
            place.process.handle.join().await.map_err(|e| format!("a process without faults ended with {}: {e}", e.kind()))?;
            views.push(place.process.live.view());
            let wrong = place.witness.wrong();
            if !wrong.is_empty() {
                return Err(wrong.join("\n"));
            }
        }
        let samples = samples_of(acknowledged);
        let Some(owner) = views.pop() else { return Err("no owner".into()) };
        let live = Live::from(Arc::new(ReadView::whole(&owner, &views)));
        let expected: Vec<(i64, i64, i64)> = samples.iter().map(|((id, time), value)| (*id, *time, *value)).collect();
        let found = sample_rows(&self.world.rows(&live, SAMPLES));
        if found != expected {
            return Err(format!("{} rows of samples, {} acknowledged", found.len(), expected.len()));
        }
        let (mut panes, mut windows) = (BTreeMap::new(), BTreeMap::new());
        for (id, time) in samples.keys() {
            *panes.entry((*id, time - time.rem_euclid(PANE_MS))).or_insert(0) += 1;
            *windows.entry(time - time.rem_euclid(WINDOW_MS)).or_insert(0) += 1;
        }
        if pane_counts(&self.world.rows(&live, ROLLUP_1M)) != panes {
            return Err("panes count otherwise than samples".into());
        }
        let counts = newest(&self.world.rows(&live, "counts"));
        if counts != windows {
            return Err(format!("the view counts {counts:?}, samples are {windows:?}"));
        }
        Ok((self.crashes, self.fenced, acknowledged.len()))
    }
}

/// The newest revision of each window; rows that stand twice add up, so that it shows.
fn newest(rows: &[RecordBatch]) -> BTreeMap<i64, i64> {
    let mut revisions: BTreeMap<i64, BTreeMap<i64, i64>> = BTreeMap::new();
    for batch in rows {
        let revision = batch.column_by_name("revision").unwrap().as_primitive::<Int64Type>();
        for i in 0..batch.num_rows() {
            for (start, n) in counted(&[batch.slice(i, 1)], "n") {
                *revisions.entry(start).or_default().entry(revision.value(i)).or_default() += n;
            }
        }
    }
    revisions.into_iter().filter_map(|(start, counts)| Some((start, *counts.last_key_value()?.1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_engine_of_a_stream_fails_everything_counts_once() {
    let Seeds { only, done, crashes, fenced, bodies } =
        run_seeds(SEEDS, AT_ONCE, SEED_SECONDS_MAX, |seed| async move { Team::new(seed).run().await }).await;
    println!("{done} seeds of workers, {bodies} bodies, {crashes} crashes and restarts, {fenced} writers fenced");
    assert!(only || done < 40 || (crashes > done && fenced > 0), "the simulation must crash and fence: {crashes} {fenced}");
}
