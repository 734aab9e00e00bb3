#![allow(clippy::unwrap_used)]

use super::*;
use std::fs;

const OVER_PANES: &str = "AS SELECT service, tumble(window_start, INTERVAL '5 minutes') AS window_start, sum(increase) AS n FROM panes GROUP BY 1, 2";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn definitions_come_after_those_they_read() {
    let base = format!("CREATE MATERIALIZED VIEW zz_base {OVER_PANES}");
    let top = "CREATE MATERIALIZED VIEW a_top WITH (shape = 'snapshot', key = 'service') AS SELECT service, max(n) AS n FROM zz_base GROUP BY 1";
    let folder = folder(&[("a_top.sql", top), ("zz_base.sql", &base), ("notes.txt", "nothing")]);
    let read = read(folder.path()).unwrap();
    assert_eq!(read.definitions.iter().map(|f| f.definition.name.as_str()).collect::<Vec<_>>(), ["zz_base", "a_top"]);
    assert_eq!(read.wrong, []);
}

#[test]
fn a_wrong_file_tells_whose_it_is() {
    let base = format!("CREATE MATERIALIZED VIEW right {OVER_PANES}");
    let circle = |a: &str, b: &str| format!("CREATE MATERIALIZED VIEW {a} WITH (key = 'n') AS SELECT n FROM {b}");
    let folder = folder(&[
        ("right.sql", &base),
        ("left.sql", &base),
        ("broken.sql", "CREATE MATERIALIZED"),
        ("c1.sql", &circle("c1", "c2")),
        ("c2.sql", &circle("c2", "c1")),
    ]);
    let read = read(folder.path()).unwrap();
    assert_eq!(read.definitions.len(), 1);
    let wrong: Vec<(&str, bool)> = read.wrong.iter().map(|f| (f.view.as_str(), f.error.contains(&f.path))).collect();
    assert_eq!(wrong, [("broken", true), ("left", true), ("c1", true), ("c2", true)]);
    assert!(read.wrong[1].error.contains("call the file right.sql"), "{}", read.wrong[1].error);
    assert!(read.wrong[2].error.contains("circle"), "{}", read.wrong[2].error);
}

#[test]
fn check_compiles_everything_and_names_every_error() {
    let dimensions = Dimensions::load(None, None, None).unwrap();
    let good = format!("CREATE MATERIALIZED VIEW good {OVER_PANES}");
    let top = "CREATE MATERIALIZED VIEW top WITH (shape = 'snapshot', key = 'service') AS SELECT service, max(n) AS n FROM good GROUP BY 1";
    let right = folder(&[("good.sql", &good), ("top.sql", top)]);
    assert_eq!(check(right.path(), &dimensions).unwrap(), Vec::<String>::new());
    let bad = "CREATE MATERIALIZED VIEW bad AS SELECT service FROM panes";
    let errors = check(folder(&[("good.sql", &good), ("bad.sql", bad), ("worse.sql", "SELECT")]).path(), &dimensions).unwrap();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("worse.sql") && errors[1].contains("bad.sql") && errors[1].contains("cannot run continuously"), "{errors:?}");
    let taken = "CREATE MATERIALIZED VIEW mttr AS SELECT 1";
    let errors = check(folder(&[("mttr.sql", taken)]).path(), &dimensions).unwrap();
    assert!(errors.len() == 1 && errors[0].contains("comes with the program"), "{errors:?}");
    assert!(check(Path::new("no/such/folder"), &dimensions).unwrap_err().to_string().contains("no/such/folder"));
}

#[test]
fn an_error_is_news_once() {
    let files = ViewFiles::default();
    let state = |error: Option<&str>| BTreeMap::from([("v".to_owned(), ViewFile { path: "v.sql".to_owned(), error: error.map(str::to_owned) })]);
    assert_eq!(files.replace(state(Some("no"))), ["no"]);
    assert_eq!(files.replace(state(Some("no"))), Vec::<String>::new());
    assert_eq!(files.replace(state(Some("still no"))), ["still no"]);
    assert_eq!(files.replace(state(None)), Vec::<String>::new());
    assert_eq!(files.replace(state(Some("no"))), ["no"], "what was right in between is news again");
    assert_eq!((files.path_of("v").as_deref(), files.path_of("w")), (Some("v.sql"), None));
}
