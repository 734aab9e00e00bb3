//! A scalar function out of a name, its argument types and a body over columns. Not a function itself.

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, Int64Type};
use datafusion::common::{ScalarValue, exec_datafusion_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a body gets: its arguments as columns of equal length, and that length.
pub(super) type Body = fn(&[ArrayRef], usize) -> Result<ArrayRef>;
/// The type of the result, out of the arguments' types; refuses what the function cannot take.
pub(super) type Output = fn(&[DataType]) -> Result<DataType>;

/// A scalar function.
pub(super) struct Scalar {
    pub(super) name: &'static str,
    pub(super) signature: Signature,
    pub(super) output: Output,
    pub(super) body: Body,
}

impl Scalar {
    pub(super) fn function(self) -> ScalarUDF {
        ScalarUDF::new_from_impl(self)
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        (self.output)(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns: Vec<ArrayRef> = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<_>>()?;
        let result = (self.body)(&columns, rows)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// True for every type that holds text.
pub(super) fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// A column as plain text, whatever kind of text it was.
pub(super) fn texts(column: &ArrayRef) -> Result<StringArray> {
    let plain = cast(column, &DataType::Utf8)?;
    plain.as_string_opt::<i32>().cloned().ok_or_else(|| exec_datafusion_err!("expected text, found {}", column.data_type()))
}

/// A column as whole numbers.
pub(super) fn integers(column: &ArrayRef) -> Result<Int64Array> {
    let plain = cast(column, &DataType::Int64)?;
    plain.as_primitive_opt::<Int64Type>().cloned().ok_or_else(|| exec_datafusion_err!("expected whole numbers, found {}", column.data_type()))
}

/// A column of timestamps as microseconds.
pub(super) fn micros(column: &ArrayRef) -> Result<Int64Array> {
    integers(&cast(column, &afferent_engine::schema::timestamp())?)
}

/// One struct value out of its fields' values.
pub(super) fn struct_of(fields: Fields, values: Vec<ScalarValue>) -> Result<ScalarValue> {
    let columns = values.iter().map(ScalarValue::to_array).collect::<Result<_>>()?;
    Ok(ScalarValue::Struct(Arc::new(StructArray::try_new(fields, columns, None)?)))
}
