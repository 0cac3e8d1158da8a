//! The documents for users are true: their commands work as pasted and print what is shown, and
//! the tables of settings name all variables and parameters.
//!
//! The `sh` blocks of a document run in order in one `bash`, so that a variable of one block is set
//! in the next. A block that follows an `sh` block shows the output. Numbers, ids and times may
//! differ from it, and `…` stands for any text.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::time::timeout;

use crate::{
    harness::child::{self, Program},
    laptop::{address, home, isolated, program},
};

/// The longest time that the examples of a document may take: they wait for background jobs.
const PATIENCE: Duration = Duration::from_mins(5);
/// Begins the output of a block.
const MARK: &str = "--- block ---";
/// What `curl` writes before the status of a response, on standard error.
const STATUS: &str = "--- status ";

/// An `sh` block, and the output that the document shows after it.
struct Example {
    line: usize,
    script: String,
    shown: Option<String>,
}

/// The blocks of a document, after the line `start`.
fn examples(document: &str, start: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    // The language and the content of the open block.
    let mut open: Option<(&str, String)> = None;
    // Whether only empty lines separate this line from the last `sh` block.
    let mut follows = false;
    let lines = document.lines().enumerate();
    for (number, line) in lines.skip_while(|(_, line)| *line != start) {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language, String::new())),
            (None, None) => follows &= line.is_empty(),
            (Some(_), Some("")) => {
                let (language, text) = open.take().unwrap_or_default();
                if language == "sh" {
                    found.push(Example {
                        line: number + 1,
                        script: text,
                        shown: None,
                    });
                } else if let Some(example) = found.last_mut().filter(|_| follows) {
                    example.shown = Some(text);
                }
                follows = language == "sh";
            }
            (Some((_, text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    found
}

/// A text without what differs from run to run: how a stream is cut into events, ids, times and
/// numbers.
fn comparable(text: &str) -> String {
    let mut stable = String::new();
    for line in text.lines() {
        if let Some(data) = line.strip_prefix(r#"data: {"token":"#) {
            let token = data.strip_suffix('}').unwrap_or(data);
            let token: String = serde_json::from_str(token).unwrap_or_default();
            stable.push_str(&token);
        } else if !(line.is_empty() || line == "event: message" || line.starts_with("id: ")) {
            stable.push_str(line);
        }
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let mut masked = String::new();
    let mut rest = stable.as_str();
    while let Some(first) = rest.chars().next() {
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(end);
        let has_digit = word.contains(|c: char| c.is_ascii_digit());
        let is_cursor = word.len() > 40;
        match uuid::Uuid::try_parse(word) {
            Ok(_) => masked.push_str("ID"),
            Err(_) if is_cursor => masked.push_str("CURSOR"),
            Err(_) if has_digit => masked.push_str(&masked_digits(word)),
            Err(_) => masked.push_str(word),
        }
        rest = after;
    }
    masked
}

/// A word with `0` for each run of digits.
fn masked_digits(word: &str) -> String {
    let mut masked = String::new();
    for c in word.chars() {
        if !c.is_ascii_digit() {
            masked.push(c);
        } else if !masked.ends_with('0') {
            masked.push('0');
        }
    }
    masked
}

/// Whether an output is what is shown, where `…` in the latter is any text.
fn matches(shown: &str, printed: &str) -> bool {
    let printed = comparable(printed);
    let shown = comparable(shown);
    let mut pieces = shown.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    let pieces: Vec<_> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in middle {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// An executable script in a directory.
fn tool(directory: &Path, name: &str, script: &str) {
    let path = directory.join(name);
    fs::write(&path, script).expect("write a tool");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make it executable");
}

/// `cargo run` as the program that is built already, and a `curl` that reports each status.
fn tools(directory: &Path) {
    let program = program();
    let cargo = format!(
        "#!/bin/sh\n[ \"$1 $2 $3\" = 'run -q --' ] || exit 1\nshift 3\nexec '{}' \"$@\"\n",
        program.display()
    );
    tool(directory, "cargo", &cargo);
    // The directory of this script is the first of the search path.
    let curl = format!(
        "#!/bin/sh\nPATH=${{PATH#*:}}\nexec curl -sS -w '%{{stderr}}{STATUS}%{{http_code}}\\n' \"$@\"\n"
    );
    tool(directory, "curl", &curl);
}

/// What a block has printed on one of the two streams.
fn by_block(output: &[u8]) -> Vec<String> {
    let output = String::from_utf8_lossy(output);
    let parts = output.split(MARK);
    parts.skip(1).map(str::to_owned).collect()
}

/// Why an example is wrong, if it is.
fn fault(example: &Example, printed: &str, complaints: &str) -> Option<String> {
    let statuses = complaints.lines().filter_map(|line| {
        let (_, status) = line.split_once(STATUS)?;
        status.parse::<u16>().ok()
    });
    let refused: Vec<_> = statuses.filter(|status| *status >= 400).collect();
    // A document may show a refusal. Then the block has one request.
    let is_shown = example.shown.as_ref().is_some_and(|shown| {
        serde_json::from_str::<Value>(shown).is_ok_and(|body| body["code"].is_string())
    });
    if refused.is_empty() == is_shown {
        return Some(format!("statuses {refused:?}\n{printed}\n{complaints}"));
    }
    match &example.shown {
        Some(shown) if !matches(shown, printed) => Some(format!(
            "shown, as compared:\n{}\nprinted:\n{}\n{printed}\n{complaints}",
            comparable(shown),
            comparable(printed)
        )),
        _ => None,
    }
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{name}: {err}"))
}

/// Runs the examples of a document after the line `start`, against a Parlor of their own.
async fn run(document: &str, start: &str) {
    let examples = examples(&file(document), start);
    assert!(!examples.is_empty(), "{document} has no examples");

    let home = home();
    let mut server = isolated(child::command(program()), home.path());
    server.args(["serve", "--port", "0", "--no-history"]);
    let mut server = Program::start(server);
    let address = address(&mut server).await;

    let place = tempfile::tempdir().expect("make a directory");
    let bin = place.path().join("bin");
    fs::create_dir(&bin).expect("make a directory");
    tools(&bin);
    let scripts = examples
        .iter()
        .map(|example| format!("echo '{MARK}'\necho '{MARK}' >&2\n{}", example.script));
    let script: Vec<_> = scripts.collect();
    let script_path = place.path().join("examples.sh");
    fs::write(&script_path, script.concat()).expect("write the script");

    let mut bash = isolated(Command::new("bash"), home.path());
    bash.arg("-u")
        .arg(&script_path)
        .current_dir(place.path())
        .env("PARLOR", &address)
        .env("PATH", path_with(&bin))
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null());
    let mut bash = tokio::process::Command::from(bash);
    let output = timeout(PATIENCE, bash.kill_on_drop(true).output())
        .await
        .unwrap_or_else(|_| panic!("{document}: an example waits for more than {PATIENCE:?}"))
        .expect("run bash");

    let printed = by_block(&output.stdout);
    let complaints = by_block(&output.stderr);
    assert_eq!(
        (printed.len(), complaints.len()),
        (examples.len(), examples.len()),
        "{document}: the script ended early\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let outputs = printed.iter().zip(&complaints);
    let faults: Vec<_> = examples
        .iter()
        .zip(outputs)
        .filter_map(|(example, (printed, complaints))| {
            let fault = fault(example, printed, complaints)?;
            Some(format!("{document}:{}: {fault}", example.line))
        })
        .collect();
    assert!(
        faults.is_empty() && output.status.success(),
        "{}\n{}",
        output.status,
        faults.join("\n")
    );
}

/// The search path with a directory before the others.
fn path_with(bin: &Path) -> std::ffi::OsString {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(PathBuf::from(bin)).chain(std::env::split_paths(&path));
    std::env::join_paths(directories).expect("directories of a search path")
}

#[tokio::test]
async fn the_first_message_of_the_readme_works_as_pasted() {
    run("README.md", "## A first message").await;
}

#[tokio::test]
async fn the_first_message_of_the_chinese_readme_works_as_pasted() {
    run("README.zh-CN.md", "## 第一条消息").await;
}

#[tokio::test]
async fn the_examples_of_the_api_work_as_pasted() {
    run("docs/api.md", "# API").await;
}

/// The parameters of the template, each with its default.
fn parameters() -> BTreeMap<String, Option<String>> {
    let template = file("template.yaml");
    let mut found = BTreeMap::new();
    let mut last = String::new();
    let lines = template
        .lines()
        .skip_while(|line| *line != "Parameters:")
        .take_while(|line| *line != "Conditions:");
    for line in lines {
        if let Some(default) = line.strip_prefix("    Default: ") {
            found.insert(last.clone(), Some(default.trim_matches('"').to_owned()));
        } else if let Some(name) = line.strip_prefix("  ").and_then(|l| l.strip_suffix(':'))
            && name.starts_with(|c: char| c.is_ascii_uppercase())
        {
            name.clone_into(&mut last);
            found.insert(last.clone(), None);
        }
    }
    found
}

/// The variables that the template sets, and those that `platform::env` documents.
fn variables() -> BTreeSet<String> {
    let is_name = |name: &&str| {
        name.contains('_')
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let template = file("template.yaml");
    let set = template
        .lines()
        .filter_map(|line| Some(line.trim().split_once(": ")?.0));
    let code = file("common/src/platform/env.rs");
    let read = code
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .flat_map(|row| row.split('|').next().unwrap_or_default().split('`'));
    set.chain(read).filter(is_name).map(str::to_owned).collect()
}

/// True for the settings of one app, which `docs/apps.md` lists.
fn is_of_an_app(name: &str) -> bool {
    name.starts_with("DASHSCOPE_APP_ID_") || name.starts_with("DashScopeAppId")
}

/// The settings that a document's tables lack or show with another default.
fn wrong_settings(document: &str, required: &str) -> Vec<String> {
    let text = file(document);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            line.split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect()
        })
        .collect();
    let mut wrong = Vec::new();
    for name in variables().into_iter().filter(|name| !is_of_an_app(name)) {
        if !rows.iter().any(|row| row[1] == name) {
            wrong.push(format!("{document}: no row for the variable {name}"));
        }
    }
    let parameters = parameters().into_iter();
    for (name, default) in parameters.filter(|(name, _)| !is_of_an_app(name)) {
        let expected = match default.as_deref() {
            None => required,
            Some("") => "–",
            Some(default) => default,
        };
        let row = rows.iter().find(|row| row[2] == name);
        if row.is_none_or(|row| row[3] != expected) {
            wrong.push(format!(
                "{document}: the row of the parameter {name} must show the default {expected}"
            ));
        }
    }
    wrong
}

#[test]
fn the_tables_of_settings_name_every_variable_and_every_parameter_with_its_default() {
    assert!(parameters().len() > 40 && variables().len() > 25);
    let wrong = [
        wrong_settings("docs/configuration.md", "required"),
        wrong_settings("docs/zh/configuration.md", "必填"),
    ]
    .concat();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_is_shown_may_leave_text_out_and_have_other_numbers() {
    assert!(matches(
        r#"{"id":1,"a":"x…","n":2}"#,
        r#"{"id":17,"a":"xyz","n":345}"#
    ));
    assert!(!matches(r#"{"id":1,"a":"x…"}"#, r#"{"id":1,"a":"yx"}"#));
    assert!(!matches("a…b", "ab…c"));
    let stream = "event: message\nid: 2-1\ndata: {\"token\":\"阿\"}\n\n\
                  event: message\nid: 2-2\ndata: {\"token\":\"杰\"}\n\nevent: done\n";
    assert!(matches(
        "event: message\ndata: {\"token\":\"阿杰\"}\n…\nevent: done",
        stream
    ));
}

#[test]
fn examples_are_in_one_order_and_keep_what_they_print() {
    let document = "# A\n```sh\nfirst\n```\ntext\n```json\n{}\n```\n# B\n```sh\nsecond\n```\n\n```\nout\n```\n";
    let found = examples(document, "# A");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].shown, None);
    assert_eq!(found[1].shown.as_deref(), Some("out\n"));
    assert_eq!(examples(document, "# B").len(), 1);
}
