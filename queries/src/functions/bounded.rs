//! Functions of DataFusion that make much out of little, with a bound on what one call may make: what a function makes is not counted against the memory
//! of a query before it is there. Those that make lists out of a number are taken away; `generate_series` and `range` stay as relations.

use super::joined;
use super::scalar::{integers, is_text};
use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::functions::{regex, string, unicode};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use std::sync::Arc;

/// Bytes that one call, over all rows of a batch, may make.
const MADE_BYTES_MAX: u64 = 64 << 20;

/// The same of a call whose arguments are constants: the plan keeps what it makes.
const CONSTANT_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a number, an instant or a truth value as text.
const SHOWN_BYTES_MAX: u64 = 40;

/// Lists of any length out of a number.
const TAKEN_AWAY: [&str; 4] = ["array_repeat", "array_resize", "range", "generate_series"];

/// Puts the bounded ones in place of the others, and takes away what has no bound.
pub(super) fn bound(state: &mut SessionState) -> Result<()> {
    let all = [
        (string::repeat(), Makes::Copies),
        (unicode::lpad(), Makes::Characters),
        (unicode::rpad(), Makes::Characters),
        (string::replace(), Makes::Replaced),
        (regex::regexp_replace(), Makes::Replaced),
        (string::concat(), Makes::Joined),
        (string::concat_ws(), Makes::Joined),
    ];
    for (inner, makes) in all {
        state.register_udf(Arc::new(bounded(inner, makes)))?;
    }
    state.register_function_rewrite(Arc::new(joined::Operator(Arc::new(bounded(Arc::new(joined::joined()), Makes::Joined)))))?;
    for name in TAKEN_AWAY {
        state.deregister_udf(name)?;
    }
    Ok(())
}

fn bounded(inner: Arc<ScalarUDF>, makes: Makes) -> ScalarUDF {
    ScalarUDF::new_from_impl(Bounded { inner, makes })
}

/// How much a call makes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Makes {
    /// The first argument as often as the second says.
    Copies,
    /// As many characters as the second argument says.
    Characters,
    /// The third argument between all bytes of the first.
    Replaced,
    /// All arguments, with the first between them.
    Joined,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    makes: Makes,
}

/// A number of every row, or one for all.
struct PerRow(Vec<u64>);

impl PerRow {
    fn at(&self, row: usize) -> u64 {
        self.0[if self.0.len() == 1 { 0 } else { row }]
    }
}

impl Bounded {
    /// Bytes that each row of the call makes at most.
    fn makes(&self, args: &ScalarFunctionArgs) -> Result<Vec<u64>> {
        let rows = 0..args.number_rows;
        let lengths = |arg: &ColumnarValue| Ok::<_, DataFusionError>(PerRow(widths(&arg.to_array(1)?)?));
        let numbers = |arg: &ColumnarValue| Ok::<_, DataFusionError>(PerRow(counts(&arg.to_array(1)?)?));
        match (self.makes, args.args.as_slice()) {
            (Makes::Copies, [text, number, ..]) => {
                let (text, times) = (lengths(text)?, numbers(number)?);
                Ok(rows.map(|row| text.at(row).saturating_mul(times.at(row))).collect())
            }
            (Makes::Characters, [_, number, ..]) => {
                let characters = numbers(number)?;
                Ok(rows.map(|row| characters.at(row).saturating_mul(size_of::<char>() as u64)).collect())
            }
            (Makes::Replaced, [text, _, by, ..]) => {
                let (text, by) = (lengths(text)?, lengths(by)?);
                Ok(rows.map(|row| text.at(row).saturating_add((text.at(row) + 1).saturating_mul(by.at(row)))).collect())
            }
            (Makes::Joined, all) => {
                let all = all.iter().map(lengths).collect::<Result<Vec<_>>>()?;
                let separators = |row: usize| all.first().map_or(0, |first| first.at(row).saturating_mul(all.len() as u64));
                Ok(rows.map(|row| all.iter().fold(separators(row), |sum, one| sum.saturating_add(one.at(row)))).collect())
            }
            _ => Ok(vec![0; args.number_rows]),
        }
    }

    fn too_much(&self, made: u64, max: u64) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!("{} would make {made} bytes at once, more than {max}", self.name()))
    }

    /// The call over some rows at a time, since it may make far less than it could.
    fn in_parts(&self, args: &ScalarFunctionArgs, makes: &[u64]) -> Result<ColumnarValue> {
        let (mut parts, mut made, mut from) = (vec![], 0, 0);
        while from < makes.len() {
            let mut sum = 0u64;
            let fits = makes[from..].iter().take_while(|bytes| {
                sum = sum.saturating_add(**bytes);
                sum <= MADE_BYTES_MAX
            });
            let rows = fits.count();
            if rows == 0 {
                return Err(self.too_much(makes[from], MADE_BYTES_MAX));
            }
            let part = |arg: &ColumnarValue| match arg {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, rows)),
                scalar @ ColumnarValue::Scalar(_) => scalar.clone(),
            };
            let part = ScalarFunctionArgs { args: args.args.iter().map(part).collect(), number_rows: rows, ..args.clone() };
            let done = self.inner.invoke_with_args(part)?.into_array(rows)?;
            made += widths(&done)?.iter().sum::<u64>();
            if made > MADE_BYTES_MAX {
                return Err(self.too_much(made, MADE_BYTES_MAX));
            }
            parts.push(done);
            from += rows;
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

/// Counts of a column; a null and what is below zero make nothing.
fn counts(column: &ArrayRef) -> Result<Vec<u64>> {
    Ok(integers(column)?.iter().map(|n| u64::try_from(n.unwrap_or_default()).unwrap_or_default()).collect())
}

/// Bytes of every row as text.
fn widths(column: &ArrayRef) -> Result<Vec<u64>> {
    match column.data_type() {
        DataType::Null => Ok(vec![0]),
        kind if is_text(kind) || kind.is_binary() => counts(&length(column)?),
        // Of what is not text it takes the text, which is short.
        kind if kind.is_primitive() || *kind == DataType::Boolean => Ok(vec![SHOWN_BYTES_MAX; column.len()]),
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
        let makes = self.makes(&args)?;
        let most = makes.iter().copied().fold(0, u64::saturating_add);
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let max = if constant { CONSTANT_BYTES_MAX } else { MADE_BYTES_MAX };
        if most <= max {
            return self.inner.invoke_with_args(args);
        }
        match self.makes {
            Makes::Replaced | Makes::Joined if !constant => self.in_parts(&args, &makes),
            // What the others make is known before.
            _ => Err(self.too_much(most, max)),
        }
    }
}
