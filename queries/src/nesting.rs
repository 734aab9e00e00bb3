//! How deep a statement's expressions will nest, told from its words before a tree is made of them: parsing, planning and dropping a tree take stack
//! for each level, and a process that runs out of stack is gone.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Levels that a statement may have. `a + b + c` has two: each operator is above what stands before it. Threads with [`afferent_engine::query::STACK_BYTES`]
/// carry them with room to spare, in a debug build too.
pub(crate) const LEVELS_MAX: usize = 1000;

/// True where the statement stays below [`LEVELS_MAX`]; what cannot be read at all is left to the parser, which says so.
pub(crate) fn is_bearable(sql: &str) -> bool {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return true };
    // Operators so far at each level of brackets: an operator inside stands below those around it.
    let (mut open, mut around, mut here, mut relations) = (vec![], 0usize, 0usize, 0usize);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                open.push(here);
                around += here + 1;
                here = 0;
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                here = open.pop().unwrap_or_default();
                around = around.saturating_sub(here + 1);
                // What was in brackets may be built upon: `x[1][2]`.
                here += 1;
            }
            Token::Comma | Token::SemiColon => here = 0,
            Token::Word(word) => match word.keyword {
                Keyword::SELECT
                | Keyword::WHERE
                | Keyword::HAVING
                | Keyword::GROUP
                | Keyword::ORDER
                | Keyword::ON
                | Keyword::WHEN
                | Keyword::THEN => here = 0,
                Keyword::JOIN | Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => relations += 1,
                Keyword::AND | Keyword::OR | Keyword::XOR | Keyword::NOT | Keyword::IS | Keyword::LIKE | Keyword::ILIKE | Keyword::BETWEEN => {
                    here += 1
                }
                Keyword::COLLATE | Keyword::AT | Keyword::DIV | Keyword::SIMILAR | Keyword::CASE => here += 1,
                _ => {}
            },
            Token::Whitespace(_) | Token::Period | Token::Number(..) => {}
            other => here += usize::from(is_operator(&other)),
        }
        if around + here > LEVELS_MAX || relations > LEVELS_MAX {
            return false;
        }
    }
    true
}

/// Everything that is neither a literal nor a placeholder.
fn is_operator(token: &Token) -> bool {
    let text = token.to_string();
    text.chars().all(|c| c.is_ascii_punctuation() && !matches!(c, '\'' | '"' | '`' | '$' | '?'))
}

#[cfg(test)]
mod tests;
