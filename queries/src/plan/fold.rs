//! Folds over another view's rows: cuts the plan at its window functions and lays out their keys, times, lanes and ranges.

use super::planner::Planner;
use super::scope::Scope;
use super::trace::{bare, is_column, spelled};
use super::{Compiled, WINDOW_START, frames, output, refuse};
use crate::error::{Error, Result};
use crate::explain::{Explained, span};
use crate::functions;
use crate::run::fold::{FoldColumn, FoldPlan, FrameColumn, KEYS_MAX, Lane, PlannedFold, Stage, Track};
use crate::run::frame::FrameShape;
use crate::run::keys::KeyCodec;
use crate::run::source::SourceTable;
use afferent_engine::query::{Fold, FoldProgram, Program};
use afferent_engine::schema::{TableName, timestamp};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionDefinition};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Window, WindowFrameUnits, cast};
use std::sync::Arc;

/// The part of the planner's result that one fold needs.
pub(super) fn compile(planner: &Planner, scope: &Scope<'_>, view: &str, plan: &LogicalPlan) -> Result<Compiled> {
    refuse::nodes(scope, &refuse::path_to(scope, plan, view)?)?;
    // Cut the optimized plan: its scans read only the columns that are used.
    let optimized = planner.optimized(plan)?;
    refuse::nodes(scope, &refuse::path_to(scope, &optimized, view)?)?;
    let key = key(planner, scope, view, plan)?;
    let mut stages = Vec::new();
    let mut described = String::new();
    let (rest, relation) = cut(planner, scope, view, &optimized, &mut stages, &mut described)?;
    let (tabled, schema) = output::tabled(&planner.view, rest)?;
    let rows = output::rows_of_view(planner, scope, view, &optimized)?;
    let fold = FoldPlan {
        what: format!("view {}", planner.view),
        fingerprint: xxhash_rust::xxh3::xxh3_64(described.as_bytes()),
        rows,
        stages,
        top: planner.prepared(&tabled)?.with_schema(Arc::clone(&schema)),
        top_relation: relation,
    };
    let memory_ms = fold.reach_micros().map(|micros| micros.div_euclid(1000) + i64::from(micros % 1000 != 0));
    let explained = describe(&described, memory_ms, &fold);
    let fold = Arc::new(fold);
    let make = move || Box::new(PlannedFold::new(Arc::clone(&fold))) as Box<dyn Fold>;
    let program = FoldProgram { input: TableName::new(view), memory_ms, make: Arc::new(make) };
    Ok(Compiled { shape: scope.shape, explained, program: Program::Fold(program), schema, key })
}

/// What is computed, kept, and for how long.
fn describe(functions: &str, memory_ms: Option<i64>, fold: &FoldPlan) -> Explained {
    let mut says = Explained::default();
    for stage in &fold.stages {
        says.plan("partial", &stage.below);
    }
    for function in functions.lines() {
        says.say("step", function);
    }
    says.plan("finish", &fold.top);
    says.say("state", "per key of PARTITION BY: running totals, the past rows that a frame still holds, and what each fold function remembers");
    let (kept, memory) = match memory_ms {
        Some(reach) => (format!("a key leaves {} after its newest row", span(reach)), format!("a row matters to later ones for {}", span(reach))),
        None => ("every key, for ever".to_owned(), "a row may matter to every later one".to_owned()),
    };
    says.say("retention", format!("{kept}; at most {KEYS_MAX} keys"));
    says.say("memory", memory);
    says
}

/// The input view's key, by the names it has in the output.
fn key(planner: &Planner, scope: &Scope<'_>, view: &str, plan: &LogicalPlan) -> Result<Vec<String>> {
    if let Some(key) = &scope.definition.key {
        return Ok(key.clone());
    }
    let named = |wanted: &String| {
        let mut columns = plan.schema().iter();
        columns
            .find(|(q, f)| is_column(plan, &Expr::Column(Column::new((*q).cloned(), f.name())), view, wanted))
            .map(|(_, f)| f.name().clone())
            .ok_or_else(|| {
                scope.refused(
                    format!("column {wanted} of {view}"),
                    "it is part of that view's key and the SELECT leaves it out, so rows would have no key",
                    "select it too",
                )
            })
    };
    planner.view_key(view).iter().map(named).collect()
}

/// Compiles the topmost window on the way to `view`, after all below it; gives the plan above, over a relation of its own.
fn cut(
    planner: &Planner,
    scope: &Scope<'_>,
    view: &str,
    plan: &LogicalPlan,
    stages: &mut Vec<Stage>,
    described: &mut String,
) -> Result<(LogicalPlan, Arc<str>)> {
    let path = refuse::path_to(scope, plan, view)?;
    let Some(LogicalPlan::Window(window)) = path.iter().find(|n| matches!(n, LogicalPlan::Window(_))) else {
        return Ok((plan.clone(), Arc::from(view)));
    };
    let (below, relation) = cut(planner, scope, view, &window.input, stages, described)?;
    let stage = Layout::new(planner, scope, view, window)?.stage(&below, relation, described)?;
    let name: Arc<str> = format!("stage {}", stages.len()).into();
    let source = Arc::new(SourceTable::new(&name, Arc::clone(&stage.output)));
    stages.push(stage);
    // The columns of the stage take the names, qualifiers included, that the plan above knows them by.
    let scan = LogicalPlanBuilder::scan(spelled(&name), provider_as_source(source), None).map_err(Error::statement)?;
    let columns = window.schema.iter().enumerate().map(|(i, (qualifier, field))| {
        Expr::Column(Column::new(Some(spelled(&name)), format!("c{i}"))).alias_qualified(qualifier.cloned(), field.name())
    });
    let replacement = scan.project(columns.collect::<Vec<_>>()).and_then(LogicalPlanBuilder::build).map_err(Error::statement)?;
    Ok((put(plan, window, &replacement)?, name))
}

/// The plan with `window` replaced.
fn put(plan: &LogicalPlan, window: &Window, replacement: &LogicalPlan) -> Result<LogicalPlan> {
    if matches!(plan, LogicalPlan::Window(w) if std::ptr::eq(w, window)) {
        return Ok(replacement.clone());
    }
    let inputs = plan.inputs().into_iter().map(|i| put(i, window, replacement)).collect::<Result<Vec<_>>>()?;
    plan.with_new_exprs(plan.expressions(), inputs).map_err(Error::statement)
}

/// Collects the columns that one stage's windows need.
struct Layout<'a> {
    planner: &'a Planner,
    scope: &'a Scope<'a>,
    view: &'a str,
    window: &'a Window,
    /// Expressions beyond those that pass through, without repetition.
    extra: Vec<Expr>,
    tracks: Vec<Draft>,
}

/// A track while its functions are gathered.
struct Draft {
    keys: Vec<usize>,
    shape: FrameShape,
    lanes: Vec<Lane>,
    frames: Vec<FrameColumn>,
    folds: Vec<FoldColumn>,
}

impl<'a> Layout<'a> {
    fn new(planner: &'a Planner, scope: &'a Scope<'a>, view: &'a str, window: &'a Window) -> Result<Self> {
        let mut layout = Self { planner, scope, view, window, extra: Vec::new(), tracks: Vec::new() };
        let time = layout.order_column()?;
        layout.column(cast(time, timestamp()));
        for (index, expr) in window.window_expr.iter().enumerate() {
            let Expr::WindowFunction(call) = bare(expr) else {
                return Err(Error::Internal(format!("{expr} is no window function")));
            };
            layout.function(index, call)?;
        }
        Ok(layout)
    }

    fn width(&self) -> usize {
        self.window.input.schema().fields().len()
    }

    fn schema(&self) -> &DFSchema {
        self.window.input.schema()
    }

    /// The one expression that all functions order by, which must be the input's window_start.
    fn order_column(&self) -> Result<Expr> {
        let wrong = |order: &str| {
            self.scope.refused(
                format!("ORDER BY {order} inside OVER"),
                "rows of a view come in the order of window_start",
                "write OVER (PARTITION BY key ORDER BY window_start ...)",
            )
        };
        let mut time = None;
        for expr in &self.window.window_expr {
            let Expr::WindowFunction(call) = bare(expr) else { continue };
            match call.params.order_by.as_slice() {
                [one] if one.asc && is_column(&self.window.input, &one.expr, self.view, WINDOW_START) => time = Some(one.expr.clone()),
                [] => return Err(wrong("(nothing)")),
                all => return Err(wrong(&all.iter().map(|o| o.to_string()).collect::<Vec<_>>().join(", "))),
            }
        }
        time.ok_or_else(|| wrong("(nothing)"))
    }

    /// The position of an expression's column.
    fn column(&mut self, expr: Expr) -> usize {
        let place = self.extra.iter().position(|e| *e == expr).unwrap_or_else(|| {
            self.extra.push(expr);
            self.extra.len() - 1
        });
        self.width() + place
    }

    fn kind(&self, expr: &Expr) -> Result<DataType> {
        expr.get_type(self.schema()).map_err(Error::statement)
    }

    fn function(&mut self, index: usize, call: &WindowFunction) -> Result<()> {
        let (scope, name) = (self.scope, call.fun.name().to_owned());
        if call.params.filter.is_some() || call.params.distinct || call.params.null_treatment.is_some() {
            return Err(scope.refused(
                format!("FILTER, DISTINCT or IGNORE NULLS in {name}(...) OVER"),
                "a frame takes every row of its range",
                "write SUM(CASE WHEN condition THEN x ELSE 0 END)",
            ));
        }
        let mut keys = Vec::new();
        for key in &call.params.partition_by {
            let Some(kind) = output::canonical(&self.kind(key)?) else {
                return Err(scope.refused(format!("PARTITION BY {key}"), "it has no type a key can have", "cast it to VARCHAR or BIGINT"));
            };
            keys.push(self.column(cast(key.clone(), kind)));
        }
        let track = self.tracks.iter().position(|t| t.keys == keys).unwrap_or_else(|| {
            let shape = FrameShape { ranges: Vec::new(), lanes: 0 };
            self.tracks.push(Draft { keys, shape, lanes: Vec::new(), frames: Vec::new(), folds: Vec::new() });
            self.tracks.len() - 1
        });
        match &call.fun {
            WindowFunctionDefinition::AggregateUDF(_) if self.adds_integers(&name, call)? => self.frame(track, index, &name, call),
            WindowFunctionDefinition::AggregateUDF(_) if frames::op(&name).is_some() => {
                let frame = frames::sliding(self.scope, self.view, self.planner.view_key(self.view), self.window, call)?;
                let args = vec![self.column(frame.argument), self.width()];
                self.fold(track, FoldColumn { column: index, function: Arc::new(frame.function), args });
                Ok(())
            }
            WindowFunctionDefinition::WindowUDF(_) if name == "lag" => {
                let frame = frames::lag(self.scope, self.view, self.planner.view_key(self.view), self.window, call)?;
                let args = vec![self.column(frame.argument)];
                self.fold(track, FoldColumn { column: index, function: Arc::new(frame.function), args });
                Ok(())
            }
            WindowFunctionDefinition::WindowUDF(_) if name == "lead" => Err(scope.refused(
                "LEAD(...) OVER",
                "the row after the newest has not come yet, so no row could ever be final",
                "write LAG and read the view from the later row's side, or WITH (shape = 'snapshot', key = '...') over the rows there are",
            )),
            WindowFunctionDefinition::WindowUDF(function) if functions::fold::of_window(function).is_some() => {
                let Some(function) = functions::fold::of_window(function) else { return Ok(()) };
                let args = call.params.args.iter().map(|a| self.column(a.clone())).collect();
                self.fold(track, FoldColumn { column: index, function, args });
                Ok(())
            }
            _ => Err(scope.refused(
                format!("{name}(...) OVER"),
                "continuous frames know SUM, COUNT, AVG, MIN, MAX, LAG and the fold functions",
                "write one of those, rank within a window in the view below, or compute it anew each time with WITH (shape = 'snapshot', key = '...')",
            )),
        }
    }

    fn fold(&mut self, track: usize, column: FoldColumn) {
        if let Some(track) = self.tracks.get_mut(track) {
            track.folds.push(column);
        }
    }

    /// True for SUM over integers and COUNT in a range of time: running totals that need no values.
    fn adds_integers(&self, name: &str, call: &WindowFunction) -> Result<bool> {
        let ranged = call.params.window_frame.units == WindowFrameUnits::Range;
        Ok(match (name, call.params.args.first()) {
            ("count", _) => ranged,
            ("sum", Some(arg)) => ranged && self.kind(arg)?.is_signed_integer(),
            _ => false,
        })
    }

    fn frame(&mut self, track: usize, index: usize, name: &str, call: &WindowFunction) -> Result<()> {
        let range = frames::range(self.scope, name, call)?;
        let lane = match (name, call.params.args.first().cloned()) {
            ("sum", Some(arg)) => Lane::Sum(self.column(cast(arg, DataType::Int64))),
            (_, None) | (_, Some(Expr::Literal(..))) => Lane::Rows,
            (_, Some(arg)) => Lane::Present(self.column(arg)),
        };
        let Some(draft) = self.tracks.get_mut(track) else { return Ok(()) };
        let range = place(&mut draft.shape.ranges, range);
        let lane = place(&mut draft.lanes, lane);
        draft.shape.lanes = draft.lanes.len();
        draft.frames.push(FrameColumn { column: index, range, lane, sums: name == "sum" });
        Ok(())
    }

    /// Plans the rows below and fixes the layout.
    fn stage(self, below: &LogicalPlan, relation: Arc<str>, described: &mut String) -> Result<Stage> {
        let width = self.width();
        let passing = self.schema().columns().into_iter().map(Expr::Column);
        let columns: Vec<Expr> = passing.chain(self.extra.iter().cloned()).enumerate().map(|(i, e)| e.alias(format!("c{i}"))).collect();
        let plan = LogicalPlanBuilder::from(below.clone()).project(columns).and_then(LogicalPlanBuilder::build).map_err(Error::statement)?;
        let fields = self.window.schema.fields().iter().enumerate().map(|(i, f)| Field::new(format!("c{i}"), f.data_type().clone(), true));
        let output = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let below = self.planner.prepared(&plan)?;
        let what = format!("view {}", self.planner.view);
        for expr in &self.window.window_expr {
            described.push_str(&expr.to_string());
            described.push('\n');
        }
        let kinds = below.schema();
        let track = |draft: Draft| {
            let types = draft.keys.iter().map(|k| kinds.field(*k).data_type().clone()).collect();
            let codec = KeyCodec::new(&what, types)?;
            Ok(Track { keys: draft.keys, codec, shape: draft.shape, lanes: draft.lanes, frames: draft.frames, folds: draft.folds })
        };
        let tracks = self.tracks.into_iter().map(track).collect::<Result<_>>()?;
        Ok(Stage { relation, below, width, time: width, tracks, output })
    }
}

/// The position of a value in a list that has each once.
fn place<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    list.iter().position(|v| *v == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    })
}
