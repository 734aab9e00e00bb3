//! What the demo says: progress, the cards drawn, and what to try next, in the language of the terminal. Not the playing.

use super::play::Tally;
use crate::cards::types::CardType;
use crate::locale::Locale;
use crate::terminal_draw::draw;
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// Columns of the progress bar.
const BAR_COLUMNS: usize = 40;

/// The service whose detail card is shown: the one that failed.
pub(super) const SHOWN_SERVICE: &str = "awoooi-api";

/// The cards that are drawn, in order.
pub(super) const SHOWN: [CardType; 6] = [
    CardType::AutonomyIndexPanel,
    CardType::SystemHealthCard,
    CardType::SLODashboardCard,
    CardType::FinOpsCard,
    CardType::MTTRCard,
    CardType::ServiceDetailCard,
];

/// Path of a card on the server.
pub(super) fn path(kind: CardType) -> String {
    match kind {
        CardType::ServiceDetailCard => format!("/api/v1/cards/{kind}?service={SHOWN_SERVICE}"),
        _ => format!("/api/v1/cards/{kind}"),
    }
}

/// The language of the terminal; English where the environment names none of ours.
pub(super) fn locale(get: impl Fn(&str) -> Option<String>) -> Locale {
    let named = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| get(name).filter(|value| !value.is_empty()));
    named.as_deref().and_then(Locale::parse).unwrap_or(Locale::En)
}

/// Draws a progress bar on a terminal, else a line per tenth.
#[derive(Debug)]
pub(super) struct Progress {
    label: &'static str,
    is_terminal: bool,
    shown: Option<usize>,
}

impl Progress {
    /// A bar with a label in front.
    pub(super) fn new(locale: Locale) -> Self {
        let label = match locale {
            Locale::ZhTw => "重播七天的歷史",
            Locale::En => "Playing seven days of history",
        };
        Self { label, is_terminal: std::io::stderr().is_terminal(), shown: None }
    }

    /// Shows the share that is done.
    pub(super) fn at(&mut self, share: f64) {
        let steps = if self.is_terminal { 200 } else { 10 };
        let step = (share * steps as f64) as usize;
        if self.shown == Some(step) {
            return;
        }
        self.shown = Some(step);
        let percent = share * 100.0;
        if self.is_terminal {
            let done = (share * BAR_COLUMNS as f64) as usize;
            let end = if share >= 1.0 { "\n" } else { "" };
            say_aside(&format!("\r{} [{}{}] {percent:3.0} %{end}", self.label, "#".repeat(done), ".".repeat(BAR_COLUMNS - done)));
        } else {
            say_aside(&format!("{}: {percent:.0} %\n", self.label));
        }
    }
}

/// Writes to standard error; where that is closed, nobody listens and nothing is lost.
pub(super) fn say_aside(text: &str) {
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).unwrap_or_default();
}

/// Writes to standard output.
pub(super) fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What is said before the history is played.
pub(super) fn opening(base: &str, folder: &str, locale: Locale) -> String {
    match locale {
        Locale::ZhTw => format!("afferent 示範：伺服器在 {base}，資料放在 {folder}\n"),
        Locale::En => format!("afferent demo: the server is at {base}, its data in {folder}\n"),
    }
}

/// The cards, one below the other.
pub(super) fn drawings(cards: &[Value]) -> String {
    cards.iter().map(|card| draw(card) + "\n").collect()
}

/// What to look at and try.
pub(super) fn closing(base: &str, tally: Tally, seconds: f64, is_live: bool, locale: Locale) -> String {
    let Tally { samples, calls } = tally;
    let statements = [
        "SELECT service, layer, status, reason FROM service_health WHERE status <> 'healthy'",
        "SELECT slo, status, sli, remaining_ratio, burn_1h FROM slo_status ORDER BY remaining_ratio",
        "SELECT window_start, requests, errors, p95_ms FROM service_traffic WHERE service = 'awoooi-api' ORDER BY window_start DESC LIMIT 10",
        "SELECT instance, max(value) AS load1 FROM metrics.\"node_load1\" GROUP BY instance ORDER BY instance",
        "SELECT incident_id, service, path, duration_s FROM incidents ORDER BY created_at DESC LIMIT 10",
        "SELECT provider, model, calls, cost_usd, unpriced_tokens FROM finops_month WHERE level = 'model' ORDER BY cost_usd DESC",
    ];
    let sql: String = statements.iter().map(|s| format!("  afferent sql --url {base} \"{}\"\n", s.replace('"', "\\\""))).collect();
    let paths =
        ["/api/v1/cards", "/api/v1/slo/status", "/api/v1/finops/summary", "/api/v1/stats/autonomy", "/api/v1/stats/mttr", "/api/v1/freshness"];
    let curl: String = paths.iter().map(|path| format!("  curl -s {base}{path}\n")).collect();
    let (played, look, ask, end) = match locale {
        Locale::ZhTw => (
            format!("經由 HTTP 送入 {samples} 個樣本與 {calls} 個事件，費時 {seconds:.1} 秒。"),
            "看看這些",
            "貼上 SQL",
            if is_live { "平台持續即時運作（每 5 秒一次）；按 Ctrl-C 結束。" } else { "示範結束。" },
        ),
        Locale::En => (
            format!("{samples} samples and {calls} events went in over HTTP in {seconds:.1} s."),
            "Look at",
            "SQL to paste",
            if is_live { "The platform goes on live, a scrape every 5 s; Ctrl-C ends it." } else { "The demo is over." },
        ),
    };
    format!("{played}\n\n{look}:\n{curl}\n{ask}:\n{sql}\n{end}\n")
}

#[cfg(test)]
mod tests;
