//! `LAG(x, n, default) OVER (...)`: the value n rows before, per key. One row per key and instant.

use super::state::{Reader, Writer};
use crate::functions::fold::{FoldFunction, FoldState};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use std::collections::VecDeque;

/// Rows that LAG may look back: a day of minutes.
pub(crate) const OFFSET_MAX: usize = 1_440;
/// The version of the saved state.
const STATE_VERSION: u64 = 1;

/// The function, as a fold function of one argument.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lag {
    pub(crate) offset: usize,
    pub(crate) kind: DataType,
    pub(crate) default: ScalarValue,
}

impl Lag {
    /// True for the types that a state can be written of.
    pub(crate) fn knows(kind: &DataType) -> bool {
        matches!(kind, DataType::Int64 | DataType::Float64 | DataType::Utf8 | DataType::Boolean) || *kind == afferent_engine::schema::timestamp()
    }
}

#[derive(Debug, Clone)]
struct State {
    lag: Lag,
    /// The newest values, at most as many as the offset, oldest first.
    past: VecDeque<ScalarValue>,
}

impl FoldFunction for Lag {
    fn name(&self) -> &'static str {
        "lag"
    }

    fn arguments(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn output(&self) -> DataType {
        self.kind.clone()
    }

    fn start(&self) -> Box<dyn FoldState> {
        Box::new(State { lag: self.clone(), past: VecDeque::new() })
    }

    fn load(&self, bytes: &[u8]) -> Option<Box<dyn FoldState>> {
        let mut from = Reader::new(bytes);
        if from.unsigned()? != STATE_VERSION {
            return None;
        }
        let count = usize::try_from(from.unsigned()?).ok().filter(|c| *c <= self.offset)?;
        let past = (0..count).map(|_| take(&mut from, &self.kind)).collect::<Option<_>>()?;
        from.is_empty().then(|| Box::new(State { lag: self.clone(), past }) as Box<dyn FoldState>)
    }
}

impl FoldState for State {
    fn step(&mut self, arguments: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        let Some(column) = arguments.first() else { return exec_err!("LAG takes a value") };
        let value = ScalarValue::try_from_array(column, row)?;
        if self.lag.offset == 0 {
            return Ok(value);
        }
        let result = if self.past.len() == self.lag.offset { self.past.pop_front() } else { None };
        self.past.push_back(value);
        Ok(result.unwrap_or_else(|| self.lag.default.clone()))
    }

    fn save(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.unsigned(STATE_VERSION);
        out.unsigned(self.past.len() as u64);
        self.past.iter().for_each(|value| put(&mut out, value));
        out.into_bytes()
    }

    fn copy(&self) -> Box<dyn FoldState> {
        Box::new(self.clone())
    }
}

fn put(out: &mut Writer, value: &ScalarValue) {
    out.flag(!value.is_null());
    match value {
        ScalarValue::Int64(Some(v)) | ScalarValue::TimestampMicrosecond(Some(v), _) => out.signed(*v),
        ScalarValue::Float64(Some(v)) => out.unsigned(v.to_bits()),
        ScalarValue::Boolean(Some(v)) => out.flag(*v),
        ScalarValue::Utf8(Some(v)) => out.bytes(v.as_bytes()),
        _ => {}
    }
}

fn take(from: &mut Reader<'_>, kind: &DataType) -> Option<ScalarValue> {
    if !from.flag()? {
        return ScalarValue::try_from(kind).ok();
    }
    Some(match kind {
        DataType::Int64 => ScalarValue::Int64(Some(from.signed()?)),
        DataType::Float64 => ScalarValue::Float64(Some(f64::from_bits(from.unsigned()?))),
        DataType::Boolean => ScalarValue::Boolean(Some(from.flag()?)),
        DataType::Utf8 => ScalarValue::Utf8(Some(String::from_utf8(from.bytes()?.to_vec()).ok()?)),
        _ => ScalarValue::TimestampMicrosecond(Some(from.signed()?), Some("UTC".into())),
    })
}
