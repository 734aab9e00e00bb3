//! Every shipped view of a running server against one plain DataFusion run of its statement over the rows that the server stores.

use crate::continuous::rows::plain;
use afferent_engine::schema;
use afferent_engine::time::EventTime;
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::shipped;
use afferent_queries::run::once::run_once;
use afferent_tests::door::Door;
use afferent_tests::rows;
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;

/// Says how many rows were equal.
pub(crate) fn compare(door: &Door) -> usize {
    let dimensions = Dimensions::load(None, None, None).unwrap();
    let as_of = rows::one_int(door, "SELECT CAST(as_of() AS BIGINT)").unwrap();
    let mut relations =
        vec![("panes".to_owned(), stored(door, "panes", &schema::panes())), ("events".to_owned(), stored(door, "events", &schema::events().schema))];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut filled = BTreeMap::new();
    for view in shipped(&dimensions).unwrap() {
        let name = view.spec.name.to_string();
        let answer = rows::batches(door, &format!("SELECT * FROM {name}")).unwrap();
        let found = plain(&answer, &view.spec.schema);
        let once = runtime.block_on(run_once(&view.spec.sql, relations.clone(), &dimensions, EventTime(as_of / 1000)));
        let once = once.unwrap_or_else(|e| panic!("{name}: {e}"));
        let wanted = plain(&once, &view.spec.schema);
        let missing: Vec<_> = wanted.iter().filter(|row| found.binary_search(row).is_err()).take(3).collect();
        let surplus: Vec<_> = found.iter().filter(|row| wanted.binary_search(row).is_err()).take(3).collect();
        assert!(
            missing.is_empty() && surplus.is_empty() && found.len() == wanted.len(),
            "{name}: {} rows against {} of one plain run\nmissing {missing:#?}\nsurplus {surplus:#?}",
            found.len(),
            wanted.len()
        );
        filled.insert(name.clone(), found.len());
        relations.push((name, if once.is_empty() { vec![RecordBatch::new_empty(view.spec.schema.clone())] } else { once }));
    }
    eprintln!("rows of views: {filled:?}");
    assert!(filled["service_traffic"] > 0 && filled["incidents"] > 0 && filled["llm_cost"] > 0, "the load reaches too few views");
    filled.values().sum()
}

/// A relation's rows with the types that continuous views read.
fn stored(door: &Door, name: &str, schema: &SchemaRef) -> Vec<RecordBatch> {
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let statement = format!("SELECT \"{}\" FROM {name}", columns.join("\", \""));
    let typed = |batch: &RecordBatch| {
        let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()).unwrap());
        RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
    };
    rows::batches(door, &statement).unwrap().iter().map(typed).collect()
}
