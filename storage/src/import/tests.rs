#![allow(clippy::unwrap_used)]

use super::*;
use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use std::sync::Arc;

#[test]
fn a_file_comes_back_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.parquet");
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from_iter_values(0..20_000))]).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), schema.clone(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let file = open(&path).unwrap();
    assert_eq!((file.row_count, file.schema.clone()), (20_000, schema));
    let batches: Vec<RecordBatch> = file.collect::<Result<_>>().unwrap();
    assert!(batches.len() > 1 && batches.iter().all(|b| b.num_rows() <= BATCH_ROWS));
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
}

#[test]
fn what_is_no_parquet_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.parquet");
    std::fs::write(&path, "metric,time,value\n").unwrap();
    for path in [path, folder.path().join("nothing")] {
        let error = open(&path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}
