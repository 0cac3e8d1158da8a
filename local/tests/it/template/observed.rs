//! What operators see, and what wakes them.

use std::collections::{BTreeMap, BTreeSet};

use common::governance::apps::App;
use local::cloud;
use serde_json::{Value, json};

use super::{deployed::that_serve_http, list, one, resource, resources, transformed};

/// An alarm by one metric: its name, and where that is.
const ALARMS: [(&str, &str, &str); 8] = [
    ("server-errors", "AWS/ApiGateway", "5XXError"),
    ("message-age", "AWS/SQS", "ApproximateAgeOfOldestMessage"),
    (
        "dead-letters",
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
    ),
    (
        "event-dead-letters",
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
    ),
    ("queue-age", OWN, "QueueAge"),
    ("circuit-open", OWN, "CircuitsOpen"),
    ("budget-used", OWN, "BudgetUsed"),
    ("first-token", OWN, "FirstToken"),
];
/// An alarm by the sum of a metric of functions.
const SUMS: [(&str, &str); 4] = [
    ("function-errors", "Errors"),
    ("background-errors", "Errors"),
    ("throttles", "Throttles"),
    ("background-throttles", "Throttles"),
];
const OWN: &str = "Parlor/${AWS::StackName}";

/// Alarms by their names.
fn alarms() -> BTreeMap<String, &'static Value> {
    let all = resources("AWS::CloudWatch::Alarm").map(|(_, alarm)| {
        let properties = &alarm["Properties"];
        let name = properties["AlarmName"]["Fn::Sub"].as_str().expect("a name");
        let name = name.strip_prefix("${AWS::StackName}-").expect("the stack");
        (name.to_owned(), properties)
    });
    all.collect()
}

/// A text, whether it is put together or not.
fn text(value: &Value) -> &str {
    let text = if value.is_object() {
        &value["Fn::Sub"]
    } else {
        value
    };
    text.as_str().expect("a text")
}

#[test]
fn every_alarm_wakes_somebody_and_says_what_to_do() {
    let known: BTreeSet<_> = ALARMS
        .iter()
        .map(|(name, ..)| *name)
        .chain(SUMS.map(|(name, _)| name))
        .chain(["upstream-errors"])
        .collect();
    let alarms = alarms();
    assert_eq!(
        alarms.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
    for (name, alarm) in alarms {
        let told = json!([{"Ref": "AlarmTopic"}]);
        assert_eq!(alarm["AlarmActions"], told, "{name}");
        assert_eq!(alarm["OKActions"], told, "{name}");
        let description = alarm["AlarmDescription"].as_str().expect("a description");
        assert!(
            description.contains("docs/operations.md#alarms"),
            "{name}: {description}"
        );
        // The sweep says how old the queue is each minute; its silence is the alarm.
        let silence = if name == "queue-age" {
            "breaching"
        } else {
            "notBreaching"
        };
        assert_eq!(alarm["TreatMissingData"], silence, "{name}");
    }
    let (_, subscription) = resources("AWS::SNS::Subscription")
        .next()
        .expect("a subscription");
    assert_eq!(subscription["Condition"], "SomebodyIsTold");
    assert!(transformed()["Outputs"]["AlarmTopicArn"].is_object());
}

#[test]
fn alarms_watch_metrics_that_are_written() {
    let alarms = alarms();
    for (name, namespace, metric) in ALARMS {
        let alarm = alarms[name];
        assert_eq!(text(&alarm["Namespace"]), namespace, "{name}");
        assert_eq!(alarm["MetricName"], metric, "{name}");
        let expected = match name {
            "server-errors" => json!([
                {"Name": "ApiName", "Value": {"Ref": "AWS::StackName"}},
                {"Name": "Stage", "Value": {"Ref": "StageName"}},
            ]),
            "message-age" => of_queue("JobQueue"),
            "dead-letters" => of_queue("JobDeadLetters"),
            "event-dead-letters" => of_queue("EventDeadLetters"),
            "first-token" => json!([{"Name": "app", "Value": App::Chat.name()}]),
            _ => Value::Null,
        };
        assert_eq!(alarm["Dimensions"], expected, "{name}");
    }
    let api = one("AWS::ApiGateway::RestApi", |_| true);
    assert_eq!(api["Name"], json!({"Ref": "AWS::StackName"}));
    assert_eq!(alarms["first-token"]["ExtendedStatistic"], "p95");
    assert_eq!(alarms["queue-age"]["Threshold"], 300);
    assert_eq!(alarms["budget-used"]["Threshold"], 80);
}

fn of_queue(id: &str) -> Value {
    json!([{"Name": "QueueName", "Value": {"Fn::GetAtt": [id, "QueueName"]}}])
}

#[test]
fn errors_of_each_app_are_watched() {
    let alarms = alarms();
    let metrics = list(&alarms["upstream-errors"]["Metrics"]);
    let watched: Vec<_> = metrics
        .into_iter()
        .filter(|part| part["Expression"].is_null())
        .map(|part| &part["MetricStat"]["Metric"])
        .collect();
    let expected = App::ALL.map(|app| {
        json!({
            "Namespace": {"Fn::Sub": OWN},
            "MetricName": "UpstreamErrors",
            "Dimensions": [{"Name": "app", "Value": app.name()}],
        })
    });
    assert_eq!(watched, expected.iter().collect::<Vec<_>>());
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
        // No more go into one alarm.
        assert!(parts.len() <= 10, "{name}");
        for part in parts {
            let measured = &part["MetricStat"]["Metric"];
            assert_eq!(measured["Namespace"], "AWS/Lambda");
            assert_eq!(measured["MetricName"], metric, "{name}");
            let function = text(&measured["Dimensions"][0]["Value"]);
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
fn the_dashboard_shows_each_function_and_app_in_the_stacks_region() {
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
    for app in App::ALL {
        for metric in ["UpstreamLatency", "UpstreamErrors", "Tokens"] {
            let line = format!("[\"{OWN}\",\"{metric}\",\"app\",\"{}\"", app.name());
            assert!(shown.contains(&line), "{line}");
        }
    }
    for (_, namespace, metric) in ALARMS {
        let part = format!("[\"{namespace}\",\"{metric}\"");
        assert!(
            metric == "ApproximateAgeOfOldestMessage" || shown.contains(&part),
            "{part}"
        );
    }
    assert!(widgets.iter().any(|widget| widget["type"] == "log"));
    assert!(transformed()["Outputs"]["DashboardUrl"].is_object());
}

#[test]
fn the_access_log_is_json_and_holds_nothing_of_a_query_or_a_header() {
    let stage = one("AWS::ApiGateway::Stage", |_| true);
    let setting = &stage["AccessLogSetting"]["Fn::If"];
    assert_eq!(setting[0], "AccessIsLogged");
    assert_eq!(setting[1]["DestinationArn"], super::arn_of("AccessLogs"));
    assert_eq!(setting[2], json!({"Ref": "AWS::NoValue"}));
    let format = setting[1]["Format"].as_str().expect("a format");
    assert!(!format.contains('\n'));
    let line: BTreeMap<String, String> = serde_json::from_str(format).expect("JSON");
    let values: BTreeSet<_> = line.values().map(String::as_str).collect();
    for value in [
        "$context.requestId",
        "$context.resourcePath",
        "$context.status",
        "$context.responseLatency",
        "$context.integration.latency",
    ] {
        assert!(values.contains(value), "{value}");
    }
    // The path itself has ids of customers in it.
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
    let logs = &transformed()["Resources"]["AccessLogs"];
    assert_eq!(logs["Condition"], "AccessIsLogged");
    assert_eq!(
        logs["Properties"]["RetentionInDays"],
        json!({"Ref": "LogRetentionDays"})
    );
    assert_eq!(transformed()["Parameters"]["AccessLog"]["Default"], "false");
}

#[test]
fn each_function_logs_json_to_a_log_of_its_own_that_ends_and_is_traced() {
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
    let stage = one("AWS::ApiGateway::Stage", |_| true);
    assert_eq!(
        stage["TracingEnabled"]["Fn::If"],
        json!(["RequestsAreTraced", true, false])
    );
}
