#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

type Decoded = Vec<(Vec<(String, String)>, Vec<(i64, f64)>)>;

/// A second reading of the same format, written from the message definition alone.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> u64 {
        let mut value = 0;
        for i in 0.. {
            let byte = self.0[0];
            self.0 = &self.0[1..];
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len);
        self.0 = tail;
        head
    }

    fn message(&mut self) -> (u64, Reader<'a>) {
        let tag = self.varint();
        assert_eq!(tag & 7, 2);
        let len = self.varint() as usize;
        (tag >> 3, Reader(self.take(len)))
    }
}

fn decode(body: &[u8]) -> Decoded {
    let mut raw = vec![0; snap::raw::decompress_len(body).unwrap()];
    snap::raw::Decoder::new().decompress(body, &mut raw).unwrap();
    let mut request = Reader(&raw);
    let mut out = Vec::new();
    while !request.0.is_empty() {
        let (number, mut series) = request.message();
        assert_eq!(number, 1);
        let (mut labels, mut samples) = (Vec::new(), Vec::new());
        while !series.0.is_empty() {
            let (number, mut inner) = series.message();
            if number == 1 {
                let (_, name) = inner.message();
                let (_, value) = inner.message();
                labels.push((String::from_utf8(name.0.to_vec()).unwrap(), String::from_utf8(value.0.to_vec()).unwrap()));
            } else {
                assert_eq!((number, inner.varint()), (2, 0x09));
                let value = f64::from_le_bytes(inner.take(8).try_into().unwrap());
                assert_eq!(inner.varint(), 0x10);
                samples.push((inner.varint() as i64, value));
            }
        }
        out.push((labels, samples));
    }
    out
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(
        samples in prop::collection::vec((0usize..3, any::<i64>(), any::<f64>()), 0..40),
        value in "[a-zA-Z0-9/ \u{4e00}-\u{4e10}]{1,200}",
    ) {
        let mut batch = Batch::default();
        let slots: Vec<Slot> =
            (0..3).map(|i| batch.series("m", &[("z", value.as_str()), ("a", &i.to_string())]).unwrap()).collect();
        for (slot, time, sample) in &samples {
            batch.push(slots[*slot], *time, *sample);
        }
        prop_assert_eq!(batch.sample_count(), samples.len());
        let body = batch.take_body().unwrap();
        prop_assert_eq!(body.is_none(), samples.is_empty());
        for (labels, found) in body.map(|b| decode(&b)).unwrap_or_default() {
            let names: Vec<&str> = labels.iter().map(|(n, _)| n.as_str()).collect();
            prop_assert_eq!(names, ["__name__", "a", "z"]);
            prop_assert_eq!(&labels[2].1, &value);
            let slot: usize = labels[1].1.parse().unwrap();
            let sent: Vec<(i64, u64)> = samples.iter().filter(|(s, ..)| *s == slot).map(|(_, t, v)| (*t, v.to_bits())).collect();
            let found: Vec<(i64, u64)> = found.iter().map(|(t, v)| (*t, v.to_bits())).collect();
            prop_assert_eq!(found, sent);
        }
        prop_assert_eq!(batch.take_body().unwrap(), None);
    }
}
