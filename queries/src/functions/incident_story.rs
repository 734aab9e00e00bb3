//! `incident_story(time, sequence, kind, attributes)`: what became of an incident, out of its own events and those of its approvals. An aggregate; order of arrival does not matter.
//!
//! Rules (ours): reopened within 24 h of its resolution it is the same episode, later it is a new one and the story is that of the newest episode. Path
//! decides, not who closed it; an acknowledgement, an assignment or a note is no action.

use super::chronicle::{Chronicle, order_of};
use super::json::at;
use super::scalar::{is_text, struct_of, texts};
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use serde_json::Value;

/// A resolution that is taken back within this time was none: 24 h in microseconds.
pub const REOPEN_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// Separates the parts of a word in the state.
const SEPARATOR: char = '|';
/// Outcomes that mean that an action did what it should.
const SUCCESSES: [&str; 6] = ["succeeded", "success", "ok", "completed", "done", "executed"];

/// The function.
pub fn incident_story() -> AggregateUDF {
    AggregateUDF::new_from_impl(IncidentStory { signature: Signature::any(4, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IncidentStory {
    signature: Signature,
}

fn fields() -> Fields {
    let time = |name: &str| Field::new(name, afferent_engine::schema::timestamp(), true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    Fields::from(vec![
        Field::new("state", DataType::Utf8, true),
        Field::new("path", DataType::Utf8, true),
        time("created_at"),
        time("acknowledged_at"),
        time("mitigated_at"),
        time("resolved_at"),
        Field::new("reopened", DataType::Int64, true),
        Field::new("episode", DataType::Int64, true),
        flag("rolled_back"),
        flag("cancelled"),
        flag("merged"),
        flag("false_positive"),
    ])
}

impl AggregateUDFImpl for IncidentStory {
    fn name(&self) -> &str {
        "incident_story"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Timestamp(_, _), DataType::Int64, kind, attributes] if is_text(kind) && is_text(attributes) => Ok(DataType::Struct(fields())),
            _ => plan_err!("incident_story takes columns of events: incident_story(time, sequence, kind, attributes)"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(Chronicle::state_fields(&args))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Events::default()))
    }
}

#[derive(Debug, Default)]
struct Events {
    told: Chronicle,
}

impl Accumulator for Events {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [times, sequences, kinds, attributes] = values else {
            return exec_err!("incident_story takes four arguments");
        };
        let (times, sequences) = order_of(times, sequences)?;
        let (kinds, attributes) = (texts(kinds)?, texts(attributes)?);
        for row in (0..times.len()).filter(|row| times.is_valid(*row) && sequences.is_valid(*row) && kinds.is_valid(*row)) {
            if let Some(word) = word(kinds.value(row), if attributes.is_valid(row) { attributes.value(row) } else { "" }) {
                self.told.push(times.value(row), sequences.value(row), word);
            }
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
        let mut story = Story::default();
        for (time, word) in self.told.in_order() {
            story.tell(time, word);
        }
        let time = |micros: Option<i64>| ScalarValue::TimestampMicrosecond(micros, Some("UTC".into()));
        let text = |word: &str| ScalarValue::Utf8(Some(word.to_owned()));
        let flag = |on: bool| ScalarValue::Boolean(Some(on));
        struct_of(
            fields(),
            vec![
                text(story.state()),
                text(story.path()),
                time(story.created),
                time(story.acknowledged),
                time(story.mitigated),
                time(story.resolved),
                ScalarValue::Int64(Some(story.reopened)),
                ScalarValue::Int64(Some(story.earlier + 1)),
                flag(story.rolled_back),
                flag(story.cancelled),
                flag(story.merged),
                flag(story.false_positive),
            ],
        )
    }

    fn size(&self) -> usize {
        self.told.size()
    }
}

/// What the story needs of one event: kind, type, actor, outcome, reason. Nothing for events that change nothing.
fn word(kind: &str, attributes: &str) -> Option<String> {
    let whole: Value = serde_json::from_str(attributes).ok()?;
    let part = |path: &str| at(&whole, path).and_then(Value::as_str).unwrap_or_default().to_lowercase().replace(SEPARATOR, " ");
    let what = part("type");
    let outcome = if at(&whole, "action").is_some_and(|a| !a.is_null()) { format!("action {}", part("action.outcome")) } else { String::new() };
    let idle = matches!(what.as_str(), "" | "note" | "assigned" | "escalated" | "requested" | "expired");
    if idle && outcome.is_empty() {
        return None;
    }
    let reason = if part("reason") == "false_positive" { "false_positive" } else { "" };
    Some([kind, &what, &part("actor.kind"), &outcome, reason].join("|"))
}

/// An incident while its events are told.
#[derive(Debug, Default)]
struct Story {
    earlier: i64,
    created: Option<i64>,
    acknowledged: Option<i64>,
    mitigated: Option<i64>,
    resolved: Option<i64>,
    reopened: i64,
    rolled_back: bool,
    cancelled: bool,
    merged: bool,
    false_positive: bool,
    ai_succeeded: bool,
    human_acted: bool,
    human_approved: bool,
    human_closed: bool,
}

impl Story {
    fn tell(&mut self, time: i64, word: &str) {
        let mut parts = word.split(SEPARATOR);
        let mut part = || parts.next().unwrap_or_default();
        let (kind, what, actor, outcome, reason) = (part(), part(), part(), part(), part());
        if kind == "approval" {
            self.approval(what, actor);
        } else {
            self.incident(time, what, actor, reason);
        }
        if let Some(outcome) = outcome.strip_prefix("action ") {
            self.rolled_back |= outcome == "rolled_back";
            self.ai_succeeded |= actor == "ai" && SUCCESSES.contains(&outcome);
            self.human_acted |= actor == "human";
        }
    }

    fn approval(&mut self, what: &str, actor: &str) {
        match what {
            "approved" => self.human_approved |= actor == "human",
            "rejected" => self.human_acted |= actor == "human",
            "executed" => {
                self.ai_succeeded |= actor != "human";
                self.human_acted |= actor == "human";
            }
            "rolled_back" => self.rolled_back = true,
            _ => {}
        }
    }

    fn incident(&mut self, time: i64, what: &str, actor: &str, reason: &str) {
        match what {
            "opened" => self.created = self.created.or(Some(time)),
            "acknowledged" => self.acknowledged = self.acknowledged.or(Some(time)),
            "mitigated" => {
                self.mitigated = self.mitigated.or(Some(time));
                self.human_acted |= actor == "human";
            }
            "resolved" => {
                self.resolved = Some(time);
                self.human_closed |= actor == "human";
            }
            "reopened" => self.reopen(time),
            "cancelled" => self.cancelled = true,
            "merged" => self.merged = true,
            _ => {}
        }
        self.false_positive |= reason == "false_positive" && matches!(what, "resolved" | "cancelled");
    }

    fn reopen(&mut self, time: i64) {
        match self.resolved {
            Some(resolved) if time - resolved > REOPEN_MICROS => *self = Self { earlier: self.earlier + 1, created: Some(time), ..Self::default() },
            Some(_) => {
                self.reopened += 1;
                self.resolved = None;
            }
            None => {}
        }
        (self.cancelled, self.merged, self.false_positive) = (false, false, false);
    }

    fn state(&self) -> &'static str {
        match self {
            Self { merged: true, .. } => "merged",
            Self { cancelled: true, .. } => "cancelled",
            Self { resolved: Some(_), .. } => "resolved",
            Self { mitigated: Some(_), .. } => "mitigated",
            Self { acknowledged: Some(_), .. } => "acknowledged",
            _ => "open",
        }
    }

    fn path(&self) -> &'static str {
        if self.resolved.is_none() && !self.cancelled && !self.merged {
            "open"
        } else if self.human_acted {
            "manual"
        } else if self.human_approved {
            "assisted"
        } else if self.ai_succeeded {
            "auto"
        } else if self.human_closed {
            "manual"
        } else {
            "self_cleared"
        }
    }
}
