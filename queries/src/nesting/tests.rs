use super::{LEVELS_MAX, is_bearable};

fn chain(of: &str, with: &str, n: usize) -> String {
    format!("SELECT {}", vec![of; n].join(with))
}

#[test]
fn chains_and_brackets_are_counted_and_lists_are_not() {
    for (of, with) in [("1", "+"), ("'a'", "||"), ("a", " AND "), ("a", " OR "), ("a", "::int || ")] {
        assert!(is_bearable(&chain(of, with, LEVELS_MAX / 4)), "{with}");
        assert!(!is_bearable(&chain(of, with, LEVELS_MAX + 2)), "{with}");
    }
    assert!(!is_bearable(&chain("SELECT 1", " UNION ALL ", LEVELS_MAX + 2)));
    assert!(!is_bearable(&format!("SELECT {}1", "- ".repeat(LEVELS_MAX + 2))));
    assert!(!is_bearable(&format!("SELECT x{}", "[1]".repeat(LEVELS_MAX + 2))));
    assert!(!is_bearable(&format!("SELECT {}1{}", "(1 + ".repeat(LEVELS_MAX), ")".repeat(LEVELS_MAX))));
    let list = vec!["1"; 20_000].join(",");
    assert!(is_bearable(&format!("SELECT * FROM t WHERE a IN ({list}) AND b = 'x + + + y'")));
    let columns = vec!["a + b * c AS d"; 500].join(", ");
    assert!(is_bearable(&format!("SELECT {columns} FROM t")));
    assert!(is_bearable("SELECT 'not closed"), "the parser says what is wrong");
}
