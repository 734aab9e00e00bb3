//! Another program reads the tables straight from the bucket: the Python `deltalake` package counts and sums as the program's own SQL does.

use super::{CONFIG, started};
use crate::program;
use crate::readers::environment;
use afferent_tests::minio::{ACCESS_KEY_ID, BUCKET, Minio, SECRET_ACCESS_KEY, Wire};
use afferent_tests::rows;
use afferent_tests::sender::{BODY_MS, Fleet, now_ms};
use afferent_tests::server::Server;
use afferent_tests::skip::skip;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Prints rows and the sum of a column of a table; the sum is exact, and rounded once.
const SCRIPT: &str = r#"
import json, math, os, sys
from deltalake import DeltaTable
options = {key: os.environ[key] for key in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")}
options["AWS_ALLOW_HTTP"] = "true"
found = {}
for name, column in (("samples", "value"), ("events", None), ("series", None)):
    table = DeltaTable(f"{sys.argv[1]}/tables/{name}", storage_options=options).to_pyarrow_table()
    numbers = [n for n in table.column(column).to_pylist() if n is not None and math.isfinite(n)] if column else []
    series = len(table.column("series_id").unique()) if "series_id" in table.column_names else None
    found[name] = {"rows": table.num_rows, "sum": math.fsum(numbers), "series": series}
json.dump(found, sys.stdout)
sys.stdout.flush()
# The libraries' own threads sometimes end the process with an abort while the interpreter takes itself down.
os._exit(0)
"#;

/// What the other program finds in a folder of the bucket.
pub(crate) fn read_bucket(python: &Path, minio: &Minio, prefix: &str) -> Value {
    let mut reader = Command::new(python);
    reader.args(["-c", SCRIPT]).arg(format!("s3://{BUCKET}/{prefix}"));
    reader.env("AWS_ENDPOINT_URL", minio.endpoint()).env("AWS_REGION", "us-east-1");
    reader.env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
    let output = reader.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn deltalake_reads_the_bucket_and_agrees() {
    let name = "deltalake_reads_the_bucket_and_agrees";
    let folder = tempfile::tempdir().unwrap();
    let Some(minio) = started(name, folder.path(), Wire::Plain) else { return };
    let python = match environment() {
        Ok(python) => python,
        Err(reason) => return skip(name, &reason),
    };
    let mut server = Server::start(program(), folder.path(), &format!("{CONFIG}{}", minio.config("open"))).unwrap();
    let door = server.door();
    let fleet = Fleet::new(now_ms() as u64, 2, now_ms() - 3000 * BODY_MS);
    let sent = fleet.send_during(&door, || thread::sleep(Duration::from_secs(10)));
    let stored = sent.expect(&door, "before the stop");
    // A graceful stop leaves nothing behind in memory.
    assert!(server.stop().unwrap().success());
    let found = read_bucket(&python, &minio, "open");
    server.restart().unwrap();
    assert_eq!(found["samples"]["rows"].as_u64(), Some(stored as u64), "{found}");
    let own = &rows::sql(&door, "SELECT count(*), sum(value) FROM samples").unwrap()[0];
    assert_eq!(found["samples"]["rows"].as_i64(), Some(own[0].int()), "{found}");
    // Samples are whole numbers far below 2^53, so every order of addition gives the same.
    assert_eq!(found["samples"]["sum"].as_f64(), Some(own[1].float()), "{found}");
    let events = rows::one_int(&door, "SELECT count(*) FROM events").unwrap();
    assert_eq!(found["events"]["rows"].as_i64(), Some(events), "{found}");
    assert!(found["series"]["rows"].as_u64() > Some(0), "{found}");
}
