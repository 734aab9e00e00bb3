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

/// The first difference between what is on disk and what the program writes, in words.
pub(crate) fn difference<'a>(on_disk: impl Iterator<Item = &'a StructField>, ours: &[StructField]) -> Option<String> {
    let mut on_disk = on_disk;
    for (index, field) in ours.iter().enumerate() {
        match on_disk.next() {
            None => return Some(format!("column {} is not on disk", field.name())),
            Some(stored) if stored.name() != field.name() => {
                return Some(format!("column {index} on disk is {}, here {}", stored.name(), field.name()));
            }
            Some(stored) if stored.data_type() != field.data_type() => {
                return Some(format!("column {} on disk has type {}, here {}", field.name(), stored.data_type(), field.data_type()));
            }
            Some(stored) if stored.nullable && !field.nullable || !stored.nullable && field.nullable => {
                return Some(format!("column {} on disk is {}, here not", field.name(), if stored.nullable { "nullable" } else { "required" }));
            }
            Some(_) => {}
        }
    }
    on_disk.next().map(|extra| format!("column {} is on disk only", extra.name()))
}
