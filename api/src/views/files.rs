//! A folder of view definitions, one per file, read and put in order; and what is known of each while the server runs. Not the defining (`follow`).

use afferent_queries::definition::Definition;
use afferent_queries::dimensions::Dimensions;
use afferent_queries::plan::{Compiler, shipped, shipped_definitions, shipped_plain};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

/// Files a folder may have.
pub const FILES_MAX: usize = 1_000;

/// Bytes of one file that are read; a definition has its own, smaller limit.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file and what it defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionFile {
    /// Its path.
    pub path: String,
    /// What it says.
    pub definition: Definition,
}

/// A file that defines nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongFile {
    /// Its path.
    pub path: String,
    /// The view it is called after.
    pub view: String,
    /// What is wrong.
    pub error: String,
}

/// What a folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// Definitions, each after those it reads.
    pub definitions: Vec<DefinitionFile>,
    /// The rest.
    pub wrong: Vec<WrongFile>,
}

/// Reads every `.sql` file of a folder. The name of a file is that of its view, so that a file which cannot be read still tells whose it is.
///
/// # Errors
/// Where the folder itself cannot be read; what is wrong with a file stands in the answer.
pub fn read(folder: &Path) -> io::Result<Folder> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "sql") && path.is_file() {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} files")));
        }
    }
    paths.sort();
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for path in paths {
        let view = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let shown = path.display().to_string();
        match definition(&path, &shown, &view) {
            Ok(definition) => found.push(DefinitionFile { path: shown, definition }),
            Err(error) => wrong.push(WrongFile { path: shown, view, error }),
        }
    }
    Ok(in_order(found, wrong))
}

fn definition(path: &Path, shown: &str, view: &str) -> Result<Definition, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("{shown}: {e}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{shown}: {size} bytes, which is more than {FILE_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}"))?;
    let definition = Definition::parse(shown, &text).map_err(|e| e.to_string())?;
    if definition.name != view {
        return Err(format!("{shown}: it defines the view {:?}; call the file {}.sql", definition.name, definition.name));
    }
    Ok(definition)
}

/// Each definition after those it reads; a circle is wrong.
fn in_order(mut left: Vec<DefinitionFile>, mut wrong: Vec<WrongFile>) -> Folder {
    let mut definitions: Vec<DefinitionFile> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let names: BTreeSet<String> = left.iter().map(|file| file.definition.name.clone()).collect();
        let (waiting, ready): (Vec<_>, Vec<_>) = left.into_iter().partition(|file| !file.definition.reads.is_disjoint(&names));
        if ready.is_empty() {
            let circle: Vec<&str> = waiting.iter().map(|file| file.definition.name.as_str()).collect();
            let error = |file: &DefinitionFile| format!("{}: the views {} read each other in a circle", file.path, circle.join(", "));
            wrong.extend(waiting.iter().map(|file| WrongFile { path: file.path.clone(), view: file.definition.name.clone(), error: error(file) }));
            break;
        }
        definitions.extend(ready);
        left = waiting;
    }
    Folder { definitions, wrong }
}

/// Compiles every definition of a folder over the shipped views; gives what is wrong, file by file.
///
/// # Errors
/// Where the folder cannot be read, or a shipped view does not compile with these dimensions.
pub fn check(folder: &Path, dimensions: &Dimensions) -> anyhow::Result<Vec<String>> {
    let read = read(folder).map_err(|e| anyhow::anyhow!("{}: {e}", folder.display()))?;
    let mut known: Vec<_> = shipped(dimensions)?.into_iter().map(|view| view.spec).collect();
    let plain = shipped_plain()?;
    let mut errors: Vec<String> = read.wrong.into_iter().map(|file| file.error).collect();
    let own: BTreeSet<String> = shipped_definitions()?.into_iter().map(|definition| definition.name).collect();
    for file in read.definitions {
        if own.contains(&file.definition.name) {
            errors.push(format!("{}: the view {} comes with the program; choose another name", file.path, file.definition.name));
            continue;
        }
        let compiled = Compiler::new(dimensions, &known).with_plain(plain.clone()).compile(&file.definition);
        match compiled {
            Ok(view) => known.push(view.spec),
            Err(error) => errors.push(format!("{}: {error}", file.path)),
        }
    }
    Ok(errors)
}

/// The files of the running server, by the view they are called after.
#[derive(Debug, Default)]
pub struct ViewFiles {
    known: RwLock<BTreeMap<String, ViewFile>>,
}

/// One file of the running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewFile {
    /// Its path.
    pub path: String,
    /// Why it defines nothing at present.
    pub error: Option<String>,
}

impl ViewFiles {
    /// The file that a view is defined by.
    pub fn path_of(&self, view: &str) -> Option<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(view).map(|file| file.path.clone())
    }

    /// Views whose file is wrong, with the reason.
    pub fn errors(&self) -> Vec<(String, String)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(|(view, file)| Some((view.clone(), file.error.clone()?))).collect()
    }

    /// Takes over what is known now; gives the errors that are new.
    pub fn replace(&self, files: BTreeMap<String, ViewFile>) -> Vec<String> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = |view: &str| known.get(view).and_then(|file| file.error.as_ref());
        let news = files.iter().filter(|(view, file)| file.error.is_some() && before(view) != file.error.as_ref());
        let news = news.filter_map(|(_, file)| file.error.clone()).collect();
        *known = files;
        news
    }
}

#[cfg(test)]
mod tests;
