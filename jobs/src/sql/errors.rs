//! Errors of DataFusion, made ours: a message for people and a place in the SQL text.

use datafusion_common::{DataFusionError, Diagnostic, Span};
use datafusion_sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Token, TokenWithSpan, Tokenizer},
};

/// What is wrong in a view's SQL, and where: line and column from 1 in the SQL text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlFault {
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub help: Option<String>,
}

/// A refusal of ours, with a place if known.
pub(crate) fn refuse(message: impl Into<String>, span: Option<Span>) -> DataFusionError {
    let message = message.into();
    DataFusionError::Plan(message.clone()).with_diagnostic(Diagnostic::new_error(message, span))
}

/// Finds the place and the core of an error.
///
/// Half of DataFusion's errors carry no span: then the place is the first word of the text that the message mentions.
pub(crate) fn locate(sql: &str, error: &DataFusionError) -> SqlFault {
    let text = core_of(error);
    if let Some(diagnostic) = error.diagnostic() {
        let notes = diagnostic.notes.iter().map(|n| n.message.as_str());
        let helps = diagnostic.helps.iter().map(|h| h.message.as_str());
        let help = notes.chain(helps).collect::<Vec<_>>().join("; ");
        let help = (!help.is_empty()).then_some(help);
        let message = tidy(&diagnostic.message);
        let noted = diagnostic.notes.iter().find_map(|note| note.span);
        let (line, column) = match diagnostic.span.or(noted) {
            Some(span) => (span.start.line as usize, span.start.column as usize),
            None => mentioned(sql, &message)
                .or_else(|| mentioned(sql, &text))
                .unwrap_or((1, 1)),
        };
        return SqlFault {
            line,
            column,
            message,
            help,
        };
    }
    let (line, column) = match error.find_root() {
        DataFusionError::SQL(..) => parser_position(sql, &text),
        _ => mentioned(sql, &text),
    }
    .unwrap_or((1, 1));
    SqlFault {
        line,
        column,
        message: text,
        help: None,
    }
}

fn core_of(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text
        .split("\nThis issue was likely")
        .next()
        .unwrap_or(&text);
    tidy(text)
}

/// Without the layers that an error passed through.
fn tidy(text: &str) -> String {
    let mut text = text.replace('\n', " ");
    for prefix in [
        "Error during planning: ",
        "Internal error: ",
        "Schema error: ",
        "type_coercion caused by ",
        "SQL error: ",
        "Execution error: ",
        "Arrow error: ",
    ] {
        text = text.replace(prefix, "");
    }
    let inner = text
        .strip_prefix("ParserError(\"")
        .and_then(|t| t.strip_suffix("\")"))
        .or_else(|| {
            text.strip_prefix("TokenizerError(\"")
                .and_then(|t| t.strip_suffix("\")"))
        });
    inner.unwrap_or(&text).trim().to_owned()
}

/// `... at Line: 3, Column: 7`, or the end of the text.
fn parser_position(sql: &str, message: &str) -> Option<(usize, usize)> {
    let number = |key: &str| {
        let rest = message[message.rfind(key)? + key.len()..].trim_start();
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<usize>()
            .ok()
    };
    match (number("Line:"), number("Column:")) {
        (Some(line), Some(column)) => Some((line, column)),
        _ => {
            let last = sql.trim_end().lines().last().unwrap_or_default();
            let line = sql.trim_end().lines().count().max(1);
            Some((line, last.chars().count() + 1))
        }
    }
}

/// The first word of the SQL text that the message quotes, else calls, else contains.
fn mentioned(sql: &str, message: &str) -> Option<(usize, usize)> {
    let tokens = Tokenizer::new(&GenericDialect, sql)
        .tokenize_with_location()
        .ok()?;
    let quoted: Vec<&str> = message.split(['\'', '"', '`']).skip(1).step_by(2).collect();
    let lower = message.to_lowercase();
    let by_quote = |word: &str| quoted.iter().any(|q| q.eq_ignore_ascii_case(word));
    let by_call = |word: &str| {
        let word = word.to_lowercase();
        [format!("{word}("), format!(".{word} "), format!(".{word}'")]
            .iter()
            .any(|form| lower.contains(form))
    };
    let by_name = |word: &str| word.len() > 3 && lower.contains(&word.to_lowercase());
    first(&tokens, by_quote)
        .or_else(|| first(&tokens, by_call))
        .or_else(|| first(&tokens, by_name))
}

fn first(tokens: &[TokenWithSpan], is_meant: impl Fn(&str) -> bool) -> Option<(usize, usize)> {
    tokens.iter().find_map(|token| {
        let word = match &token.token {
            Token::Word(word) => &word.value,
            Token::SingleQuotedString(text) => text,
            _ => return None,
        };
        let start = token.span.start;
        (word.len() > 1 && is_meant(word)).then_some((start.line as usize, start.column as usize))
    })
}
