#![allow(clippy::unwrap_used)]
use super::*;
use crate::remote_write::tests::{decoders, limits, record, rich_v1, rich_v2, snappy};

#[test]
fn a_replay_decodes_alike() {
    for (format, body) in [(Format::RemoteWriteV1, rich_v1()), (Format::RemoteWriteV2, rich_v2())] {
        let live = decoders();
        let record = record(format, snappy(&body));
        let first = live.read(&record).unwrap();
        let again = live.read(&record).unwrap();
        let replayed = decoders().decode(&record).unwrap();
        assert_eq!(format!("{first:?}"), format!("{again:?}"), "known series change nothing");
        assert_eq!(format!("{first:?}"), format!("{replayed:?}"));
    }
}

#[test]
fn a_size_limit_lowered_since_does_not_make_the_log_unreadable() {
    let record = record(Format::RemoteWriteV1, snappy(&rich_v1()));
    let strict = Decoders::new(limits(|limits| limits.inflated_bytes_max = 100));
    assert!(matches!(strict.read(&record), Err(Error::TooLarge { .. })));
    assert!(strict.decode(&record).is_ok());
}

#[test]
fn a_record_that_cannot_be_read_is_corrupt() {
    let error = decoders().decode(&record(Format::RemoteWriteV2, b"junk".to_vec())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("request 1 from test"), "{error}");
}
