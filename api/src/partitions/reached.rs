//! All partitions as the process reaches them that has the views: here or over HTTP, again and again. From what they say comes the one state that readers
//! see; one that does not answer is missing in it, and the state says so.

use super::{Hosted, PARTITIONS_PATH};
use crate::replica::{Reading, Replica, Whole};
use crate::roster::{KEY, Roster};
use crate::standby::Standby;
use crate::wire::address_of;
use afferent_engine::checkpoint::{CheckpointStore, GroupName};
use afferent_engine::error::{Error, Result};
use afferent_engine::live::{Live, ReadView};
use afferent_engine::parts::{Asked, Order, Partitions, Parts, Targets};
use afferent_engine::schema::partition_tables;
use afferent_engine::status::Status;
use afferent_engine::table::TableStore;
use afferent_storage::table::delta::DeltaTables;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Time between two questions to a partition.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// How long one may take.
const ASK_WAIT: Duration = Duration::from_secs(5);

/// Bytes that are read of what a partition says.
const PARTS_BYTES_MAX: u64 = 1 << 30;

/// Bytes that are read of why it says nothing.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// One that has said nothing for so long is missing.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// Time between two looks at who works a partition that answers: another process may have gone past that one, which may not know it yet.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Time between two looks while none answers.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a partition of which nothing was heard yet may take, before readers are answered without its rows in memory.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// How often what readers see is put together, at most; what the engine of the views shows is passed on at once.
const JOIN_EVERY: Duration = Duration::from_millis(100);

/// How often it is looked whether there is anything to put together.
const JOIN_POLL: Duration = Duration::from_millis(10);

/// See the module.
pub(crate) struct Reached {
    slots: Vec<Slot>,
    hosted: Arc<Hosted>,
    roster: Arc<Roster>,
    standby: Arc<Standby>,
    checkpoints: Arc<dyn CheckpointStore>,
    tables: Arc<DeltaTables>,
    order: Mutex<Option<Arc<Order>>>,
    agent: ureq::Agent,
}

/// One partition.
struct Slot {
    partition: u32,
    replica: Arc<Replica>,
    known: Mutex<Known>,
}

/// What is known of it.
#[derive(Default)]
struct Known {
    heard: Option<Heard>,
    /// What readers see while it does not answer.
    without: Option<Arc<ReadView>>,
    /// When what it published was looked up for that.
    refreshed: Option<Instant>,
    /// Where it is, and when that was looked up.
    at: Option<String>,
    looked: Option<Instant>,
    /// Where it was last, and why it does not answer.
    was_at: Option<String>,
    why: String,
    /// Targets that the run of that number has.
    told: Option<(u64, Arc<Targets>)>,
}

/// What it said last.
#[derive(Clone)]
struct Heard {
    at: Instant,
    parts: Arc<Parts>,
    view: Arc<ReadView>,
    /// Where its rows lie elsewhere: whether they can still be had.
    whole: Option<Arc<Whole>>,
    /// It was asked again, in vain.
    gone: bool,
}

impl Heard {
    fn answers(&self) -> bool {
        !self.gone && self.at.elapsed() < SILENT_AFTER && !self.whole.as_ref().is_some_and(|whole| whole.has_failed())
    }
}

impl Slot {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it said last, if it answers.
    fn heard(&self) -> Option<Heard> {
        self.known().heard.clone().filter(Heard::answers)
    }

    fn hear(&self, parts: Arc<Parts>, view: Arc<ReadView>, whole: Option<Arc<Whole>>) {
        let mut known = self.known();
        known.heard = Some(Heard { at: Instant::now(), parts, view, whole, gone: false });
        known.without = None;
    }

    /// What readers see of it; none before it was heard of.
    fn shown(&self) -> Option<Arc<ReadView>> {
        let mut known = self.known();
        if let Some(heard) = known.heard.as_ref().filter(|heard| heard.answers()) {
            return Some(heard.view.clone());
        }
        if let (None, Some(heard)) = (&known.without, &known.heard) {
            let view = self.without(&known, &heard.view);
            tracing::warn!(
                partition = self.partition,
                missing = view.status.missing.first(),
                "a partition does not answer: readers are told what they lack"
            );
            known.without = Some(view);
        }
        known.without.clone()
    }

    /// It was asked, in vain.
    fn does_not_answer(&self, why: &Error) {
        let mut known = self.known();
        known.was_at = known.at.take().or(known.was_at.take());
        // What it was told may be lost with it.
        (known.why, known.told) = (why.to_string(), None);
        known.heard.iter_mut().for_each(|heard| heard.gone = true);
    }

    /// The same without its rows in memory.
    fn without(&self, known: &Known, view: &ReadView) -> Arc<ReadView> {
        let (partition, epoch) = (self.partition, view.status.epoch);
        let process = match known.at.as_ref().or(known.was_at.as_ref()) {
            Some(at) => format!("the process at {at} does not give them"),
            None => "no process that works it was found".to_owned(),
        };
        let why = Some(known.why.replace(char::is_control, " ")).filter(|why| !why.is_empty()).map_or(String::new(), |why| format!(" ({why})"));
        let missing = format!("rows of partition {partition} that were not published with its epoch {epoch} are missing: {process}{why}");
        let status = Arc::new(view.status.told_last(missing));
        Arc::new(ReadView { live: BTreeMap::new(), parts: None, status, ..view.clone() })
    }
}

/// The sentence of an error as every process answers it.
fn message(body: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(body).ok()?;
    answer.get("error")?.get("message")?.as_str().map(str::to_owned)
}

impl Reached {
    /// Of a log with so many partitions; none of them has said anything yet.
    pub(crate) fn new(
        partitions: u32,
        hosted: Arc<Hosted>,
        roster: Arc<Roster>,
        standby: Arc<Standby>,
        checkpoints: Arc<dyn CheckpointStore>,
        tables: Arc<DeltaTables>,
    ) -> Arc<Self> {
        let slot = |partition| Slot { partition, replica: Arc::new(Replica::of_partition(partition, roster.clone())), known: Mutex::default() };
        let slots = (0..partitions).map(slot).collect();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        Arc::new(Self { slots, hosted, roster, standby, checkpoints, tables, order: Mutex::default(), agent })
    }

    /// Asks all of them, and shows readers what they say together with what the engine of the views shows, for as long as this process has the views.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn run(self: Arc<Self>, views: Arc<Live>, shown: Arc<Live>, stop: CancellationToken) {
        let asking = self.slots.iter().map(|slot| self.ask_on(slot));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = futures::future::join_all(asking) => {}
            () = self.join_on(&views, &shown) => {}
        }
    }

    async fn ask_on(&self, slot: &Slot) {
        let mut began = None;
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if self.standby.waits() {
                began = None;
                continue;
            }
            let began = *began.get_or_insert_with(Instant::now);
            if let Err(error) = self.ask(slot).await {
                tracing::debug!(partition = slot.partition, %error, "a partition does not answer");
                slot.does_not_answer(&error);
                if began.elapsed() >= FIRST_WAIT
                    && let Err(error) = self.read_published(slot).await
                {
                    tracing::debug!(partition = slot.partition, %error, "what a partition has published cannot be read");
                }
            }
        }
    }

    async fn ask(&self, slot: &Slot) -> Result<()> {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(order) = order else { return Ok(()) };
        let recovering = || Error::unavailable(format!("partition {} is being recovered", slot.partition));
        if let Some(host) = self.hosted.get(slot.partition) {
            host.orders.put(order);
            let view = host.live.view();
            let parts = view.parts.clone().filter(|_| view.status.recovered).ok_or_else(recovering)?;
            slot.hear(parts, view, None);
            return Ok(());
        }
        let at = self.address(slot).await?;
        let parts = self.parts(slot, &at, order).await?;
        // Rows are asked for after states, so that what the views read again has every row that the states count.
        let Some(Reading::Whole(whole)) = slot.replica.read(Some(&at)).await else { return Err(recovering()) };
        slot.hear(parts, whole.view.clone(), Some(Arc::new(whole)));
        Ok(())
    }

    /// Tells a partition elsewhere what it is to do, and gives what it says.
    async fn parts(&self, slot: &Slot, at: &str, order: Arc<Order>) -> Result<Arc<Parts>> {
        let (known, told) = {
            let known = slot.known();
            (known.heard.as_ref().map(|heard| heard.parts.clone()), known.told.clone())
        };
        let told = told.filter(|(run, _)| known.as_ref().is_some_and(|known| known.run == *run)).map(|(_, targets)| targets);
        let (targets, whole) = (order.targets.clone(), told.as_ref().is_none_or(|told| !Arc::ptr_eq(told, &order.targets)));
        let asked = Asked { order, known: known.clone(), told }.encode()?;
        let url = format!("{}{PARTITIONS_PATH}/{}", at.trim_end_matches('/'), slot.partition);
        let request = self.agent.post(&url).config().timeout_global(Some(ASK_WAIT)).build();
        let request = match self.roster.key() {
            Some(key) => request.header(KEY, key.header()),
            None => request,
        };
        let answered = tokio::task::spawn_blocking(move || -> std::result::Result<Bytes, String> {
            let mut answer = request.send(asked.as_ref()).map_err(|e| e.to_string())?;
            if !answer.status().is_success() {
                let said = answer.body_mut().with_config().limit(ERROR_BYTES_MAX).read_to_string().unwrap_or_default();
                return Err(message(&said).unwrap_or_else(|| format!("HTTP {}", answer.status())));
            }
            let bytes = answer.body_mut().with_config().limit(PARTS_BYTES_MAX).read_to_vec();
            bytes.map(Bytes::from).map_err(|e| e.to_string())
        });
        let answered = answered.await.map_err(|e| Error::internal(format!("asking a partition failed: {e}")))?;
        let bytes = answered.map_err(Error::unavailable)?;
        let said = Arc::new(Parts::decode(&bytes, known.as_ref())?);
        // One that was started anew in between has what was sent whole only.
        slot.known().told = (whole || known.is_some_and(|known| known.run == said.run)).then(|| (said.run, targets));
        Ok(said)
    }

    /// Where a partition is worked: whoever wrote its newest checkpoint.
    async fn address(&self, slot: &Slot) -> Result<String> {
        let (at, looked) = {
            let known = slot.known();
            (known.at.clone(), known.looked)
        };
        let fresh = |within: Duration| looked.is_some_and(|at| at.elapsed() < within);
        match &at {
            Some(at) if fresh(LOOK_EVERY) => return Ok(at.clone()),
            None if fresh(LOOK_AGAIN) => return Err(Error::unavailable("it was looked for just now")),
            _ => {}
        }
        slot.known().looked = Some(Instant::now());
        let newest = match (self.checkpoints.latest(&GroupName::of_metrics(slot.partition)).await, at) {
            (Ok(newest), _) => newest,
            // While the store is away it stays where it was.
            (Err(_), Some(at)) => return Ok(at),
            (Err(error), None) => return Err(error),
        };
        let at = newest.as_ref().and_then(|newest| address_of(&newest.writer)).map(str::to_owned);
        slot.known().at.clone_from(&at);
        at.ok_or_else(|| Error::unavailable("nobody has worked it yet"))
    }

    /// What a partition that does not answer has published: its process may work, and only not be reached.
    async fn read_published(&self, slot: &Slot) -> Result<()> {
        {
            let mut known = slot.known();
            if known.refreshed.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
                return Ok(());
            }
            known.refreshed = Some(Instant::now());
        }
        let group = GroupName::of_metrics(slot.partition);
        let epoch = self.checkpoints.latest(&group).await?.map_or(0, |newest| newest.epoch.0);
        let own = self.tables.of(&group);
        let heard = slot.known().heard.as_ref().map(|heard| heard.view.clone());
        let mut view = heard.as_deref().cloned().unwrap_or_default();
        for table in partition_tables() {
            let files = own.files(&table.name).await?;
            view.files.insert(table.name, files);
        }
        view.status = Arc::new(Status { epoch, ..Status::clone(&view.status) });
        let mut known = slot.known();
        if !known.heard.as_ref().is_some_and(Heard::answers) {
            known.without = Some(slot.without(&known, &view));
        }
        Ok(())
    }

    async fn join_on(&self, views: &Live, shown: &Live) {
        let mut before: Vec<Arc<ReadView>> = vec![];
        let mut joined = Instant::now();
        loop {
            tokio::time::sleep(JOIN_POLL).await;
            if self.standby.waits() {
                continue;
            }
            let own = views.view();
            let of_partitions: Vec<Option<Arc<ReadView>>> = self.slots.iter().map(Slot::shown).collect();
            let all_there = of_partitions.iter().all(Option::is_some);
            let parts: Vec<Arc<ReadView>> = std::iter::once(own.clone()).chain(of_partitions.into_iter().flatten()).collect();
            let same = |a: &Arc<ReadView>, b: &Arc<ReadView>| Arc::ptr_eq(a, b);
            let own_is_new = before.first().is_none_or(|before| !same(before, &own));
            let is_new = before.len() != parts.len() || before.iter().zip(&parts).any(|(a, b)| !same(a, b));
            if !(own_is_new || is_new && joined.elapsed() >= JOIN_EVERY) {
                continue;
            }
            let mut whole = ReadView::whole(&own, parts.get(1..).unwrap_or_default());
            if !all_there {
                whole.status = Arc::new(Status { recovered: false, ..Status::clone(&whole.status) });
            }
            shown.update(|view| *view = whole);
            (before, joined) = (parts, Instant::now());
        }
    }
}

#[async_trait]
impl Partitions for Reached {
    fn tell(&self, order: Arc<Order>) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
    }

    fn reports(&self) -> BTreeMap<u32, Option<Arc<Parts>>> {
        self.slots.iter().map(|slot| (slot.partition, slot.heard().map(|heard| heard.parts))).collect()
    }

    async fn tables(&self) -> Result<Arc<ReadView>> {
        let view = |slot: &Slot| {
            let heard = slot.heard().ok_or_else(|| Error::unavailable(format!("partition {} does not answer", slot.partition)))?;
            Ok(heard.view)
        };
        let views = self.slots.iter().map(view).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ReadView::of_partitions(&views)))
    }
}
