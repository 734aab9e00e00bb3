//! The services of the compose file, to be started one by one on a machine of their own: their variables, commands, ports and names as they stand there, and
//! only the paths are others. When and in which order is said elsewhere.

use super::tools::{installed, run, yaml};
use super::{folder, items, text, word};
use afferent_tests::machine::{Machine, PROGRAMS};
use afferent_tests::server::Helper;
use afferent_tests::{minio, prometheus};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// The services that the file has.
const SERVICES: [&str; 5] = ["afferent", "bucket", "kafka", "minio", "prometheus"];

/// What a process gets to see of this machine's variables: where programs are, and where `servers/*.sh` keep theirs.
const KEPT: [&str; 3] = ["PATH", "HOME", "AFFERENT_SERVERS"];

/// Longest wait for any one thing: brokers start slowly beside a build, a scrape comes every 15 s and an epoch every 30 s.
const WAIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(250);

/// Lines of each service's output that a failure shows.
const LINES_SHOWN: usize = 15;

/// Waits until something gives a value; its last error is told when it does not.
pub(super) fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) => assert!(Instant::now() < deadline, "waited in vain for {what}: {reason}"),
        }
        thread::sleep(PAUSE);
    }
}

/// What compose makes of a value where no variable is set: `${NAME:-default}` is the default, `$$` a dollar.
fn interpolated(text: &str) -> String {
    let (mut made, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        made += before;
        if let Some(after) = after.strip_prefix('$') {
            made.push('$');
            rest = after;
        } else {
            let (variable, after) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')).expect("a variable in braces");
            made += variable.split_once(":-").expect("a variable with a default").1;
            rest = after;
        }
    }
    made + rest
}

#[test]
fn values_are_those_of_compose() {
    assert_eq!(interpolated("a ${KEY:-b-c}, \"$$KEY\" d"), "a b-c, \"$KEY\" d");
}

/// A service of the file, with a folder that holds what would lie in its container.
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) described: Value,
    pub(super) folder: PathBuf,
}

impl Service {
    /// Makes the folders of its volumes, and copies of the files that are mounted.
    fn prepare(name: &'static str, described: &Value, scratch: &Path) -> Self {
        let service = Self { name, described: described.clone(), folder: scratch.join(name) };
        fs::create_dir_all(&service.folder).unwrap();
        for mount in items(&service.described["volumes"]).iter().map(word) {
            let (source, target) = mount.trim_end_matches(":ro").split_once(':').expect("source and target");
            let place = PathBuf::from(service.here(target));
            if let Some(file) = source.strip_prefix("./") {
                fs::create_dir_all(place.parent().expect("a folder")).unwrap();
                fs::write(place, service.here(&text(file))).unwrap();
            } else {
                fs::create_dir_all(place).unwrap();
            }
        }
        service
    }

    /// A text with the paths of its volumes as they are on this machine. A path begins the text, or stands behind a quote, a blank or an equals sign.
    fn here(&self, text: &str) -> String {
        let mounts = items(&self.described["volumes"]).iter().map(word);
        let targets: Vec<&str> = mounts.map(|mount| mount.trim_end_matches(":ro").split_once(':').expect("source and target").1).collect();
        let is_below =
            |piece: &str| targets.iter().filter_map(|target| piece.strip_prefix(target)).any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()));
        let pieces = text.split_inclusive(['=', '"', ' ']);
        pieces.map(|piece| if is_below(piece) { format!("{}{piece}", self.folder.display()) } else { piece.to_owned() }).collect()
    }

    fn environment(&self) -> Vec<(String, String)> {
        let variables = self.described["environment"].as_object().expect("variables by name");
        variables.iter().map(|(name, value)| (name.clone(), self.here(&interpolated(word(value))))).collect()
    }

    /// One variable.
    fn variable(&self, name: &str) -> String {
        self.environment().into_iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{} has no {name}", self.name)).1
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        items(&self.described["command"]).iter().map(|argument| self.here(&interpolated(word(argument)))).collect()
    }
}

/// The services that run. Fields in the order of their end: the machine first, with all that runs in it.
pub(super) struct Stack {
    machine: Machine,
    running: Vec<(&'static str, Helper)>,
    pub(super) services: Vec<Service>,
}

impl Stack {
    pub(super) fn service(&self, name: &str) -> &Service {
        self.services.iter().find(|service| service.name == name).unwrap_or_else(|| panic!("no service {name}"))
    }

    /// Runs a program as this service, with its variables and no others of this machine's.
    pub(super) fn start(&mut self, name: &'static str, program: &Path, arguments: &[String]) {
        let service = self.service(name);
        // The number that it has inside, for signals.
        let mut command = self.machine.command("sh");
        command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(service.folder.join("id")).arg(program).args(arguments);
        command.env_clear().envs(kept()).current_dir(&service.folder);
        if service.described["environment"].is_object() {
            command.envs(service.environment());
        }
        let helper = Helper::spawn(&mut command, &service.folder.join("output")).unwrap();
        self.running.push((name, helper));
    }

    /// Runs a program inside to its end, with no variables but those that are kept.
    pub(super) fn run(&self, program: &Path, arguments: &[&str]) -> Result<String, String> {
        run(self.machine.command(program).args(arguments).env_clear().envs(kept()))
    }

    /// What an address answers to curl with these flags, or why it does not.
    pub(super) fn ask(&self, url: &str, flags: &[&str]) -> Result<String, String> {
        self.machine.ask(url, flags).map_err(|e| format!("{e:#}"))
    }

    /// The same as JSON.
    pub(super) fn json(&self, url: &str, flags: &[&str]) -> Result<Value, String> {
        self.machine.json(url, flags).map_err(|e| format!("{e:#}"))
    }

    /// A request to the store, signed as every client does it.
    pub(super) fn store(&self, path: &str, flags: &[&str]) -> Result<String, String> {
        let afferent = self.service("afferent");
        let user = format!("{}:{}", afferent.variable("AWS_ACCESS_KEY_ID"), afferent.variable("AWS_SECRET_ACCESS_KEY"));
        let scope = format!("aws:amz:{}:s3", afferent.variable("AWS_REGION"));
        let mut all = vec!["--aws-sigv4", &scope, "--user", &user];
        all.extend(flags);
        self.ask(&format!("{}/{path}", afferent.variable("AWS_ENDPOINT_URL")), &all)
    }

    pub(super) fn output(&self, name: &str) -> String {
        self.running.iter().filter(|(known, _)| *known == name).map(|(_, helper)| helper.log()).collect()
    }

    /// SIGTERM, and how it ends within the time that the file gives it.
    pub(super) fn stop(&mut self, name: &str) -> ExitStatus {
        let id = fs::read_to_string(self.service(name).folder.join("id")).unwrap();
        self.run(Path::new("kill"), &["-TERM", id.trim()]).unwrap();
        let grace = word(&self.service(name).described["stop_grace_period"]).trim_end_matches('s').parse().map(Duration::from_secs).unwrap();
        let (_, helper) = self.running.iter_mut().find(|(known, _)| *known == name).expect("a service that runs");
        helper.wait_end(grace).unwrap().expect("it ends within stop_grace_period")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for (name, helper) in &self.running {
            let log = helper.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{name} ends with:\n{}", lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n"));
        }
    }
}

fn kept() -> impl Iterator<Item = (&'static str, String)> {
    KEPT.into_iter().filter_map(|name| std::env::var(name).ok().map(|value| (name, value)))
}

/// The project's scripts that know where the servers are.
pub(super) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join(name)
}

/// Programs of the services.
pub(super) struct Programs {
    pub(super) minio: PathBuf,
    pub(super) prometheus: PathBuf,
}

/// Everything that is needed before anything is started, or what is missing. Nothing can be fetched from inside.
pub(super) fn programs() -> Result<Programs, String> {
    for (name, package) in PROGRAMS.into_iter().chain([("java", "openjdk-17-jre-headless")]) {
        installed(name).map_err(|reason| format!("{reason} (Debian: {package})"))?;
    }
    run(Command::new(script("kafka.sh")).arg("install"))?;
    minio::installed().map_err(|reason| format!("{reason:#}"))?;
    let minio = PathBuf::from(run(Command::new(script("minio.sh")).arg("where"))?.trim());
    let prometheus = prometheus::installed("prometheus").ok_or("apt-get install prometheus")?;
    Ok(Programs { minio, prometheus })
}

/// The file's services on a machine of their own, none of them running.
pub(super) fn prepared(scratch: &Path) -> Result<Stack, String> {
    let file = yaml(&folder().join("compose.yaml"))?.remove(0);
    let described = file["services"].as_object().expect("services");
    assert_eq!(described.keys().collect::<Vec<_>>(), SERVICES, "start the new one here too");
    let services = SERVICES.into_iter().map(|name| Service::prepare(name, &described[name], scratch)).collect();
    let machine = Machine::start(&SERVICES, scratch).map_err(|e| format!("{e:#}"))?;
    Ok(Stack { machine, running: Vec::new(), services })
}
