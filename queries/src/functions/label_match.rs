//! `label_match(labels, matchers)`: whether a series fits a JSON object of matchers (see [`super::matchers`]).

use super::label::LabelRows;
use super::matchers::Matchers;
use super::scalar::{Scalar, is_text, texts};
use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// Matcher texts kept compiled; the cache starts anew when it is full, which only costs compiling them again.
const COMPILED_MAX: usize = 4_096;

static COMPILED: LazyLock<RwLock<HashMap<String, Arc<Matchers>>>> = LazyLock::new(RwLock::default);

/// The function.
pub fn label_match() -> ScalarUDF {
    Scalar { name: "label_match", signature: Signature::any(2, Volatility::Immutable), output, body }.function()
}

fn output(types: &[DataType]) -> Result<DataType> {
    match types {
        [DataType::Map(_, _), matchers] if is_text(matchers) => Ok(DataType::Boolean),
        _ => plan_err!("label_match takes the column labels and a JSON object of matchers: label_match(labels, '{{\"code\": \"!~5..\"}}')"),
    }
}

fn compiled(text: &str) -> Result<Arc<Matchers>> {
    if let Some(known) = COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(text) {
        return Ok(Arc::clone(known));
    }
    let fresh = Arc::new(Matchers::from_json(text).map_err(|problem| exec_datafusion_err!("label_match: {problem}"))?);
    let mut all = COMPILED.write().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= COMPILED_MAX {
        all.clear();
    }
    all.insert(text.to_owned(), Arc::clone(&fresh));
    Ok(fresh)
}

fn body(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let [map, matchers] = args else {
        return exec_err!("label_match takes two arguments");
    };
    let labels = LabelRows::of(map)?;
    let matchers = texts(matchers)?;
    let mut last: Option<(&str, Arc<Matchers>)> = None;
    let mut found = Vec::with_capacity(rows);
    for row in 0..rows {
        if map.is_null(row) || matchers.is_null(row) {
            found.push(None);
            continue;
        }
        let text = matchers.value(row);
        let rule = match &last {
            Some((same, rule)) if *same == text => Arc::clone(rule),
            _ => compiled(text)?,
        };
        found.push(Some(rule.accept(|name| labels.row(row).find(|(n, _)| *n == name).map(|(_, v)| v))));
        last = Some((text, rule));
    }
    Ok(Arc::new(BooleanArray::from(found)))
}
