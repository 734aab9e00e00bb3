#![allow(clippy::unwrap_used)]
use super::*;
use afferent_engine::clock::ManualClock;
use afferent_engine::error::{ErrorKind, Result as EngineResult};
use afferent_engine::intake::{INTAKE_REQUESTS_MAX, intake};
use afferent_engine::log::{Decoded, LogName, Position, Topic};
use std::sync::Mutex;
use tokio::sync::Semaphore;

/// Appends when a permit is given, and says what it appended.
struct GatedLog {
    gate: Semaphore,
    records: Mutex<Vec<(LogName, Record)>>,
    is_full: bool,
}

impl GatedLog {
    fn new(permits: usize, is_full: bool) -> Arc<Self> {
        Arc::new(Self { gate: Semaphore::new(permits), records: Mutex::new(Vec::new()), is_full })
    }
}

#[async_trait::async_trait]
impl LogWriter for GatedLog {
    async fn append(&self, log: LogName, record: Record) -> EngineResult<Position> {
        self.gate.acquire().await.unwrap().forget();
        if self.is_full {
            return Err(EngineError::unavailable("the log is full"));
        }
        let mut records = self.records.lock().unwrap();
        records.push((log, record));
        Ok(Position(records.len() as u64 - 1))
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(WallTime(1_000)))
}

fn make(appender: &Appender, format: Format) -> Record {
    appender.record(format, "s".into(), WallTime(5), Bytes::from_static(b"body"))
}

fn whole(record: Record) -> Vec<Share> {
    vec![Share::whole(0, record, Decoded::default())]
}

#[tokio::test]
async fn what_is_durable_is_delivered_with_its_position_and_without_its_body() {
    let log = GatedLog::new(9, false);
    let (sender, mut receiver) = intake();
    let appender = Appender::new(log.clone(), Spread::default(), sender, clock());
    let (first, second) = (make(&appender, Format::RemoteWriteV1), make(&appender, Format::Incidents));
    assert_eq!(first.body_hash, xxhash_rust::xxh3::xxh3_128(b"body"));
    assert_ne!(first.request_id, second.request_id);
    appender.submit(whole(first), ()).await.unwrap();
    appender.submit(whole(second), ()).await.unwrap();
    let mut deliveries = receiver.recv().await.unwrap();
    deliveries.extend(receiver.recv().await.unwrap());
    assert_eq!(
        deliveries.iter().map(|d| (d.log.to_string(), d.position.0, d.record.body.len())).collect::<Vec<_>>(),
        [("metrics/0".into(), 0, 0), ("events/0".into(), 1, 0)]
    );
    assert_eq!(log.records.lock().unwrap()[0].1.body, "body");
}

#[tokio::test]
async fn an_append_goes_on_when_its_client_goes_away() {
    let log = GatedLog::new(0, false);
    let (sender, mut receiver) = intake();
    let appender = Appender::new(log.clone(), Spread::default(), sender, clock());
    let record = make(&appender, Format::RemoteWriteV1);
    {
        let submit = appender.submit(whole(record), ());
        tokio::pin!(submit);
        // Poll it once, then drop it: the client is gone.
        tokio::select! { biased; _ = &mut submit => panic!("the gate is shut"), () = tokio::task::yield_now() => {} }
    }
    log.gate.add_permits(1);
    appender.drained().await;
    assert_eq!(receiver.recv().await.unwrap()[0].position, Position(0));
}

#[tokio::test]
async fn a_full_log_delivers_nothing_and_gives_its_place_back() {
    let (sender, mut receiver) = intake();
    let appender = Appender::new(GatedLog::new(1000, true), Spread::default(), sender, clock());
    for _ in 0..2 * INTAKE_REQUESTS_MAX {
        let error = appender.submit(whole(make(&appender, Format::RemoteWriteV1)), ()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert!(receiver.try_recv().is_err());
}

#[tokio::test]
async fn a_stopped_engine_refuses_before_anything_is_appended() {
    let log = GatedLog::new(9, false);
    let (sender, receiver) = intake();
    drop(receiver);
    let appender = Appender::new(log.clone(), Spread::default(), sender, clock());
    let error = appender.submit(whole(make(&appender, Format::RemoteWriteV1)), ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(log.records.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_records_of_a_request_are_delivered_together_and_those_that_are_durable_even_if_not_all_are() {
    let (sender, mut receiver) = intake();
    let log = Arc::new(FirstPartitionOnly(GatedLog::new(9, false)));
    let appender = Appender::new(log.clone(), Spread { partitions: 2, ..Spread::default() }, sender, clock());
    let share = |partition| Share::whole(partition, make(&appender, Format::RemoteWriteV1), Decoded::default());
    appender.submit(vec![share(0), share(0)], ()).await.unwrap();
    assert_eq!(receiver.recv().await.unwrap().iter().map(|d| d.position.0).collect::<Vec<_>>(), [0, 1]);
    let error = appender.submit(vec![share(0), share(1), share(1), share(0)], ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let delivered = receiver.recv().await.unwrap();
    assert_eq!(delivered.iter().map(|d| (d.log.partition, d.position.0)).collect::<Vec<_>>(), [(0, 2), (0, 3)]);
}

/// Its other partitions are away.
struct FirstPartitionOnly(Arc<GatedLog>);

#[async_trait::async_trait]
impl LogWriter for FirstPartitionOnly {
    async fn append(&self, log: LogName, record: Record) -> EngineResult<Position> {
        match log {
            LogName { topic: Topic::Metrics, partition: 0 } => self.0.append(log, record).await,
            _ => Err(EngineError::unavailable("no leader")),
        }
    }
}
