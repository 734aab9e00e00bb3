//! The compose file on processes of this machine: Kafka, MinIO, afferent and Prometheus are started as it says, and cards come out. No containers.

use super::stack::{Programs, Service, Stack, prepared, programs, script, until};
use super::{items, text, word};
use crate::program;
use afferent_tests::skip::skip;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

const AFFERENT: &str = "http://afferent:9600";
const PROMETHEUS: &str = "http://prometheus:9090";

/// How long the incident takes that is reported to it.
const INCIDENT_S: f64 = 600.0;

#[test]
fn the_services_of_the_compose_file_run_as_processes_and_cards_come_out() {
    let scratch = tempfile::tempdir().unwrap();
    let (programs, mut stack) = match programs().and_then(|programs| Ok((programs, prepared(scratch.path())?))) {
        Ok(made) => made,
        Err(reason) => return skip("the_services_of_the_compose_file_run_as_processes_and_cards_come_out", &reason),
    };
    let begun = Instant::now();
    start(&mut stack, &programs);
    every_published_port_answers(&stack);
    // An incident whose times are afferent's own, so that nothing depends on this machine's clock.
    let times = rows(&stack, &format!("SELECT now() - INTERVAL '{INCIDENT_S} seconds', now()")).unwrap().remove(0);
    for (id, kind, at) in [("1", "opened", &times[0]), ("2", "resolved", &times[1])] {
        // Without a zone, which is UTC.
        incident(&stack, id, kind, &format!("{}Z", word(at)));
    }
    let incidents = until("the card of the incident", || card(&stack));
    let samples = until("what Prometheus scraped from afferent, in afferent", || scraped(&stack));
    let rules = until("every alert to be evaluated", || evaluated(&stack));
    let epoch = until("a checkpoint in the bucket", || checkpoint(&stack));
    topics(&stack);
    assert!(stack.stop("afferent").success(), "{}", stack.output("afferent"));
    assert!(stack.output("afferent").contains("the engine stopped with everything checkpointed"));
    everything_lies_in_the_bucket(&stack, epoch);
    let spent = begun.elapsed().as_secs();
    eprintln!("{samples} samples of Prometheus, {incidents} incident on its card, {rules} alerts healthy, epoch {epoch} in the bucket; {spent} s");
}

/// Everything as `depends_on` orders it.
fn start(stack: &mut Stack, programs: &Programs) {
    let kafka = stack.service("kafka").folder.join("settings").display().to_string();
    stack.start("kafka", &script("kafka.sh"), &["image".to_owned(), kafka]);
    stack.start("minio", &programs.minio, &stack.service("minio").arguments());
    // What `mc ready` asks.
    until("MinIO", || stack.ask("http://minio:9000/minio/health/cluster", &[]));
    let bucket = bucket(stack.service("bucket"));
    stack.store(&bucket, &["-X", "PUT"]).unwrap();
    // The health check of the file: a tool of the image, by its name there.
    let check: Vec<&str> = items(&stack.service("kafka").described["healthcheck"]["test"]).iter().skip(1).map(word).collect();
    let tool = Path::new(check[0]).file_name().and_then(|name| name.to_str()).expect("a tool");
    let arguments: Vec<&str> = ["tool", tool].into_iter().chain(check[1..].iter().copied()).collect();
    until("Kafka", || stack.run(&script("kafka.sh"), &arguments));
    stack.start("afferent", program(), &stack.service("afferent").arguments());
    stack.start("prometheus", &programs.prometheus, &stack.service("prometheus").arguments());
    until("afferent", || {
        let ready = stack.json(&format!("{AFFERENT}/readyz"), &[])?;
        if ready["status"] == "ready" { Ok(()) } else { Err(ready.to_string()) }
    });
    // The image's own health check.
    stack.run(program(), &["sql", "SELECT 1"]).unwrap_or_else(|e| panic!("{e}"));
    let check = items(&stack.service("prometheus").described["healthcheck"]["test"]).last().map(|url| word(url).to_owned()).expect("an address");
    until("Prometheus", || stack.ask(&check, &[]));
}

/// The bucket that the file's `mc` makes, at the address and with the rights that afferent uses.
fn bucket(service: &Service) -> String {
    let line = service.arguments().join(" ");
    let endpoint = line.split_once("mc alias set store ").and_then(|(_, after)| after.split(' ').next()).expect("the store's address");
    assert_eq!(endpoint, "http://minio:9000");
    line.split_once("mc mb --ignore-existing store/").expect("the bucket").1.to_owned()
}

fn every_published_port_answers(stack: &Stack) {
    for service in &stack.services {
        for port in items(&service.described["ports"]).iter().map(word) {
            let port = port.rsplit(':').next().unwrap_or_default();
            // Any answer will do: some of these have nothing at their root.
            let flags = ["--no-fail-with-body", "-o", "/dev/null", "-w", "%{http_code}"];
            let status = stack.ask(&format!("http://{}:{port}/", service.name), &flags).unwrap_or_else(|e| panic!("{e}"));
            assert_ne!(status, "000", "{} at {port}", service.name);
        }
    }
}

fn incident(stack: &Stack, id: &str, kind: &str, at: &str) {
    let event = json!({"event_id": id, "incident_id": "INC-1", "type": kind, "occurred_at": at, "actor": {"kind": "system", "id": "alertmanager"},
        "severity": "high", "service": "shop", "source": "prometheus"});
    let flags = ["-H", "Content-Type: application/json", "-d", &event.to_string()];
    let answer = stack.json(&format!("{AFFERENT}/api/v1/webhooks/incidents"), &flags).unwrap();
    assert_eq!(answer["accepted"], 1, "{answer}");
}

/// How many incidents the card tells of; the card, the row of the view and what was sent have to agree.
fn card(stack: &Stack) -> Result<i64, String> {
    let list = stack.json(&format!("{AFFERENT}/api/v1/cards"), &[])?;
    let cards = items(&list["cards"]);
    let card = cards.iter().find(|card| card["type"] == "MTTRCard").ok_or_else(|| format!("no such card: {list}"))?;
    if card["data"]["overall"]["n"] != 1 {
        return Err(card.to_string());
    }
    // Every kind of card is there, but the one that has to be asked for by a service's name.
    assert_eq!(cards.len() + 1, items(&list["types"]).len());
    let row = rows(stack, "SELECT n, mean_s, median_s, open_count FROM mttr WHERE period = '7d' AND scope = 'overall'")?.remove(0);
    let data = &card["data"];
    assert_eq!(row, json!([data["overall"]["n"], data["overall"]["mean_s"], data["overall"]["median_s"], data["open_count"]]), "{card}");
    assert_eq!((row[1].as_f64(), &card["state"]), (Some(INCIDENT_S), &json!("ready")), "{card}");
    row[0].as_i64().ok_or_else(|| row.to_string())
}

/// How many samples of Prometheus afferent has. Prometheus reaches every target, and nothing that it sent was refused.
fn scraped(stack: &Stack) -> Result<u64, String> {
    let freshness = stack.json(&format!("{AFFERENT}/api/v1/freshness"), &[])?;
    let source = &freshness["sources"]["prometheus"];
    let accepted = source["accepted_count"].as_u64().filter(|count| *count > 0).ok_or_else(|| freshness["sources"].to_string())?;
    let up = rows(stack, "SELECT count(*) FROM metrics.\"up\" WHERE job = 'afferent' AND prometheus = 'compose' AND value = 1")?;
    if up[0][0].as_i64().unwrap_or_default() == 0 {
        return Err("no sample says that afferent is up".to_owned());
    }
    let stored = rows(stack, "SELECT count(*) FROM samples")?[0][0].as_u64().expect("a count");
    assert!(stored >= accepted, "{stored} of {accepted}");
    assert_eq!(source["rejected_count"], 0, "{source}");
    for job in ["afferent", "prometheus"] {
        if number(stack, &format!("up{{job=\"{job}\"}}"))? < 1.0 {
            return Err(format!("Prometheus cannot reach {job}"));
        }
    }
    assert_eq!(number(stack, "sum(prometheus_remote_storage_samples_failed_total)")?, 0.0);
    Ok(stored)
}

/// How many alerts there are: all of the file, evaluated without an error, and none of them has fired.
fn evaluated(stack: &Stack) -> Result<usize, String> {
    let answer = stack.json(&format!("{PROMETHEUS}/api/v1/rules"), &[])?;
    let rules: Vec<&Value> = items(&answer["data"]["groups"]).iter().flat_map(|group| items(&group["rules"])).collect();
    let written = text("alerts.yml").lines().filter(|line| line.trim_start().starts_with("- alert: ")).count();
    assert_eq!(rules.len(), written, "{answer}");
    for rule in &rules {
        assert!(rule["health"] != "err" && rule["state"] != "firing", "{rule}");
        if rule["health"] != "ok" {
            return Err(rule.to_string());
        }
    }
    Ok(rules.len())
}

/// The newest epoch, whose checkpoint lies in the bucket, below the prefix of the command.
fn checkpoint(stack: &Stack) -> Result<u64, String> {
    let freshness = stack.json(&format!("{AFFERENT}/api/v1/freshness"), &[])?;
    let epoch = freshness["epoch"].as_u64().filter(|epoch| *epoch > 0).ok_or("no epoch yet")?;
    let listed = listed(stack, "checkpoints")?;
    if listed.contains(&object_of(epoch)) { Ok(epoch) } else { Err(listed) }
}

/// What a graceful stop leaves: another epoch than the one before it, samples and events in their tables.
fn everything_lies_in_the_bucket(stack: &Stack, before: u64) {
    let checkpoints = listed(stack, "checkpoints").unwrap();
    assert!((before + 1..before + 10).any(|epoch| checkpoints.contains(&object_of(epoch))), "nothing after epoch {before}: {checkpoints}");
    for table in ["samples", "events", "mttr"] {
        let files = listed(stack, &format!("tables%2F{table}")).unwrap();
        assert!(files.contains(".parquet<"), "no rows of {table}: {files}");
    }
}

/// The objects of a folder of the store, as S3 lists them.
fn listed(stack: &Stack, folder: &str) -> Result<String, String> {
    stack.store(&format!("afferent?list-type=2&prefix=lake%2F{folder}%2F"), &[])
}

/// How the list ends the name of an epoch's checkpoint.
fn object_of(epoch: u64) -> String {
    format!("/{epoch:020}.json<")
}

/// Its topics, which the broker makes for nobody by itself.
fn topics(stack: &Stack) {
    let listed = stack.run(&script("kafka.sh"), &["tool", "kafka-topics.sh", "--bootstrap-server", "kafka:9092", "--list"]).unwrap();
    for topic in ["afferent.metrics", "afferent.events"] {
        assert!(listed.lines().any(|line| line == topic), "{topic} is not there: {listed}");
    }
}

/// The rows of a statement.
fn rows(stack: &Stack, statement: &str) -> Result<Vec<Value>, String> {
    let answer = stack.json(&format!("{AFFERENT}/api/v1/sql"), &["--data-binary", statement, "-H", "Content-Type: text/plain"])?;
    Ok(items(&answer["rows"]).to_vec())
}

/// The one number that a query of Prometheus gives.
fn number(stack: &Stack, query: &str) -> Result<f64, String> {
    let answer = stack.json(&format!("{PROMETHEUS}/api/v1/query"), &["-G", "--data-urlencode", &format!("query={query}")])?;
    answer["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse().ok()).ok_or_else(|| format!("{query} gave {answer}"))
}
