//! The nearest known word to a misspelt one. Not a search: candidates are few and given.

/// Candidates compared at most; more are ignored.
const CANDIDATES_MAX: usize = 4096;

/// The candidate that needs the fewest edits, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    ranked(word, candidates).into_iter().next()
}

/// Up to three candidates about as near as the nearest, nearest first; ties in the order given.
pub fn ranked<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = (word.chars().count() / 2).max(2);
    let mut scored: Vec<(usize, &str)> = candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(score, _)| *score <= limit)
        .collect();
    scored.sort_by_key(|(score, _)| *score);
    let near = scored.first().map_or(0, |(score, _)| score + 1);
    scored.into_iter().take_while(|(score, _)| *score <= near).take(3).map(|(_, candidate)| candidate).collect()
}

/// Levenshtein distance over characters, letter case aside.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = i;
        let mut left_cell = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left_cell;
        }
        for (r, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let substitute = diagonal + usize::from(l != *r);
            diagonal = *cell;
            left_cell = substitute.min(*cell + 1).min(left_cell + 1);
            *cell = left_cell;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
