//! Puts the SQL functions that stand beside their Rust into one script.
//!
//! `build.rs` uses it to compile them into the binaries; `with-database` uses it to load the sources
//! as they are, so that statements can be checked before anything compiles.

use std::{fs, io, path::Path};

/// The `.sql` files below a directory, by name, so that moving a file changes nothing.
///
/// # Errors
/// When a directory or a file cannot be read.
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

/// One script that loads them into a schema: first all row types, which signatures name, then the
/// functions, then the views, which call functions.
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
    // Bodies name each other in any order, so they are not checked while they are loaded.
    format!(
        "create schema {schema};\n\
         set local search_path = {schema}, biz;\n\
         set local check_function_bodies = off;\n\
         {types}\n{functions}\n{views}\n"
    )
}
