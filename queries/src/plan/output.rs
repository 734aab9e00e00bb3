//! Columns as views' tables have them: one spelling per kind of value.

use super::planner::Planner;
use super::refuse;
use super::scope::Scope;
use super::trace::paths;
use crate::error::{Error, Result};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The type that stands for this one in tables; `None` for types no table has.
pub(crate) fn canonical(kind: &DataType) -> Option<DataType> {
    use DataType::{
        Boolean, Date32, Date64, Decimal128, Dictionary, Float16, Float32, Float64, Int8, Int16, Int32, Int64, LargeList, LargeUtf8, List, Map,
        Struct, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    let inner = |f: &Arc<Field>| Some(Arc::new(f.as_ref().clone().with_data_type(canonical(f.data_type())?).with_metadata(Default::default())));
    Some(match kind {
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(..) | Date32 | Utf8 => kind.clone(),
        Utf8View | LargeUtf8 => Utf8,
        Dictionary(_, value) => canonical(value)?,
        Timestamp(..) => afferent_engine::schema::timestamp(),
        // Delta has no unsigned integers.
        UInt8 | UInt16 | UInt32 | UInt64 => Int64,
        Float16 => Float32,
        Date64 => Date32,
        List(f) | LargeList(f) => List(inner(f)?),
        Struct(fields) => Struct(fields.iter().map(inner).collect::<Option<Fields>>()?),
        Map(f, sorted) => Map(inner(f)?, *sorted),
        _ => return None,
    })
}

/// Refuses two output columns of one name.
pub(super) fn names_distinct(view: &str, plan: &LogicalPlan) -> Result<()> {
    let mut seen = BTreeSet::new();
    let envelope: BTreeSet<String> = afferent_engine::schema::view_envelope().iter().map(|f| f.name().clone()).collect();
    for field in plan.schema().fields() {
        if !seen.insert(field.name()) {
            return Err(refuse::refused(
                view,
                format!("column {}", field.name()),
                "the SELECT gives two columns of this name",
                "name one of them otherwise with AS",
            ));
        }
        if envelope.contains(field.name()) || field.name() == "date" {
            let why = "every view's rows carry a column of this name already";
            return Err(refuse::refused(view, format!("column {}", field.name()), why, "name it otherwise with AS, and list columns instead of *"));
        }
    }
    Ok(())
}

/// Columns of a view that is read row by row: its own, all of them as its relation has them.
pub(super) fn rows_of_view(planner: &Planner, scope: &Scope<'_>, view: &str, optimized: &LogicalPlan) -> Result<SchemaRef> {
    let schema = planner.view_schema(view)?;
    let envelope = afferent_engine::schema::view_envelope();
    for path in paths(optimized, view) {
        if let Some(LogicalPlan::TableScan(scan)) = path.last()
            && let Some(field) = scan.projected_schema.fields().iter().find(|f| envelope.iter().any(|e| e.name() == f.name()))
        {
            let why = "watermark, coverage, revision and generation belong to the row that is written, not to the one that is computed";
            let instead = "leave it out; this view's own rows carry theirs";
            return Err(scope.refused(format!("column {} of {view}", field.name()), why, instead));
        }
    }
    // The scan names every column of the relation; those of the envelope are never read and may be absent.
    Ok(Arc::new(Schema::new(schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>())))
}

/// Puts casts on top of a plan, and gives the columns that come out.
pub(super) fn tabled(view: &str, plan: LogicalPlan) -> Result<(LogicalPlan, SchemaRef)> {
    let (mut exprs, mut fields) = (Vec::new(), Vec::new());
    for (qualifier, field) in plan.schema().iter() {
        let name = field.name();
        let Some(kind) = canonical(field.data_type()) else {
            let why = format!("a table has no column of type {}", field.data_type());
            return Err(refuse::refused(view, format!("column {name}"), why, "cast it, for instance to BIGINT, DOUBLE or VARCHAR"));
        };
        let column = Expr::Column(Column::new(qualifier.cloned(), name));
        let expr = if kind == *field.data_type() { column } else { cast(column, kind.clone()) };
        exprs.push(expr.alias(name));
        fields.push(Field::new(name, kind, true));
    }
    let plan = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).map_err(Error::statement)?;
    Ok((plan, Arc::new(Schema::new(fields))))
}
