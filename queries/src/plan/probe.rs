//! Finds what fails whatever the data: a constant that cannot be computed, a parameter that a function does not take. Such a view would be accepted
//! and then fail for ever. What fails for some rows only is not looked for: it is told when such a row comes.

use super::planner::Planner;
use super::trace;
use crate::error::{Error, Result};
use afferent_engine::error::Result as EngineResult;
use afferent_engine::query::{Program, WindowQuery, WindowSource};
use afferent_engine::schema::{self, TableName};
use afferent_engine::time::EventTime;
use arrow::array::{ArrayData, ArrayRef, Int64Array, RecordBatchOptions, StringArray, make_array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Computes every constant part of a plan.
pub(super) fn constants(planner: &Planner, plan: &LogicalPlan) -> Result<()> {
    trace::expressions(plan, |part| {
        if !is_constant(part) {
            return Ok(TreeNodeRecursion::Continue);
        }
        let computed = value(planner, part).map_err(|cause| fails(planner, &format!("the constant {part}"), &cause.strip_backtrace()));
        computed.map(|()| TreeNodeRecursion::Jump)
    })
}

/// True of what has a value of its own: calls and operators over literals.
fn is_constant(expr: &Expr) -> bool {
    let of_parts = |part: &Expr| match part {
        Expr::Literal(..)
        | Expr::BinaryExpr(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::Negative(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::Case(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Like(_)
        | Expr::SimilarTo(_) => true,
        Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Immutable,
        _ => false,
    };
    !matches!(expr, Expr::Literal(..)) && !expr.exists(|part| Ok(!of_parts(part))).unwrap_or(true)
}

fn value(planner: &Planner, expr: &Expr) -> Result<(), DataFusionError> {
    // What has no physical form by itself is planned where it stands.
    let Ok(physical) = planner.context.create_physical_expr(expr.clone(), &DFSchema::empty()) else { return Ok(()) };
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &RecordBatchOptions::new().with_row_count(Some(1)))?;
    physical.evaluate(&row).map(|_| ())
}

/// Rows of a probe: with one alone, `count(*) - 1` would be a zero to divide by.
const ROWS: usize = 2;

/// What arrow says of a division by zero, which is a matter of the data; constant ones are found in the plan.
const DIVISION: &str = "Divide by zero";

/// Runs a compiled view over rows that say as little as rows can: parameters of functions are read when they are called.
pub(super) fn few_rows(planner: &Planner, program: &Program) -> Result<()> {
    let of_view = |name: &TableName| planner.view_schema(name.as_str()).and_then(|schema| least_rows(&schema));
    let ran = match program {
        Program::Window(window) => {
            let rows = match &window.source {
                WindowSource::Panes { metrics } => {
                    let read = metrics.as_ref().and_then(|names| names.first());
                    with_word(least_rows(&schema::panes())?, "metric", read.map(String::as_str))?
                }
                WindowSource::View(name) => of_view(name)?,
            };
            aggregate(window.query.as_ref(), rows)
        }
        Program::Keyed(keyed) => {
            let read = keyed.kinds.as_ref().and_then(|kinds| kinds.first());
            aggregate(keyed.query.as_ref(), with_word(least_rows(&schema::events().schema)?, "kind", read.map(|kind| kind.as_str()))?)
        }
        Program::Fold(fold) => (fold.make)().evaluate(&[of_view(&fold.input)?]),
        Program::Snapshot(snapshot) => {
            let rows = snapshot.inputs.iter().map(|name| Ok((name.clone(), vec![of_view(name)?])));
            snapshot.query.evaluate(&rows.collect::<Result<BTreeMap<_, _>>>()?, EventTime(0))
        }
    };
    match ran.map_err(|cause| cause.to_string()) {
        Err(cause) if !cause.contains(DIVISION) => Err(fails(planner, "even rows without values", &cause)),
        _ => Ok(()),
    }
}

/// The rows with another word in one column, so that they are among those the view reads.
fn with_word(rows: RecordBatch, column: &str, word: Option<&str>) -> Result<RecordBatch> {
    let Some((word, at)) = word.zip(rows.schema().index_of(column).ok()) else { return Ok(rows) };
    let mut columns = rows.columns().to_vec();
    columns[at] = cast(&StringArray::from(vec![word; ROWS]), rows.column(at).data_type()).map_err(|e| Error::statement(e.into()))?;
    RecordBatch::try_new(rows.schema(), columns).map_err(|e| Error::statement(e.into()))
}

fn aggregate(query: &dyn WindowQuery, rows: RecordBatch) -> EngineResult<RecordBatch> {
    query.finish(&[query.partial(&[rows])?])
}

fn fails(planner: &Planner, what: &str, cause: &str) -> Error {
    Error::definition(format!("view {}", planner.view), format!("{what} cannot be computed: {cause}"))
}

/// Rows of nulls; of what is never null, and of times, something that is there.
fn least_rows(schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef, DataFusionError> {
        let kind = field.data_type();
        if field.is_nullable() && !matches!(kind, DataType::Timestamp(..)) {
            return Ok(new_null_array(kind, ROWS));
        }
        if kind.is_numeric() {
            return Ok(cast(&Int64Array::from(vec![1; ROWS]), kind)?);
        }
        if kind.is_nested() {
            // Without its mark of null, a null list or map is an empty one.
            return Ok(make_array(ArrayData::new_null(kind, ROWS).into_builder().nulls(None).build()?));
        }
        ScalarValue::new_default(kind)?.to_array_of_size(ROWS)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>().map_err(Error::statement)?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|e| Error::statement(e.into()))
}
