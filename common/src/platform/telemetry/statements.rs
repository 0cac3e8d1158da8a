//! Spans of statements.
//!
//! sqlx reports each statement as an event of `tracing` when it ends. So one layer of the log
//! records the statements of all connections and transactions. The event has the text of the
//! statement, without its parameters, but not its error: the span above has that.

use std::{borrow::Cow, time::Duration};

use opentelemetry::KeyValue;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use crate::platform::{functions, request_context::RequestContext, traces::Span};

/// The target of the events, which sqlx chose.
pub(super) const TARGET: &str = "sqlx::query";

/// The layer. A statement that belongs to no span, such as a look for due jobs, is not recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statements;

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let parent = RequestContext::with_current(|context| context.span().clone());
        let Some(parent) = parent.filter(Span::is_sampled) else {
            return;
        };
        let mut statement = Statement::default();
        event.record(&mut statement);
        let name = Name::of(statement.sql());
        let mut attributes = vec![
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.operation.name", name.operation.clone()),
            KeyValue::new("db.response.returned_rows", statement.rows),
        ];
        attributes.extend(name.target.as_ref().map(|target| {
            let key = if name.is_function {
                "db.stored_procedure.name"
            } else {
                "db.collection.name"
            };
            KeyValue::new(key, target.clone())
        }));
        Span::record_past(&parent, name.summary(), statement.took, attributes);
    }
}

/// The fields of an event of sqlx.
#[derive(Default)]
struct Statement {
    /// The first words.
    summary: String,
    /// The whole text. Empty if the summary is the whole text.
    text: String,
    rows: i64,
    took: Duration,
}

impl Statement {
    fn sql(&self) -> &str {
        if self.text.is_empty() {
            &self.summary
        } else {
            &self.text
        }
    }
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.text),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rows_returned" {
            self.rows = i64::try_from(value).unwrap_or(i64::MAX);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.took = Duration::try_from_secs_f64(value).unwrap_or_default();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// What a statement does, and with which function or table. There are as few names as statements.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    operation: String,
    target: Option<String>,
    is_function: bool,
}

fn is_table(word: &&str) -> bool {
    word.starts_with("biz.")
}

impl Name {
    fn of(sql: &str) -> Self {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
        let parts = sql.split_inclusive(|c| !is_word(c));
        let mut parts = parts.map(|part| (part.trim_end_matches(|c| !is_word(c)), part));
        let (mut operation, mut source, mut table, mut function) = (None, None, None, None);
        let mut before = "";
        while let Some((word, part)) = parts.next() {
            if word.is_empty() {
                continue;
            }
            let changes = ["insert", "update", "delete"].contains(&word);
            // `for update`, `for no key update`, `on conflict … do update`
            if changes && !["for", "key", "do"].contains(&before) {
                operation = Some(word);
                (source, function) = (None, None);
                table = parts.map(|(word, _)| word).find(is_table);
                break;
            }
            operation = operation.or(Some(word));
            if part.ends_with('(') && functions::NAMES.contains(&word) {
                function = function.or(Some(word));
                source = source.or(Some(word).filter(|_| before == "from"));
            }
            table = table.or(Some(word).filter(is_table));
            before = word;
        }
        let operation = match operation.unwrap_or_default() {
            "with" => "SELECT".to_owned(),
            word => word.to_ascii_uppercase(),
        };
        // A function in a list of columns says less than the table.
        let function = source.or(function.filter(|_| table.is_none()));
        Self {
            operation,
            target: function.or(table).map(str::to_owned),
            is_function: function.is_some(),
        }
    }

    fn summary(&self) -> Cow<'static, str> {
        match &self.target {
            Some(target) => format!("{} {target}", self.operation).into(),
            None => self.operation.clone().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_after_its_function_or_its_table() {
        for (sql, expected) in [
            (
                "select outcome as \"outcome!\", retry_after from begin_reply($1, $2)",
                "SELECT begin_reply",
            ),
            (
                "select take_sweep_lock() as \"is_alone!\"",
                "SELECT take_sweep_lock",
            ),
            (
                "\n\n  select coalesce(max(seq), 0) from biz.ai_messages\n",
                "SELECT biz.ai_messages",
            ),
            (
                "select visible_text(m) from biz.ai_messages m",
                "SELECT biz.ai_messages",
            ),
            (
                "update biz.ai_messages m set state = $2 where m.id = $1",
                "UPDATE biz.ai_messages",
            ),
            (
                "with next as (select id from biz.ai_trigger_jobs for no key update skip locked), \
                 claimed as (update biz.ai_trigger_jobs j set status = 'running' from next) \
                 select id from claimed",
                "UPDATE biz.ai_trigger_jobs",
            ),
            (
                "with a as (select 1) insert into biz.ai_budgets (site_id) values ($1) \
                 on conflict on constraint c do update set site_id = $1",
                "INSERT biz.ai_budgets",
            ),
            (
                "with a as (select * from biz.sites for update) select from a",
                "SELECT biz.sites",
            ),
            ("BEGIN", "BEGIN"),
            ("", ""),
        ] {
            assert_eq!(Name::of(sql).summary(), expected, "{sql}");
        }
    }
}
