//! Joins the SQL functions in `src` into one script.
//!
//! `build.rs` compiles the script into the binaries. `with-database` loads it straight from the
//! sources, so that sqlx can check statements before the crate compiles.

use std::{fs, io, path::Path};

/// File stem and text of each `.sql` file below a directory, sorted by stem. Moving a file does not
/// change the result, and so not the hash.
///
/// # Errors
/// A directory or a file cannot be read.
pub fn sources(directory: &Path) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    collect(directory, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(directory: &Path, found: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            found.push((name.into_owned(), fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// One script that creates `schema` and loads the sources into it. The order is row types,
/// functions, views: signatures use row types, and views call functions.
pub fn script(schema: &str, sources: &[(String, String)]) -> String {
    let mut types = String::new();
    let mut functions = String::new();
    let mut views = String::new();
    for (_, text) in sources {
        if text.contains("\ncreate view ") || text.starts_with("create view ") {
            views.push_str(text);
            continue;
        }
        let function = text.find("create function ").unwrap_or(text.len());
        let (head, tail) = text.split_at(function);
        types.push_str(head);
        functions.push_str(tail);
        functions.push('\n');
    }
    // A body may call a function that is created later, so bodies are not checked during loading.
    // Functions with `security definer` keep this search path. `pg_temp` is last in it, so that a
    // temporary table of the caller does not replace a table of PostgreSQL.
    format!(
        "create schema {schema};\n\
         set local search_path = {schema}, biz, pg_temp;\n\
         set local check_function_bodies = off;\n\
         {types}\n{functions}\n{views}\n"
    )
}
