//! The columns every view row carries after its own: what it stands on.

use crate::error::Result;
use crate::rows::times;
use crate::schema::view_envelope;
use crate::time::EventTime;
use arrow::array::{ArrayRef, Float64Array, Int64Array, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// What a batch of rows stands on.
#[derive(Debug, Clone, Copy)]
pub struct Envelope {
    /// Complete up to here.
    pub watermark: Option<EventTime>,
    /// Share of expected panes seen, 0..1.
    pub coverage: Option<f64>,
    /// Corrections so far.
    pub revision: i64,
    /// Definition.
    pub generation: u64,
}

/// The columns of a view's table: its own, then the envelope.
pub(super) fn full_schema(own: &Schema) -> SchemaRef {
    let fields = own.fields().iter().map(|f| f.as_ref().clone()).chain(view_envelope());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Adds the envelope to rows; `revisions` overrides the one revision row by row.
///
/// # Errors
/// `Internal` where the rows do not have the view's columns.
pub fn with_envelope(schema: &SchemaRef, rows: &RecordBatch, envelope: &Envelope, revisions: Option<Vec<i64>>) -> Result<RecordBatch> {
    let n = rows.num_rows();
    let own = schema.fields().len() - view_envelope().len();
    let mut columns: Vec<ArrayRef> = rows.columns().iter().take(own).cloned().collect();
    columns.push(match envelope.watermark {
        Some(t) => times(std::iter::repeat_n(t.0, n)),
        None => new_null_array(&crate::schema::timestamp(), n),
    });
    columns.push(Arc::new(Float64Array::from(vec![envelope.coverage; n])));
    columns.push(Arc::new(Int64Array::from(revisions.unwrap_or_else(|| vec![envelope.revision; n]))));
    columns.push(Arc::new(Int64Array::from(vec![envelope.generation as i64; n])));
    columns.push(new_null_array(&arrow::datatypes::DataType::Boolean, n));
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
