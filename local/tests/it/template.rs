//! `template.yaml`, as SAM's own transform understands it, says what the code says: the same
//! routes, streamed, and to each function its variables, its secrets and no more.

use std::{collections::BTreeSet, path::Path, process::Command, sync::OnceLock};

use common::{
    apps::App,
    config::{ConfigError, Env},
};
use local::{cloud, command, gateway};
use serde_json::{Value, json};

use crate::harness::python;

/// A method, a path and a function's name.
type Route = (String, String, String);

/// What the functions can be given: the variable, the one that holds its secret's ARN, the
/// parameter that this comes from, and a value to try.
const SECRETS: [(&str, &str, &str, &str); 3] = [
    (
        "DATABASE_URL",
        "DATABASE_URL_SECRET_ARN",
        "DatabaseUrlSecretArn",
        "postgres://127.0.0.1/none",
    ),
    (
        "JWT_SECRET",
        "JWT_SECRET_ARN",
        "JwtSecretArn",
        "0123456789abcdef0123456789abcdef",
    ),
    (
        "DASHSCOPE_API_KEY",
        "DASHSCOPE_API_KEY_SECRET_ARN",
        "DashScopeApiKeySecretArn",
        "sk-none",
    ),
];

/// The template after the transform, which is what `CloudFormation` is given.
fn transformed() -> &'static Value {
    static TRANSFORMED: OnceLock<Value> = OnceLock::new();
    TRANSFORMED.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = python::packages("sam-translator", &["aws-sam-translator==1.115.0"]);
        let output = Command::new("python3")
            .arg(here.join("tests/it/template/transform.py"))
            .arg(here.join("../template.yaml"))
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // It only chooses how ARNs begin.
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .output()
            .expect("python3 is on the PATH");
        assert!(
            output.status.success(),
            "the template cannot be transformed\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("the transform prints JSON")
    })
}

/// The resource that is the function of this name.
fn resource(function: &str) -> (&'static String, &'static Value) {
    let named = json!({"Fn::Sub": format!("${{AWS::StackName}}-{function}")});
    let resources = transformed()["Resources"].as_object().expect("resources");
    resources
        .iter()
        .find(|(_, resource)| resource["Properties"]["FunctionName"] == named)
        .unwrap_or_else(|| panic!("{function} is not in the template"))
}

/// Path, method and operation of each route of the API.
fn operations() -> impl Iterator<Item = (&'static String, String, &'static Value)> {
    let paths = &transformed()["Resources"]["Api"]["Properties"]["Body"]["paths"];
    let paths = paths.as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("methods");
        item.iter()
            .map(move |(method, operation)| (path, method.to_uppercase(), operation))
    })
}

/// The URI of an operation's integration.
fn integration_uri(operation: &Value) -> &str {
    let integration = &operation["x-amazon-apigateway-integration"];
    integration["uri"]["Fn::Sub"].as_str().expect("a URI")
}

/// The function that an operation is integrated with.
fn function_of(operation: &Value) -> String {
    cloud::FUNCTIONS
        .into_iter()
        .map(|(function, _)| function)
        .find(|function| {
            integration_uri(operation).contains(&format!("${{{}.Arn}}", resource(function).0))
        })
        .expect("a function of ours")
        .to_owned()
}

#[tokio::test]
async fn template_routers_and_openapi_document_have_the_same_routes() {
    let template: BTreeSet<Route> = operations()
        .map(|(path, method, operation)| (method, path.clone(), function_of(operation)))
        .collect();
    let routers: BTreeSet<Route> = cloud::routes()
        .expect("routes")
        .into_iter()
        .map(|route| (route.method.to_string(), route.path, route.function))
        .collect();
    assert_eq!(template, routers);

    let tools = command::idle_tools().expect("tools");
    let document = gateway::openapi(&tools);
    let described: BTreeSet<(String, String)> = document
        .paths
        .paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = gateway::methods(item).into_iter();
            methods.map(move |method| (method.to_owned(), path.clone()))
        })
        .collect();
    let routed = template
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn every_route_streams_and_may_take_as_long_as_its_function() {
    for (path, method, operation) in operations() {
        let integration = &operation["x-amazon-apigateway-integration"];
        let uri = integration_uri(operation);
        assert!(
            uri.ends_with("/response-streaming-invocations"),
            "{method} {path} is buffered: {uri}"
        );
        assert_eq!(
            integration["responseTransferMode"], "STREAM",
            "{method} {path}"
        );

        let (_, function) = resource(&function_of(operation));
        let seconds = function["Properties"]["Timeout"].as_u64().expect("seconds");
        assert_eq!(
            integration["timeoutInMillis"],
            seconds * 1000,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn the_emulated_cloud_has_the_functions_times_and_memory() {
    let functions = transformed()["Resources"].as_object().expect("resources");
    let functions = functions
        .values()
        .filter(|resource| resource["Type"] == "AWS::Lambda::Function");
    assert_eq!(functions.count(), cloud::FUNCTIONS.len());

    let nothing = Env::from_pairs::<&str, &str>([]);
    let specs = cloud::specs(Path::new("/"), &nothing, &"".into(), &"".into());
    for spec in specs {
        let (_, function) = resource(&spec.name);
        let properties = &function["Properties"];
        assert_eq!(
            properties["Timeout"],
            spec.timeout.as_secs(),
            "{}",
            spec.name
        );
        assert_eq!(properties["MemorySize"], spec.memory_mb, "{}", spec.name);
        assert_eq!(
            function["Metadata"]["BuildProperties"]["Binary"], *spec.name,
            "{}",
            spec.name
        );
    }
}

/// Starts a function as its `main` does.
async fn start(function: &str, env: Env) -> Result<(), ConfigError> {
    match function {
        "chat-history" => Box::pin(chat_history::from_env(env)).await.map(drop),
        "chat-messages" => Box::pin(chat_messages::from_env(env)).await.map(drop),
        "chat-stream" => Box::pin(chat_stream::from_env(env)).await.map(drop),
        "db-migrate" => db_migrate::from_env(env).await.map(drop),
        "sweep" => sweep::from_env(env).await.map(drop),
        other => panic!("{other} is not known here"),
    }
}

#[tokio::test]
async fn each_function_is_given_the_secrets_that_it_needs_and_no_other() {
    for (function, _) in cloud::FUNCTIONS {
        let given = given_secrets(function);
        let without = |left_out| {
            let left = given
                .iter()
                .filter(move |(name, ..)| Some(*name) != left_out);
            Env::from_pairs(left.map(|(name, _, _, value)| (*name, *value)))
        };

        start(function, without(None))
            .await
            .unwrap_or_else(|err| panic!("{function} cannot start: {err}"));
        for (name, ..) in &given {
            let missing = start(function, without(Some(*name))).await.err();
            assert!(
                matches!(missing, Some(ConfigError::Missing(_))),
                "{function} is given {name}, which it does not need"
            );
        }

        let granted: BTreeSet<_> = readable_secrets(function).into_iter().collect();
        let needed = given.iter().map(|(_, _, parameter, _)| (*parameter).into());
        assert_eq!(granted, needed.collect(), "{function}'s policy");
    }
}

/// The secrets whose ARNs a function is told.
fn given_secrets(function: &str) -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    let variables = variables(function);
    let given = SECRETS.into_iter().filter(|(_, arn_name, parameter, _)| {
        let given = &variables[*arn_name];
        assert!(
            given.is_null() || *given == json!({"Ref": parameter}),
            "{function}'s {arn_name} is {given}"
        );
        !given.is_null()
    });
    given.collect()
}

fn variables(function: &str) -> &'static Value {
    &resource(function).1["Properties"]["Environment"]["Variables"]
}

/// The parameters with the ARNs that a function's own policy lets it read. Nothing else is in it.
fn readable_secrets(function: &str) -> Vec<String> {
    let role = format!("{}Role", resource(function).0);
    let policies = &transformed()["Resources"][role]["Properties"]["Policies"];
    let statements = policies
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|policy| policy["PolicyDocument"]["Statement"].as_array())
        .flatten();
    let resources = statements.flat_map(|statement| {
        assert_eq!(statement["Effect"], "Allow");
        assert_eq!(statement["Action"], "secretsmanager:GetSecretValue");
        match &statement["Resource"] {
            Value::Array(resources) => resources.clone(),
            one => vec![one.clone()],
        }
    });
    resources
        .map(|resource| resource["Ref"].as_str().expect("a parameter").to_owned())
        .collect()
}

#[test]
fn functions_that_ask_an_app_are_told_where_and_which() {
    for (function, _) in cloud::FUNCTIONS {
        let variables = variables(function);
        let asks = !variables["DASHSCOPE_API_KEY_SECRET_ARN"].is_null();
        let names = [
            "DASHSCOPE_BASE_URL",
            "DASHSCOPE_WORKSPACE",
            "CHAT_RATE_PER_MINUTE",
            "CHAT_MAX_STREAMS",
            "CHAT_RESERVED_TOKENS",
            // No function asks another app yet.
            App::Chat.variable(),
        ];
        for name in names {
            assert_eq!(!variables[name].is_null(), asks, "{function}'s {name}");
        }
    }
}

#[test]
fn what_the_gateway_says_itself_is_in_the_words_of_the_mini_program() {
    let body = &transformed()["Resources"]["Api"]["Properties"]["Body"];
    let responses = body["x-amazon-apigateway-gateway-responses"]
        .as_object()
        .expect("gateway responses");
    for (kind, response) in responses {
        let template = response["responseTemplates"]["application/json"].as_str();
        let answer: Value = serde_json::from_str(template.expect("a body")).expect("JSON");
        assert!(answer["detail"].is_string(), "{kind}: {answer}");
        assert!(answer["code"].is_string(), "{kind}: {answer}");
        assert_eq!(answer["requestId"], "$context.requestId", "{kind}");
    }

    let unknown_route = &responses["MISSING_AUTHENTICATION_TOKEN"];
    assert_eq!(unknown_route["statusCode"], "404");
    let template = unknown_route["responseTemplates"]["application/json"].as_str();
    let answer: Value = serde_json::from_str(template.expect("a body")).expect("JSON");
    assert_eq!(
        answer,
        json!({"detail": "内容不存在", "code": "not_found", "requestId": "$context.requestId"})
    );
}

#[test]
fn the_template_is_ascii_because_cloudformation_gives_nothing_else_back() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let template = std::fs::read_to_string(path).expect("read template.yaml");
    assert!(template.is_ascii());
}
