//! Releases, rate limits, tags, and the stages' configurations.

use std::collections::BTreeSet;

use local::cloud;
use serde_json::{Value, json};

use super::{
    alias_of, by_default, integration_uri, list, one, operations, resource, resources, transformed,
};

/// Functions that serve HTTP.
pub fn that_serve_http() -> BTreeSet<String> {
    operations()
        .map(|(_, _, operation)| super::function_of(operation))
        .collect()
}

#[test]
fn every_trigger_invokes_the_alias_of_its_function() {
    let aliases: Vec<_> = cloud::FUNCTIONS
        .map(|(function, _)| alias_of(function))
        .into();
    for (path, method, operation) in operations() {
        let uri = integration_uri(operation);
        assert!(uri.contains("Aliaslive}/"), "{method} {path}: {uri}");
    }
    let mut invoked = 0;
    for (id, permission) in resources("AWS::Lambda::Permission") {
        let function = &permission["Properties"]["FunctionName"];
        assert!(aliases.contains(function), "{id}: {function}");
        invoked += 1;
    }
    assert!(invoked > 30, "{invoked}");
    for (id, schedule) in resources("AWS::Scheduler::Schedule") {
        let target = &schedule["Properties"]["Target"]["Arn"];
        assert!(aliases.contains(target), "{id}: {target}");
    }
    for (id, config) in resources("AWS::Lambda::EventInvokeConfig") {
        assert_eq!(config["Properties"]["Qualifier"], "live", "{id}");
    }
}

/// SAM publishes a new version if code or template changes, but not if only a parameter changes.
#[test]
fn changed_parameters_publish_a_new_version() {
    let release = json!({"Ref": "Release"});
    assert_eq!(
        resources("AWS::Lambda::Version").count(),
        cloud::FUNCTIONS.len()
    );
    for (id, version) in resources("AWS::Lambda::Version") {
        assert_eq!(version["Properties"]["Description"], release, "{id}");
    }
    for (function, _) in cloud::FUNCTIONS {
        let (id, resource) = resource(function);
        assert_eq!(resource["Properties"]["Description"], release, "{id}");
    }
}

#[test]
fn rollback_alarms_do_not_depend_on_functions() {
    let groups: Vec<_> = resources("AWS::CodeDeploy::DeploymentGroup").collect();
    // The migration has no deployment group: the schema cannot be rolled back.
    assert_eq!(groups.len(), cloud::FUNCTIONS.len() - 1);
    for (id, group) in groups {
        let alarms = &group["Properties"]["AlarmConfiguration"]["Fn::If"][1]["Alarms"];
        assert!(!list(alarms).is_empty(), "{id}");
        for alarm in list(alarms) {
            let alarm = alarm["Name"]["Ref"].as_str().expect("an alarm");
            let (_, resource) = resources("AWS::CloudWatch::Alarm")
                .find(|(id, _)| *id == alarm)
                .expect("an alarm that exists");
            // The alias depends on the alarm, so an alarm that depends on a function or the API is
            // a cycle.
            let text = resource["Properties"].to_string();
            for (function, _) in cloud::FUNCTIONS {
                let id = format!("\"{}\"", super::resource(function).0);
                assert!(!text.contains(&id), "{alarm} depends on {id}");
            }
            assert!(!text.contains("\"Api\""), "{alarm}");
        }
    }
}

/// API Gateway counts a request before its token is checked. With a low limit, clients without a
/// token could close the API.
#[test]
fn all_routes_have_one_high_rate_limit() {
    let stage = one("AWS::ApiGateway::Stage", |_| true);
    let settings = list(&stage["MethodSettings"]);
    let [setting] = &settings[..] else {
        panic!("{settings:?}")
    };
    assert_eq!(
        (&setting["HttpMethod"], &setting["ResourcePath"]),
        (&json!("*"), &json!("/*"))
    );
    for limit in ["ThrottlingRateLimit", "ThrottlingBurstLimit"] {
        assert!(by_default(&setting[limit]).as_u64().expect("a limit") >= 1000);
    }
}

/// Resources without tags. `CloudFormation` supports none, or only in newer regions, or SAM does
/// not set them. The stack's own tags in `samconfig.toml` reach them where supported.
const UNTAGGED: [&str; 13] = [
    "AWS::ApiGateway::Deployment",
    "AWS::CloudWatch::Dashboard",
    "AWS::Events::Rule",
    "AWS::IAM::ManagedPolicy",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    // Tags on event source mappings are not supported in China.
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
    "AWS::SNS::Subscription",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::SecretsManager::RotationSchedule",
];

#[test]
fn everything_is_tagged_with_service_and_stage() {
    let all = transformed()["Resources"].as_object().expect("resources");
    for (id, resource) in all {
        let kind = resource["Type"].as_str().expect("a type");
        let has_none = UNTAGGED.contains(&kind)
            || kind == "AWS::WAFv2::WebACLAssociation"
            || kind.starts_with("Custom::")
            || kind == "AWS::CloudFormation::CustomResource";
        if has_none {
            continue;
        }
        let tags = list(&resource["Properties"]["Tags"]);
        for tag in [
            json!({"Key": "Service", "Value": "parlor"}),
            json!({"Key": "Stage", "Value": {"Ref": "StageName"}}),
        ] {
            assert!(tags.contains(&&tag), "{id} ({kind}) has no {tag}");
        }
    }
}

#[test]
fn each_stage_has_a_configuration_with_existing_parameters() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = std::fs::read_to_string(path.join("samconfig.toml")).expect("read samconfig.toml");
    let parameters = transformed()["Parameters"].as_object().expect("parameters");
    for stage in ["dev", "staging", "prod"] {
        assert!(
            config.contains(&format!("[{stage}.deploy.parameters]")),
            "{stage}"
        );
        assert!(
            config.contains(&format!("\"StageName={stage}\"")),
            "{stage}"
        );
    }
    let lines = config.lines().map(str::trim);
    let quoted = lines.filter_map(|line| line.strip_prefix('"')?.strip_suffix("\","));
    let named = quoted.filter_map(|text| text.split_once('='));
    let mut count = 0;
    for (name, value) in named {
        let parameter = &parameters
            .get(name)
            .unwrap_or_else(|| panic!("there is no {name}"));
        let allowed = list_of(&parameter["AllowedValues"]);
        assert!(
            allowed.is_empty() || allowed.contains(&value.to_owned()),
            "{name}={value}"
        );
        count += 1;
    }
    assert!(count > 8, "{count}");

    // The example must name every required parameter and no unknown one.
    let example = std::fs::read_to_string(path.join("deploy/example.yaml"))
        .expect("read deploy/example.yaml");
    let given: BTreeSet<_> = example
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(": "))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .collect();
    for name in &given {
        assert!(
            parameters.contains_key(*name),
            "deploy/example.yaml: {name}"
        );
    }
    for (name, parameter) in parameters {
        if parameter["Default"].is_null() {
            assert!(
                given.contains(name.as_str()),
                "deploy/example.yaml has no {name}"
            );
        }
    }
}

/// The items of a list as text, numbers too.
fn list_of(values: &Value) -> Vec<String> {
    let values = values.as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    values.map(text).collect()
}
