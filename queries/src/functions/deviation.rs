//! `deviation(x, signal, window_start [, events])`: is x far from its usual? The judgement itself is [`afferent_engine::deviation`]; here is its SQL form.
//!
//! `signal` names the class that sets floors, direction and least deviation; `events` is how many events x stands on, and too few make it a gap.

use super::fold::{FoldFunction, FoldState, number_at, time_at};
use super::scalar::{is_text, struct_of, texts};
use afferent_engine::deviation::{Baseline, Judgement, STATE_BYTES, Signal};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use datafusion::common::{ScalarValue, exec_datafusion_err, plan_err};
use datafusion::error::Result;

/// The function.
#[derive(Debug)]
pub struct Deviation;

fn fields() -> Fields {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::Int64, true);
    Fields::from(vec![
        number("value"),
        number("score"),
        number("expected"),
        number("lower"),
        number("upper"),
        Field::new("state", DataType::Utf8, true),
        count("outside"),
        Field::new("anomalous", DataType::Boolean, true),
        Field::new("since", afferent_engine::schema::timestamp(), true),
        Field::new("level_shift", DataType::Boolean, true),
        count("points"),
        count("span_minutes"),
        number("seen_ratio"),
    ])
}

impl FoldFunction for Deviation {
    fn name(&self) -> &'static str {
        "deviation"
    }

    fn arguments(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = || vec![DataType::Float64, DataType::Utf8, afferent_engine::schema::timestamp(), DataType::Int64];
        match given {
            [value, signal, DataType::Timestamp(_, _), events @ ..]
                if value.is_numeric() && is_text(signal) && events.len() <= 1 && events.iter().all(DataType::is_integer) =>
            {
                Ok(wanted().into_iter().take(given.len()).collect())
            }
            _ => plan_err!(
                "deviation takes a number, a signal, window_start and, if it stands on events, their count: deviation(x, 'cpu', window_start) OVER (PARTITION BY instance ORDER BY window_start)"
            ),
        }
    }

    fn output(&self) -> DataType {
        DataType::Struct(fields())
    }

    fn start(&self) -> Box<dyn FoldState> {
        Box::new(Judged::default())
    }

    fn load(&self, bytes: &[u8]) -> Option<Box<dyn FoldState>> {
        let bytes: &[u8; STATE_BYTES] = bytes.try_into().ok()?;
        Some(Box::new(Judged { baseline: Baseline::from_bytes(bytes)? }))
    }
}

#[derive(Debug, Clone, Default)]
struct Judged {
    baseline: Baseline,
}

impl FoldState for Judged {
    fn step(&mut self, arguments: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        let signal = signal_at(arguments, row)?;
        let at = time_at(arguments, 2, row)?;
        let enough = match arguments.get(3).and_then(|a| a.as_primitive_opt::<Int64Type>()) {
            Some(events) => events.is_valid(row) && events.value(row) >= signal.events_min,
            None => true,
        };
        let value = number_at(arguments, 0, row).filter(|_| enough);
        let judgement = self.baseline.step(value, afferent_engine::time::EventTime(at.div_euclid(1_000)), signal);
        struct_of(fields(), columns(&judgement))
    }

    fn save(&self) -> Vec<u8> {
        self.baseline.to_bytes().to_vec()
    }

    fn copy(&self) -> Box<dyn FoldState> {
        Box::new(self.clone())
    }
}

fn signal_at(arguments: &[ArrayRef], row: usize) -> Result<&'static Signal> {
    let unknown = |name: &str| exec_datafusion_err!("deviation: signal {name:?} is not known; there are {}", Signal::names().join(", "));
    let Some(column) = arguments.get(1) else {
        return Err(unknown(""));
    };
    let names = texts(&column.slice(row, 1))?;
    let name = if names.is_valid(0) { names.value(0) } else { "" };
    Signal::named(name).ok_or_else(|| unknown(name))
}

fn columns(judgement: &Judgement) -> Vec<ScalarValue> {
    let count = |n: u32| ScalarValue::Int64(Some(i64::from(n)));
    vec![
        ScalarValue::Float64(judgement.value),
        ScalarValue::Float64(judgement.score),
        ScalarValue::Float64(judgement.expected),
        ScalarValue::Float64(judgement.lower),
        ScalarValue::Float64(judgement.upper),
        ScalarValue::Utf8(Some(judgement.state.as_str().to_owned())),
        count(judgement.outside),
        ScalarValue::Boolean(Some(judgement.anomalous)),
        ScalarValue::TimestampMicrosecond(judgement.since.map(|t| t.micros()), Some("UTC".into())),
        ScalarValue::Boolean(Some(judgement.level_shift)),
        count(judgement.points),
        ScalarValue::Int64(Some(judgement.span_minutes)),
        ScalarValue::Float64(Some(judgement.seen_ratio)),
    ]
}
