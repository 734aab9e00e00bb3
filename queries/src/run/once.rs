//! One plain DataFusion run of a view's query over whole relations: what the continuous computation must equal (invariant I3).

use super::instant;
use crate::definition::Definition;
use crate::dimensions::Dimensions;
use crate::error::{Error, Result};
use crate::functions;
use crate::plan::{canonical, configure, plain_view, shipped_plain};
use afferent_engine::schema;
use afferent_engine::time::EventTime;
use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;

/// Runs `sql` (a definition, or a bare `SELECT`) once over the given relations, with DataFusion's usual settings.
///
/// `panes` and `events` may be given without batches; any other relation needs at least one, possibly empty, for its columns.
///
/// # Errors
/// As the statement is wrong or fails.
pub async fn run_once(sql: &str, relations: Vec<(String, Vec<RecordBatch>)>, dimensions: &Dimensions, as_of: EventTime) -> Result<Vec<RecordBatch>> {
    let select = Definition::parse("statement", sql).map(|d| d.select).unwrap_or_else(|_| sql.to_owned());
    let context = SessionContext::new_with_config(configure(SessionConfig::new()));
    functions::register(&mut context.state_ref().write()).map_err(Error::statement)?;
    context.register_udf(instant::constant(Some(as_of.micros())));
    let mut given = relations;
    for (name, rows) in dimensions.relations() {
        if given.iter().all(|(n, _)| *n != name) {
            given.push((name, vec![rows]));
        }
    }
    for (name, batches) in given {
        let Some(schema) = schema_of(&name, &batches) else {
            return Err(Error::definition(&name, "its columns are unknown: give one batch at least, which may be empty"));
        };
        let table = MemTable::try_new(schema, vec![batches]).map_err(Error::statement)?;
        context.register_table(TableReference::bare(name), Arc::new(table)).map_err(Error::statement)?;
    }
    for definition in shipped_plain()? {
        if let Ok(view) = plain_view(&context, &definition) {
            context.register_table(TableReference::bare(definition.name.as_str()), Arc::new(view)).map_err(Error::statement)?;
        }
    }
    let frame = context.sql(&select).await.map_err(Error::statement)?;
    let batches = frame.collect().await.map_err(|e| Error::Execution(Box::new(e)))?;
    batches.iter().map(tabled).collect()
}

fn schema_of(name: &str, batches: &[RecordBatch]) -> Option<SchemaRef> {
    match (batches.first(), name) {
        (Some(batch), _) => Some(batch.schema()),
        (None, crate::plan::PANES) => Some(schema::panes()),
        (None, crate::plan::EVENTS) => Some(schema::events().schema),
        _ => None,
    }
}

/// The batch with the column types that a view's table has.
fn tabled(batch: &RecordBatch) -> Result<RecordBatch> {
    let failed = |e: arrow::error::ArrowError| Error::plan("a plain run", e.into());
    let column = |(column, field): (&ArrayRef, &Arc<Field>)| {
        let kind = canonical(field.data_type()).unwrap_or_else(|| field.data_type().clone());
        Ok((Field::new(field.name(), kind.clone(), true), cast(column, &kind).map_err(failed)?))
    };
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) =
        batch.columns().iter().zip(batch.schema_ref().fields()).map(column).collect::<Result<Vec<_>>>()?.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
}
