//! `newest_event(time)`: the newest event time of a group, which views with a time-to-live keep beside their own state. Not to be called in statements.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::max;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::sync::{Arc, LazyLock};

/// Its name in plans, by which its state is found again.
pub(crate) const NEWEST_EVENT: &str = "newest_event";

/// The function.
pub(crate) static FUNCTION: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
    let signature = Signature::exact(vec![afferent_engine::schema::timestamp()], Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(NewestEvent { signature }))
});

#[derive(Debug, PartialEq, Eq, Hash)]
struct NewestEvent {
    signature: Signature,
}

impl AggregateUDFImpl for NewestEvent {
    fn name(&self) -> &str {
        NEWEST_EVENT
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(afferent_engine::schema::timestamp())
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Newest(None)))
    }
}

/// Microseconds.
#[derive(Debug)]
struct Newest(Option<i64>);

impl Accumulator for Newest {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values.first().and_then(|v| v.as_primitive_opt::<TimestampMicrosecondType>()) {
            Some(times) => {
                self.0 = self.0.max(max(times));
                Ok(())
            }
            None => exec_err!("{NEWEST_EVENT} takes one column of times"),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::TimestampMicrosecond(self.0, Some("UTC".into())))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}
