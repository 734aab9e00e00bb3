//! `label(labels, name, ...)` and `label_number(labels, name)`: one label of a series, out of the map column `labels`.

use super::scalar::{Scalar, is_text, texts};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, MapArray, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use std::sync::Arc;

/// `label(labels, name, ...)`: the value of the first of the named labels that the series has, else null.
pub fn label() -> ScalarUDF {
    Scalar { name: "label", signature: Signature::variadic_any(Volatility::Immutable), output: label_output, body: label_body }.function()
}

/// `label_number(labels, name)`: a label's value as a number (`+Inf` among them), null where it is none.
pub fn label_number() -> ScalarUDF {
    let output = |types: &[DataType]| label_output(types).map(|_| DataType::Float64);
    Scalar { name: "label_number", signature: Signature::any(2, Volatility::Immutable), output, body: number_body }.function()
}

fn label_output(types: &[DataType]) -> Result<DataType> {
    match types {
        [DataType::Map(_, _), names @ ..] if !names.is_empty() && names.iter().all(is_text) => Ok(DataType::Utf8),
        _ => plan_err!("label takes the column labels and label names: label(labels, 'code')"),
    }
}

/// The labels of many rows, read where they lie.
pub(super) struct LabelRows<'a> {
    map: &'a MapArray,
    names: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> LabelRows<'a> {
    pub(super) fn of(column: &'a ArrayRef) -> Result<Self> {
        let map = column.as_map_opt().ok_or_else(|| exec_datafusion_err!("labels must be a map, found {}", column.data_type()))?;
        match (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>()) {
            (Some(names), Some(values)) => Ok(Self { map, names, values }),
            _ => exec_err!("labels must map text to text, found {}", column.data_type()),
        }
    }

    /// Name and value of each label of a row.
    pub(super) fn row(&self, row: usize) -> impl Iterator<Item = (&'a str, &'a str)> {
        let offsets = self.map.value_offsets();
        let range = match (self.map.is_null(row), offsets.get(row), offsets.get(row + 1)) {
            (false, Some(start), Some(end)) => *start as usize..*end as usize,
            _ => 0..0,
        };
        let (names, values) = (self.names, self.values);
        range.filter(|i| !values.is_null(*i)).map(|i| (names.value(i), values.value(i)))
    }

    fn get(&self, row: usize, name: &str) -> Option<&'a str> {
        self.row(row).find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

fn label_body(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let [map, names @ ..] = args else {
        return exec_err!("label takes the column labels first");
    };
    let labels = LabelRows::of(map)?;
    let names: Vec<StringArray> = names.iter().map(texts).collect::<Result<_>>()?;
    let mut out = StringBuilder::new();
    for row in 0..rows {
        out.append_option(names.iter().filter(|n| n.is_valid(row)).find_map(|n| labels.get(row, n.value(row))));
    }
    Ok(Arc::new(out.finish()))
}

fn number_body(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let [map, name] = args else {
        return exec_err!("label_number takes two arguments");
    };
    let labels = LabelRows::of(map)?;
    let name = texts(name)?;
    let numbers = (0..rows).map(|row| {
        let text = name.is_valid(row).then(|| labels.get(row, name.value(row))).flatten()?;
        text.parse::<f64>().ok().filter(|n| !n.is_nan())
    });
    Ok(Arc::new(numbers.collect::<Float64Array>()))
}
