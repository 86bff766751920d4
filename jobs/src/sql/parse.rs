//! From text to syntax tree.

use std::ops::ControlFlow;

use datafusion_common::{DataFusionError, Diagnostic, Result, Span};
use datafusion_sql::sqlparser::{
    ast::{self, VisitMut, VisitorMut},
    dialect::GenericDialect,
    parser::{Parser, ParserError},
    tokenizer::{self, Token, TokenWithSpan, Tokenizer, Word},
};

/// The functions that take a relation as their first argument.
pub(crate) const WINDOW_FUNCTIONS: [&str; 4] = ["tumble", "rolling", "hop", "session"];

/// Parses one query.
///
/// # Errors
/// With a position, if it is not one query, or uses a form that is known but not supported.
pub fn parse(sql: &str) -> Result<ast::Query> {
    let dialect = GenericDialect;
    refuse_system_time(sql)?;
    let mut parser = Parser::new(&dialect).try_with_sql(sql).map_err(syntax)?;
    let first = parser.peek_token();
    if !matches!(&first.token, Token::Word(w) if is_query_start(w)) && first.token != Token::LParen
    {
        let message = "a view is one query: it begins with SELECT or WITH";
        return Err(at(message, first.span));
    }
    let query = parser.parse_query().map_err(syntax)?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(*query),
        Token::SemiColon => Err(at("a view is one query, without a semicolon", next.span)),
        token => Err(at(
            format!("unexpected `{token}` after the end of the query"),
            next.span,
        )),
    }
}

fn is_query_start(word: &Word) -> bool {
    ["SELECT", "WITH", "VALUES", "FROM"]
        .iter()
        .any(|k| word.value.eq_ignore_ascii_case(k))
}

fn syntax(error: ParserError) -> DataFusionError {
    DataFusionError::SQL(Box::new(error), None)
}

/// An error of planning with its place in the SQL text.
pub(crate) fn at(message: impl Into<String>, span: tokenizer::Span) -> DataFusionError {
    let message = message.into();
    let span = Span::try_from_sqlparser_span(span);
    DataFusionError::Plan(message.clone()).with_diagnostic(Diagnostic::new_error(message, span))
}

/// The dialect has no such clause; without this, the error would be about a misplaced word.
fn refuse_system_time(sql: &str) -> Result<()> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect, sql).tokenize_with_location() else {
        return Ok(());
    };
    let is = |token: &TokenWithSpan, word: &str| matches!(&token.token, Token::Word(w) if w.value.eq_ignore_ascii_case(word));
    let words: Vec<_> = tokens
        .iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_)))
        .collect();
    for pair in words.windows(2) {
        if is(pair[0], "for") && is(pair[1], "system_time") {
            let message = "not supported yet: FOR SYSTEM_TIME AS OF; a join without it takes the table as of arrival";
            return Err(at(message, pair[0].span));
        }
    }
    Ok(())
}

/// Makes every window function's first argument a subquery: `tumble(events, ..)` becomes
/// `tumble((SELECT * FROM events), ..)`.
///
/// A `SessionContext` looks up the tables that the syntax tree names as relations before it plans; a table function's
/// argument is an expression to it. So a batch over the same SQL needs this rewrite, the engine does not.
pub fn name_arguments(query: &mut ast::Query) {
    struct Rewrite;
    impl VisitorMut for Rewrite {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<()> {
            if let ast::TableFactor::Table {
                name,
                args: Some(arguments),
                ..
            } = factor
                && WINDOW_FUNCTIONS.contains(&name.to_string().to_lowercase().as_str())
                && let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(first))) =
                    arguments.args.first_mut()
                && matches!(
                    first,
                    ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_)
                )
                && let Ok(all) = parse(&format!("SELECT * FROM {first}"))
            {
                *first = ast::Expr::Subquery(Box::new(all));
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Rewrite);
}
