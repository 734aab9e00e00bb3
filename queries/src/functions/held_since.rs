//! `held_since(x, window_start)`: the first `window_start` of the unbroken run of rows with this value. A null is a value like any other.

use super::fold::{FoldFunction, FoldState, number_at, time_at};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;

/// The function.
#[derive(Debug)]
pub struct HeldSince;

/// The version of the saved state.
const STATE_VERSION: u8 = 1;
/// Bytes of a saved state: version, whether a run is open, whether its value is null, value, start.
const STATE_BYTES: usize = 3 + 8 + 8;

#[derive(Debug, Clone, Copy, Default)]
struct Run {
    /// The value's bits and the start of the run, microseconds.
    current: Option<(Option<u64>, i64)>,
}

impl FoldFunction for HeldSince {
    fn name(&self) -> &'static str {
        "held_since"
    }

    fn arguments(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [value, DataType::Timestamp(_, _)] if value.is_numeric() || *value == DataType::Null => {
                Ok(vec![DataType::Float64, afferent_engine::schema::timestamp()])
            }
            _ => plan_err!(
                "held_since takes a number and window_start: held_since(up_ratio, window_start) OVER (PARTITION BY service ORDER BY window_start)"
            ),
        }
    }

    fn output(&self) -> DataType {
        afferent_engine::schema::timestamp()
    }

    fn start(&self) -> Box<dyn FoldState> {
        Box::new(Run::default())
    }

    fn load(&self, bytes: &[u8]) -> Option<Box<dyn FoldState>> {
        let number = |at: usize| -> Option<[u8; 8]> { bytes.get(at..at + 8)?.try_into().ok() };
        match (bytes, number(3), number(11)) {
            ([STATE_VERSION, open @ 0..=1, null @ 0..=1, ..], Some(value), Some(start)) if bytes.len() == STATE_BYTES => {
                let value = (*null == 0).then_some(u64::from_le_bytes(value));
                Some(Box::new(Run { current: (*open == 1).then_some((value, i64::from_le_bytes(start))) }))
            }
            _ => None,
        }
    }
}

impl FoldState for Run {
    fn step(&mut self, arguments: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        let at = time_at(arguments, 1, row)?;
        // Adding 0.0 makes the two zeros one value.
        let bits = number_at(arguments, 0, row).map(|v| (v + 0.0).to_bits());
        let start = match self.current {
            Some((held, start)) if held == bits => start,
            _ => at,
        };
        self.current = Some((bits, start));
        Ok(ScalarValue::TimestampMicrosecond(Some(start), Some("UTC".into())))
    }

    fn save(&self) -> Vec<u8> {
        let (value, start) = self.current.unwrap_or_default();
        let mut out = vec![STATE_VERSION, u8::from(self.current.is_some()), u8::from(value.is_none())];
        out.extend_from_slice(&value.unwrap_or_default().to_le_bytes());
        out.extend_from_slice(&start.to_le_bytes());
        out
    }

    fn copy(&self) -> Box<dyn FoldState> {
        Box::new(*self)
    }
}
