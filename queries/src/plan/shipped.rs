//! The views that come with afferent, compiled in the order their reading of each other asks for. Not their texts: those are `sql/`.

use super::Compiler;
use crate::definition::Definition;
use crate::dimensions::Dimensions;
use crate::error::{Error, Result};
use afferent_engine::query::View;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// Every shipped definition, plain and materialized, each after those it reads.
///
/// # Errors
/// `Invalid`, naming the file; a bug, since the files are ours.
pub fn shipped_definitions() -> Result<Vec<Definition>> {
    let definitions = SHIPPED.iter().map(|(file, text)| Definition::parse(file, text)).collect::<Result<Vec<_>>>()?;
    in_order(definitions)
}

/// The shipped plain views.
///
/// # Errors
/// As [`shipped_definitions`].
pub fn shipped_plain() -> Result<Vec<Definition>> {
    Ok(shipped_definitions()?.into_iter().filter(|d| !d.materialized).collect())
}

/// Compiles every shipped view.
///
/// # Errors
/// `Invalid`, naming view and clause.
pub fn shipped(dimensions: &Dimensions) -> Result<Vec<View>> {
    let (mut views, mut known, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for definition in shipped_definitions()? {
        if definition.materialized {
            let view = Compiler::new(dimensions, &known).with_plain(plain.clone()).compile_shipped(&definition)?;
            known.push(view.spec.clone());
            views.push(view);
        } else {
            plain.push(definition);
        }
    }
    Ok(views)
}

/// Sorts definitions so that each stands after those it reads.
fn in_order(mut left: Vec<Definition>) -> Result<Vec<Definition>> {
    let mut sorted: Vec<Definition> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |d: &Definition| left.iter().any(|other| other.name != d.name && d.reads.contains(&other.name));
        let (later, ready): (Vec<_>, Vec<_>) = left.iter().cloned().partition(waits);
        if ready.is_empty() {
            let names: Vec<&str> = later.iter().map(|d| d.name.as_str()).collect();
            return Err(Error::definition(names.join(", "), "these views read each other in a circle"));
        }
        sorted.extend(ready);
        left = later;
    }
    Ok(sorted)
}
