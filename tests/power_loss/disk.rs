//! A model of a disk with a cache: what calls have written, and what of it is on the medium because it was synced.
//!
//! Stricter than file systems are: bytes are safe only after a sync of their file, a name only after a sync of its folder.

use super::trace::Call;
use afferent_engine::sim::faults::Dice;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

type Node = usize;

/// What a file's bytes were changed by, not yet synced.
#[derive(Debug, Clone)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Truncate(u64),
}

/// A change of a folder's names, not yet synced: names that go and names that come.
#[derive(Debug, Clone)]
struct Naming {
    gone: Option<String>,
    come: Option<(String, Node)>,
}

#[derive(Debug, Clone, Default)]
struct File {
    synced: Vec<u8>,
    /// Changes since, each with the line at which it was done.
    pending: Vec<(usize, Change)>,
    length: u64,
}

#[derive(Debug, Clone, Default)]
struct Folder {
    synced: BTreeMap<String, Node>,
    now: BTreeMap<String, Node>,
    pending: Vec<(usize, Naming)>,
}

#[derive(Debug, Clone)]
enum Thing {
    File(File),
    Folder(Folder),
}

/// The disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: String,
    things: Vec<Thing>,
    /// Open files: node and cursor.
    open: HashMap<i64, (Node, u64)>,
}

impl Disk {
    /// An empty folder; calls on anything outside it are passed over.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.display().to_string(), things: vec![Thing::Folder(Folder::default())], open: HashMap::new() }
    }

    /// Does a call.
    ///
    /// # Errors
    /// Where the model does not know what the call does to a file of ours.
    pub(super) fn apply(&mut self, call: &Call) -> Result<()> {
        let arguments = &call.arguments;
        let done = call.result >= 0;
        match call.name.as_str() {
            "close" => {
                self.open.remove(&arguments[0].number()?);
            }
            _ if !done => {}
            "openat" => self.open_file(call)?,
            "lseek" => {
                let file = arguments[0].number()?;
                self.open.entry(file).and_modify(|(_, cursor)| *cursor = call.result.unsigned_abs());
            }
            "write" | "writev" => {
                let file = arguments[0].number()?;
                if let Some((node, cursor)) = self.open.get(&file).copied() {
                    self.write(node, cursor, &arguments[1].bytes, call)?;
                    self.open.insert(file, (node, cursor + call.result.unsigned_abs()));
                }
            }
            "pwrite64" => {
                if let Some((node, _)) = self.open.get(&arguments[0].number()?).copied() {
                    self.write(node, arguments[3].number()?.unsigned_abs(), &arguments[1].bytes, call)?;
                }
            }
            "ftruncate" => {
                if let Some((node, _)) = self.open.get(&arguments[0].number()?).copied() {
                    let length = arguments[1].number()?.unsigned_abs();
                    let file = self.file(node)?;
                    file.length = length;
                    file.pending.push((call.ended, Change::Truncate(length)));
                }
            }
            "fsync" | "fdatasync" => {
                if let Some((node, _)) = self.open.get(&arguments[0].number()?).copied() {
                    self.sync(node, call.began);
                }
            }
            "mkdir" => self.make_folder(&arguments[0].path(), call.ended)?,
            "mkdirat" => self.make_folder(&arguments[1].path(), call.ended)?,
            "unlink" | "rmdir" => self.unlink(&arguments[0].path(), call.ended)?,
            "unlinkat" => self.unlink(&arguments[1].path(), call.ended)?,
            "rename" => self.rename(&arguments[0].path(), &arguments[1].path(), call.ended)?,
            "renameat" | "renameat2" => self.rename(&arguments[1].path(), &arguments[3].path(), call.ended)?,
            "link" => self.link(&arguments[0].path(), &arguments[1].path(), call.ended)?,
            "linkat" => self.link(&arguments[1].path(), &arguments[3].path(), call.ended)?,
            other => {
                let ours = arguments.iter().any(|a| a.number().is_ok_and(|n| self.open.contains_key(&n)) || self.below(&a.path()).is_some());
                ensure!(!ours, "the model does not know {other}");
            }
        }
        Ok(())
    }

    /// Names of the path below the root; none outside.
    fn below<'a>(&self, path: &'a str) -> Option<Vec<&'a str>> {
        let rest = path.strip_prefix(&self.root)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.split('/').filter(|name| !name.is_empty()).collect())
    }

    fn find(&self, names: &[&str]) -> Option<Node> {
        names.iter().try_fold(0, |node, name| match &self.things[node] {
            Thing::Folder(folder) => folder.now.get(*name).copied(),
            Thing::File(_) => None,
        })
    }

    fn file(&mut self, node: Node) -> Result<&mut File> {
        match &mut self.things[node] {
            Thing::File(file) => Ok(file),
            Thing::Folder(_) => bail!("a folder is used as a file"),
        }
    }

    fn open_file(&mut self, call: &Call) -> Result<()> {
        let (path, flags) = (call.arguments[1].path(), &call.arguments[2].text);
        // The number may have been that of a file that was closed without a trace.
        self.open.remove(&call.result);
        let Some(names) = self.below(&path) else { return Ok(()) };
        let node = match self.find(&names) {
            Some(node) => node,
            None => {
                ensure!(flags.contains("O_CREAT"), "{path} was opened, but is not known");
                self.things.push(Thing::File(File::default()));
                let node = self.things.len() - 1;
                self.name(&names, Some(node), call.ended)?;
                node
            }
        };
        if flags.contains("O_TRUNC") {
            let file = self.file(node)?;
            file.length = 0;
            file.pending.push((call.ended, Change::Truncate(0)));
        }
        ensure!(!flags.contains("O_APPEND"), "{path} was opened to append");
        self.open.insert(call.result, (node, 0));
        Ok(())
    }

    fn write(&mut self, node: Node, at: u64, bytes: &[u8], call: &Call) -> Result<()> {
        let written = usize::try_from(call.result)?;
        let bytes = bytes.get(..written).context("fewer bytes than were written")?.to_vec();
        let file = self.file(node)?;
        file.length = file.length.max(at + bytes.len() as u64);
        file.pending.push((call.ended, Change::Write { at, bytes }));
        Ok(())
    }

    /// What was done before the sync began is on the medium.
    fn sync(&mut self, node: Node, began: usize) {
        match &mut self.things[node] {
            Thing::File(file) => {
                let mut left = vec![];
                for (at, change) in std::mem::take(&mut file.pending) {
                    if at < began { change.apply(&mut file.synced) } else { left.push((at, change)) }
                }
                file.pending = left;
            }
            Thing::Folder(folder) => {
                let mut left = vec![];
                for (at, naming) in std::mem::take(&mut folder.pending) {
                    if at < began { naming.apply(&mut folder.synced) } else { left.push((at, naming)) }
                }
                folder.pending = left;
            }
        }
    }

    /// Gives a name to a thing, or takes it away.
    fn name(&mut self, names: &[&str], node: Option<Node>, at: usize) -> Result<()> {
        let (last, above) = names.split_last().context("the root has no name")?;
        let naming = match node {
            Some(node) => Naming { gone: None, come: Some(((*last).to_owned(), node)) },
            None => Naming { gone: Some((*last).to_owned()), come: None },
        };
        self.rename_in(above, naming, at)
    }

    fn rename_in(&mut self, above: &[&str], naming: Naming, at: usize) -> Result<()> {
        let folder = self.find(above).with_context(|| format!("no folder {above:?}"))?;
        let Thing::Folder(folder) = &mut self.things[folder] else { bail!("{above:?} is no folder") };
        naming.apply(&mut folder.now);
        folder.pending.push((at, naming));
        Ok(())
    }

    fn make_folder(&mut self, path: &str, at: usize) -> Result<()> {
        let Some(names) = self.below(path).filter(|names| !names.is_empty()) else { return Ok(()) };
        self.things.push(Thing::Folder(Folder::default()));
        let node = self.things.len() - 1;
        self.name(&names, Some(node), at)
    }

    fn unlink(&mut self, path: &str, at: usize) -> Result<()> {
        let Some(names) = self.below(path) else { return Ok(()) };
        self.name(&names, None, at)
    }

    fn rename(&mut self, from: &str, to: &str, at: usize) -> Result<()> {
        let (Some(from), Some(to)) = (self.below(from), self.below(to)) else { return Ok(()) };
        let node = self.find(&from).with_context(|| format!("{from:?} is not known"))?;
        let ((old, above), (new, above_new)) = (from.split_last().context("root")?, to.split_last().context("root")?);
        ensure!(above == above_new, "the model renames within a folder only");
        self.rename_in(above, Naming { gone: Some((*old).to_owned()), come: Some(((*new).to_owned(), node)) }, at)
    }

    fn link(&mut self, from: &str, to: &str, at: usize) -> Result<()> {
        let (Some(from), Some(to)) = (self.below(from), self.below(to)) else { return Ok(()) };
        let node = self.find(&from).with_context(|| format!("{from:?} is not known"))?;
        self.name(&to, Some(node), at)
    }

    /// Writes what the medium holds after the power went: what was synced; with `luck`, some of what was not: of each folder's changes a first
    /// part, of each file's any, the last one perhaps cut short.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub(super) fn after_power_loss(&self, to: &Path, luck: Option<&mut Dice>) -> Result<usize> {
        let mut written = 0;
        let mut luck = luck;
        self.restore(0, to, &mut luck, &mut written)?;
        Ok(written)
    }

    fn restore(&self, node: Node, to: &Path, luck: &mut Option<&mut Dice>, written: &mut usize) -> Result<()> {
        match &self.things[node] {
            Thing::Folder(folder) => {
                fs::create_dir_all(to)?;
                let mut names = folder.synced.clone();
                if let Some(random) = luck {
                    let kept = random.below(folder.pending.len() as u64 + 1) as usize;
                    folder.pending[..kept].iter().for_each(|(_, naming)| naming.apply(&mut names));
                }
                for (name, node) in names {
                    self.restore(node, &to.join(name), luck, written)?;
                }
            }
            Thing::File(file) => {
                let mut bytes = file.synced.clone();
                if let Some(random) = luck {
                    for (_, change) in &file.pending {
                        match random.below(3) {
                            0 => {}
                            1 => change.apply(&mut bytes),
                            _ => change.cut(random).apply(&mut bytes),
                        }
                    }
                }
                fs::write(to, bytes)?;
                *written += 1;
            }
        }
        Ok(())
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => bytes.resize(*length as usize, 0),
            Self::Write { at, bytes: new } => {
                let end = *at as usize + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at as usize..end].copy_from_slice(new);
            }
        }
    }

    /// The first part of a write.
    fn cut(&self, random: &mut Dice) -> Self {
        match self {
            Self::Write { at, bytes } => Self::Write { at: *at, bytes: bytes[..random.below(bytes.len() as u64 + 1) as usize].to_vec() },
            other => other.clone(),
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((name, node)) = &self.come {
            names.insert(name.clone(), *node);
        }
    }
}
