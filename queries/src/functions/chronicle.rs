//! What was said about one key, in order of (time, sequence): the mergeable state of aggregates that tell a story. Not the story.

use super::scalar::{integers, micros, texts};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::StateFieldsArgs;
use datafusion::logical_expr::utils::format_state_name;
use std::sync::Arc;

/// Entries kept per key: the first one and the newest. Keeping those is the same in whatever order parts are merged.
pub(super) const ENTRIES_MAX: usize = 1_024;

/// Entries of one key.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    entries: Vec<(i64, i64, String)>,
}

impl Chronicle {
    pub(super) fn push(&mut self, time: i64, sequence: i64, word: String) {
        self.entries.push((time, sequence, word));
        if self.entries.len() >= 2 * ENTRIES_MAX {
            self.settle();
        }
    }

    /// Sorts, and drops what is too much.
    fn settle(&mut self) {
        self.entries.sort_unstable();
        self.entries.dedup();
        if self.entries.len() > ENTRIES_MAX {
            self.entries.drain(1..=self.entries.len() - ENTRIES_MAX);
        }
    }

    /// Time and word of each entry, in order.
    pub(super) fn in_order(&mut self) -> impl Iterator<Item = (i64, &str)> {
        self.settle();
        self.entries.iter().map(|(time, _, word)| (*time, word.as_str()))
    }

    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + self.entries.capacity() * size_of::<(i64, i64, String)>()
            + self.entries.iter().map(|(_, _, w)| w.capacity()).sum::<usize>()
    }

    /// Columns of the state: times (microseconds), sequences, words.
    pub(super) fn state_fields(args: &StateFieldsArgs<'_>) -> Vec<FieldRef> {
        let list = |part: &str, item: DataType| -> FieldRef {
            Arc::new(Field::new_list(format_state_name(args.name, part), Field::new_list_field(item, true), true))
        };
        vec![list("times", DataType::Int64), list("sequences", DataType::Int64), list("words", DataType::Utf8)]
    }

    pub(super) fn state(&mut self) -> Vec<ScalarValue> {
        self.settle();
        let list = |items: ArrayRef| SingleRowListArrayBuilder::new(items).build_list_scalar();
        let times: arrow::array::Int64Array = self.entries.iter().map(|e| Some(e.0)).collect();
        let sequences: arrow::array::Int64Array = self.entries.iter().map(|e| Some(e.1)).collect();
        let words: arrow::array::StringArray = self.entries.iter().map(|e| Some(e.2.as_str())).collect();
        vec![list(Arc::new(times)), list(Arc::new(sequences)), list(Arc::new(words))]
    }

    pub(super) fn merge(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [times, sequences, words] = states else {
            return exec_err!("a chronicle's state has three columns");
        };
        let list =
            |column: &ArrayRef| column.as_list_opt::<i32>().cloned().ok_or_else(|| exec_datafusion_err!("a chronicle's state is made of lists"));
        let (times, sequences, words) = (list(times)?, list(sequences)?, list(words)?);
        for row in (0..times.len()).filter(|row| times.is_valid(*row)) {
            let (times, sequences, words) = (integers(&times.value(row))?, integers(&sequences.value(row))?, texts(&words.value(row))?);
            if times.len() != sequences.len() || times.len() != words.len() {
                return exec_err!("a chronicle's lists differ in length");
            }
            for i in 0..times.len() {
                self.push(times.value(i), sequences.value(i), words.value(i).to_owned());
            }
        }
        Ok(())
    }
}

/// Times (microseconds) and sequences of new rows.
pub(super) fn order_of(times: &ArrayRef, sequences: &ArrayRef) -> Result<(arrow::array::Int64Array, arrow::array::Int64Array)> {
    Ok((micros(times)?, integers(sequences)?))
}
