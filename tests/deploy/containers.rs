//! The image, the compose file, the manifests of Kubernetes and the systemd unit: valid by their own tools, and telling the same as the program does.

use super::tools::{compose, installed, of_python, run, yaml};
use super::{default_of, folder, items, text, word};
use crate::program;
use afferent_tests::skip::skip;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Exposure to the rest of the machine that `systemd-analyze security` gives the unit at most, in tenths: 1.3 when it was written.
const EXPOSURE_TENTHS_MAX: &str = "14";

/// Seconds that a stop has for the last checkpoint, after `server.stop_wait_s`.
const LAST_CHECKPOINT_S: i64 = 50;

/// Memory that every way to run it allows, bytes.
const MEMORY_BYTES: u64 = 3 << 30;

/// The image's user.
const USER: u64 = 65_532;

/// The manifests of Kubernetes.
fn manifests() -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder().join("kubernetes")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() >= 6, "{found:?}");
    found
}

#[test]
fn the_configuration_is_accepted_and_holds_only_what_differs() {
    let file = folder().join("afferent.toml");
    run(Command::new(program()).args(["check-config", "--config"]).arg(&file)).unwrap_or_else(|e| panic!("{e}"));
    let manual: toml::Table = afferent_api::config::DEFAULT_TOML.parse().unwrap();
    let own: toml::Table = text("afferent.toml").parse().unwrap();
    for (section, keys) in &own {
        for (key, value) in keys.as_table().expect("sections") {
            assert_ne!(Some(value), manual[section].get(key), "{section}.{key} is the default");
        }
    }
    // The same text in the cluster, without any reader of YAML: four spaces deeper.
    let indented = text("kubernetes/configmap.yaml").split_once("afferent.toml: |\n").expect("the text").1.to_owned();
    let embedded: String = indented.lines().map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n").collect();
    assert_eq!(embedded, text("afferent.toml"), "kubernetes/configmap.yaml and afferent.toml differ");
}

#[test]
fn manifests_are_valid_for_kubernetes() {
    for path in manifests() {
        match of_python("kubernetes-validate") {
            Ok(mut tool) => run(tool.arg("--strict").arg(&path)).map(drop).unwrap_or_else(|e| panic!("{e}")),
            Err(reason) => return skip("manifests_are_valid_for_kubernetes", &reason),
        }
    }
}

#[test]
fn manifests_agree_with_the_program() {
    let path = folder().join("kubernetes").join("statefulset.yaml");
    let set = match yaml(&path) {
        Ok(mut documents) => documents.remove(0),
        Err(reason) => return skip("manifests_agree_with_the_program", &reason),
    };
    assert_eq!(set["spec"]["replicas"], 1, "one process writes one store");
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], default_of("server.stop_wait_s") + LAST_CHECKPOINT_S);
    assert_eq!((&pod["securityContext"]["runAsNonRoot"], &pod["securityContext"]["runAsUser"]), (&true.into(), &USER.into()));
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    assert_eq!(bytes(word(&container["resources"]["limits"]["memory"])), MEMORY_BYTES);
    assert_eq!(container["ports"][0]["containerPort"], port());
    let paths = afferent_api::openapi::paths();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = word(&container[probe]["httpGet"]["path"]);
        assert!(paths.iter().any(|known| known == path), "{probe}: {path} is no path of the program");
    }
    let mounts: Vec<_> = items(&container["volumeMounts"]).iter().map(|mount| word(&mount["mountPath"])).collect();
    let own: toml::Table = text("afferent.toml").parse().unwrap();
    assert!(mounts.contains(&own["data"]["dir"].as_str().unwrap()), "nothing is mounted at data.dir: {mounts:?}");
    flags_are_known(items(&container["args"]));
}

#[test]
fn the_addresses_of_log_and_store_are_accepted() {
    let name = "the_addresses_of_log_and_store_are_accepted";
    let (compose, set) = match (yaml(&folder().join("compose.yaml")), yaml(&folder().join("kubernetes").join("statefulset.yaml"))) {
        (Ok(mut compose), Ok(mut set)) => (compose.remove(0), set.remove(0)),
        (Err(reason), _) | (_, Err(reason)) => return skip(name, &reason),
    };
    let scratch = tempfile::tempdir().unwrap();
    for arguments in [&compose["services"]["afferent"]["command"], &set["spec"]["template"]["spec"]["containers"][0]["args"]] {
        // `--log VALUE` and `--log=VALUE` alike.
        let words: Vec<_> = items(arguments).iter().flat_map(|argument| word(argument).split('=').map(str::to_owned).collect::<Vec<_>>()).collect();
        for (flag, section) in [("--log", "log"), ("--store", "store")] {
            let at = words.iter().position(|word| word == flag).expect("the flag");
            let file = scratch.path().join("afferent.toml");
            fs::write(&file, format!("[{section}]\nurl = {:?}\n", words[at + 1])).unwrap();
            let checked = run(Command::new(program()).args(["check-config", "--config"]).arg(&file));
            assert!(checked.is_ok(), "{checked:?}");
        }
    }
}

/// Every flag that a manifest gives is one that the program has.
fn flags_are_known(arguments: &[Value]) {
    let help = run(Command::new(program()).args(["serve", "--help"])).unwrap();
    assert_eq!(arguments[0], "serve");
    for flag in arguments[1..].iter().map(word).filter(|word| word.starts_with("--")) {
        let flag = flag.split('=').next().unwrap_or_default();
        assert!(help.contains(&format!("{flag} <")), "{flag} is no flag of serve");
    }
}

/// The port of the configuration.
fn port() -> u64 {
    let own: toml::Table = text("afferent.toml").parse().unwrap();
    own["server"]["listen"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

/// `3Gi`, `3g`, `3G`: all mean the same here.
fn bytes(size: &str) -> u64 {
    let number = size.trim_end_matches(['G', 'g', 'i']);
    number.parse::<u64>().unwrap_or_else(|_| panic!("{size} is not in GiB")) << 30
}

#[test]
fn the_compose_file_is_of_the_specification_and_agrees_with_the_program() {
    let path = folder().join("compose.yaml");
    let (validated, file) = match (compose().map(|mut tool| run(tool.arg(&path))), yaml(&path)) {
        (Ok(validated), Ok(mut documents)) => (validated, documents.remove(0)),
        (Err(reason), _) | (_, Err(reason)) => return skip("the_compose_file_is_of_the_specification_and_agrees_with_the_program", &reason),
    };
    validated.unwrap_or_else(|e| panic!("{e}"));
    let services = file["services"].as_object().expect("services");
    for (name, service) in services {
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            let is_watched = services[needed]["healthcheck"].is_object();
            assert!(how["condition"] != "service_healthy" || is_watched, "{name} waits for {needed} to be healthy, which has no health check");
        }
        for mount in items(&service["volumes"]).iter().map(word).filter(|mount| mount.starts_with("./")) {
            let source = mount.split(':').next().unwrap_or_default();
            assert!(folder().join(source).is_file(), "{name}: {source} is not there");
        }
    }
    let own = &services["afferent"];
    flags_are_known(items(&own["command"]));
    assert_eq!(bytes(word(&own["mem_limit"])), MEMORY_BYTES);
    assert_eq!(own["stop_grace_period"], format!("{}s", default_of("server.stop_wait_s") + LAST_CHECKPOINT_S));
    assert!(folder().join(word(&own["build"]["context"])).join(word(&own["build"]["dockerfile"])).is_file());
}

#[test]
fn the_dockerfile_passes_its_linter_and_agrees_with_the_program() {
    let dockerfile = text("Dockerfile");
    let line = |start: &str| dockerfile.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    let toolchain: toml::Table = include_str!("../../rust-toolchain.toml").parse().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert!(line("FROM rust:")[0].starts_with(&format!("FROM rust:{channel}-")), "the image builds with another Rust than rust-toolchain.toml says");
    assert_eq!(line("ENV RUSTUP_TOOLCHAIN="), [format!("ENV RUSTUP_TOOLCHAIN={channel}")]);
    assert!(dockerfile.contains("cargo build --release --locked"));
    assert_eq!(line("USER "), [format!("USER {USER}:{USER}")], "a number, so that Kubernetes sees that it is not root");
    assert_eq!(line("EXPOSE "), [format!("EXPOSE {}", port())]);
    assert_eq!(line("ENTRYPOINT "), ["ENTRYPOINT [\"afferent\"]"]);
    assert_eq!(line("COPY --from=build /afferent "), ["COPY --from=build /afferent /usr/local/bin/afferent"]);
    // What the health check runs is a command of the program.
    assert!(dockerfile.contains("CMD [\"afferent\", \"sql\", \"SELECT 1\"]") && run(Command::new(program()).args(["sql", "--help"])).is_ok());
    match of_python("hadolint") {
        Ok(mut tool) => run(tool.arg(folder().join("Dockerfile"))).map(drop).unwrap_or_else(|e| panic!("{e}")),
        Err(reason) => skip("the_dockerfile_passes_its_linter_and_agrees_with_the_program", &reason),
    }
}

#[test]
fn the_systemd_unit_is_valid_and_shut_in() {
    let unit = text("afferent.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_else(|| panic!("no {key}")).to_owned();
    assert_eq!(value("TimeoutStopSec"), format!("{}s", default_of("server.stop_wait_s") + LAST_CHECKPOINT_S));
    assert_eq!(bytes(&value("MemoryMax")), MEMORY_BYTES);
    let own: toml::Table = text("afferent.toml").parse().unwrap();
    assert_eq!(own["data"]["dir"].as_str(), Some(format!("/var/lib/{}", value("StateDirectory")).as_str()));
    // The alert on memory reads the same limit.
    assert!(text("alerts.yml").contains(&format!("0.85 * {MEMORY_BYTES}")));
    if let Err(reason) = installed("systemd-analyze") {
        return skip("the_systemd_unit_is_valid_and_shut_in", &reason);
    }
    // The unit's program is not installed on the machine that tests.
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("afferent.service");
    fs::write(&path, unit.replace("/usr/local/bin/afferent", &program().display().to_string())).unwrap();
    let complaints = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&complaints.stderr);
    assert!(complaints.status.success() && !said.contains("afferent.service"), "{said}");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--no-pager", "--offline=true", &format!("--threshold={EXPOSURE_TENTHS_MAX}")]).arg(&path);
    run(&mut security).unwrap_or_else(|e| panic!("{e}"));
}
