use super::*;
use crate::clock::ManualClock;
use crate::schema::{self, TableDef};
use crate::sim::{MemoryCheckpoints, MemoryLog, MemoryTables};
use crate::time::WallTime;
use async_trait::async_trait;

#[test]
fn a_bundle_is_read_back_and_a_cut_one_is_refused() {
    let (a, b) = (Bytes::from_static(b"hello"), Bytes::new());
    let packed = pack(&[("a", &a), ("b", &b)]);
    let parts = unpack(&packed).expect("whole");
    assert_eq!(parts.get("a"), Some(&a));
    assert_eq!(parts.get("b"), Some(&b));
    for end in 1..packed.len() {
        let cut = unpack(&packed.slice(..end));
        assert!(cut.is_none_or(|parts| parts.len() < 2), "cut at {end}");
    }
}

/// Stands still before its commit until `other` has gone on for several epochs.
struct Overtaken {
    inner: Arc<MemoryCheckpoints>,
    other: Chain,
}

#[async_trait]
impl CheckpointStore for Overtaken {
    async fn latest(&self, group: &GroupName) -> Result<Option<Checkpoint>> {
        self.inner.latest(group).await
    }

    async fn write_state(&self, group: &GroupName, epoch: Epoch, name: &str, bytes: Bytes) -> Result<StateFile> {
        self.inner.write_state(group, epoch, name, bytes).await
    }

    async fn read_state(&self, file: &StateFile) -> Result<Bytes> {
        self.inner.read_state(file).await
    }

    async fn commit(&self, checkpoint: &Checkpoint) -> Result<()> {
        for epoch in 1..=CHECKPOINTS_KEPT as u64 + 3 {
            drop(self.other.commit(&cut(schema::samples(), 0), None, Epoch(epoch)).await?);
        }
        self.inner.commit(checkpoint).await
    }

    async fn prune(&self, group: &GroupName, keep: usize) -> Result<()> {
        self.inner.prune(group, keep).await
    }
}

/// One row of `dead_letters`, or an empty table.
fn cut(table: TableDef, rows: usize) -> Cut {
    let row = crate::rows::DeadRow {
        reason: "test",
        detail: String::new(),
        count: 1,
        origin: crate::rows::Origin { source: "s".into(), received_at: 0, log: "metrics/0".into(), position: 0 },
    };
    let batches = if rows == 0 { vec![] } else { vec![crate::rows::dead(&[row]).expect("columns")] };
    Cut { positions: BTreeMap::new(), tables: vec![(table, Box::new(move || Box::new(batches.clone().into_iter())))], states: vec![] }
}

#[tokio::test]
async fn a_number_that_was_pruned_is_no_way_in_for_a_writer_that_stood_still() {
    let (tables, checkpoints) = (Arc::new(MemoryTables::default()), Arc::new(MemoryCheckpoints::default()));
    let chain = |writer: &str, checkpoints: Arc<dyn CheckpointStore>| Chain {
        group: GroupName::of_partition(0),
        writer: writer.into(),
        tables: tables.clone(),
        checkpoints,
        log: Arc::new(MemoryLog::default()),
        live: Arc::new(Live::default()),
        clock: Arc::new(ManualClock::at(WallTime(0))),
    };
    let other = chain("new", checkpoints.clone());
    let old = chain("old", Arc::new(Overtaken { inner: checkpoints.clone(), other }));
    let ended = old.commit(&cut(schema::dead_letters(), 1), None, Epoch(1)).await.err().expect("it was overtaken");
    assert_eq!(ended.kind(), ErrorKind::Conflict, "{ended}");
    let shown = tables.files(&TableName::new(schema::DEAD_LETTERS)).await.expect("files");
    assert!(shown.files.is_empty(), "a writer that was overtaken published");
}

#[tokio::test]
async fn a_chain_goes_on_in_another_log_only_where_it_was_begun_there() {
    let (tables, checkpoints) = (Arc::new(MemoryTables::default()), Arc::new(MemoryCheckpoints::default()));
    let chain = |identity: Option<&str>| Chain {
        group: GroupName::of_partition(0),
        writer: "one".into(),
        tables: tables.clone(),
        checkpoints: checkpoints.clone(),
        log: Arc::new(MemoryLog::named(identity)),
        live: Arc::new(Live::default()),
        clock: Arc::new(ManualClock::at(WallTime(0))),
    };
    let (a, b) = (chain(Some("log a")), chain(Some("log b")));
    a.commit(&cut(schema::dead_letters(), 1), None, Epoch(1)).await.unwrap();
    let (newest, parts) = a.recover().await.unwrap().expect("a checkpoint");
    let refused = b.recover().await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("goes on in log a, and this is log b"), "{refused}");
    let log = LogName { topic: crate::log::Topic::Metrics, partition: 3 };
    assert_eq!(b.check_start(&[log]).await.unwrap_err().to_string(), refused.to_string());
    a.check_start(&[log]).await.unwrap();
    // Nothing says that a log without a name is another one.
    assert!(chain(None).recover().await.unwrap().is_some());

    b.begin_log(&newest, &BTreeMap::from([(log, Position(0))])).await.unwrap();
    let (begun, theirs) = b.recover().await.unwrap().expect("a checkpoint");
    assert_eq!((begun.epoch, Chain::positions(&begun), theirs), (Epoch(2), BTreeMap::from([(log, Position(0))]), parts));
    assert_eq!(a.recover().await.unwrap_err().kind(), ErrorKind::Conflict);
    // What the epoch before had is there once.
    assert_eq!(tables.files(&TableName::new(schema::DEAD_LETTERS)).await.unwrap().files.len(), 1);
    assert_eq!(b.begin_log(&newest, &BTreeMap::new()).await.unwrap_err().kind(), ErrorKind::Conflict, "somebody wrote the chain meanwhile");
}

#[tokio::test]
async fn a_new_store_does_not_begin_on_a_log_that_has_lost_its_beginning() {
    let (log, name) = (Arc::new(MemoryLog::named(Some("log a"))), LogName { topic: crate::log::Topic::Metrics, partition: 0 });
    let chain = Chain {
        group: GroupName::of_partition(0),
        writer: "one".into(),
        tables: Arc::new(MemoryTables::default()),
        checkpoints: Arc::new(MemoryCheckpoints::default()),
        log: log.clone(),
        live: Arc::new(Live::default()),
        clock: Arc::new(ManualClock::at(WallTime(0))),
    };
    for n in 0..3 {
        crate::log::LogWriter::append(log.as_ref(), name, record(n)).await.unwrap();
    }
    chain.check_start(&[name]).await.unwrap();
    log.trim(name, Position(2)).await.unwrap();
    let refused = chain.check_start(&[name]).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("log a begins at record 2 of metrics/0"), "{refused}");
}

fn record(request_id: u64) -> crate::log::Record {
    crate::log::Record {
        format: crate::log::Format::RemoteWriteV1,
        source: "s".into(),
        received_at: WallTime(0),
        body_hash: 0,
        request_id,
        body: Bytes::new(),
    }
}
