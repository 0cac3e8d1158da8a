//! Compiles the SQL functions in `src` into the crate: one script, and a schema named by the hash
//! of their text.

#[path = "build/function_script.rs"]
mod function_script;

use std::{env, error::Error, fs, path::Path};

use sha2::{Digest as _, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build");
    let sources = function_script::sources(Path::new("src"))?;
    let mut hash = Sha256::new();
    for (name, text) in &sources {
        hash.update(name);
        hash.update([0]);
        hash.update(text);
        hash.update([0]);
    }
    let hash = hash.finalize();
    let schema = format!(
        "parlor_{:02x}{:02x}{:02x}{:02x}",
        hash[0], hash[1], hash[2], hash[3]
    );
    let names: Vec<_> = sources.iter().map(|(name, _)| name).collect();
    let script = function_script::script(&schema, &sources);
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo passes `OUT_DIR` to a build script"
    )]
    let out = env::var("OUT_DIR")?;
    let generated = format!(
        "/// The schema of this build's functions: `parlor_` and the first 8 hex digits of their hash.\n\
         pub const SCHEMA: &str = {schema:?};\n\
         /// The `search_path` of every connection.\n\
         pub const SEARCH_PATH: &str = \"{schema},biz\";\n\
         /// Creates the schema and loads all functions.\n\
         const SCRIPT: &str = {script:?};\n\
         /// Functions, types and views of the script.\n\
         pub(crate) const NAMES: &[&str] = &{names:?};\n"
    );
    fs::write(Path::new(&out).join("functions.rs"), generated)?;
    Ok(())
}
