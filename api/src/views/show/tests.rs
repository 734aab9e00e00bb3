#![allow(clippy::unwrap_used)]

use super::*;
use afferent_engine::control::Origin;
use afferent_engine::status::{Status, ViewStatus};
use afferent_engine::table::{DataFile, TableFiles};

const DAY: i64 = 86_400_000;

fn generation(generation: u64, state: GenerationState) -> GenerationStatus {
    GenerationStatus {
        generation,
        state,
        origin: Origin::File,
        sql: "CREATE MATERIALIZED VIEW v AS SELECT 1".to_owned(),
        filled: Some((Some(EventTime(DAY + DAY / 2)), EventTime(3 * DAY))),
        rows_read: 4,
        rows_written: 2,
        difference: None,
        error: None,
    }
}

fn read_view() -> ReadView {
    let mut status = Status::default();
    let generations = vec![generation(1, GenerationState::Serving), generation(2, GenerationState::Filling)];
    status.views.insert("v".to_owned(), ViewStatus { generations, error: Some("its input is gone".to_owned()), ..ViewStatus::default() });
    let mut view = ReadView { status: Arc::new(status), ..ReadView::default() };
    let file = |date: &str| DataFile { path: date.to_owned(), date: date.to_owned(), size_bytes: 1, row_count: 1, stats: String::new() };
    let files = TableFiles { version: 1, files: vec![file("1970-01-03"), file("1970-01-02")] };
    view.files.insert(TableName::new(ROLLUP_1M), Arc::new(files));
    view
}

#[test]
fn progress_is_the_share_of_the_history_there_is() {
    let lines = lines(&read_view(), &[]);
    assert_eq!(
        lines.iter().map(|l| (l.generation, l.state, l.progress)).collect::<Vec<_>>(),
        [(Some(1), "serving", Some(1.0)), (Some(2), "filling", Some(0.25))]
    );
    assert_eq!(lines[0].error.as_deref(), Some("its input is gone"));
    assert_eq!(lines[1].error, None);
    assert_eq!(share(Some((Some(EventTime(5)), EventTime(9))), None), None, "without history there is no share");
}

#[test]
fn the_error_of_a_file_stands_with_its_view() {
    let wrong = [("v".to_owned(), "v.sql: no".to_owned()), ("w".to_owned(), "w.sql: no".to_owned())];
    let lines = lines(&read_view(), &wrong);
    assert_eq!(lines[1].error.as_deref(), Some("v.sql: no"), "with the newest generation");
    assert_eq!((lines[2].name.as_str(), lines[2].state, lines[2].generation), ("w", WRONG_FILE, None));
    assert_eq!(batch(&lines).unwrap().num_rows(), 3);
    assert_eq!(batch(&[]).unwrap().num_rows(), 0);
}
