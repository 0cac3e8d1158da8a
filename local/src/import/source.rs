//! The database of an earlier service, read in one snapshot.

use std::collections::BTreeMap;

use secrecy::SecretString;
use sqlx::{Executor as _, PgConnection};

use super::{Kind, target};
use crate::{command::AnyError, database, terminal};

/// An earlier table.
pub(super) struct Table {
    pub name: &'static str,
    /// Columns without which nothing can be imported.
    pub required: &'static [(&'static str, &'static str)],
    /// Columns that are null if they are missing. The second word is the expected type.
    pub optional: &'static [(&'static str, &'static str)],
}

pub(super) struct Source {
    /// Its search path is only the schema of the service.
    pub connection: PgConnection,
}

/// The counts of the rows of a kind.
#[derive(sqlx::FromRow)]
pub(super) struct Counted {
    rows: i64,
    ids: i64,
    /// The highest id that is a number.
    pub highest: Option<i64>,
}

impl Counted {
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.rows).unwrap_or_default()
    }
}

impl Source {
    /// Prints how the tables differ from the expected ones.
    ///
    /// # Errors
    /// A table or a required column is missing, or the schema is Parlor's own.
    pub(super) async fn open(
        url: &SecretString,
        schema: &str,
        tables: &[Table],
    ) -> Result<Self, AnyError> {
        database::check(url).await?;
        let mut connection = target::connect(url).await?;
        // One snapshot, so that the counts at the end are those of the rows that were read.
        connection
            .execute(
                "set timezone = 'UTC'; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0;
                 begin isolation level repeatable read, read only",
            )
            .await?;
        sqlx::query("select set_config('search_path', quote_ident($1), false)")
            .bind(schema)
            .execute(&mut connection)
            .await?;
        let found: Vec<(String, String, String)> = sqlx::query_as(
            "select table_name::text, column_name::text, data_type::text from information_schema.columns
             where table_schema = $1 order by table_name, ordinal_position",
        )
        .bind(schema)
        .fetch_all(&mut connection)
        .await?;
        let mut columns = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (table, column, kind) in &found {
            let table = columns.entry(table.as_str()).or_default();
            table.insert(column.as_str(), kind.as_str());
        }
        if columns.contains_key("function_schemas") {
            return Err(format!(
                "the schema {schema} is Parlor's own, not that of an earlier service"
            )
            .into());
        }
        let mut missing = Vec::new();
        for table in tables {
            match columns.get(table.name) {
                None => missing.push(format!("the table {schema}.{}", table.name)),
                Some(columns) => compare(table, columns, &mut missing),
            }
        }
        if missing.is_empty() {
            return Ok(Self { connection });
        }
        Err(format!(
            "{} is missing or may not be read: {}",
            database::name_of(url),
            missing.join(", ")
        )
        .into())
    }

    /// Counts the rows of a kind.
    ///
    /// # Errors
    /// The ids are not unique.
    pub(super) async fn count(&mut self, kind: &Kind) -> Result<Counted, AnyError> {
        let counted: Counted = sqlx::query_as(kind.count)
            .fetch_one(&mut self.connection)
            .await?;
        if counted.rows == counted.ids {
            Ok(counted)
        } else {
            Err(format!("two {} rows have the same id, or one has none", kind.name).into())
        }
    }
}

fn compare(table: &Table, columns: &BTreeMap<&str, &str>, missing: &mut Vec<String>) {
    let name = table.name;
    for (column, expected) in table.required.iter().chain(table.optional) {
        let is_required = table
            .required
            .iter()
            .any(|(required, _)| required == column);
        match columns.get(column) {
            Some(found) if found == expected => {}
            Some(found) => {
                terminal::print_line(format!(
                    "{name}.{column} is {found}, not {expected}: converted"
                ));
            }
            None if is_required => missing.push(format!("the column {name}.{column}")),
            None => terminal::print_line(format!("{name}.{column} is missing: taken as null")),
        }
    }
    let is_known = |column: &str| {
        let mut known = table.required.iter().chain(table.optional);
        known.any(|(name, _)| *name == column)
    };
    for column in columns.keys().filter(|column| !is_known(column)) {
        terminal::print_line(format!("{name}.{column} is not imported"));
    }
}
