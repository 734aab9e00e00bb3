//! Functions of DataFusion that make much out of little, with a bound on what one call may make: what a function makes is not counted against the memory
//! of a query before it is there. Those that make lists out of a number are taken away; `generate_series` and `range` stay as relations.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::functions::{string, unicode};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use std::sync::Arc;

/// Bytes that one call, over all rows of a batch, may make.
const MADE_BYTES_MAX: u64 = 64 << 20;

/// Lists of any length out of a number.
const TAKEN_AWAY: [&str; 4] = ["array_repeat", "array_resize", "range", "generate_series"];

/// Puts the bounded ones in place of the others, and takes away what has no bound.
pub(super) fn bound(state: &mut SessionState) -> Result<()> {
    for (inner, each) in [(string::repeat(), Each::Copies), (unicode::lpad(), Each::Characters), (unicode::rpad(), Each::Characters)] {
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(Bounded { inner, each })))?;
    }
    for name in TAKEN_AWAY {
        state.deregister_udf(name)?;
    }
    Ok(())
}

/// What the second argument counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Each {
    Copies,
    Characters,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    each: Each,
}

impl Bounded {
    /// Bytes that the call would make at most.
    fn makes(&self, args: &ScalarFunctionArgs) -> Result<u64> {
        let [text, number, ..] = args.args.as_slice() else { return Ok(0) };
        let numbers = rows_of(number)?;
        let numbers: Int64Array = cast(&numbers, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
        let widths = match self.each {
            Each::Copies => widths(&rows_of(text)?)?,
            Each::Characters => vec![size_of::<char>() as u64],
        };
        let at = |row: usize, len: usize| if len == 1 { 0 } else { row };
        let made = (0..args.number_rows).map(|row| {
            let n = at(row, numbers.len());
            let copies = if numbers.is_valid(n) { u64::try_from(numbers.value(n)).unwrap_or_default() } else { 0 };
            widths[at(row, widths.len())].saturating_mul(copies)
        });
        Ok(made.fold(0, u64::saturating_add))
    }
}

/// A column as it is; of a constant, one row.
fn rows_of(value: &ColumnarValue) -> Result<ArrayRef> {
    match value {
        ColumnarValue::Array(array) => Ok(array.clone()),
        ColumnarValue::Scalar(scalar) => scalar.to_array(),
    }
}

fn widths(text: &ArrayRef) -> Result<Vec<u64>> {
    let of = |len: Option<usize>| len.unwrap_or_default() as u64;
    match text.data_type() {
        DataType::Utf8 => Ok(text.as_string::<i32>().iter().map(|t| of(t.map(str::len))).collect()),
        DataType::LargeUtf8 => Ok(text.as_string::<i64>().iter().map(|t| of(t.map(str::len))).collect()),
        DataType::Utf8View => Ok(text.as_string_view().iter().map(|t| of(t.map(str::len))).collect()),
        DataType::Null => Ok(vec![0]),
        other => exec_err!("text expected, not {other}"),
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let made = self.makes(&args)?;
        if made > MADE_BYTES_MAX {
            let name = self.name();
            return Err(DataFusionError::ResourcesExhausted(format!("{name} would make {made} bytes at once, more than {MADE_BYTES_MAX}")));
        }
        self.inner.invoke_with_args(args)
    }
}
