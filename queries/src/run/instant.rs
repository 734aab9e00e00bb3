//! `as_of()`: the instant an answer is for, as an SQL function. Not the wall clock, which no plan may ask.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The function's name.
pub(crate) const AS_OF: &str = "as_of";
/// In the cell: no instant is known.
const UNKNOWN: i64 = i64::MIN;

/// A place that holds the instant of the answer being computed, microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Instant(Arc<AtomicI64>);

impl Default for Instant {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(UNKNOWN)))
    }
}

/// `as_of()` for one run: a constant, which the planner may compare with what files hold.
pub(crate) fn constant(micros: Option<i64>) -> ScalarUDF {
    let place = Instant(Arc::new(AtomicI64::new(micros.unwrap_or(UNKNOWN))));
    ScalarUDF::new_from_impl(AsOf { place, signature: Signature::nullary(Volatility::Immutable) })
}

impl Instant {
    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::Release);
    }

    /// The function that reads this place each time it is called.
    pub(crate) fn function(&self) -> ScalarUDF {
        // Volatile keeps the planner from taking today's instant into the plan.
        ScalarUDF::new_from_impl(AsOf { place: self.clone(), signature: Signature::nullary(Volatility::Volatile) })
    }
}

#[derive(Debug)]
struct AsOf {
    place: Instant,
    signature: Signature,
}

impl PartialEq for AsOf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.place.0, &other.place.0)
    }
}

impl Eq for AsOf {}

impl Hash for AsOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.place.0).hash(state);
    }
}

impl ScalarUDFImpl for AsOf {
    fn name(&self) -> &str {
        AS_OF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(afferent_engine::schema::timestamp())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let micros = self.place.0.load(Ordering::Acquire);
        let value = (micros != UNKNOWN).then_some(micros);
        Ok(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(value, Some("UTC".into()))))
    }
}
