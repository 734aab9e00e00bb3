//! The store in a bucket of a real MinIO: what every store must do, what is said of one that cannot be used, and answers that get lost.

mod cost;
mod outage;
pub(crate) mod readers;
mod rivals;

use crate::program;
use afferent_engine::checkpoint::Epoch;
use afferent_engine::error::{Error, ErrorKind};
use afferent_engine::schema;
use afferent_engine::table::{History, TableFiles, TableStore, Wanted};
use afferent_storage::checkpoint::{self, ObjectCheckpoints};
use afferent_storage::history::ParquetHistory;
use afferent_storage::object_store::Store;
use afferent_storage::object_store::s3::Bucket;
use afferent_storage::table;
use afferent_storage::table::delta::DeltaTables;
use afferent_tests::lossy::{self, Lossy};
use afferent_tests::minio::{self, ACCESS_KEY_ID, BUCKET, Minio, SECRET_ACCESS_KEY, Wire};
use afferent_tests::sender::{BODY_MS, Fleet, now_ms};
use afferent_tests::server::{Server, wait_for};
use afferent_tests::skip::skip;
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Checkpoints often enough that every fault meets several.
const CONFIG: &str = "
[log]
segment_bytes = 65536
[engine]
checkpoint_interval_ms = 500
tick_ms = 100
[maintain]
interval_s = 1
[sql]
rows_max = 100000000
seconds_max = 60
";

/// A server of its own for one test; none where the program is missing.
fn started(test: &str, folder: &Path, wire: Wire) -> Option<Minio> {
    match minio::installed() {
        Ok(()) => Some(Minio::start(folder, wire).unwrap()),
        Err(reason) => {
            skip(test, &format!("{reason:#}"));
            None
        }
    }
}

fn bucket(endpoint: &str, prefix: &str) -> Bucket {
    let keys = Some((ACCESS_KEY_ID.to_owned(), SECRET_ACCESS_KEY.to_owned()));
    let bucket = Bucket::parse(&format!("s3://{BUCKET}/{prefix}"), Duration::from_secs(10)).unwrap();
    Bucket { endpoint: Some(endpoint.to_owned()), keys, ..bucket }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_bucket_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("a_bucket_conforms", folder.path(), Wire::Plain) else { return };
    block_on(async {
        // In a folder of the bucket, and in the whole bucket beside it.
        for prefix in ["deep/er", ""] {
            let store = bucket(minio.endpoint(), prefix).open().await.unwrap();
            checkpoint::conformance::suite(ObjectCheckpoints::new(store.clone())).await;
            table::conformance::suite(DeltaTables::new(store.clone())).await;
            files_of_several_parts_come_back(&store).await;
        }
    });
}

/// Rows that do not compress, so that they fill more than one part of an upload.
const NOISE_ROWS: usize = 1_500_000;

async fn files_of_several_parts_come_back(store: &Store) {
    let tables = DeltaTables::new(store.clone());
    let start = 1_795_305_600_000_000i64;
    let noise = |row: usize| f64::from_bits((row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
    let batches = (0..NOISE_ROWS / 100_000).map(move |n| {
        let rows = n * 100_000..(n + 1) * 100_000;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.clone().map(|_| "noise").collect::<DictionaryArray<Int32Type>>()),
            Arc::new(Int64Array::from_iter_values(rows.clone().map(|_| 7))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.clone().map(|row| start + row as i64 * 1000)).with_timezone("UTC")),
            Arc::new(Float64Array::from_iter_values(rows.map(noise))),
        ];
        RecordBatch::try_new(schema::samples().schema, columns).unwrap()
    });
    let files = tables.write(&schema::samples(), Epoch(1), Box::new(batches)).await.unwrap();
    assert!(files.len() == 1 && files[0].size_bytes > 10 << 20, "one file of several parts: {} bytes", files[0].size_bytes);
    let files = TableFiles { version: 1, files };
    let read = ParquetHistory::new(store.clone()).read(&schema::samples(), &files, &Wanted::default()).await.unwrap();
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), NOISE_ROWS);
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("a_private_authority_is_trusted_when_it_is_named", folder.path(), Wire::Tls) else { return };
    block_on(async {
        let named = Bucket { ca_file: Some(minio.ca_file()), ..bucket(minio.endpoint(), "tls") };
        checkpoint::conformance::suite(ObjectCheckpoints::new(named.open().await.unwrap())).await;
        let error = bucket(minio.endpoint(), "tls").open().await.unwrap_err();
        says(&error, ErrorKind::Invalid, &["is not trusted", "store.ca_file"]);
    });
}

fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in: {text}");
    assert!(!text.contains(SECRET_ACCESS_KEY), "{text}");
}

#[test]
fn a_store_that_cannot_be_used_says_what_to_check() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("a_store_that_cannot_be_used_says_what_to_check", folder.path(), Wire::Plain) else { return };
    let right = bucket(minio.endpoint(), "check");
    let keys = |id: &str, secret: &str| Bucket { keys: Some((id.to_owned(), secret.to_owned())), ..right.clone() };
    block_on(async {
        says(&keys("nobody", "x").open().await.unwrap_err(), ErrorKind::Invalid, &["access key is not known", "store.access_key_id"]);
        says(&keys(ACCESS_KEY_ID, "x").open().await.unwrap_err(), ErrorKind::Invalid, &["does not fit", "store.secret_access_key"]);
        let missing = Bucket { name: "no-such-bucket".to_owned(), ..right.clone() };
        says(&missing.open().await.unwrap_err(), ErrorKind::Invalid, &["\"no-such-bucket\" does not exist", minio.endpoint()]);
        minio.pause().unwrap();
        let began = Instant::now();
        says(&right.open().await.unwrap_err(), ErrorKind::Unavailable, &["does not answer", minio.endpoint()]);
        assert!(began.elapsed() < Duration::from_secs(16), "silence is told after {:?}", began.elapsed());
        minio.kill().unwrap();
        let began = Instant::now();
        says(&right.open().await.unwrap_err(), ErrorKind::Unavailable, &["does not answer", "store.endpoint", "onnection refused"]);
        assert!(began.elapsed() < Duration::from_secs(10), "a refusal is told after {:?}", began.elapsed());
    });
    // The program waits for a while, says the same, and ends; where the service comes meanwhile, it starts.
    let mut server = Server::prepared(program(), folder.path(), &minio.config("check"), &[]).unwrap();
    server.spawn().unwrap();
    let ended = server.wait_end(Duration::from_secs(60)).unwrap().expect("it ends");
    assert_eq!(ended.code(), Some(1), "{}", server.log());
    assert!(server.log().contains("does not answer") && server.log().contains(minio.endpoint()), "{}", server.log());
    let said = |server: &Server| server.log().matches("waiting for the bucket").count();
    assert_eq!(said(&server), 1, "{}", server.log());
    server.spawn().unwrap();
    wait_for("the program to wait", || said(&server) == 2);
    minio.restart().unwrap();
    server.wait_ready().unwrap();
    assert!(server.stop().unwrap().success());
}

#[test]
fn a_service_that_overwrites_is_refused() {
    let endpoint = overwriter::start();
    let error = block_on(bucket(&endpoint, "x").open()).unwrap_err();
    says(&error, ErrorKind::Invalid, &["create-only put", "If-None-Match"]);
}

/// A service that knows no condition: the least of the protocol, for one object at a time.
mod overwriter;

#[test]
fn answers_that_get_lost_neither_stop_the_writer_nor_double_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started("answers_that_get_lost_neither_stop_the_writer_nor_double_a_row", folder.path(), Wire::Plain) else { return };
    // Checkpoints and Delta's entries, every third of them.
    let chosen = |line: &str| line.starts_with("PUT ") && line.split(' ').nth(1).is_some_and(|path| path.ends_with(".json"));
    let network = Lossy::start(minio.endpoint(), lossy::every(3, Duration::from_secs(3), chosen)).unwrap();
    let config = minio.config("lost").replace(minio.endpoint(), &network.endpoint());
    let mut server = Server::start(program(), folder.path(), &format!("{CONFIG}{config}timeout_ms = 1000\n")).unwrap();
    let door = server.door();
    let seed = now_ms() as u64;
    eprintln!("seed {seed}");
    let fleet = Fleet::new(seed, 2, now_ms() - 1000 * BODY_MS);
    let sent = fleet.send_during(&door, || thread::sleep(Duration::from_secs(25)));
    let stored = sent.expect(&door, "while answers get lost");
    assert!(server.ended().unwrap().is_none(), "it goes on");
    assert!(server.stop().unwrap().success(), "a graceful stop");
    server.restart().unwrap();
    assert_eq!(sent.expect(&door, "after a restart"), stored);
    let log = server.log();
    assert!(!log.contains("owns the group now") && !log.contains("another writer removed"), "it took its own writes for another's:\n{log}");
    let epoch = door.json("/api/v1/freshness").unwrap()["epoch"].as_u64().unwrap();
    eprintln!("{} answers lost over {epoch} epochs, {stored} samples", network.lost());
    assert!(network.lost() > 10 && epoch > 3, "{network:?}, {epoch} epochs");
}
