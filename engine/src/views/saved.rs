//! State of the views as bytes. A view whose definition changed starts empty: its saved part is not for it.

use super::entry::{Entry, State};
use super::window::WindowState;
use super::{Recent, Views, newest_window};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Program;
use crate::state::{decode_batches, encode_batches};
use arrow::array::new_null_array;
use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use std::sync::Arc;

/// One view's saved state: named sections of bytes.
struct Saved {
    /// Hash of the definition it belongs to.
    definition: u64,
    sections: Vec<(String, Vec<u8>)>,
}

fn definition(entry: &Entry) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{} {}", entry.view.spec.generation, entry.view.spec.sql).as_bytes())
}

impl Views {
    /// Every view's state, by name.
    pub(crate) fn save(&self) -> Result<Vec<(String, Bytes)>> {
        self.entries.iter().map(|e| Ok((e.view.spec.table().as_str().to_owned(), e.save()?))).collect()
    }

    /// Loads one view's state; a view that is gone or was defined otherwise is passed over.
    pub(crate) fn load(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        match self.entries.iter_mut().find(|e| e.view.spec.table().as_str() == name) {
            Some(entry) => entry.load(bytes),
            None => {
                tracing::warn!(view = name, "the checkpoint holds a view that is not defined any more");
                Ok(())
            }
        }
    }
}

/// Rows that an earlier version saved, with the columns it did not have yet as null.
fn with_columns(rows: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| match rows.column_by_name(field.name()) {
        Some(column) => Ok(column.clone()),
        None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows.num_rows())),
        None => Err(Error::corrupt(format!("saved rows lack the column {}", field.name()))),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Sections are length-prefixed: name, then bytes.
fn pack(definition: u64, sections: &[(String, Bytes)]) -> Bytes {
    let mut out = definition.to_le_bytes().to_vec();
    for (name, bytes) in sections {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(bytes);
    }
    out.into()
}

fn unpack(bytes: &[u8]) -> Option<Saved> {
    let (definition, mut rest) = bytes.split_first_chunk::<8>()?;
    let mut sections = vec![];
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let (len, after) = after.split_first_chunk::<8>()?;
        let (section, after) = after.split_at_checked(u64::from_le_bytes(*len) as usize)?;
        sections.push((String::from_utf8(name.to_vec()).ok()?, section.to_vec()));
        rest = after;
    }
    Some(Saved { definition: u64::from_le_bytes(*definition), sections })
}

impl Entry {
    fn save(&self) -> Result<Bytes> {
        let mut sections: Vec<(String, Bytes)> = vec![];
        let mut put = |name: String, batch: &RecordBatch| -> Result<()> {
            sections.push((name, encode_batches(std::slice::from_ref(batch))?));
            Ok(())
        };
        match &self.state {
            State::Window(state) => {
                for (bucket, batch) in &state.finals {
                    put(format!("final-{bucket}"), batch)?;
                }
            }
            State::Keyed { state, upserts, .. } => {
                put("state".into(), state)?;
                put("written".into(), &upserts.save()?)?;
            }
            State::Snapshot { upserts, .. } => put("written".into(), &upserts.save()?)?,
            State::Fold(_) => {}
        }
        for recent in &self.recent {
            put("recent".into(), &recent.rows)?;
        }
        if let State::Window(WindowState { done: Some(done), .. }) = &self.state {
            sections.push(("done".into(), done.to_le_bytes().to_vec().into()));
        }
        if let State::Fold(fold) = &self.state {
            sections.push(("fold".into(), fold.save()?.into()));
        }
        Ok(pack(definition(self), &sections))
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        let name = self.view.spec.name.clone();
        let corrupt = || Error::corrupt(format!("the saved state of view {name} cannot be read"));
        let saved = unpack(bytes).ok_or_else(corrupt)?;
        if saved.definition != definition(self) {
            tracing::warn!(view = %name, "the view's definition changed: it starts with what comes from now on");
            return Ok(());
        }
        let one = |bytes: &[u8]| decode_batches(bytes)?.into_iter().next().ok_or_else(corrupt);
        for (section, bytes) in &saved.sections {
            match (&mut self.state, section.as_str()) {
                (State::Fold(fold), "fold") => fold.load(bytes)?,
                (State::Keyed { state, .. }, "state") => *state = one(bytes)?,
                (State::Keyed { upserts, .. } | State::Snapshot { upserts, .. }, "written") => upserts.load(&one(bytes)?)?,
                (_, "recent") => {
                    let rows = with_columns(one(bytes)?, &self.schema)?;
                    self.recent.push(Recent { newest: newest_window(&rows), rows });
                }
                (State::Window(state), "done") => {
                    state.done = Some(i64::from_le_bytes(bytes.as_slice().try_into().map_err(|_| corrupt())?));
                }
                (State::Window(state), section) => {
                    let pane = section.strip_prefix("final-").and_then(|p| p.parse().ok()).ok_or_else(corrupt)?;
                    let Program::Window(program) = &self.view.program else { return Err(corrupt()) };
                    state.correct(program, pane, one(bytes)?);
                }
                _ => return Err(Error::new(ErrorKind::Corrupt, format!("the saved state of view {name} has an unknown section {section}"))),
            }
        }
        Ok(())
    }
}
