use super::*;
use crate::views::envelope::full_schema;
use arrow::array::StringArray;

fn rows(items: &[(&str, i64)]) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, false), Field::new("n", DataType::Int64, false)]));
    let ids = StringArray::from_iter_values(items.iter().map(|(id, _)| id));
    let ns = Int64Array::from_iter_values(items.iter().map(|(_, n)| *n));
    RecordBatch::try_new(schema, vec![Arc::new(ids), Arc::new(ns)]).expect("fits")
}

fn revisions(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("revision").expect("there").as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn only_changed_rows_are_written_and_each_change_is_a_revision() {
    let envelope = Envelope { watermark: None, coverage: None, revision: 0, generation: 1 };
    let first = rows(&[("a", 1), ("b", 1)]);
    let full = full_schema(&first.schema());
    let mut upserts = Upserts::new(&first.schema(), &["id".into()]).expect("keys");
    upserts.set(first).expect("set");
    assert_eq!(upserts.cut(&full, &envelope).expect("cut").num_rows(), 2);
    assert_eq!(upserts.cut(&full, &envelope).expect("cut").num_rows(), 0, "once");
    upserts.set(rows(&[("a", 1), ("b", 2), ("c", 9)])).expect("set");
    assert_eq!(revisions(&upserts.live(&full, &envelope).expect("live")), vec![0, 1, 0]);
    let saved = upserts.save().expect("save");
    let mut again = Upserts::new(&upserts.rows().schema(), &["id".into()]).expect("keys");
    again.load(&saved).expect("load");
    again.set(rows(&[("a", 1), ("b", 2), ("c", 9)])).expect("set");
    assert_eq!(revisions(&again.cut(&full, &envelope).expect("cut")), vec![1, 0], "a restart writes what the straight run writes");
    assert_eq!(revisions(&upserts.cut(&full, &envelope).expect("cut")), vec![1, 0]);
}
