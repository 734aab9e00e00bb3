//! FinOpsCard: the month's cost. Pure: rows of `finops_month` in, card out.

use super::display::{self, plain};
use super::envelope::{Card, Severity, Unit};
use super::facts;
use super::seal::{Basis, Body, Setting, Source, close};
use super::types::CardType;
use crate::locale::Word;
use crate::stats::finops::{FinOpsSummary, summary};
use crate::stats::rows::FinOpsRow;
use afferent_engine::error::Result;

/// Providers that get a fact of their own.
const PROVIDERS_MAX: usize = 8;

/// Makes the card; `month` is what was asked for.
///
/// # Errors
/// `Internal` where it cannot be written as JSON.
pub fn card(rows: &[FinOpsRow], month: Option<&str>, source: &Source, setting: &Setting) -> Result<Card<FinOpsSummary>> {
    let locale = setting.locale;
    let say = |word| locale.say(word, &[]);
    let basis = Basis::of(source, rows.iter().map(|r| r.stamp));
    let mut data = summary(rows, month);
    for part in data.by_provider.iter_mut().chain(&mut data.by_model) {
        part.provider = plain(&part.provider);
        part.model = part.model.as_deref().map(plain);
    }
    for driver in &mut data.top_cost_drivers {
        driver.provider = plain(&driver.provider);
        driver.model = plain(&driver.model);
    }
    let period = data.period.clone().unwrap_or_else(|| say(Word::ThisMonth));
    let text = if source.failed {
        say(Word::ReadFailed)
    } else if rows.is_empty() {
        locale.say(Word::FinOpsEmpty, &[("period", &period)])
    } else {
        let driver = data.top_cost_drivers.first().map_or_else(|| display::unknown(locale), |d| d.model.clone());
        let total = display::usd(data.total_cost_usd, locale);
        locale.say(Word::FinOpsSummary, &[("period", &period), ("total", &total), ("driver", &driver)])
    };
    let money = |id: &str, label, amount| facts::figure(id, label, amount, Unit::Usd, display::usd(amount, locale));
    let mut facts = vec![money("total_cost_usd", say(Word::TotalCost), data.total_cost_usd)];
    facts.extend(data.by_provider.iter().take(PROVIDERS_MAX).map(|part| {
        let label = locale.say(Word::ProviderCost, &[("name", &part.provider)]);
        money(&format!("cost_{}", part.provider), label, part.cost_usd)
    }));
    let unpriced = rows.iter().find(|r| r.level == "total").map(|r| r.unpriced_tokens);
    facts.push(facts::count("unpriced_tokens", say(Word::UnpricedTokens), unpriced, locale));
    close(
        Body {
            kind: CardType::FinOpsCard,
            subject: month.map(ToOwned::to_owned),
            state: basis.state(setting, !rows.is_empty(), data.total_cost_usd.is_none()),
            severity: Severity::Info,
            title: locale.say(Word::FinOpsTitle, &[("period", &period)]),
            summary: text,
            description: say(Word::FinOpsDescription),
            data,
            facts,
            actions: Vec::new(),
            links: Vec::new(),
        },
        &basis,
        setting,
    )
}
