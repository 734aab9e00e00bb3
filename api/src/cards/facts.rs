//! How facts of the common kinds are put together. Not which facts a card shows.

use super::display;
use super::envelope::{Fact, FactStatus, FactValue, Op, Unit};
use crate::locale::Locale;

/// A fact without a target; unknown values are marked as such.
pub(super) fn figure(id: &str, label: String, value: Option<f64>, unit: Unit, display: String) -> Fact {
    Fact {
        id: id.to_owned(),
        label,
        status: if value.is_some() { FactStatus::Neutral } else { FactStatus::NoData },
        value: value.map(FactValue::Number),
        unit,
        display,
        target: None,
        op: None,
    }
}

/// A number of things.
pub(super) fn count(id: &str, label: String, value: Option<i64>, locale: Locale) -> Fact {
    figure(id, label, value.map(|v| v as f64), Unit::Count, display::count(value, locale))
}

/// A span of time.
pub(super) fn duration(id: &str, label: String, seconds: Option<f64>, locale: Locale) -> Fact {
    figure(id, label, seconds, Unit::S, display::duration(seconds, locale))
}

/// A word, such as a status.
pub(super) fn word(id: &str, label: String, value: &str, display: String, status: FactStatus) -> Fact {
    Fact { id: id.to_owned(), label, value: Some(FactValue::Text(value.to_owned())), unit: Unit::None, display, status, target: None, op: None }
}

/// Gives a fact its target; a known value is ok or critical by it.
#[must_use]
pub(super) fn against(mut fact: Fact, target: Option<f64>, op: Op) -> Fact {
    fact.target = target;
    fact.op = target.map(|_| op);
    if let (Some(FactValue::Number(value)), Some(target)) = (&fact.value, target) {
        let is_met = match op {
            Op::Gte => *value >= target,
            Op::Lte => *value <= target,
        };
        fact.status = if is_met { FactStatus::Ok } else { FactStatus::Critical };
    }
    fact
}
