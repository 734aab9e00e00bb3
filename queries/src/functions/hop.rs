//! `hop(time, slide, size)` in GROUP BY: windows of length `size` that start every `slide`. A row counts in every window that holds it, so this is a rule over
//! plans: rows are repeated once per window below the aggregation, the same in views and in statements.

use super::scalar::{Scalar, integers, micros};
use super::tumble::constant_micros;
use arrow::array::{ArrayRef, ListArray, TimestampMicrosecondArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, UnnestOptions, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, Signature, Unnest, Volatility, lit};
use datafusion::optimizer::AnalyzerRule;
use std::sync::{Arc, LazyLock};

/// Windows that one row may belong to: a day of minutes.
pub const WINDOWS_PER_ROW_MAX: i64 = 1_440;

/// The function's name.
pub(crate) const HOP: &str = "hop";
/// How it is written, for errors.
pub(crate) const EXAMPLE: &str =
    "hop(window_start, INTERVAL '1 minute', INTERVAL '5 minutes'), first the distance between windows, then their length";
/// The column of window starts between the two rewritten nodes; no statement can spell it.
const STARTS: &str = "hop window";

/// The function `hop` as statements name it; [`HopRule`] takes it out of every plan that may run.
pub fn hop() -> ScalarUDF {
    let output = |types: &[DataType]| match types {
        [DataType::Timestamp(_, _), DataType::Interval(_), DataType::Interval(_)] => Ok(afferent_engine::schema::timestamp()),
        _ => plan_err!("hop takes a timestamp and two intervals: {EXAMPLE}"),
    };
    let body = |_: &[ArrayRef], _: usize| exec_err!("hop belongs into GROUP BY: a row is in several windows");
    Scalar { name: HOP, signature: Signature::variadic_any(Volatility::Immutable), output, body }.function()
}

/// The starts of all windows that hold a time, ascending.
static HOP_STARTS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let output = |_: &[DataType]| Ok(DataType::List(Arc::new(item())));
    Arc::new(Scalar { name: "hop_starts", signature: Signature::any(3, Volatility::Immutable), output, body: starts }.function())
});

fn item() -> Field {
    Field::new_list_field(afferent_engine::schema::timestamp(), true)
}

/// Windows that overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) slide_micros: i64,
    pub(crate) size_micros: i64,
}

impl Hop {
    /// Reads the two intervals of a call, or says what is wrong with them.
    pub(crate) fn of(args: &[Expr]) -> Result<Self, String> {
        let [_, slide, size] = args else { return Err(format!("it takes three arguments: {EXAMPLE}")) };
        let (Some(slide_micros), Some(size_micros)) = (constant_micros(slide), constant_micros(size)) else {
            return Err(format!("its intervals must be constants without months: {EXAMPLE}"));
        };
        if slide_micros <= 0 || size_micros <= 0 {
            return Err(format!("its intervals must be positive: {EXAMPLE}"));
        }
        if size_micros < slide_micros {
            return Err(format!("its windows would leave gaps: {EXAMPLE}"));
        }
        if size_micros % slide_micros != 0 {
            return Err("the length must be a multiple of the distance, so that every row is in as many windows".to_owned());
        }
        if size_micros / slide_micros > WINDOWS_PER_ROW_MAX {
            return Err(format!(
                "each row would be in {} windows and the limit is {WINDOWS_PER_ROW_MAX}: let windows start less often, or sum with a frame over a tumble view",
                size_micros / slide_micros
            ));
        }
        Ok(Self { slide_micros, size_micros })
    }
}

fn starts(args: &[ArrayRef], _: usize) -> Result<ArrayRef> {
    let [times, slides, sizes] = args else { return exec_err!("hop_starts takes three arguments") };
    let times = micros(times)?;
    let (slides, sizes) = (integers(slides)?, integers(sizes)?);
    let (mut values, mut lengths) = (Vec::new(), Vec::with_capacity(times.len()));
    for ((time, slide), size) in times.iter().zip(slides.iter()).zip(sizes.iter()) {
        let (Some(time), Some(slide), Some(size)) = (time, slide, size) else {
            lengths.push(0);
            continue;
        };
        if slide <= 0 || size / slide > WINDOWS_PER_ROW_MAX {
            return exec_err!("hop_starts: {slide} and {size} are no windows");
        }
        let last = time - time.rem_euclid(slide);
        values.extend((0..size / slide).rev().map(|back| last - back * slide));
        lengths.push(usize::try_from(size / slide).unwrap_or(0));
    }
    let values = TimestampMicrosecondArray::from(values).with_timezone("UTC");
    let nulls = NullBuffer::from_iter(times.iter().map(|t| t.is_some()));
    Ok(Arc::new(ListArray::try_new(Arc::new(item()), OffsetBuffer::from_lengths(lengths), Arc::new(values), Some(nulls))?))
}

/// The rule that makes `GROUP BY hop(...)` run. Every session that knows the function must have it.
#[derive(Debug)]
pub struct HopRule;

impl AnalyzerRule for HopRule {
    fn name(&self) -> &str {
        "hop_windows"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(aggregate) => rewrite(aggregate),
            other => Ok(Transformed::no(other)),
        })?;
        plan.data.apply_with_subqueries(|node| {
            let mut found = false;
            node.apply_expressions(|e| {
                found |= !calls(e)?.is_empty();
                Ok(TreeNodeRecursion::Continue)
            })?;
            match found {
                true => plan_err!("hop(...) stands only in GROUP BY, since a row is in several windows: GROUP BY {EXAMPLE}"),
                false => Ok(TreeNodeRecursion::Continue),
            }
        })?;
        Ok(plan.data)
    }
}

/// The distinct calls of `hop` in an expression.
fn calls(expr: &Expr) -> Result<Vec<Expr>> {
    let mut found: Vec<Expr> = Vec::new();
    expr.apply(|e| {
        if let Expr::ScalarFunction(call) = e
            && call.func.name() == HOP
            && !found.contains(e)
        {
            found.push(e.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

fn rewrite(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut found = Vec::new();
    for call in aggregate.group_expr.iter().map(calls).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        if !found.contains(&call) {
            found.push(call);
        }
    }
    let call = match found.as_slice() {
        [] => return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
        [one] => one.clone(),
        _ => return plan_err!("two hop(...) in one GROUP BY: write two statements"),
    };
    if aggregate.group_expr.iter().any(|g| matches!(g, Expr::GroupingSet(_))) {
        return plan_err!("hop(...) does not go with ROLLUP, CUBE or GROUPING SETS: write one statement per grouping");
    }
    let Expr::ScalarFunction(function) = &call else { return plan_err!("hop(...) is not a function here") };
    let hop = match Hop::of(&function.args) {
        Ok(hop) => hop,
        Err(problem) => return plan_err!("hop: {problem}"),
    };
    let time = function.args.first().cloned().unwrap_or_else(|| lit(0));
    let starts = HOP_STARTS.call(vec![time, lit(hop.slide_micros), lit(hop.size_micros)]).alias(STARTS);
    let columns = aggregate.input.schema().columns().into_iter().map(Expr::Column).chain([starts]);
    let listed = LogicalPlanBuilder::from(aggregate.input.as_ref().clone()).project(columns.collect::<Vec<_>>())?.build()?;
    let start = Column::from_name(STARTS);
    let repeated = LogicalPlan::Unnest(Unnest::try_new(Arc::new(listed), vec![start.clone()], UnnestOptions::default())?);
    let group = |expr: &Expr| -> Result<Expr> {
        let name = expr.schema_name().to_string();
        let replaced = expr.clone().transform(|e| Ok(if e == call { Transformed::yes(Expr::Column(start.clone())) } else { Transformed::no(e) }))?;
        // The columns that come out keep their names, so nothing above need know.
        Ok(if replaced.transformed { replaced.data.alias(name) } else { replaced.data })
    };
    let groups = aggregate.group_expr.iter().map(group).collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(repeated), groups, aggregate.aggr_expr)?)))
}
