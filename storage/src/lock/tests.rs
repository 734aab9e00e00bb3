//! The second is refused and told who is first; a holder whose file was replaced finds out.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn the_second_is_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = FolderLock::take(folder.path()).unwrap();
    let NotOurs::Held { holder } = FolderLock::take(folder.path()).unwrap_err() else { panic!("held") };
    assert!(holder.starts_with(&format!("process {} on host ", std::process::id())), "{holder}");
    first.check().unwrap();
    drop(first);
    FolderLock::take(folder.path()).unwrap().check().unwrap();
}

#[test]
fn a_holder_whose_file_was_replaced_is_not_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let first = FolderLock::take(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join(LOCK_FILE)).unwrap();
    let NotOurs::Held { holder } = first.check().unwrap_err() else { panic!("held") };
    assert!(holder.contains("removed"), "{holder}");
    let second = FolderLock::take(folder.path()).unwrap();
    let NotOurs::Held { holder } = first.check().unwrap_err() else { panic!("held") };
    assert!(holder.starts_with("process "), "{holder}");
    second.check().unwrap();
}
