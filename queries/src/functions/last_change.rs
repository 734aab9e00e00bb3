//! `last_change(time, sequence, status)`: the newest status, since when it holds, how often it changed. An aggregate; order of arrival does not matter.

use super::chronicle::{Chronicle, order_of};
use super::scalar::{is_text, struct_of, texts};
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// The status that counts as going off.
const FIRING: &str = "firing";

/// The function: a struct of `status`, `since`, `changes` (the first status is one), `firings` (changes to `firing`).
pub fn last_change() -> AggregateUDF {
    AggregateUDF::new_from_impl(LastChange { signature: Signature::any(3, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LastChange {
    signature: Signature,
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("status", DataType::Utf8, true),
        Field::new("since", afferent_engine::schema::timestamp(), true),
        Field::new("changes", DataType::Int64, true),
        Field::new("firings", DataType::Int64, true),
    ])
}

impl AggregateUDFImpl for LastChange {
    fn name(&self) -> &str {
        "last_change"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Timestamp(_, _), DataType::Int64, status] if is_text(status) => Ok(DataType::Struct(fields())),
            _ => plan_err!("last_change takes a time, a sequence and a status: last_change(time, sequence, status)"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(Chronicle::state_fields(&args))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Statuses::default()))
    }
}

#[derive(Debug, Default)]
struct Statuses {
    told: Chronicle,
}

impl Accumulator for Statuses {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [times, sequences, statuses] = values else {
            return exec_err!("last_change takes three arguments");
        };
        let (times, sequences) = order_of(times, sequences)?;
        let statuses = texts(statuses)?;
        for row in (0..times.len()).filter(|row| times.is_valid(*row) && sequences.is_valid(*row) && statuses.is_valid(*row)) {
            self.told.push(times.value(row), sequences.value(row), statuses.value(row).to_owned());
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.told.merge(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(self.told.state())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (mut held, mut changes, mut firings): (Option<(&str, i64)>, i64, i64) = (None, 0, 0);
        for (time, status) in self.told.in_order() {
            if held.is_none_or(|(same, _)| same != status) {
                held = Some((status, time));
                changes += 1;
                firings += i64::from(status == FIRING);
            }
        }
        struct_of(
            fields(),
            vec![
                ScalarValue::Utf8(held.map(|(status, _)| status.to_owned())),
                ScalarValue::TimestampMicrosecond(held.map(|(_, time)| time), Some("UTC".into())),
                ScalarValue::Int64(Some(changes)),
                ScalarValue::Int64(Some(firings)),
            ],
        )
    }

    fn size(&self) -> usize {
        self.told.size()
    }
}
