#![allow(clippy::unwrap_used)]

use super::*;
use crate::views::tests::played;
use afferent_engine::control::control;
use std::fs;

struct Folder {
    folder: tempfile::TempDir,
    live: Arc<Live>,
    files: Arc<ViewFiles>,
    follower: Follower,
    control: Control,
}

fn start() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let (live, files) = (Arc::new(Live::default()), Arc::new(ViewFiles::default()));
    let (control, commands) = control();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    drop(tokio::spawn(played(commands, live.clone())));
    let follower = Follower::new(folder.path().to_owned(), control.clone(), live.clone(), files.clone());
    Folder { folder, live, files, follower, control }
}

impl Folder {
    fn write(&self, name: &str, column: &str) {
        let text = format!(
            "CREATE MATERIALIZED VIEW {name} AS SELECT tumble(window_start, INTERVAL '5 minutes') AS window_start, count(*) AS {column} FROM panes GROUP BY 1"
        );
        fs::write(self.folder.path().join(format!("{name}.sql")), text).unwrap();
    }

    /// Generations of a view by their origin.
    fn generations(&self, name: &str) -> Vec<Origin> {
        self.live.view().status.views.get(name).map(|v| v.generations.iter().map(|g| g.origin).collect()).unwrap_or_default()
    }
}

#[tokio::test]
async fn views_become_what_the_files_say() {
    let mut world = start();
    world.write("a", "n");
    world.write("b", "n");
    world.follower.round().await;
    world.follower.round().await;
    assert_eq!((world.generations("a"), world.generations("b")), (vec![Origin::File], vec![Origin::File]), "once, however often it looks");
    assert!(world.files.path_of("a").unwrap().ends_with("a.sql"));
    world.write("a", "changed");
    world.follower.round().await;
    assert_eq!(world.generations("a").len(), 2);
    fs::remove_file(world.folder.path().join("b.sql")).unwrap();
    world.follower.round().await;
    assert_eq!((world.generations("a").len(), world.generations("b").len()), (2, 0));
    assert_eq!(world.files.path_of("b"), None);
}

#[tokio::test]
async fn a_wrong_file_leaves_what_serves_alone() {
    let mut world = start();
    world.write("a", "n");
    world.write("c", "refused");
    world.follower.round().await;
    assert_eq!(world.files.errors().len(), 1, "{:?}", world.files.errors());
    assert!(world.files.errors()[0].1.contains("refused by the engine"));
    fs::write(world.folder.path().join("a.sql"), "CREATE MATERIALIZED VIEW a AS SELEC").unwrap();
    world.follower.round().await;
    assert_eq!(world.generations("a"), [Origin::File], "neither dropped nor replaced");
    assert_eq!(world.files.errors().iter().map(|(view, _)| view.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    world.write("a", "n");
    world.write("c", "n");
    world.follower.round().await;
    assert_eq!((world.files.errors(), world.generations("c").len()), (Vec::new(), 1));
}

#[tokio::test]
async fn only_views_from_files_are_dropped_also_after_a_restart() {
    let mut world = start();
    world.write("a", "n");
    world.follower.round().await;
    let sql = "CREATE MATERIALIZED VIEW s AS SELECT 1".to_owned();
    world.control.define(Define { name: TableName::new("s"), sql, replace: false, origin: Origin::Statement }).await.unwrap();
    fs::remove_file(world.folder.path().join("a.sql")).unwrap();
    // A new process knows from the engine alone which views came from files.
    let mut fresh = Follower::new(world.folder.path().to_owned(), world.control.clone(), world.live.clone(), world.files.clone());
    fresh.round().await;
    assert_eq!((world.generations("a").len(), world.generations("s").len()), (0, 1));
    // A folder that is gone is an accident, not an order to drop everything.
    world.write("a", "n");
    fresh.round().await;
    fs::remove_dir_all(world.folder.path()).unwrap();
    fresh.round().await;
    assert_eq!(world.generations("a").len(), 1);
    let told = world.files.errors();
    assert!(matches!(&told[..], [(view, error)] if view == "a" && error.contains("cannot be read")), "{told:?}");
    fs::create_dir_all(world.folder.path()).unwrap();
    world.write("a", "n");
    fresh.round().await;
    assert_eq!((world.generations("a").len(), world.files.errors()), (1, Vec::new()), "and it is well again with the folder");
}

#[tokio::test]
async fn a_view_waits_for_the_one_it_reads() {
    let mut world = start();
    world.write("base", "n");
    let text = "CREATE MATERIALIZED VIEW above WITH (shape = 'snapshot', key = 'n') AS SELECT n FROM base";
    fs::write(world.folder.path().join("above.sql"), text).unwrap();
    world.follower.round().await;
    assert_eq!((world.generations("base").len(), world.generations("above").len()), (1, 0));
    assert_eq!(world.files.errors(), [], "waiting is no error");
    let name = TableName::new("base");
    let schema = Arc::new(arrow::datatypes::Schema::empty());
    let info = afferent_engine::live::ViewInfo { schema, key: Vec::new(), sql: String::new(), generation: 1, table: name.clone() };
    world.live.update(|view| drop(view.views.insert(name, info)));
    world.follower.round().await;
    assert_eq!(world.generations("above").len(), 1);
}

#[tokio::test]
async fn a_view_that_others_read_stays_without_its_file_and_says_so() {
    let mut world = start();
    world.write("read_by_others", "n");
    world.follower.round().await;
    fs::remove_file(world.folder.path().join("read_by_others.sql")).unwrap();
    world.follower.round().await;
    assert_eq!(world.generations("read_by_others").len(), 1);
    let told = world.files.errors();
    assert!(matches!(&told[..], [(view, error)] if view == "read_by_others" && error.contains("is gone, but: ")), "{told:?}");
}
