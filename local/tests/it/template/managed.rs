//! Managed capacity: `chat-stream` on Lambda Managed Instances.

use std::{collections::BTreeMap, path::Path};

use common::platform::env::Env;
use local::cloud;
use serde_json::{Value, json};

use super::{by_default, list, observed, operations, resource, transformed};

/// The condition of everything that exists only with managed capacity.
pub const CONDITION: &str = "ChatIsManaged";

/// Prefixes of the resources of managed capacity.
const PREFIXES: [&str; 2] = ["ChatStreamManaged", "ChatCapacity"];

fn named(id: &str) -> &'static Value {
    let resource = &transformed()["Resources"][id];
    assert!(!resource.is_null(), "{id} is not in the template");
    resource
}

fn number(value: &'static Value) -> u64 {
    by_default(value).as_u64().expect("a number")
}

#[test]
fn managed_capacity_is_optional_and_off_by_default() {
    let parameter = &transformed()["Parameters"]["ChatCapacity"];
    assert_eq!(parameter["Default"], "standard");
    assert_eq!(
        transformed()["Conditions"][CONDITION],
        json!({"Fn::Equals": [{"Ref": "ChatCapacity"}, "managed"]})
    );
    let all = transformed()["Resources"].as_object().expect("resources");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, resource) in all {
        let is_managed = PREFIXES.iter().any(|prefix| id.starts_with(prefix));
        assert_eq!(is_managed, resource["Condition"] == CONDITION, "{id}");
        if is_managed {
            *kinds
                .entry(resource["Type"].as_str().expect("a type"))
                .or_default() += 1;
            continue;
        }
        // A resource that always exists may name one that does not only inside `Fn::If`.
        let text = resource.to_string();
        for (at, _) in text.match_indices("ChatStreamManagedFunction") {
            let before = &text[..at];
            let inside = format!("\"Fn::If\":[\"{CONDITION}\",");
            assert!(before.ends_with(&format!("{inside}{{\"Ref\":\"")), "{id}");
        }
    }
    // An operator role and an execution role.
    let expected = BTreeMap::from([
        ("AWS::CodeDeploy::DeploymentGroup", 1),
        ("AWS::IAM::Role", 2),
        ("AWS::Lambda::Alias", 1),
        ("AWS::Lambda::CapacityProvider", 1),
        ("AWS::Lambda::Function", 1),
        ("AWS::Lambda::Permission", 1),
        ("AWS::Lambda::Version", 1),
    ]);
    assert_eq!(kinds, expected);
}

#[test]
fn the_managed_function_differs_from_chat_stream_only_in_its_capacity() {
    let (id, standard) = resource("chat-stream");
    let (managed_id, managed) = resource("chat-stream-managed");
    assert_eq!(standard["Metadata"], managed["Metadata"]);
    assert_eq!(standard["DependsOn"], managed["DependsOn"]);
    let properties = |function: &Value| {
        let mut properties = function["Properties"].clone();
        let members = properties.as_object_mut().expect("properties");
        for own in [
            "CapacityProviderConfig",
            "FunctionName",
            "FunctionScalingConfig",
            "MemorySize",
            "ReservedConcurrentExecutions",
            "Role",
            "VpcConfig",
        ] {
            members.remove(own);
        }
        let variables = members["Environment"]["Variables"].as_object_mut();
        variables
            .expect("variables")
            .remove("DATABASE_MAX_CONNECTIONS");
        properties
    };
    assert_eq!(properties(standard), properties(managed));
    let policies = |id: &str| {
        let role = &named(&format!("{id}Role"))["Properties"];
        let policies = list(&role["Policies"]).into_iter();
        policies
            .map(|policy| &policy["PolicyDocument"])
            .collect::<Vec<_>>()
    };
    assert_eq!(policies(id), policies(managed_id));
}

#[test]
fn the_capacity_provider_has_the_network_and_the_limits() {
    let (_, function) = resource("chat-stream-managed");
    let function = &function["Properties"];
    // Lambda refuses a network of the function, and reserved concurrency is of the other kind.
    assert!(function["VpcConfig"].is_null());
    assert!(function["ReservedConcurrentExecutions"].is_null());
    let config =
        &function["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"];
    assert_eq!(
        config["CapacityProviderArn"],
        json!({"Fn::GetAtt": ["ChatCapacityProvider", "Arn"]})
    );
    let provider = &named("ChatCapacityProvider")["Properties"];
    let (_, standard) = resource("chat-stream");
    assert_eq!(provider["VpcConfig"], standard["Properties"]["VpcConfig"]);
    assert_eq!(
        provider["InstanceRequirements"]["Architectures"],
        standard["Properties"]["Architectures"]
    );
    assert_eq!(
        provider["PermissionsConfig"]["CapacityProviderOperatorRoleArn"],
        json!({"Fn::GetAtt": ["ChatCapacityRole", "Arn"]})
    );

    // The binary has one thread, so an environment has one vCPU, with the least memory allowed.
    let memory = number(&function["MemorySize"]);
    assert_eq!(memory, 2048);
    let gib_per_cpu = number(&config["ExecutionEnvironmentMemoryGiBPerVCpu"]);
    assert_eq!(memory / 1024, gib_per_cpu);
    let main = include_str!("../../../../functions/chat-stream/src/main.rs");
    assert!(main.contains("current_thread"));

    assert!(number(&config["PerExecutionEnvironmentMaxConcurrency"]) > 1);
    let bounds = &function["FunctionScalingConfig"];
    let version = transformed()["Resources"].as_object().expect("resources");
    let version = version
        .iter()
        .find(|(id, _)| id.starts_with("ChatStreamManagedFunctionVersion"));
    // The bounds apply to a version. The function's are those of `$LATEST.PUBLISHED`.
    let version = version.expect("a version").1;
    assert_eq!(version["Properties"]["FunctionScalingConfig"], *bounds);
    // A version that remained would keep its environments, and so its instances.
    assert_eq!(version["DeletionPolicy"], "Delete");
    let least = number(&bounds["MinExecutionEnvironments"]);
    let most = number(&bounds["MaxExecutionEnvironments"]);
    assert!(least <= most);
    let scaling = &provider["CapacityProviderScalingConfig"];
    let cpus = number(&scaling["MaxVCpuCount"]);
    // The old and the new version of a deployment, and all environments of one version.
    assert!(cpus >= 2 * least && cpus >= most, "{cpus}");
    // `Auto` allows no policy.
    assert_eq!(scaling["ScalingMode"], "Manual");
}

#[test]
fn the_routes_of_chat_stream_call_the_function_of_the_capacity() {
    let alias = |function: &str| json!({"Ref": format!("{}Aliaslive", resource(function).0)});
    let mut count = 0;
    for (path, method, operation) in operations() {
        let uri = &operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"];
        if super::function_of(operation) != "chat-stream" {
            assert!(uri.is_string(), "{method} {path}");
            continue;
        }
        count += 1;
        let branches = [
            json!(CONDITION),
            alias("chat-stream-managed"),
            alias("chat-stream"),
        ];
        assert_eq!(
            uri[1]["Alias"],
            json!({ "Fn::If": branches }),
            "{method} {path}"
        );
        assert!(path.starts_with("/api/xcx/chat/"), "{path}");
    }
    assert_eq!(count, 8);
    for (id, function) in [
        ("ChatStreamPermission", "chat-stream"),
        ("ChatStreamManagedPermission", "chat-stream-managed"),
    ] {
        let permission = &named(id)["Properties"];
        assert_eq!(permission["FunctionName"], alias(function), "{id}");
        let source = permission["SourceArn"]["Fn::Sub"]
            .as_str()
            .expect("a source");
        assert!(source.ends_with(":${Api}/*/*/api/xcx/chat/*"), "{source}");
    }
}

#[test]
fn alarms_watch_the_function_of_the_capacity() {
    let name = |function: &str| json!({"Fn::Sub": format!("${{AWS::StackName}}-{function}")});
    let value = json!({"Fn::If": [CONDITION, name("chat-stream-managed"), name("chat-stream")]});
    for alarm in ["function-errors", "throttles"] {
        let parts = list(&observed::alarms()[alarm]["Metrics"]).into_iter();
        let mut parts = parts.filter(|part| part["Id"] == "chat_stream");
        let metric = &parts.next().expect("a metric")["MetricStat"]["Metric"];
        assert_eq!(metric["Dimensions"][0]["Value"], value, "{alarm}");
    }
}

#[test]
fn the_emulator_applies_the_concurrency_to_the_same_function() {
    let env = Env::from_pairs([("AWS_LAMBDA_MAX_CONCURRENCY", "64")]);
    for spec in cloud::specs(Path::new("/"), &env, &"".into(), &"".into()) {
        let expected = if spec.name == "chat-stream" { 64 } else { 1 };
        assert_eq!(spec.max_concurrency, expected, "{}", spec.name);
    }
}

#[test]
fn each_parameter_of_managed_capacity_is_in_its_group() {
    let metadata = &transformed()["Metadata"]["AWS::CloudFormation::Interface"];
    let group = list(&metadata["ParameterGroups"])
        .into_iter()
        .find(|group| group["Label"]["default"] == "Capacity of the chat")
        .expect("a group");
    let mut grouped: Vec<_> = list(&group["Parameters"]);
    let parameters = transformed()["Parameters"].as_object().expect("parameters");
    let own = parameters.keys();
    let own = own.filter(|name| *name == "ChatCapacity" || name.starts_with("ChatManaged"));
    let own: Vec<Value> = own.map(|name| json!(name)).collect();
    grouped.sort_by_key(ToString::to_string);
    let mut own: Vec<_> = own.iter().collect();
    own.sort_by_key(ToString::to_string);
    assert_eq!(grouped, own);
}
