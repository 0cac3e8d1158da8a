//! Rules for the sources of `common`: which module may use which, and what is forbidden in a
//! transaction.
//!
//! The sources are read as text. Each check takes them as a parameter, so that a test can show that
//! it fails.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::Path,
};

/// From the bottom up. A module may use its own layer and the layers below.
const LAYERS: [&str; 7] = [
    "platform",
    "dashscope",
    "governance",
    "moderation",
    "insights",
    "chat",
    "web",
];

/// Methods that begin a transaction.
const BEGIN: [&str; 2] = ["transaction", "sweep_transaction"];

/// Modules and functions that call another service.
const UPSTREAM: [&str; 4] = ["dashscope", "http_client", "sqs", "notify_workers"];

/// Methods that call DashScope.
const UPSTREAM_METHODS: [&str; 2] = ["stream", "complete"];

#[test]
fn a_module_uses_only_its_own_layer_and_those_below_it() {
    assert_eq!(upward_uses(&sources()), NONE);
}

#[test]
fn nouns_have_no_import_cycles() {
    assert_eq!(cycles(&sources()), NONE);
}

#[test]
fn no_service_is_called_while_a_transaction_is_open() {
    assert_eq!(calls_in_transactions(&sources()), NONE);
}

#[test]
fn one_file_writes_the_audit() {
    assert_eq!(audit_writers(&sources()), ["governance/audit.rs"]);
}

#[test]
fn a_use_of_a_layer_above_is_found() {
    let found = |text| upward_uses(&[source("governance/runs/mod.rs", text)]);
    let expected = ["governance/runs/mod.rs uses insights::results"];
    assert_eq!(found("use crate::insights::results::Lease;"), expected);
    assert_eq!(
        found("use crate::{platform::db::Db, insights::{results::{self, Lease}}};"),
        expected
    );
    assert_eq!(
        found("fn f() -> crate::insights::results::Lease {}"),
        expected
    );
    assert_eq!(found("use super::super::insights::results;"), expected);
    assert_eq!(
        found("use crate::web;"),
        ["governance/runs/mod.rs uses web"]
    );

    assert_eq!(found("use crate::{dashscope, platform::db::Db};"), NONE);
    assert_eq!(found("/// [`crate::web::Json`]\nfn f() {}"), NONE);
    assert_eq!(found("const F: &str = \"crate::web::Json\";"), NONE);
    assert_eq!(
        found("#[cfg(test)]\nmod tests { use crate::web::Json; }"),
        NONE
    );
    assert_eq!(found("#[cfg(test)]\nuse crate::web::{Json};"), NONE);
    let tests = source("governance/runs/samples.rs", "use crate::web::Json;");
    let parent = source("governance/runs/mod.rs", "#[cfg(test)]\nmod samples;");
    assert_eq!(upward_uses(&[parent, tests]), NONE);
}

#[test]
fn an_import_cycle_is_found_and_named() {
    let apps = source("insights/apps/mod.rs", "use crate::insights::facts::Facts;");
    let facts = source("insights/facts.rs", "use super::jobs;");
    let jobs = source("insights/jobs/mod.rs", "mod worker;");
    let worker = source(
        "insights/jobs/worker.rs",
        "use crate::{insights::{apps::{self, App}, facts}};",
    );
    assert_eq!(
        cycles(&[apps, facts, jobs, worker]),
        [
            "insights::apps -> insights::facts -> insights::jobs -> insights::apps",
            "insights::facts -> insights::jobs -> insights::facts",
        ]
    );

    // A re-export by the layer counts as a use of the noun.
    let layer = source(
        "web/mod.rs",
        "mod json; mod query; pub use query::{QueryText};",
    );
    let json = source("web/json.rs", "use super::QueryText;");
    let query = source("web/query.rs", "use super::json::Json;");
    assert_eq!(
        cycles(&[layer, json, query]),
        ["web::json -> web::query -> web::json"]
    );
}

#[test]
fn a_call_of_a_service_in_a_transaction_is_found() {
    let found = |body: &str| {
        let text = format!(
            "async fn set(db: &Db) -> Result<()> {{ let mut tx = db.transaction().await?; {body} }}"
        );
        calls_in_transactions(&[source("governance/budgets.rs", &text)])
    };
    for (body, word) in [
        ("queue.notify_workers(1).await;", "notify_workers"),
        ("platform::sqs::send().await;", "sqs"),
        ("http_client::get().await;", "http_client"),
        ("let cloud: &DashScope = state.cloud();", "DashScope"),
        ("cloud.complete(call).await;", "complete"),
        ("cloud.stream(call).await;", "stream"),
    ] {
        let expected = format!("governance/budgets.rs: set names {word} in a transaction");
        assert_eq!(found(body), [expected]);
    }
    assert_eq!(found("tx.commit().await?; // before sqs is called"), NONE);
    let apart = "fn a() { db.transaction(); } fn b() { queue.notify_workers(1); }";
    assert_eq!(calls_in_transactions(&[source("a/b.rs", apart)]), NONE);
}

#[test]
fn a_second_writer_of_the_audit_is_found() {
    let text = "sqlx::query!(\"INSERT INTO\n  biz.ai_admin_audit (site_id) values ($1)\")";
    let other = source("chat/bots.rs", text);
    let reader = source(
        "chat/a.rs",
        "sqlx::query!(\"select from biz.ai_admin_audit\")",
    );
    assert_eq!(audit_writers(&[other, reader]), ["chat/bots.rs"]);
}

const NONE: [&str; 0] = [];

/// A file of `common/src`.
struct Source {
    /// Relative to `common/src`, with `/`.
    path: String,
    text: String,
}

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).unwrap().to_str().unwrap();
                found.push(source(
                    &below.replace('\\', "/"),
                    &fs::read_to_string(&path).unwrap(),
                ));
            }
        }
    }
    assert!(found.len() > 100, "only {} files", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Uses of a higher layer.
fn upward_uses(sources: &[Source]) -> Vec<String> {
    let rank = |name: &String| LAYERS.iter().position(|layer| layer == name);
    let mut found = BTreeSet::new();
    for module in modules(sources) {
        let Some(own) = module.path.first().and_then(rank) else {
            continue;
        };
        for used in &module.uses {
            if used.first().and_then(rank).is_some_and(|layer| layer > own) {
                let used = used.iter().take(2).cloned().collect::<Vec<_>>().join("::");
                found.insert(format!("{} uses {used}", module.file));
            }
        }
    }
    found.into_iter().collect()
}

/// The shortest import cycle through each noun that is part of one.
fn cycles(sources: &[Source]) -> Vec<String> {
    let uses = uses_of_nouns(&modules(sources));
    let mut found = BTreeSet::new();
    for start in uses.keys() {
        if let Some(mut cycle) = shortest_cycle(&uses, start) {
            let first = (0..cycle.len()).min_by_key(|at| &cycle[*at]).unwrap();
            cycle.rotate_left(first);
            cycle.push(cycle[0]);
            found.insert(cycle.join(" -> "));
        }
    }
    found.into_iter().collect()
}

fn shortest_cycle<'a>(
    uses: &'a BTreeMap<String, BTreeSet<String>>,
    start: &'a str,
) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(noun) = next.pop_front() {
        for used in uses.get(noun).into_iter().flatten() {
            if used == start {
                let mut cycle = vec![noun];
                while let Some(earlier) = before.get(cycle[cycle.len() - 1]) {
                    cycle.push(earlier);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if !before.contains_key(&**used) {
                before.insert(used, noun);
                next.push_back(used);
            }
        }
    }
    None
}

/// The nouns that each noun uses, as `layer::noun`.
fn uses_of_nouns(modules: &[Module]) -> BTreeMap<String, BTreeSet<String>> {
    let noun = |path: &[String]| match path {
        [layer, noun, ..] if LAYERS.contains(&&**layer) => Some(format!("{layer}::{noun}")),
        _ => None,
    };
    let nouns: BTreeSet<String> = modules.iter().filter_map(|m| noun(&m.path)).collect();
    // Re-exports: `web::QueryText` belongs to `web::query`.
    let mut exported = BTreeMap::new();
    for layer in modules.iter().filter(|module| module.path.len() == 1) {
        for used in &layer.uses {
            if let (Some(name), Some(by)) = (used.last(), noun(used)) {
                exported.insert(format!("{}::{name}", layer.path[0]), by);
            }
        }
    }
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for module in modules {
        let Some(own) = noun(&module.path) else {
            continue;
        };
        let names = module.uses.iter().filter_map(|path| noun(path));
        let names = names.filter_map(|name| {
            if nouns.contains(&name) {
                Some(name)
            } else {
                exported.get(&name).cloned()
            }
        });
        let names = names.filter(|name| *name != own);
        uses.entry(own.clone()).or_default().extend(names);
    }
    uses
}

/// Functions that begin a transaction and name another service. The order of the statements in the
/// body does not matter.
fn calls_in_transactions(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let all = tokens(&source.text);
        let (code, _) = without_tests(&all);
        for (name, body) in functions(&code) {
            if !BEGIN.iter().any(|method| has(body, &[".", method, "("])) {
                continue;
            }
            let upstream = |word: &str| {
                let word = word.to_lowercase();
                word.contains("dashscope") || UPSTREAM.contains(&&*word)
            };
            let named = body.iter().find(|word| upstream(word));
            let called = UPSTREAM_METHODS
                .iter()
                .find(|method| has(body, &[".", method, "("]));
            if let Some(word) = named.or(called) {
                let path = &source.path;
                found.push(format!("{path}: {name} names {word} in a transaction"));
            }
        }
    }
    found
}

/// Files with a statement that writes the audit.
fn audit_writers(sources: &[Source]) -> Vec<String> {
    let writes = |source: &&Source| {
        let words: Vec<&str> = source.text.split_whitespace().collect();
        let text = words.join(" ").to_lowercase();
        text.contains("insert into biz.ai_admin_audit")
    };
    let found = sources.iter().filter(writes);
    found.map(|source| source.path.clone()).collect()
}

/// A module without its tests.
struct Module {
    file: String,
    /// From the crate's root.
    path: Vec<String>,
    /// The paths that it imports, and those that begin with `crate::`, `super::` or `self::`. They
    /// are resolved from the crate's root.
    uses: Vec<Vec<String>>,
}

fn modules(sources: &[Source]) -> Vec<Module> {
    let mut of_tests: Vec<Vec<String>> = Vec::new();
    let mut found = Vec::new();
    for source in sources {
        let path = module_path(&source.path);
        let all = tokens(&source.text);
        let (code, tests) = without_tests(&all);
        of_tests.extend(tests.iter().map(|name| joined(&path, name)));
        found.push(Module {
            file: source.path.clone(),
            uses: Paths::of(&path, &code),
            path,
        });
    }
    found.retain(|module| !of_tests.iter().any(|test| module.path.starts_with(test)));
    found
}

fn module_path(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file.split('/').map(str::to_owned).collect();
    let last = path.pop().unwrap();
    if !["mod.rs", "lib.rs"].contains(&&*last) {
        path.push(last.trim_end_matches(".rs").to_owned());
    }
    path
}

fn joined(path: &[String], name: &str) -> Vec<String> {
    let mut path = path.to_vec();
    path.push(name.to_owned());
    path
}

/// The tokens of a source, without comments and text literals.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped(rest);
        if skipped > 0 {
            rest = &rest[skipped..];
            continue;
        }
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if !first.is_whitespace() {
            found.push(token);
        }
        rest = after;
    }
    found
}

/// The length of the comment, string, character or lifetime at the beginning. 0 if there is none.
fn skipped(rest: &str) -> usize {
    let until = |from: usize, end: &str| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return until(2, "\n");
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    let text = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - text.len();
    if prefix <= 1 {
        if let Some(raw) = text.strip_prefix('r') {
            let opened = raw.trim_start_matches('#');
            let hashes = raw.len() - opened.len();
            if opened.starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                return until(prefix + hashes + 2, &end);
            }
        }
        if text.starts_with('"') {
            return prefix + quoted(text, '"');
        }
    }
    if let Some(after) = rest.strip_prefix('\'') {
        let mut next = after.chars();
        let is_character = matches!(
            (next.next(), next.next()),
            (Some('\\'), _) | (_, Some('\''))
        );
        return if is_character { quoted(rest, '\'') } else { 1 };
    }
    0
}

/// The length of a literal, including both quotation marks.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The source without its `#[cfg(test)]` items, and those of them that are modules in other files.
fn without_tests<'a>(tokens: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut code, mut files) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].starts_with(&MARK) {
            code.push(tokens[at]);
            at += 1;
            continue;
        }
        at += MARK.len();
        while tokens.get(at) == Some(&"#") {
            at += 1 + group(&tokens[at + 1..]);
        }
        let item = &tokens[at..];
        if let Some(of) = item.iter().position(|token| *token == "mod")
            && item.get(of + 2) == Some(&";")
            && of <= 4
        {
            files.push(item[of + 1]);
        }
        at += item_length(item);
    }
    (code, files)
}

/// The length of an item, up to its `;` or the end of its body.
fn item_length(item: &[&str]) -> usize {
    let mut at = 0;
    while at < item.len() {
        match item[at] {
            ";" => return at + 1,
            "(" | "[" => at += group(&item[at..]),
            "{" => {
                at += group(&item[at..]);
                if !item[..at].contains(&"use") {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The length of a bracketed group of any kind, including the brackets.
fn group(tokens: &[&str]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The names and bodies of functions with a body.
fn functions<'t, 'a>(code: &'t [&'a str]) -> Vec<(&'a str, &'t [&'a str])> {
    let mut found = Vec::new();
    for (at, _) in code.iter().enumerate().filter(|(_, token)| **token == "fn") {
        if code.get(at + 1) == Some(&"(") {
            continue; // A function pointer type has no name.
        }
        let mut from = at + 1;
        while from < code.len() && !["{", ";"].contains(&code[from]) {
            from += if code[from] == "(" {
                group(&code[from..])
            } else {
                1
            };
        }
        if code.get(from) == Some(&"{") {
            found.push((code[at + 1], &code[from..from + group(&code[from..])]));
        }
    }
    found
}

fn has(tokens: &[&str], part: &[&str]) -> bool {
    tokens.windows(part.len()).any(|window| window == part)
}

/// Reads the paths in a file.
struct Paths<'t> {
    code: &'t [&'t str],
    at: usize,
    found: Vec<Vec<String>>,
}

impl<'t> Paths<'t> {
    fn of(module: &[String], code: &'t [&'t str]) -> Vec<Vec<String>> {
        let mut paths = Self {
            code,
            at: 0,
            found: Vec::new(),
        };
        // For each inline module, the brace depth at which it ends.
        let mut own = module.to_vec();
        let (mut inside, mut depth) = (Vec::new(), 0);
        while let Some(token) = paths.token() {
            match token {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inside.last() == Some(&depth) {
                        inside.pop();
                        own.pop();
                    }
                }
                "mod" if code.get(paths.at + 2) == Some(&"{") => {
                    inside.push(depth);
                    own.push(code[paths.at + 1].to_owned());
                }
                "crate" | "super" | "self" if paths.begins() => {
                    paths.tree(&own);
                    continue;
                }
                "use" => {
                    paths.at += 1;
                    if !["crate", "super", "self", "::"].contains(&paths.token().unwrap_or("")) {
                        // A child module, or another crate. No crate is named like a layer.
                        paths.tree(&own);
                    }
                    continue;
                }
                _ => {}
            }
            paths.at += 1;
        }
        paths.found
    }

    fn token(&self) -> Option<&'t str> {
        self.code.get(self.at).copied()
    }

    /// True if a path begins here.
    fn begins(&self) -> bool {
        let before = self.at.checked_sub(1).map(|at| self.code[at]);
        self.code.get(self.at + 1) == Some(&"::") && before != Some("::")
    }

    /// Reads `a::b::{c, d::*}` in the module `base`.
    fn tree(&mut self, base: &[String]) {
        let mut path = base.to_vec();
        loop {
            match self.token() {
                Some("crate") => path.clear(),
                Some("super") => {
                    path.pop();
                }
                Some("self" | "*") => {}
                Some("{") => {
                    self.at += 1;
                    while let Some(token) = self.token() {
                        match token {
                            "}" => break,
                            "," => self.at += 1,
                            _ => self.tree(&path),
                        }
                    }
                    self.at += 1;
                    return;
                }
                Some(name) => path.push(name.to_owned()),
                None => return,
            }
            self.at += 1;
            if self.token() != Some("::") {
                break;
            }
            self.at += 1;
        }
        while self.token() == Some("as") {
            self.at += 2;
        }
        self.found.push(path);
    }
}
