//! `novelty(x, window_start [, variant])`: was anything like this ever seen? The judgement itself is [`score`]; here is its SQL form.
//!
//! `variant` is 'nearest' (the default) or 'record', which gives fewer false alarms and fewer hits. A null or a value that is not finite is a gap: it is
//! not judged and not learnt.

pub mod score;

use super::fold::{FoldFunction, FoldState, number_at, time_at};
use super::scalar::{is_text, struct_of, texts};
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use score::{BURST_POINTS, Memory, Variant};

/// The function.
#[derive(Debug)]
pub struct Novelty;

/// Values beyond are gaps: differences of them would not be finite.
const VALUE_MAX: f64 = 1e300;

fn fields() -> Fields {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Fields::from(vec![number("value"), number("score"), text("channel"), number("expected"), number("lower"), number("upper"), text("state")])
}

impl FoldFunction for Novelty {
    fn name(&self) -> &'static str {
        "novelty"
    }

    fn arguments(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [value, DataType::Timestamp(_, _), variant @ ..]
                if (value.is_numeric() || *value == DataType::Null) && variant.len() <= 1 && variant.iter().all(is_text) =>
            {
                let wanted = [DataType::Float64, afferent_engine::schema::timestamp(), DataType::Utf8];
                Ok(wanted.into_iter().take(given.len()).collect())
            }
            _ => plan_err!(
                "novelty takes a number, window_start and, if wanted, 'nearest' or 'record': novelty(x, window_start) OVER (PARTITION BY instance ORDER BY window_start)"
            ),
        }
    }

    fn output(&self) -> DataType {
        DataType::Struct(fields())
    }

    fn start(&self) -> Box<dyn FoldState> {
        Box::new(Judged(None))
    }

    fn load(&self, bytes: &[u8]) -> Option<Box<dyn FoldState>> {
        match bytes {
            [] => Some(Box::new(Judged(None))),
            bytes => Some(Box::new(Judged(Some(Memory::from_bytes(bytes)?)))),
        }
    }
}

/// What is known of a key, after its first value.
#[derive(Debug, Clone)]
struct Judged(Option<Memory>);

fn variant_at(arguments: &[ArrayRef], row: usize) -> Result<Variant> {
    let Some(column) = arguments.get(2).filter(|c| c.is_valid(row)) else { return Ok(Variant::Nearest) };
    let names = texts(&column.slice(row, 1))?;
    match if names.is_empty() { "" } else { names.value(0) } {
        "nearest" => Ok(Variant::Nearest),
        "record" => Ok(Variant::Record),
        other => exec_err!("novelty: variant {other:?} is not known; there are 'nearest' and 'record'"),
    }
}

impl FoldState for Judged {
    fn step(&mut self, arguments: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        let at = time_at(arguments, 1, row)?;
        let variant = variant_at(arguments, row)?;
        let number = ScalarValue::Float64;
        let text = |text: Option<&str>| ScalarValue::Utf8(text.map(str::to_owned));
        let Some(value) = number_at(arguments, 0, row).filter(|v| v.abs() <= VALUE_MAX) else {
            let nothing = vec![number(None), number(None), text(None), number(None), number(None), number(None), text(None)];
            return struct_of(fields(), nothing);
        };
        let found = self.0.get_or_insert_with(|| Memory::new(variant, BURST_POINTS)).step(value, at);
        let live = found.live;
        let columns = vec![
            number(Some(value)),
            number(live.then_some(found.score)),
            text(found.channel.map(|c| c.as_str())),
            number(Some(found.expected)),
            number(found.usual.map(|u| u.0)),
            number(found.usual.map(|u| u.1)),
            text(Some(if live { "live" } else { "warming" })),
        ];
        struct_of(fields(), columns)
    }

    fn save(&self) -> Vec<u8> {
        self.0.as_ref().map(Memory::to_bytes).unwrap_or_default()
    }

    fn copy(&self) -> Box<dyn FoldState> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests;
