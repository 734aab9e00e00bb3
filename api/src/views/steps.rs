//! What a compiled view does, step by step, for `EXPLAIN`. Reads the program; knows no SQL.

use afferent_engine::query::{Program, View, WindowSource};
use std::collections::BTreeSet;
use std::fmt::Display;

/// Steps with their detail, in the order in which rows go through them.
pub(super) fn of(view: &View) -> Vec<(&'static str, String)> {
    let columns: Vec<String> = view.spec.schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    let mut steps = match &view.program {
        Program::Window(program) => {
            let source = match &program.source {
                WindowSource::Panes { metrics } => format!("panes of {}", listed(metrics.as_ref(), "metric")),
                WindowSource::View(name) => format!("rows of the view {name}"),
            };
            let (window, every) = (duration(program.window_ms), duration(program.every_ms));
            let windows = if program.window_ms == program.every_ms { window.clone() } else { format!("{window}, one every {every}") };
            vec![
                ("shape", "window".to_owned()),
                ("source", source),
                ("windows", windows),
                ("partial", format!("rows are aggregated per {every} as they come")),
                ("merge", "partial states are merged when a window is asked for, so any split of rows gives the same".to_owned()),
                (
                    "finish",
                    "rows of a window are final once the watermark and the lateness have passed its end; later samples are repaired".to_owned(),
                ),
                ("state kept", format!("partial states of windows that may still change: {window} plus the lateness")),
            ]
        }
        Program::Keyed(program) => {
            let kinds = program.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.as_str()).collect::<BTreeSet<_>>());
            let kept = program.ttl_ms.map_or("every key, for ever".to_owned(), |ttl| format!("keys seen within {} of the answer", duration(ttl)));
            vec![
                ("shape", "keyed".to_owned()),
                ("source", format!("events of {}", listed(kinds.as_ref(), "kind"))),
                ("partial", "new events are aggregated per key".to_owned()),
                ("merge", "and merged into the kept state of the key".to_owned()),
                ("finish", "keys whose state changed are written again".to_owned()),
                ("state kept", kept),
            ]
        }
        Program::Fold(program) => {
            let kept = program.memory_ms.map_or("what the whole past left behind, per key".to_owned(), |ms| format!("{} per key", duration(ms)));
            vec![
                ("shape", "fold".to_owned()),
                ("source", format!("rows of the view {}, in the order of window_start", program.input)),
                ("partial", "none: each row is taken in order".to_owned()),
                ("merge", "none".to_owned()),
                ("finish", "one row per input row; it is final with it".to_owned()),
                ("state kept", kept),
            ]
        }
        Program::Snapshot(program) => {
            let inputs: Vec<&str> = program.inputs.iter().map(|name| name.as_str()).collect();
            vec![
                ("shape", "snapshot".to_owned()),
                ("source", format!("current rows of {}", inputs.join(", "))),
                ("partial", "none: the query runs anew when its inputs change".to_owned()),
                ("merge", "none".to_owned()),
                ("finish", "rows that differ are written again".to_owned()),
                ("state kept", "the current rows".to_owned()),
            ]
        }
    };
    steps.push(("key", view.spec.key.join(", ")));
    steps.push(("columns", columns.join(", ")));
    steps
}

fn listed(names: Option<&BTreeSet<impl Display>>, what: &str) -> String {
    names.map_or(format!("every {what}"), |names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// Milliseconds in their largest whole unit.
fn duration(ms: i64) -> String {
    let units = [("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000), ("millisecond", 1)];
    let (name, length) = units.into_iter().find(|(_, length)| ms % length == 0).unwrap_or(("millisecond", 1));
    let count = ms / length;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}
