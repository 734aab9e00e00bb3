//! Draws a card in a terminal from its JSON alone, 80 columns wide, in plain text: no colour, no cursor movement, marks instead of lamps.
//! Not a terminal user interface.

use serde_json::Value;

/// Columns of a drawing, borders included.
pub const WIDTH: usize = 80;

/// Columns between the borders and their inner spaces.
const INNER: usize = WIDTH - 4;

/// Services side by side in the health matrix.
const MATRIX_COLUMNS: usize = 5;

/// The card as lines that end in a newline. A card of any type works: what is not known to this function is not drawn.
pub fn draw(card: &Value) -> String {
    let text = |name: &str| card.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut out = String::new();
    rule(&mut out, text("title"), text("state"));
    for part in wrap(text("summary"), INNER) {
        line(&mut out, &part);
    }
    let services = card.pointer("/data/services").and_then(Value::as_array);
    if let Some(services) = services.filter(|s| !s.is_empty()) {
        line(&mut out, "");
        matrix(&mut out, services);
    }
    let facts = card.get("facts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !facts.is_empty() {
        line(&mut out, "");
    }
    for fact in facts {
        fact_line(&mut out, fact);
    }
    rule(&mut out, "", card.get("data_as_of").and_then(Value::as_str).unwrap_or_default());
    out
}

/// `+-- left ---- right --+`
fn rule(out: &mut String, left: &str, right: &str) {
    let right = fit(right, INNER / 2);
    let left = fit(left, INNER - width(&right) - 6);
    let words = |text: &str| if text.is_empty() { String::new() } else { format!(" {text} ") };
    let (left, right) = (words(&left), words(&right));
    let dashes = WIDTH.saturating_sub(6 + width(&left) + width(&right));
    out.push_str(&format!("+--{left}{}{right}--+\n", "-".repeat(dashes)));
}

/// `| text          |`
fn line(out: &mut String, text: &str) {
    let text = fit(text, INNER);
    let blank = INNER - width(&text);
    out.push_str(&format!("| {text}{} |\n", " ".repeat(blank)));
}

/// One fact: its label, dots, its value, and a mark for its status.
fn fact_line(out: &mut String, fact: &Value) {
    let text = |name: &str| fact.get(name).and_then(Value::as_str).unwrap_or_default();
    let value = fit(text("display"), INNER / 2);
    let label = fit(text("label"), INNER - width(&value) - 9);
    let dots = INNER.saturating_sub(width(&label) + width(&value) + 6);
    line(out, &format!("{label} {} {value}  {}", ".".repeat(dots), mark(text("status"))));
}

/// A grid of services, each with the mark of its status.
fn matrix(out: &mut String, services: &[Value]) {
    let cell = INNER / MATRIX_COLUMNS;
    for row in services.chunks(MATRIX_COLUMNS) {
        let cells = row.iter().map(|service| {
            let text = |name: &str| service.get(name).and_then(Value::as_str).unwrap_or_default();
            let name = fit(text("name"), cell - 4);
            format!("{} {name}{}", mark(text("status")), " ".repeat((cell - 2).saturating_sub(width(&name))))
        });
        line(out, cells.collect::<String>().trim_end());
    }
}

/// A character per status, so that nothing depends on colour.
fn mark(status: &str) -> char {
    match status {
        "ok" | "healthy" => 'o',
        "warning" | "at_risk" => '!',
        "critical" | "breached" => 'X',
        "no_data" => '?',
        _ => ' ',
    }
}

/// Columns a text takes: East Asian wide characters take two, control characters none.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        0..0x20 | 0x7f..0xa0 | 0x300..0x370 | 0x200b..0x2010 => 0,
        0x1100..0x1160
        | 0x2e80..0xa4d0
        | 0xac00..0xd7a4
        | 0xf900..0xfb00
        | 0xfe30..0xfe70
        | 0xff00..0xff61
        | 0xffe0..0xffe7
        | 0x1f300..0x1fb00
        | 0x20000..0x40000 => 2,
        _ => 1,
    }
}

/// The text cut to so many columns, with a mark where something is missing; control characters are dropped.
fn fit(text: &str, columns: usize) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    if width(&clean) <= columns {
        return clean;
    }
    let mut out = String::new();
    for c in clean.chars() {
        if width(&out) + char_width(c) + 1 > columns {
            break;
        }
        out.push(c);
    }
    out.push('~');
    out
}

/// Lines of at most so many columns, broken at spaces where there are any and after wide characters.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for word in pieces(text) {
        if !current.is_empty() && width(&current) + width(word.trim_end()) > columns {
            lines.push(current.trim_end().to_owned());
            current.clear();
        }
        current.push_str(word);
    }
    if !current.trim_end().is_empty() {
        lines.push(current.trim_end().to_owned());
    }
    lines
}

/// Splits after every space and every wide character.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(|c: char| c == ' ' || char_width(c) == 2)
}

#[cfg(test)]
mod tests;
