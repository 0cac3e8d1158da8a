//! The documents: a translation has the structure of its original, and links lead somewhere.
//!
//! The checks take texts as parameters, so that a test can show that they fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::Path,
};

use common::{
    governance::apps::App,
    insights::apps::{self, Definition, TargetKind, Validity},
};
use serde_json::{Value, json};

use crate::template::parameter_of;

#[test]
fn a_translation_has_the_headings_code_and_tables_of_its_original() {
    let documents = documents();
    let mut found = Vec::new();
    let mut pairs = 0;
    for (translation, text) in &documents {
        let original = match translation.strip_prefix("docs/zh/") {
            Some(name) => format!("docs/{name}"),
            None if translation == "README.zh-CN.md" => "README.md".to_owned(),
            None => continue,
        };
        pairs += 1;
        match documents.get(&original) {
            Some(other) => found.extend(differences((&original, other), (translation, text))),
            None => found.push(format!("{translation}: {original} is missing")),
        }
    }
    assert!(pairs > 2, "only {pairs} translations");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_relative_link_leads_to_a_file_and_a_heading_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documents = documents();
    let found = broken_links(&documents, |path| root.join(path).exists());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_document_of_apps_has_the_definitions_of_the_code() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/apps.md");
    let made = apps_document();
    if fs::read_to_string(document).unwrap_or_default() != made {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apps.md");
        fs::write(&new, made).unwrap();
        panic!("docs/apps.md is stale: cp {} docs/apps.md", new.display());
    }
}

/// `docs/apps.md`, in both languages.
fn apps_document() -> String {
    let mut text = "\
<!-- Made by the test `the_document_of_apps_has_the_definitions_of_the_code`. -->

# Apps · 应用

The applications that Parlor calls. [Your data](your-data.md#5-create-the-applications) explains how
to create them, and [system-prompts.md](system-prompts.md) has samples. An app without an
application id is off.

Parlor 调用的应用。创建方法见[接入你的数据](zh/your-data.md#5-创建应用)，
系统提示词见[示例](system-prompts.md)。没有应用 ID 的应用不启用。

| app | name · 名称 | variable · 环境变量 | parameter · 部署参数 | target · 对象 | valid · 有效期 |
|---|---|---|---|---|---|
"
    .to_owned();
    for app in App::ALL {
        let (target, validity) = match app.definition() {
            None => ("conversation · 会话", "–".to_owned()),
            Some(definition) => (target(definition.target), validity(definition.validity)),
        };
        let (name, title) = (app.name(), app.title());
        let (variable, parameter) = (app.variable(), parameter_of(app));
        writeln!(
            text,
            "| `{name}` | {title} | `{variable}` | `{parameter}` | {target} | {validity} |"
        )
        .unwrap();
    }
    text += "
## Answers · 返回的 JSON

All lists need at least one item, except those in the last column.

列表至少要有一项，最后一列中的列表可以为空。

| app | example · 示例 | may be empty · 可以为空 |
|---|---|---|
";
    for definition in App::ALL.into_iter().filter_map(App::definition) {
        let lists = match lists_that_may_be_empty(definition) {
            lists if lists.is_empty() => "–".to_owned(),
            lists => lists.join(", "),
        };
        let (name, example) = (definition.app.name(), definition.example());
        writeln!(text, "| `{name}` | `{example}` | {lists} |").unwrap();
    }
    text
}

fn target(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Member => "member · 会员",
        TargetKind::MemberOrTask => "member or task · 会员或任务",
        TargetKind::Note => "note · 备注",
        TargetKind::PeriodAndArea => "period and area · 周期和区域",
        TargetKind::Period => "period · 周期",
    }
}

fn validity(validity: Validity) -> String {
    match validity {
        Validity::Day => "until the end of the site's day · 到门店当天结束".to_owned(),
        Validity::Days(days) => format!("{days} days · {days} 天"),
    }
}

fn lists_that_may_be_empty(definition: &Definition) -> Vec<String> {
    let example: Value = serde_json::from_str(definition.example()).unwrap();
    let members = example.as_object().unwrap();
    let lists = members.iter().filter(|(name, value)| {
        let mut answer = example.clone();
        answer[*name] = json!([]);
        value.is_array() && apps::check(definition.app, &answer.to_string()).is_ok()
    });
    lists.map(|(name, _)| format!("`{name}`")).collect()
}

#[test]
fn a_difference_of_a_translation_is_found() {
    let original = "\
# Title

## Run

```sh
# Starts it.
cargo run # everything
```

| name | meaning |
|---|---|
| `a` | first |
";
    let found = |from: &str, to: &str| {
        assert!(original.contains(from), "{from}");
        differences(("a.md", original), ("zh/a.md", &original.replace(from, to)))
    };
    assert_eq!(found("# Title", "# 标题"), NONE);
    assert_eq!(found("# Starts it.", "# 启动。"), NONE);
    assert_eq!(found(" # everything", "   # 全部"), NONE);
    assert_eq!(found("first", "第一"), NONE);

    assert_eq!(
        found("## Run", "### 运行"),
        ["zh/a.md:3: heading 2 is of level 3, in a.md of level 2"]
    );
    assert_eq!(found("## Run\n", ""), ["zh/a.md: 1 headings, in a.md 2"]);
    assert_eq!(
        found("cargo run", "cargo test"),
        ["zh/a.md:5: code block 1 differs from a.md:5: \"cargo test\", not \"cargo run\""]
    );
    assert_eq!(
        found("| `a` | first |\n", ""),
        ["zh/a.md:10: table 1 has 2 rows, in a.md 3"]
    );
    let text = original.split_once("```sh").unwrap().0;
    assert_eq!(
        differences(("a.md", original), ("zh/a.md", text)),
        [
            "zh/a.md: 0 code blocks, in a.md 1",
            "zh/a.md: 0 tables, in a.md 1"
        ]
    );
}

#[test]
fn a_broken_link_is_found() {
    let other = "# Other page\n\n## `serve` and others\n\n## 死信\n\n## Again\n\n## Again\n";
    let found = |text: &str| {
        let documents = [("docs/a.md", text), ("docs/b/other.md", other)]
            .map(|(path, text)| (path.to_owned(), text.to_owned()));
        broken_links(&documents.into(), |path| path == "docs/b")
    };
    assert_eq!(found("[`b`](b) [other\npage](b/other.md#other-page)"), NONE);
    assert_eq!(
        found("[b](b/other.md#serve-and-others) [c](./b/../b)"),
        NONE
    );
    assert_eq!(found("[b](b/other.md#死信) [c](b/other.md#again-1)"), NONE);
    assert_eq!(
        found("# Here\n[b](#here) [c](https://example.com/c#d)"),
        NONE
    );
    assert_eq!(found("`[b](c)`\n\n```\n[b](c)\n```\n"), NONE);

    assert_eq!(found("\n[b](c.md)"), ["docs/a.md:2: c.md is missing"]);
    assert_eq!(found("[b](../../c)"), ["docs/a.md:1: ../../c is missing"]);
    assert_eq!(found("[b]: c.md"), ["docs/a.md:1: c.md is missing"]);
    assert_eq!(
        found("# Here\n[b](#there) [c](b/other.md#again-2)"),
        [
            "docs/a.md:2: #there has no heading",
            "docs/a.md:2: b/other.md#again-2 has no heading",
        ]
    );
}

/// No violation.
const NONE: [&str; 0] = [];

/// Paths and texts: the Markdown of the root, of `clients` and of `docs` with its folders.
fn documents() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeMap::new();
    let mut folders = vec![String::new(), "clients/".to_owned(), "docs/".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_name().and_then(OsStr::to_str).unwrap();
            let path = format!("{folder}{name}");
            if file.is_dir() {
                if folder.starts_with("docs/") {
                    folders.push(format!("{path}/"));
                }
            } else if file.extension() == Some(OsStr::new("md")) {
                found.insert(path, fs::read_to_string(file).unwrap());
            }
        }
    }
    assert!(found.len() > 10, "only {} documents", found.len());
    found
}

/// What a translation has that its original does not, or the other way round. A document is a path
/// and a text.
fn differences(original: (&str, &str), translation: (&str, &str)) -> Vec<String> {
    let (path, translated) = (translation.0, Document::parse(translation.1));
    let (of, original) = (original.0, Document::parse(original.1));
    let mut found = Vec::new();
    let mut count = |what: &str, here: usize, there: usize| {
        if here != there {
            found.push(format!("{path}: {here} {what}, in {of} {there}"));
        }
        here == there
    };
    let has_headings = count(
        "headings",
        translated.headings.len(),
        original.headings.len(),
    );
    let has_code = count("code blocks", translated.code.len(), original.code.len());
    let has_tables = count("tables", translated.tables.len(), original.tables.len());

    if has_headings {
        let pairs = translated.headings.iter().zip(&original.headings);
        for (at, (here, there)) in pairs.enumerate() {
            if here.level != there.level {
                found.push(format!(
                    "{path}:{}: heading {} is of level {}, in {of} of level {}",
                    here.line,
                    at + 1,
                    here.level,
                    there.level
                ));
            }
        }
    }
    if has_code {
        let pairs = translated.code.iter().zip(&original.code);
        for (at, (here, there)) in pairs.enumerate() {
            if here.lines == there.lines {
                continue;
            }
            let longest = here.lines.len().max(there.lines.len());
            let line = |code: &Code, at: usize| code.lines.get(at).cloned().unwrap_or_default();
            let first = (0..longest).find(|at| line(here, *at) != line(there, *at));
            let first = first.unwrap_or_default();
            found.push(format!(
                "{path}:{}: code block {} differs from {of}:{}: {:?}, not {:?}",
                here.line,
                at + 1,
                there.line,
                line(here, first),
                line(there, first)
            ));
        }
    }
    if has_tables {
        let pairs = translated.tables.iter().zip(&original.tables);
        for (at, (here, there)) in pairs.enumerate() {
            if here.rows != there.rows {
                found.push(format!(
                    "{path}:{}: table {} has {} rows, in {of} {}",
                    here.line,
                    at + 1,
                    here.rows,
                    there.rows
                ));
            }
        }
    }
    found
}

/// Relative links to files that are missing, or to headings that a document does not have.
fn broken_links(
    documents: &BTreeMap<String, String>,
    exists: impl Fn(&str) -> bool,
) -> Vec<String> {
    let parsed: BTreeMap<&str, Document> = documents
        .iter()
        .map(|(path, text)| (&**path, Document::parse(text)))
        .collect();
    let mut found = Vec::new();
    for (path, document) in &parsed {
        for Link { line, target } in &document.links {
            let is_external = target.contains("://") || target.starts_with("mailto:");
            if is_external {
                continue;
            }
            let (file, anchor) = match target.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (&**target, None),
            };
            let resolved = resolved(path, file);
            let Some(other) = resolved.as_deref().and_then(|path| parsed.get(path)) else {
                if !resolved.is_some_and(|path| exists(&path)) {
                    found.push(format!("{path}:{line}: {target} is missing"));
                }
                continue;
            };
            if anchor.is_some_and(|anchor| !other.anchors().contains(anchor)) {
                found.push(format!("{path}:{line}: {target} has no heading"));
            }
        }
    }
    found
}

/// The path of a link's file from the root on. `None` if it is outside of the root.
fn resolved(from: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The parts of a document that are compared. Lines are counted from 1.
#[derive(Default)]
struct Document {
    headings: Vec<Heading>,
    code: Vec<Code>,
    tables: Vec<Table>,
    links: Vec<Link>,
}

struct Heading {
    line: usize,
    level: usize,
    text: String,
}

struct Code {
    line: usize,
    /// Without comments.
    lines: Vec<String>,
}

struct Table {
    line: usize,
    /// The heading and the line below it included.
    rows: usize,
}

struct Link {
    line: usize,
    target: String,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut fence: Option<&str> = None;
        let mut in_table = false;
        let mut prose = String::new();
        for (at, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), at + 1);
            let mark = line.trim_start_matches('`');
            let mark = &line[..line.len() - mark.len()];
            if let Some(open) = fence {
                if line == open {
                    fence = None;
                } else if let Some(code) = document.code.last_mut() {
                    code.lines.extend(without_comment(line));
                }
            } else if mark.len() >= 3 {
                fence = Some(mark);
                document.code.push(Code {
                    line: number,
                    lines: Vec::new(),
                });
            } else {
                let text = line.trim_start_matches('#');
                let level = line.len() - text.len();
                if (1..=6).contains(&level) && text.starts_with(' ') {
                    document.headings.push(Heading {
                        line: number,
                        level,
                        text: text.trim().to_owned(),
                    });
                }
                prose.push_str(line);
            }
            let is_row = fence.is_none() && line.starts_with('|');
            match document.tables.last_mut() {
                Some(table) if is_row && in_table => table.rows += 1,
                _ if is_row => document.tables.push(Table {
                    line: number,
                    rows: 1,
                }),
                _ => {}
            }
            in_table = is_row;
            prose.push('\n');
        }
        document.links = links(&prose);
        document
    }

    /// The anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for heading in &self.headings {
            let anchor = anchor(&heading.text);
            let time = times.entry(anchor.clone()).or_default();
            found.insert(match time {
                0 => anchor,
                _ => format!("{anchor}-{time}"),
            });
            *time += 1;
        }
        found
    }
}

/// A line of code without the comment at its end. `None` if it is a comment.
fn without_comment(line: &str) -> Option<String> {
    if ["#", "//", "-- "].iter().any(|mark| line.starts_with(mark)) {
        return None;
    }
    let end = [" # ", " // "]
        .iter()
        .filter_map(|mark| line.find(mark))
        .min();
    Some(line[..end.unwrap_or(line.len())].trim_end().to_owned())
}

/// The targets of `[text](target)` and `[name]: target`.
fn links(prose: &str) -> Vec<Link> {
    let prose = without_code(prose);
    let line_of = |at: usize| prose[..at].matches('\n').count() + 1;
    let mut found = Vec::new();
    for (at, _) in prose.match_indices("](") {
        let target = &prose[at + 2..];
        let end = target.find([')', ' ', '\n']).unwrap_or(target.len());
        found.push(Link {
            line: line_of(at),
            target: target[..end].to_owned(),
        });
    }
    for (at, line) in prose.lines().enumerate() {
        if let Some((_, target)) = line.split_once("]: ").filter(|_| line.starts_with('[')) {
            let target = target.split(' ').next().unwrap_or_default();
            found.push(Link {
                line: at + 1,
                target: target.to_owned(),
            });
        }
    }
    found
}

/// The text without the contents of code spans; line breaks stay.
fn without_code(prose: &str) -> String {
    let mut text = String::new();
    for (at, part) in prose.split('`').enumerate() {
        if at % 2 == 0 {
            text.push_str(part);
        } else {
            text.extend(part.chars().filter(|c| *c == '\n'));
        }
    }
    text
}

/// The anchor of a heading: letters, digits, `-` and `_`, in lower case, and `-` for a space.
fn anchor(heading: &str) -> String {
    let mut text = heading.to_owned();
    // Of a link in a heading, only its text counts.
    while let Some(from) = text.find("](") {
        let Some(length) = text[from..].find(')') else {
            break;
        };
        text.replace_range(from..=from + length, "");
    }
    text.to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || ['-', '_'].contains(&c) => Some(c),
            _ => None,
        })
        .collect()
}
