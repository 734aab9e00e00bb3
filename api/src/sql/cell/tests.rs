#![allow(clippy::unwrap_used)]

use super::*;
use arrow::array::*;
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Field, Fields, Int32Type};
use proptest::prelude::*;
use std::sync::Arc;

fn show(array: ArrayRef) -> Vec<String> {
    let cell = cell(&array).unwrap();
    let text = |row| {
        let mut out = Vec::new();
        cell(row, &mut out);
        String::from_utf8(out).unwrap()
    };
    (0..array.len()).map(text).collect()
}

#[test]
fn numbers_keep_every_digit_and_what_is_no_number_is_a_word() {
    assert_eq!(show(Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(i64::MIN)]))), ["9223372036854775807", "null", "-9223372036854775808"]);
    assert_eq!(show(Arc::new(UInt64Array::from(vec![u64::MAX]))), ["18446744073709551615"]);
    let floats = Float64Array::from(vec![0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -0.0]);
    assert_eq!(show(Arc::new(floats)), ["0.1", "\"NaN\"", "\"Inf\"", "\"-Inf\"", "1e+300", "-0.0"]);
    let money = Decimal128Array::from(vec![1_234_567_890_123_456_789_012]).with_precision_and_scale(38, 9).unwrap();
    assert_eq!(show(Arc::new(money)), ["1234567890123.456789012"]);
}

#[test]
fn timestamps_are_rfc_3339_in_their_unit_and_zone() {
    let at = |zone: Option<&str>| {
        let array = TimestampMicrosecondArray::from(vec![Some(1_763_835_000_123_456), None]);
        show(Arc::new(array.with_timezone_opt(zone.map(Arc::from))))
    };
    assert_eq!(at(Some("UTC")), ["\"2025-11-22T18:10:00.123456Z\"", "null"]);
    assert_eq!(at(Some("+08:00")), ["\"2025-11-23T02:10:00.123456+08:00\"", "null"]);
    assert_eq!(at(Some("Asia/Taipei")), ["\"2025-11-23T02:10:00.123456+08:00\"", "null"]);
    assert_eq!(at(None), ["\"2025-11-22T18:10:00.123456\"", "null"]);
    assert_eq!(show(Arc::new(TimestampSecondArray::from(vec![0]).with_timezone("UTC"))), ["\"1970-01-01T00:00:00Z\""]);
    assert_eq!(show(Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]))), ["\"9223372036854775807\""]);
    let unknown: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0]).with_timezone("Mars/Base"));
    assert!(cell(&unknown).is_err());
}

#[test]
fn dictionaries_are_their_words_and_null_words_are_null() {
    let values = StringArray::from(vec![Some("up"), None, Some("a\"b\n")]);
    let array = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![Some(0), Some(1), None, Some(2)]), Arc::new(values));
    assert_eq!(show(Arc::new(array)), ["\"up\"", "null", "null", "\"a\\\"b\\n\""]);
}

#[test]
fn maps_lists_and_structs_nest() {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    maps.keys().append_value("job");
    maps.values().append_value("node");
    maps.keys().append_value("a");
    maps.values().append_null();
    maps.append(true).unwrap();
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    let maps: ArrayRef = Arc::new(maps.finish());
    assert_eq!(show(maps.clone()), ["{\"job\":\"node\",\"a\":null}", "{}", "null"]);

    let items = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::NAN)]));
    let field = Arc::new(Field::new("item", DataType::Float64, true));
    let lists = ListArray::new(field, OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 2, 3])), items, None);
    let lists: ArrayRef = Arc::new(lists);
    assert_eq!(show(lists.clone()), ["[1.0,null]", "[]", "[\"NaN\"]"]);

    let fields = Fields::from(vec![Field::new("m", maps.data_type().clone(), true), Field::new("l", lists.data_type().clone(), true)]);
    let both: ArrayRef = Arc::new(StructArray::new(fields, vec![maps, lists], None));
    assert_eq!(show(both.clone())[0], "{\"m\":{\"job\":\"node\",\"a\":null},\"l\":[1.0,null]}");
    // A slice must not show its neighbours.
    assert_eq!(show(both.slice(1, 1)), ["{\"m\":{},\"l\":[]}"]);
}

#[test]
fn rarer_types_have_a_text_form() {
    assert_eq!(show(Arc::new(Date32Array::from(vec![20_000]))), ["\"2024-10-04\""]);
    assert_eq!(show(Arc::new(BinaryArray::from(vec![b"\x00\xff".as_ref()]))), ["\"00ff\""]);
    assert_eq!(show(Arc::new(NullArray::new(2))), ["null", "null"]);
    assert_eq!(show(Arc::new(BooleanArray::from(vec![Some(true), None]))), ["true", "null"]);
    assert_eq!(show(Arc::new(DurationMillisecondArray::from(vec![1500]))).len(), 1);
    assert_eq!(type_name(&DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))), "string");
    assert_eq!(type_name(&afferent_engine::schema::labels()), "map<string,string>");
}

proptest! {
    /// A JSON reader that keeps numbers as they are written gets every value back.
    #[test]
    fn what_is_written_reads_back(ints in proptest::collection::vec(any::<Option<i64>>(), 0..20), floats in proptest::collection::vec(any::<f64>(), 0..20), words in proptest::collection::vec(any::<Option<String>>(), 0..20)) {
        for (text, value) in show(Arc::new(Int64Array::from(ints.clone()))).iter().zip(&ints) {
            prop_assert_eq!(serde_json::from_str::<Option<i64>>(text).unwrap(), *value);
        }
        for (text, value) in show(Arc::new(StringArray::from(words.clone()))).iter().zip(&words) {
            prop_assert_eq!(&serde_json::from_str::<Option<String>>(text).unwrap(), value);
        }
        for (text, value) in show(Arc::new(Float64Array::from(floats.clone()))).iter().zip(&floats) {
            match serde_json::from_str::<serde_json::Value>(text).unwrap() {
                serde_json::Value::String(word) => prop_assert!(!value.is_finite() && word.trim_start_matches('-').len() == 3),
                number => prop_assert_eq!(number.as_f64().unwrap().to_bits(), value.to_bits()),
            }
        }
    }
}
