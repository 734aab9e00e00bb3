//! The statements of the README's section "Writing a view" are compiled as they stand there, and have the shapes it says.

use crate::definition::Definition;
use crate::plan::{Compiler, shipped, shipped_plain};
use crate::run::fixture::dimensions;
use afferent_engine::query::{Program, ViewSpec};

const README: &str = include_str!("../../../README.md");

/// The blocks of SQL in one section.
fn statements() -> Vec<String> {
    let section = README.split("## Writing a view").nth(1).unwrap().split("\n## ").next().unwrap();
    section.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_statement_of_the_readme_compiles() {
    let dimensions = dimensions();
    let mut known: Vec<ViewSpec> = shipped(&dimensions).unwrap().into_iter().map(|v| v.spec).collect();
    let mut shapes = Vec::new();
    for text in statements() {
        let definition = Definition::parse("README", &text).unwrap_or_else(|e| panic!("{text}\n{e}"));
        let view =
            Compiler::new(&dimensions, &known).with_plain(shipped_plain().unwrap()).compile(&definition).unwrap_or_else(|e| panic!("{text}\n{e}"));
        shapes.push(match &view.program {
            Program::Window(_) => "window",
            Program::Keyed(_) => "keyed",
            Program::Fold(_) => "fold",
            Program::Snapshot(_) => "snapshot",
        });
        known.push(view.spec);
    }
    assert!(shapes.len() >= 10, "{shapes:?}");
    for shape in ["window", "keyed", "fold", "snapshot"] {
        assert!(shapes.contains(&shape), "{shape} is not among {shapes:?}");
    }
}
