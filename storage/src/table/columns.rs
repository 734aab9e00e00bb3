//! How a table's columns stand in Delta's schema and in a reader's: the partition column `date` first, words as strings on disk.

use crate::error::StorageError;
use crate::layout::DATE_COLUMN;
use afferent_engine::schema::TableDef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake_core::kernel::{ArrayType, DataType as DeltaType, MapType, StructField, StructType};
use std::sync::Arc;

/// Columns as readers see them: `date`, then the table's own.
pub(crate) fn read_schema(table: &Schema) -> SchemaRef {
    let mut fields = vec![Arc::new(Field::new(DATE_COLUMN, DataType::Date32, false))];
    fields.extend(table.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// Columns as Delta keeps them, `date` first.
pub(crate) fn delta_fields(table: &TableDef) -> Result<Vec<StructField>, StorageError> {
    let mut fields = vec![StructField::new(DATE_COLUMN, DeltaType::DATE, true)];
    for field in table.schema.fields() {
        let kind = delta_type(field.data_type()).ok_or_else(|| StorageError::UnsupportedType {
            table: table.name.to_string(),
            column: field.name().clone(),
            kind: field.data_type().to_string(),
        })?;
        fields.push(StructField::new(field.name(), kind, field.is_nullable()));
    }
    Ok(fields)
}

fn delta_type(kind: &DataType) -> Option<DeltaType> {
    Some(match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DeltaType::STRING,
        DataType::Dictionary(_, value) => delta_type(value)?,
        DataType::Int64 => DeltaType::LONG,
        DataType::Int32 => DeltaType::INTEGER,
        DataType::Int16 => DeltaType::SHORT,
        DataType::Int8 => DeltaType::BYTE,
        DataType::Float64 => DeltaType::DOUBLE,
        DataType::Float32 => DeltaType::FLOAT,
        DataType::Boolean => DeltaType::BOOLEAN,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DeltaType::BINARY,
        DataType::Date32 => DeltaType::DATE,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => DeltaType::TIMESTAMP,
        DataType::Decimal128(precision, scale) => DeltaType::decimal(*precision, u8::try_from(*scale).ok()?).ok()?,
        DataType::List(item) | DataType::LargeList(item) => ArrayType::new(delta_type(item.data_type())?, item.is_nullable()).into(),
        DataType::Struct(fields) => {
            let parts = fields.iter().map(|f| Some(StructField::new(f.name(), delta_type(f.data_type())?, f.is_nullable())));
            StructType::try_new(parts.collect::<Option<Vec<_>>>()?).ok()?.into()
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else { return None };
            let [key, value] = pair.as_ref() else { return None };
            MapType::new(delta_type(key.data_type())?, delta_type(value.data_type())?, value.is_nullable()).into()
        }
        _ => return None,
    })
}

/// How the columns on disk go with those that the program writes.
#[derive(Debug, PartialEq)]
pub(crate) enum Fits {
    /// They are the same.
    Same,
    /// These are missing, and may be: they can be null.
    Lacks(Vec<StructField>),
    /// The first difference that cannot be made good, in words.
    Differs(String),
}

/// Compares, in order. What an earlier version did not have yet it lacks; anything else was made by something else.
pub(crate) fn compare(on_disk: &[StructField], ours: &[StructField]) -> Fits {
    let mut lacking = Vec::new();
    let mut stored = on_disk.iter().enumerate().peekable();
    for field in ours {
        if !on_disk.iter().any(|s| s.name() == field.name()) {
            if !field.nullable {
                return Fits::Differs(format!("column {} is not on disk, and may not be null", field.name()));
            }
            lacking.push(field.clone());
            continue;
        }
        match stored.next() {
            Some((index, stored)) => {
                if let Some(difference) = difference(index, stored, field) {
                    return Fits::Differs(difference);
                }
            }
            None => return Fits::Differs(format!("column {} is not where it should be", field.name())),
        }
    }
    match stored.next() {
        Some((_, extra)) => Fits::Differs(format!("column {} is on disk only", extra.name())),
        None if lacking.is_empty() => Fits::Same,
        None => Fits::Lacks(lacking),
    }
}

fn difference(index: usize, stored: &StructField, field: &StructField) -> Option<String> {
    if stored.name() != field.name() {
        return Some(format!("column {index} on disk is {}, here {}", stored.name(), field.name()));
    }
    if stored.data_type() != field.data_type() {
        return Some(format!("column {} on disk has type {}, here {}", field.name(), stored.data_type(), field.data_type()));
    }
    let word = if stored.nullable { "nullable" } else { "required" };
    (stored.nullable != field.nullable).then(|| format!("column {} on disk is {word}, here not", field.name()))
}
