//! Hand-written lists of routes match the routers.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use local::cloud;
use serde_json::Value;

use crate::template;

/// The method, the path and the function.
pub type Route = (String, String, String);

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(path).unwrap()
}

/// The rows of the table in `docs/api.md`.
fn documented() -> BTreeSet<Route> {
    let document = file("docs/api.md");
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<_> = line
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        match cells[..] {
            ["", method, path, function, _, ""] if path.starts_with('/') => {
                Some((method.to_owned(), path.to_owned(), function.to_owned()))
            }
            _ => None,
        }
    });
    rows.collect()
}

/// The router of `cargo lambda watch`.
fn watched() -> BTreeSet<Route> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths = &metadata["metadata"]["lambda"]["watch"]["router"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found = BTreeSet::new();
    for (path, entries) in paths.as_object().unwrap() {
        for entry in entries.as_array().unwrap() {
            found.insert((
                text(&entry["method"]),
                // cargo-lambda and API Gateway write a greedy parameter differently.
                path.replace("{*proxy}", "{proxy+}"),
                text(&entry["function"]),
            ));
        }
    }
    found
}

/// The routes to add to and to remove from a list. `line` formats a route as the list does.
fn differences(
    place: &str,
    listed: &BTreeSet<Route>,
    served: &BTreeSet<Route>,
    line: impl Fn(&Route) -> String,
) -> String {
    let missing = served
        .difference(listed)
        .map(|route| format!("add to {place}:\n  {}\n", line(route)));
    let unknown = listed.difference(served).map(|route| {
        format!(
            "remove from {place}, because no router has it:\n  {}\n",
            line(route)
        )
    });
    missing.chain(unknown).collect()
}

#[tokio::test]
async fn every_list_of_routes_matches_the_routers() {
    let served: BTreeSet<Route> = cloud::routes()
        .unwrap()
        .into_iter()
        .map(|route| (route.method.to_string(), route.path, route.function))
        .collect();
    let mut of_clients = served.clone();
    // Browsers send OPTIONS by themselves.
    of_clients.retain(|(method, ..)| method != "OPTIONS");

    let wrong = [
        differences(
            "template.yaml",
            &template::routes(),
            &served,
            |(method, path, function)| {
                format!(
                    "to the Events of {function}: Type: Api, Properties: {{ RestApiId: !Ref Api, \
                     Method: {method}, Path: \"{path}\", ResponseTransferMode: RESPONSE_STREAM, \
                     TimeoutInMillis: <the function's Timeout, times 1000> }}"
                )
            },
        ),
        differences(
            "docs/api.md",
            &documented(),
            &of_clients,
            |(method, path, function)| format!("| {method} | `{path}` | {function} | <purpose> |"),
        ),
        differences(
            "Cargo.toml, [workspace.metadata.lambda.watch.router]",
            &watched(),
            &of_clients,
            |(method, path, function)| {
                format!("\"{path}\" = [{{ function = \"{function}\", method = \"{method}\" }}]")
            },
        ),
    ]
    .concat();
    assert!(wrong.is_empty(), "\n{wrong}");
}
