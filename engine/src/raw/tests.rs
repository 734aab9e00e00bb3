use super::*;
use crate::query::LabelInventory;
use crate::registry::Registry;
use crate::series::Labels;
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

fn registry(series: u32) -> Registry {
    let mut registry = Registry::new(Arc::new(LabelInventory), 1000);
    for i in 0..series {
        let (name, host) = (format!("m{}", i % 3), format!("h{i}"));
        let labels = Labels::from_pairs([("__name__", name.as_str()), ("instance", host.as_str())]).expect("valid");
        registry.register(labels.key(), labels.canonical(), 0).expect("room");
    }
    registry
}

fn rows(batches: &[RecordBatch]) -> Vec<(String, i64, i64, Option<u64>)> {
    let mut out = vec![];
    for batch in batches {
        let metric = batch.column(0).as_dictionary::<Int32Type>().downcast_dict::<StringArray>().expect("text");
        let id = batch.column(1).as_primitive::<Int64Type>();
        let time = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        let value = batch.column(3).as_primitive::<Float64Type>();
        for (i, m) in metric.into_iter().enumerate() {
            let v = (!arrow::array::Array::is_null(value, i)).then(|| value.value(i).to_bits());
            out.push((m.unwrap_or_default().to_owned(), id.value(i), time.value(i), v));
        }
    }
    out
}

proptest! {
    #[test]
    fn an_epoch_is_sorted_and_complete(pushed in prop::collection::vec((0u32..7, 0i64..50, any::<u64>()), 0..300), seals in prop::collection::vec(any::<bool>(), 300)) {
        let registry = registry(7);
        let mut buffer = RawBuffer::default();
        let mut want = vec![];
        for ((series, time, bits), seal) in pushed.into_iter().zip(seals) {
            buffer.push(series, time, f64::from_bits(bits));
            let info = registry.info(series).expect("there");
            want.push((registry.metrics()[info.metric as usize].name.to_string(), info.id.0, time * 1000, (bits != STALE_NAN_BITS).then_some(bits)));
            if seal { buffer.seal(); }
        }
        let held = buffer.len();
        let chunks = buffer.take();
        prop_assert_eq!(held, want.len());
        let live = LiveSamples { chunks: chunks.clone(), directory: registry.directory(), names: metric_names(registry.metrics()) };
        prop_assert_eq!(rows(&live.scan(&LiveFilter::default()).unwrap()), want.clone());
        let some = LiveFilter { metric: Some("m1".into()), micros: Some(10_000..20_001) };
        let filtered: Vec<_> = want.iter().filter(|r| r.0 == "m1" && (10_000..20_001).contains(&r.2)).cloned().collect();
        prop_assert_eq!(rows(&live.scan(&some).unwrap()), filtered);
        let sorted: Vec<_> = SortedSamples::new(chunks, registry.directory(), registry.metrics()).collect();
        want.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
        prop_assert_eq!(rows(&sorted), want);
    }
}
