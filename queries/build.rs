//! Lists the files of `sql/`, so that a new view is a new file and nothing else.
#![allow(clippy::print_stdout, reason = "cargo is spoken to over standard output")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=sql");
    println!("cargo::rerun-if-changed=build.rs");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("sql"))?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "sql"));
    files.sort();
    let mut list = String::from("/// Name and text of every file of `sql/`.\nconst SHIPPED: &[(&str, &str)] = &[\n");
    for file in &files {
        let name = file.file_name().unwrap_or_default().display();
        // The text itself, not its path: checkouts that share a target folder share this file.
        writeln!(list, "    (\"sql/{name}\", {:?}),", fs::read_to_string(file)?).map_err(io::Error::other)?;
    }
    list.push_str("];\n");
    fs::write(out.join("shipped.rs"), list)
}
