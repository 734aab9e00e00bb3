//! Fold functions: state per key that takes one row after the other. The one step serves both DataFusion's windows and the engine's folds, so they cannot disagree.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, TimestampMicrosecondType};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A function written `f(...) OVER (PARTITION BY key ORDER BY window_start)`.
pub trait FoldFunction: fmt::Debug + Send + Sync + 'static {
    /// Its name in SQL.
    fn name(&self) -> &'static str;

    /// The types its arguments are brought to, or an error that says how to call it.
    ///
    /// # Errors
    /// Where number or kind of the arguments does not fit.
    fn arguments(&self, given: &[DataType]) -> Result<Vec<DataType>>;

    /// The type of its result.
    fn output(&self) -> DataType;

    /// The state of a key that was never seen.
    fn start(&self) -> Box<dyn FoldState>;

    /// How far back, in microseconds, a row may still matter to a later one; `None` where the whole past does.
    fn reach_micros(&self) -> Option<i64> {
        None
    }

    /// A state out of the bytes of [`FoldState::save`]; `None` where they are not one of this function.
    fn load(&self, bytes: &[u8]) -> Option<Box<dyn FoldState>>;
}

/// What a fold function knows of one key.
pub trait FoldState: fmt::Debug + Send + Sync {
    /// Takes one row out of the arguments' columns (types as [`FoldFunction::arguments`] said) and gives its result.
    ///
    /// # Errors
    /// Where an argument's value is not allowed.
    fn step(&mut self, arguments: &[ArrayRef], row: usize) -> Result<ScalarValue>;

    /// The state as bytes, versioned by the function.
    fn save(&self) -> Vec<u8>;

    /// A copy that goes its own way.
    fn copy(&self) -> Box<dyn FoldState>;
}

/// The fold function behind a window function of a plan, if it is one of ours.
pub fn of_window(function: &WindowUDF) -> Option<Arc<dyn FoldFunction>> {
    function.inner().downcast_ref::<FoldWindow>().map(|w| Arc::clone(&w.function))
}

/// One argument of one row, null or not, as a number.
pub(super) fn number_at(arguments: &[ArrayRef], index: usize, row: usize) -> Option<f64> {
    let column = arguments.get(index)?.as_primitive_opt::<Float64Type>()?;
    column.is_valid(row).then(|| column.value(row))
}

/// The `window_start` of one row, microseconds.
///
/// # Errors
/// Where it is null.
pub(super) fn time_at(arguments: &[ArrayRef], index: usize, row: usize) -> Result<i64> {
    match arguments.get(index).and_then(|a| a.as_primitive_opt::<TimestampMicrosecondType>()) {
        Some(column) if column.is_valid(row) => Ok(column.value(row)),
        _ => exec_err!("a fold function needs a window_start that is not null"),
    }
}

/// A fold function as a window function.
pub fn window_function(function: Arc<dyn FoldFunction>) -> WindowUDF {
    WindowUDF::new_from_impl(FoldWindow { function, signature: Signature::user_defined(Volatility::Immutable) })
}

/// Runs a fold function over whole partitions.
pub struct FoldWindow {
    function: Arc<dyn FoldFunction>,
    signature: Signature,
}

impl fmt::Debug for FoldWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name())
    }
}

impl PartialEq for FoldWindow {
    fn eq(&self, other: &Self) -> bool {
        self.function.name() == other.function.name()
    }
}

impl Eq for FoldWindow {}

impl Hash for FoldWindow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name().hash(state);
    }
}

impl WindowUDFImpl for FoldWindow {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.arguments(types)
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        if args.is_reversed() || args.ignore_nulls() {
            return exec_err!("{} runs forwards over every row: leave out IGNORE NULLS and a descending order", self.function.name());
        }
        Ok(Box::new(WholePartition { function: Arc::clone(&self.function), arguments: args.input_fields().len() }))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), self.function.output(), true)))
    }
}

struct WholePartition {
    function: Arc<dyn FoldFunction>,
    arguments: usize,
}

impl fmt::Debug for WholePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name())
    }
}

impl PartitionEvaluator for WholePartition {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let mut state = self.function.start();
        // Columns of the ORDER BY follow the arguments.
        let arguments = values.get(..self.arguments).unwrap_or(values);
        let results = (0..rows).map(|row| state.step(arguments, row)).collect::<Result<Vec<_>>>()?;
        match results.is_empty() {
            true => Ok(arrow::array::new_empty_array(&self.function.output())),
            false => ScalarValue::iter_to_array(results),
        }
    }
}
