//! What the user typed: flags and subcommands. Not what they do (`command/`).

pub mod backfill;
pub mod check_config;
pub mod import;
pub mod move_log;
pub mod progress;
pub mod remote;
pub mod serve;
pub mod sql;

use crate::config::{self, ConfigError, Document};
use crate::import::Format;
use afferent_engine::error::{Error, ErrorKind};
use afferent_engine::query::STACK_BYTES;
use afferent_storage::steps::Steps;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ABOUT: &str = "Takes metrics (Prometheus remote write) and events (webhooks), computes SLOs, anomalies, cost and autonomy continuously by SQL, \
                     keeps everything exactly once, and answers in SQL, REST and cards.";

const EXAMPLES: &str = "\
First steps:
  afferent demo                       a small platform on a temporary folder, with things to look at
  afferent serve                      the server with defaults on 127.0.0.1:9600, data in ./afferent-data

Point a Prometheus server at it (prometheus.yml):
  remote_write:
    - url: http://127.0.0.1:9600/api/v1/write

Ask:
  afferent sql 'SELECT metric, count(*) AS samples FROM samples GROUP BY metric ORDER BY samples DESC LIMIT 10'
  afferent sql 'SELECT * FROM slo_status' --format json
  curl http://127.0.0.1:9600/api/v1/freshness

Bring and compute history:
  promtool tsdb dump-openmetrics ./prometheus-data | afferent import - --source prometheus
  afferent backfill --view slo_slices --from -24h --to now

Configure:
  afferent check-config > afferent.toml   every key with its value; change what you need, then
  afferent serve --config afferent.toml

Exit codes: 0 done, 1 failed, 2 wrong usage, configuration or statement.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "afferent", version, about = ABOUT, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server until Ctrl-C or SIGTERM
    ///
    /// Ctrl-C or SIGTERM stops it gracefully: it stops accepting, flushes the log and writes a last checkpoint. A second one stops at once. Both are
    /// safe, and so is kill -9: what was answered 2xx is kept, and the next start goes on from there.
    Serve(ServeArgs),
    /// Run a small platform on a temporary folder and show what there is to see
    Demo(DemoArgs),
    /// Check a configuration and print every key with its value and where it came from
    ///
    /// The output is itself a valid configuration file. Secrets are masked.
    CheckConfig(ConfigArgs),
    /// Send one SQL statement to a running server and print the rows
    Sql(SqlArgs),
    /// Compute a range of a view again and watch it
    ///
    /// The server computes; this command shows how far it is. Ctrl-C asks whether to cancel, a second Ctrl-C leaves the backfill running, and so does a
    /// Ctrl-C where nobody can answer (no terminal). Exit codes: 0 done, 1 failed, cancelled or left running, 2 not possible as asked.
    Backfill(BackfillArgs),
    /// Send the samples of files to a running server
    ///
    /// OpenMetrics text (also what `promtool tsdb dump-openmetrics` prints of a Prometheus data folder), Parquet and CSV. The same file twice counts once,
    /// so an import that broke off is simply done again. Exit codes: 0 done, 1 broken off or samples refused, 2 a file that cannot be read.
    Import(ImportArgs),
    /// Let a store go on with another log, which is empty: from embedded to Kafka, to another cluster or prefix
    ///
    /// Stop all processes gracefully before. Tables, views and state stay; that everything of the log before is in the store is checked. Nothing else may
    /// use the store or either log meanwhile. It can be broken off and done again.
    MoveLog(MoveLogArgs),
}

/// Which configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML); without one, defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Flags of `serve`; each overrides a key of the configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// The configuration below the flags.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Address and port to serve on [default: 127.0.0.1:9600]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Data folder, made if missing [default: ./afferent-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Where accepted records are kept until they are in tables: embedded, or kafka://HOST:PORT,... [default: embedded, under the data folder]
    #[arg(long, value_name = "LOG")]
    pub log: Option<String>,
    /// Where tables and checkpoints lie: a folder, or s3://BUCKET/PREFIX (see [store] in the configuration) [default: under the data folder]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// What this process does where several share a log and a bucket: of intake, work, query [default: all three]
    #[arg(long, value_name = "ROLES")]
    pub roles: Option<String>,
}

/// Flags of `move-log`.
#[derive(Debug, Clone, Default, Args)]
#[command(group = clap::ArgGroup::new("before").required(true).multiple(true).args(["from", "from_config", "old_log_is_lost"]))]
pub struct MoveLogArgs {
    /// The configuration from now on, below the flags.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Data folder [default: ./afferent-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// The log from now on, empty: embedded, or kafka://HOST:PORT,... [default: as configured]
    #[arg(long, value_name = "LOG")]
    pub log: Option<String>,
    /// The store: a folder, or s3://BUCKET/PREFIX [default: as configured]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// The log before, with the settings of the configuration: embedded, or kafka://HOST:PORT,...
    #[arg(long, value_name = "LOG")]
    pub from: Option<String>,
    /// The configuration before, for the settings of its log
    #[arg(long, value_name = "FILE")]
    pub from_config: Option<PathBuf>,
    /// The log before cannot be read any more: what no checkpoint holds is lost with it
    #[arg(long, conflicts_with_all = ["from", "from_config"])]
    pub old_log_is_lost: bool,
}

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9600", env = "AFFERENT_URL")]
    pub url: String,
    /// Bearer token: server.view_token to define views and start backfills, one of ingest.write_tokens to import
    #[arg(long, value_name = "TOKEN", env = "AFFERENT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Flags of `backfill`.
#[derive(Debug, Clone, Args)]
pub struct BackfillArgs {
    /// The view
    #[arg(long, value_name = "VIEW")]
    pub view: String,
    /// Windows that start at or after this: 2026-11-22T10:00:00Z, 2026-11-22, now, or before now: -24h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: String,
    /// Windows that start before this
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: String,
    /// The server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Flags of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Files; `-` reads standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,
    /// Name of the source, shown as import:NAME [default: the name of the first file]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Form of the files [default: by their names; OpenMetrics for -]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The server to send to.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Flags of `sql`.
#[derive(Debug, Clone, Args)]
pub struct SqlArgs {
    /// The statement; `-` reads it from standard input
    #[arg(value_name = "STATEMENT")]
    pub statement: String,
    /// The server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// How to print; table on a terminal, else csv
    #[arg(long, value_enum)]
    pub format: Option<OutputFormat>,
}

/// Forms in which `sql` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns for people
    Table,
    /// The server's JSON as it is
    Json,
    /// Comma-separated values with a header line
    Csv,
    /// Arrow IPC stream (bytes)
    Arrow,
    /// One Parquet file (bytes)
    Parquet,
}

/// Flags of `demo`.
#[derive(Debug, Clone, Default, Args)]
pub struct DemoArgs {
    /// Address and port to serve on [default: 127.0.0.1:9600]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Stop when the history is played and the cards are drawn, instead of going on live
    #[arg(long)]
    pub once: bool,
}

impl CommandLine {
    /// Reads the process' arguments. Wrong ones end the process with exit code 2, `--help` and `--version` with 0.
    pub fn read() -> Self {
        Self::parse()
    }
}

/// The configuration file, if there is one, and above it the flags that were given: key, flag, value.
fn configured(file: Option<&Path>, flags: &[(&'static str, &'static str, &Option<String>)]) -> Result<Document, ConfigError> {
    let mut document = Document::reference()?;
    config::read(&mut document, file)?;
    for (key, flag, value) in flags {
        if let Some(value) = value {
            document.set(key, flag, value.as_str());
        }
    }
    Ok(document)
}

/// How long the end waits for threads that still compute after everything was closed.
const THREADS_WAIT: Duration = Duration::from_secs(2);

/// Runs a server's whole life on threads that can plan statements.
pub(crate) fn block_on(life: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("afferent").thread_stack_size(STACK_BYTES).build()?;
    let exit = runtime.block_on(life);
    runtime.shutdown_timeout(THREADS_WAIT);
    exit
}

/// Runs a command and prints why it failed, if it did.
pub fn main(line: CommandLine) -> Exit {
    main_watched(line, Steps::default())
}

/// The same; a server tells `steps` what becomes durable.
pub fn main_watched(line: CommandLine, steps: Steps) -> Exit {
    let result = match line.command {
        Command::Serve(args) => serve::run(&args, steps),
        Command::Demo(args) => crate::demo::run(args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Sql(args) => sql::run(&args),
        Command::Backfill(args) => backfill::run(&args),
        Command::Import(args) => import::run(&args),
        Command::MoveLog(args) => move_log::run(&args),
    };
    result.unwrap_or_else(|error| {
        let text = explain(&error);
        // Where standard error is closed there is nobody to tell.
        writeln!(std::io::stderr(), "afferent: {text}").unwrap_or_default();
        exit_of(&error)
    })
}

/// The error and its causes on one line each, without those that repeat what was said.
fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
        }
    }
    text
}

/// What the caller must change ends with 2, everything else with 1.
fn exit_of(error: &anyhow::Error) -> Exit {
    let invalid = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<ConfigError>() || cause.downcast_ref::<Error>().is_some_and(|e| e.kind() == ErrorKind::Invalid)
    };
    if error.chain().any(invalid) { Exit::Usage } else { Exit::Failed }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Done,
    /// 1.
    Failed,
    /// 2: the caller must change something.
    Usage,
}

impl Exit {
    /// The process' exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
        }
    }
}
