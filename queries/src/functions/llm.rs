//! `llm_provider(name)` and `llm_cost_nano(...)`: whose model a call used and what it costs, in whole nano-USD.

use super::scalar::{Scalar, integers, is_text, texts};
use crate::prices::provider_of;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use std::sync::Arc;

const PICO_PER_NANO: i128 = 1_000;
const COST_USAGE: &str =
    "llm_cost_nano takes (input, cache_read, cache_write, output tokens, exclusive, input, cache_read, cache_write, output pico-USD per token)";

/// `llm_provider(name)`: the canonical name, so that `anthropic` and `claude` are one provider.
pub fn llm_provider() -> ScalarUDF {
    let output = |types: &[DataType]| match types {
        [name] if is_text(name) => Ok(DataType::Utf8),
        _ => plan_err!("llm_provider takes a provider's name"),
    };
    let body = |args: &[ArrayRef], _: usize| -> Result<ArrayRef> {
        let [names] = args else {
            return exec_err!("llm_provider takes one argument");
        };
        Ok(Arc::new(texts(names)?.iter().map(|name| name.map(provider_of)).collect::<StringArray>()))
    };
    Scalar { name: "llm_provider", signature: Signature::any(1, Volatility::Immutable), output, body }.function()
}

/// `llm_cost_nano(...)`: uncached x input + read x cache_read + write x cache_write + output x output price, rounded half up to nano-USD.
///
/// Null where the input price is unknown, or the output price while there is output. Unknown cache prices are the input price. Cached tokens lie
/// inside `input` unless `exclusive`.
pub fn llm_cost_nano() -> ScalarUDF {
    let output = |types: &[DataType]| match types {
        [.., _, _, _, _] if types.len() == 9 && matches!(types[4], DataType::Boolean) => Ok(DataType::Int64),
        _ => plan_err!("{COST_USAGE}"),
    };
    Scalar { name: "llm_cost_nano", signature: Signature::any(9, Volatility::Immutable), output, body: cost_body }.function()
}

fn cost_body(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let [input, read, write, output, exclusive, prices @ ..] = args else {
        return exec_err!("{COST_USAGE}");
    };
    let tokens = [input, read, write, output].map(integers);
    let [Ok(input), Ok(read), Ok(write), Ok(output)] = tokens else {
        return exec_err!("{COST_USAGE}");
    };
    let exclusive = exclusive.as_boolean_opt().ok_or_else(|| exec_datafusion_err!("{COST_USAGE}"))?;
    let prices: Vec<Int64Array> = prices.iter().map(integers).collect::<Result<_>>()?;
    let at = |column: &Int64Array, row: usize| column.is_valid(row).then(|| column.value(row));
    let cost = |row: usize| {
        let usage = Usage {
            input: at(&input, row)?,
            cache_read: at(&read, row)?,
            cache_write: at(&write, row)?,
            output: at(&output, row)?,
            exclusive: exclusive.is_valid(row) && exclusive.value(row),
        };
        let [input, read, write, output] = prices.as_slice() else {
            return None;
        };
        cost_nano(usage, [at(input, row), at(read, row), at(write, row), at(output, row)])
    };
    Ok(Arc::new((0..rows).map(cost).collect::<Int64Array>()))
}

/// Tokens of one call.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Input tokens, cached ones among them unless `exclusive`.
    pub input: i64,
    /// Read from the cache.
    pub cache_read: i64,
    /// Written to the cache.
    pub cache_write: i64,
    /// Output tokens, reasoning among them.
    pub output: i64,
    /// Whether `input` leaves cached tokens out.
    pub exclusive: bool,
}

/// The cost of one call; prices are input, cache read, cache write and output, pico-USD per token.
pub fn cost_nano(usage: Usage, prices: [Option<i64>; 4]) -> Option<i64> {
    let tokens = |count: i64| i128::from(count.max(0));
    let [input_price, read_price, write_price, output_price] = prices;
    let input_price = input_price?;
    let (read, write) = (tokens(usage.cache_read), tokens(usage.cache_write));
    let uncached = if usage.exclusive { tokens(usage.input) } else { (tokens(usage.input) - read - write).max(0) };
    let output_price = if usage.output > 0 { output_price? } else { 0 };
    let pico = uncached * i128::from(input_price)
        + read * i128::from(read_price.unwrap_or(input_price))
        + write * i128::from(write_price.unwrap_or(input_price))
        + tokens(usage.output) * i128::from(output_price);
    i64::try_from((pico + PICO_PER_NANO / 2) / PICO_PER_NANO).ok()
}
