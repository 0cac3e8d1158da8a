//! Alarms, dashboards, metrics and logs for operators.

use std::{collections::BTreeMap, fs, path::Path};

use common::governance::apps::App;
use local::cloud;
use serde_json::{Value, json};

use super::{deployed::that_serve_http, list, one, resource, resources, standard, transformed};

/// Alarms on the sum of a metric over functions.
const SUMS: [(&str, &str); 6] = [
    ("function-errors", "Errors"),
    ("desk-errors", "Errors"),
    ("background-errors", "Errors"),
    ("throttles", "Throttles"),
    ("desk-throttles", "Throttles"),
    ("background-throttles", "Throttles"),
];
const OWN: &str = "Parlor/${AWS::StackName}";

/// Alarms by name.
pub fn alarms() -> BTreeMap<String, &'static Value> {
    let all = resources("AWS::CloudWatch::Alarm").map(|(_, alarm)| {
        let properties = &alarm["Properties"];
        let name = properties["AlarmName"]["Fn::Sub"].as_str().expect("a name");
        let name = name.strip_prefix("${AWS::StackName}-").expect("the stack");
        (name.to_owned(), properties)
    });
    all.collect()
}

/// A text, with or without `Fn::Sub`.
fn text(value: &Value) -> &str {
    value["Fn::Sub"]
        .as_str()
        .or(value.as_str())
        .expect("a text")
}

/// Checks that the code writes a metric with this name.
#[track_caller]
fn assert_is_written(metric: &Value) {
    const SOURCE: &str = include_str!("../../../../common/src/platform/metrics.rs");
    let is_written = SOURCE.contains(&format!("metric = {metric}"));
    assert!(is_written, "nothing writes {metric}");
}

#[test]
fn every_alarm_notifies_the_topic_and_has_a_runbook_entry() {
    let handbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let handbook = fs::read_to_string(handbook).expect("read docs/operations.md");
    for (name, alarm) in alarms() {
        let topic = json!([{"Ref": "AlarmTopic"}]);
        assert_eq!(alarm["AlarmActions"], topic, "{name}");
        assert_eq!(alarm["OKActions"], topic, "{name}");
        let description = alarm["AlarmDescription"].as_str().expect("a description");
        assert!(
            description.contains("docs/operations.md#alarms"),
            "{name}: {description}"
        );
        assert!(handbook.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn alarms_use_existing_metrics() {
    let api = one("AWS::ApiGateway::RestApi", |_| true);
    let apps = App::ALL.map(App::name);
    for (name, alarm) in alarms() {
        if alarm["Namespace"]["Fn::Sub"] == OWN {
            assert_is_written(&alarm["MetricName"]);
        }
        for dimension in list(&alarm["Dimensions"]) {
            let value = &dimension["Value"];
            match dimension["Name"].as_str() {
                Some("ApiName") => assert_eq!(*value, api["Name"], "{name}"),
                Some("app") => assert!(apps.contains(&text(value)), "{name}: {value}"),
                _ => {}
            }
        }
    }
}

/// An alarm on a metric without dimensions needs no list of apps.
#[test]
fn the_alarm_of_upstream_errors_watches_all_apps() {
    let alarm = alarms()["upstream-errors"];
    assert_eq!(alarm["Namespace"]["Fn::Sub"], OWN);
    assert_eq!(alarm["MetricName"], "UpstreamErrors");
    assert!(alarm["Dimensions"].is_null(), "{alarm}");
}

#[test]
fn failures_of_each_function_are_counted_once() {
    let alarms = alarms();
    let mut watched: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, metric) in SUMS {
        let metrics = list(&alarms[name]["Metrics"]);
        let (sums, parts): (Vec<_>, Vec<_>) = metrics
            .into_iter()
            .partition(|part| part["Expression"].is_string());
        assert_eq!(sums.len(), 1, "{name}");
        // An alarm can have at most ten metrics.
        assert!(parts.len() <= 10, "{name}");
        for part in parts {
            let measured = &part["MetricStat"]["Metric"];
            assert_eq!(measured["Namespace"], "AWS/Lambda");
            assert_eq!(measured["MetricName"], metric, "{name}");
            let function = text(standard(&measured["Dimensions"][0]["Value"]));
            let function = function
                .strip_prefix("${AWS::StackName}-")
                .expect("the stack");
            watched.entry(metric).or_default().push(function);
            let serves = that_serve_http().contains(function);
            assert_eq!(
                serves,
                !name.starts_with("background"),
                "{name}: {function}"
            );
        }
    }
    let mut all = cloud::FUNCTIONS.map(|(function, _)| function).to_vec();
    all.sort_unstable();
    for (metric, mut functions) in watched {
        functions.sort_unstable();
        assert_eq!(functions, all, "{metric}");
    }
}

#[test]
fn the_dashboard_shows_all_functions_and_apps_in_the_stacks_region() {
    let dashboard = one("AWS::CloudWatch::Dashboard", |_| true);
    let body = text(&dashboard["DashboardBody"]);
    let body: Value = serde_json::from_str(body).expect("JSON");
    let widgets = body["widgets"].as_array().expect("widgets");
    for widget in widgets {
        let properties = &widget["properties"];
        assert_eq!(properties["region"], "${AWS::Region}", "{properties}");
        assert!(properties["title"].is_string(), "{properties}");
    }
    let shown = body.to_string();
    for (function, _) in cloud::FUNCTIONS {
        for metric in ["Duration", "Errors", "Throttles", "ConcurrentExecutions"] {
            let line = format!(
                "[\"AWS/Lambda\",\"{metric}\",\"FunctionName\",\"${{AWS::StackName}}-{function}\""
            );
            assert!(shown.contains(&line), "{line}");
        }
        let log = format!("SOURCE '/aws/lambda/${{AWS::StackName}}-{function}'");
        assert!(shown.contains(&log), "{log}");
    }
    // A search finds the metric of every app.
    let expressions = widgets
        .iter()
        .filter_map(|widget| widget["properties"]["metrics"][0][0]["expression"].as_str());
    let expressions: Vec<_> = expressions.collect();
    let is_searched = |metric: &str| {
        let search = format!("SEARCH('{{\"{OWN}\",app}} MetricName=\"{metric}\"', ");
        expressions.iter().any(|found| found.starts_with(&search))
    };
    for metric in ["UpstreamLatency", "UpstreamErrors", "Tokens"] {
        assert!(is_searched(metric), "{metric}: {expressions:?}");
        assert_is_written(&json!(metric));
    }
    for alarm in alarms().into_values() {
        if alarm["Namespace"]["Fn::Sub"] == OWN {
            let part = format!("[\"{OWN}\",{}", alarm["MetricName"]);
            assert!(
                shown.contains(&part) || is_searched(text(&alarm["MetricName"])),
                "{part}"
            );
        }
    }
    let lines = widgets
        .iter()
        .filter_map(|widget| widget["properties"]["metrics"].as_array())
        .flatten();
    for line in lines.filter(|line| line[0] == OWN) {
        assert_is_written(&line[1]);
    }
}

#[test]
fn the_access_log_is_json_without_query_headers_or_path() {
    let stage = one("AWS::ApiGateway::Stage", |_| true);
    let format = &stage["AccessLogSetting"]["Fn::If"][1]["Format"];
    let format = format.as_str().expect("a format");
    assert!(!format.contains('\n'));
    serde_json::from_str::<BTreeMap<String, String>>(format).expect("JSON");
    // The path contains ids of customers.
    for secret in [
        "header",
        "query",
        "$context.path",
        "identity",
        "authorizer",
        "input",
    ] {
        assert!(!format.contains(secret), "{secret}");
    }
}

#[test]
fn each_function_has_a_json_log_group_with_retention_and_tracing() {
    for (function, _) in cloud::FUNCTIONS {
        let properties = &resource(function).1["Properties"];
        let logging = &properties["LoggingConfig"];
        assert_eq!(logging["LogFormat"], "JSON", "{function}");
        let group = logging["LogGroup"]["Ref"].as_str().expect("a log group");
        let group = &transformed()["Resources"][group]["Properties"];
        assert_eq!(
            text(&group["LogGroupName"]),
            format!("/aws/lambda/${{AWS::StackName}}-{function}")
        );
        assert_eq!(
            properties["TracingConfig"]["Mode"],
            json!({"Ref": "Tracing"}),
            "{function}"
        );
    }
    for (id, group) in resources("AWS::Logs::LogGroup") {
        let retention = &group["Properties"]["RetentionInDays"];
        assert_eq!(*retention, json!({"Ref": "LogRetentionDays"}), "{id}");
    }
}
