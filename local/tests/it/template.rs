//! Checks `template.yaml`, expanded by SAM's own transform, against the code. Routes, streaming,
//! events and schedules must be the same. Each function must have exactly the variables, secrets
//! and queues that it needs. Alarms and logs are checked in `observed`, deployment settings in
//! `deployed`. All of them check a stack with standard capacity; `managed` has the rest.

mod deployed;
mod managed;
mod observed;

use std::{collections::BTreeSet, path::Path, process::Command, sync::OnceLock};

use chrono::Timelike as _;
use common::{
    chat::replies::ChatLimits,
    governance::{apps::App, runs::Retention},
    insights::jobs::{EventType, JobLimits, NewEvent},
    platform::{
        db::DatabaseConfig,
        env::{ConfigError, Env},
    },
};
use local::{cloud, schedules};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

use crate::{harness::python, routes::Route};

/// Secrets of functions: the variable, the variable with the secret's ARN, the template parameter
/// with that ARN, and a test value.
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

/// Variables that a function validates when it starts. A function reads a variable if it fails to
/// start with [`NONSENSE`] in it.
const CHECKED: &[&str] = &[
    "AI_AGREEMENT_URL",
    "AI_MODELS",
    "CHAT_MAX_STREAMS",
    "CHAT_RATE_PER_MINUTE",
    "CHAT_RESERVED_TOKENS",
    "COMPLAINT_DAYS",
    "COMPLAINT_EMAIL",
    "COMPLAINT_PHONE",
    "COMPLAINT_URL",
    "CORS_ALLOWED_ORIGINS",
    "DASHSCOPE_BASE_URL",
    "DASHSCOPE_FIRST_TOKEN_SECONDS",
    "DASHSCOPE_KEEP_ALIVE_SECONDS",
    "DASHSCOPE_MAX_ANSWER_BYTES",
    "DATABASE_BEHIND_PROXY",
    "DATABASE_MAX_CONNECTIONS",
    "DATABASE_SSL_MODE",
    "JOB_CONCURRENCY",
    "JOB_RESERVED_TOKENS",
    "LOG_RETENTION_DAYS",
    "MODERATION",
    "MODERATION_ON_TIMEOUT",
    "PREWARM_SCHEDULE",
    "RUN_LOG_RETENTION_DAYS",
];
const NONSENSE: &str = "neither a number nor a URL";

/// Variables of moderation services, which are read only if `MODERATION` names the service. A
/// secret has the parameter with its ARN, and the condition that the parameter is not empty.
const SERVICES: [(&str, Option<(&str, &str)>); 4] = [
    ("MODERATION_HTTP_URL", None),
    (
        "MODERATION_HTTP_SECRET_ARN",
        Some(("ModerationHttpSecretArn", "ModerationAsksHttp")),
    ),
    ("WECHAT_APP_ID", None),
    (
        "WECHAT_APP_SECRET_ARN",
        Some(("WechatAppSecretArn", "ModerationAsksWechat")),
    ),
];

/// Variables that every function has but does not read through `Env`.
const OF_THE_PROCESS: [&str; 8] = [
    "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH",
    "METRICS_NAMESPACE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "RUST_LOG",
];

/// The functions that label AI texts.
const LABELS: [&str; 4] = ["admin-runs", "chat-history", "chat-stream", "console"];

/// The functions that wake job workers.
const WAKE: [&str; 7] = [
    "admin-jobs",
    "chat-sessions",
    "console",
    "job-worker",
    "prewarm",
    "trigger-dispatch",
    "insights",
];

/// The template after the transform, as `CloudFormation` receives it.
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
            // The region only decides how ARNs begin.
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

/// The resource of the function with this name.
fn resource(function: &str) -> (&'static String, &'static Value) {
    let named = json!({"Fn::Sub": format!("${{AWS::StackName}}-{function}")});
    let resources = transformed()["Resources"].as_object().expect("resources");
    resources
        .iter()
        .find(|(_, resource)| resource["Properties"]["FunctionName"] == named)
        .unwrap_or_else(|| panic!("{function} is not in the template"))
}

/// All resources of a type, except those of managed capacity.
fn resources(kind: &str) -> impl Iterator<Item = (&'static String, &'static Value)> {
    let all = transformed()["Resources"].as_object().expect("resources");
    all.iter().filter(move |(_, resource)| {
        resource["Type"] == kind && resource["Condition"] != managed::CONDITION
    })
}

/// The value with standard capacity.
fn standard(value: &Value) -> &Value {
    let condition = &value["Fn::If"];
    if condition[0] == managed::CONDITION {
        &condition[2]
    } else {
        value
    }
}

/// The properties of the only resource of a type for which `is_it` returns true.
#[track_caller]
fn one(kind: &str, is_it: impl Fn(&Value) -> bool) -> &'static Value {
    let found: Vec<_> = resources(kind)
        .map(|(_, resource)| &resource["Properties"])
        .filter(|properties| is_it(properties))
        .collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

/// The reference by which other resources name a resource.
fn arn_of(logical_id: &str) -> Value {
    json!({"Fn::GetAtt": [logical_id, "Arn"]})
}

/// The reference by which triggers name a function: its alias.
fn alias_of(function: &str) -> Value {
    json!({"Ref": format!("{}Aliaslive", resource(function).0)})
}

/// The default of a parameter, or the value itself if it is not a parameter.
fn by_default(value: &'static Value) -> &'static Value {
    match value["Ref"].as_str() {
        Some(parameter) => &transformed()["Parameters"][parameter]["Default"],
        None => value,
    }
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

fn integration_uri(operation: &Value) -> String {
    let uri = &operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"];
    if let Some(uri) = uri.as_str() {
        return uri.to_owned();
    }
    // The function depends on the capacity.
    let alias = &standard(&uri[1]["Alias"])["Ref"];
    let alias = alias.as_str().expect("an alias");
    let uri = uri[0].as_str().expect("a URI");
    uri.replace("${Alias}", &format!("${{{alias}}}"))
}

/// The function that an operation is integrated with.
fn function_of(operation: &Value) -> String {
    cloud::FUNCTIONS
        .into_iter()
        .map(|(function, _)| function)
        .find(|function| {
            integration_uri(operation).contains(&format!("${{{}Aliaslive}}", resource(function).0))
        })
        .expect("a function of ours")
        .to_owned()
}

/// All routes of the API with their functions.
pub fn routes() -> BTreeSet<Route> {
    operations()
        .map(|(path, method, operation)| (method, path.clone(), function_of(operation)))
        .collect()
}

#[test]
fn every_route_streams_with_the_timeout_of_its_function() {
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
async fn the_emulator_has_the_functions_timeouts_and_memory() {
    let functions = resources("AWS::Lambda::Function");
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

/// Starts a function that serves HTTP.
async fn http<Pending>(from_env: impl FnOnce(Env) -> Pending, env: Env) -> Result<(), ConfigError>
where
    Pending: Future<Output = Result<OpenApiRouter, ConfigError>>,
{
    Box::pin(lambda::app_from_env(env, from_env))
        .await
        .map(drop)
}

/// Starts a function as its `main` does.
async fn start(function: &str, env: Env) -> Result<(), ConfigError> {
    match function {
        "admin-dashboard" => http(admin_dashboard::from_env, env).await,
        "admin-jobs" => http(admin_jobs::from_env, env).await,
        "admin-runs" => http(admin_runs::from_env, env).await,
        "admin-settings" => http(admin_settings::from_env, env).await,
        "cache-invalidate" => http(cache_invalidate::from_env, env).await,
        "chat-history" => http(chat_history::from_env, env).await,
        "chat-messages" => http(chat_messages::from_env, env).await,
        "chat-sessions" => http(chat_sessions::from_env, env).await,
        "chat-stream" => http(chat_stream::from_env, env).await,
        "console" => http(console::from_env, env).await,
        "db-migrate" => db_migrate::open(&env).await.map(drop),
        "insights" => http(insights::from_env, env).await,
        "job-worker" => Box::pin(job_worker::from_env(env)).await.map(drop),
        "notify" => notify::from_env(env).await.map(drop),
        "prewarm" => prewarm::from_env(env).await.map(drop),
        "sweep" => sweep::from_env(env).await.map(drop),
        "trigger-dispatch" => trigger_dispatch::from_env(env).await.map(drop),
        other => panic!("unknown function {other}"),
    }
}

#[tokio::test]
async fn each_function_has_exactly_the_secrets_it_needs() {
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
                "{function} has {name}, which it does not need"
            );
        }

        let granted = granted(function, "secretsmanager:GetSecretValue");
        let needed = given.iter();
        let needed = needed.map(|(_, _, parameter, _)| json!({"Ref": parameter}).to_string());
        let optional = SERVICES.iter().filter_map(|(name, secret)| {
            let given = &variables(function)[*name];
            let (parameter, condition) = secret.filter(|_| !given.is_null())?;
            assert_eq!(*given, json!({"Ref": parameter}), "{function}'s {name}");
            let none = json!({"Ref": "AWS::NoValue"});
            Some(json!({"Fn::If": [condition, {"Ref": parameter}, none]}).to_string())
        });
        assert_eq!(
            granted,
            needed.chain(optional).collect(),
            "{function}'s policy"
        );
    }
}

/// The secrets whose ARNs a function has in its variables.
fn given_secrets(function: &str) -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    let variables = variables(function);
    let given = SECRETS.into_iter().filter(|(_, arn_name, parameter, _)| {
        let given = without_owner(&variables[*arn_name]);
        assert!(
            given.is_null() || *given == json!({"Ref": parameter}),
            "{function}'s {arn_name} is {given}"
        );
        !given.is_null()
    });
    given.collect()
}

/// The value if the database has no role for the functions. Only `db-migrate` has the owner's
/// secret.
fn without_owner(value: &Value) -> &Value {
    let condition = &value["Fn::If"];
    if condition[0] == "DatabaseHasOwnRole" {
        assert_eq!(condition[1], json!({"Ref": "DatabaseOwnerSecretArn"}));
        &condition[2]
    } else {
        value
    }
}

fn variables(function: &str) -> &'static Value {
    &resource(function).1["Properties"]["Environment"]["Variables"]
}

/// The actions that a function's own policies allow, each with its resource as JSON.
fn grants(function: &str) -> BTreeSet<(String, String)> {
    let role = format!("{}Role", resource(function).0);
    let policies = &transformed()["Resources"][role]["Properties"]["Policies"];
    let statements = policies
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|policy| list(&policy["PolicyDocument"]["Statement"]));
    let grants = statements.flat_map(|statement| {
        assert_eq!(statement["Effect"], "Allow", "{function}");
        let resources = list(&statement["Resource"]);
        list(&statement["Action"])
            .into_iter()
            .flat_map(move |action| {
                let action = action.as_str().expect("an action").to_owned();
                let resources = resources.clone().into_iter();
                resources.map(move |resource| (action.clone(), without_owner(resource).to_string()))
            })
    });
    grants.collect()
}

/// The resources, as JSON, on which a function may run `action`.
fn granted(function: &str, action: &str) -> BTreeSet<String> {
    let grants = grants(function).into_iter();
    grants
        .filter_map(|(allowed, resource)| (allowed == action).then_some(resource))
        .collect()
}

/// The items of a list. `CloudFormation` accepts a single value instead of a list.
fn list(value: &'static Value) -> Vec<&'static Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

#[tokio::test]
async fn each_function_has_exactly_the_variables_it_reads() {
    for (function, _) in cloud::FUNCTIONS {
        let secrets = given_secrets(function);
        let env = Env::from_pairs(secrets.iter().map(|(name, _, _, value)| (*name, *value)));
        let mut read: BTreeSet<String> = OF_THE_PROCESS.map(str::to_owned).into();
        read.extend(
            secrets
                .iter()
                .map(|(_, arn_name, ..)| (*arn_name).to_owned()),
        );
        for &name in CHECKED {
            match start(function, env.with(name, NONSENSE)).await {
                Err(ConfigError::Invalid { name: wrong, .. }) if wrong == name => {
                    read.insert(name.to_owned());
                }
                started => assert!(started.is_ok(), "{function}: {:?}", started.err()),
            }
        }
        if read.contains("DASHSCOPE_BASE_URL") {
            read.insert("DASHSCOPE_WORKSPACE".to_owned());
            // Functions that make replies call only the chat app.
            if read.contains("CHAT_MAX_STREAMS") {
                read.insert(App::Chat.variable());
            } else {
                read.extend(App::ALL.map(App::variable));
            }
        }
        if read.contains("MODERATION_ON_TIMEOUT") {
            read.extend(SERVICES.map(|(name, _)| name.to_owned()));
        }
        if ["chat-stream", "console", "insights"].contains(&function) {
            // Results of apps without an application id are shown as disabled, or not used.
            let apps = App::ALL.into_iter().filter(|app| *app != App::Chat);
            read.extend(apps.map(App::variable));
        }
        if function == "admin-settings" {
            read.extend(App::ALL.map(App::variable));
        }
        if LABELS.contains(&function) {
            read.insert("AI_LABEL".to_owned());
        }
        if read.contains("AI_MODELS") {
            read.insert("AI_PROVIDER".to_owned());
        }
        if WAKE.contains(&function) {
            read.insert("JOB_QUEUE_URL".to_owned());
        }
        if read.contains("PREWARM_SCHEDULE") {
            read.insert("PREWARM_TIMEZONE".to_owned());
        }
        if function == "db-migrate" {
            read.insert("DATABASE_APP_ROLE".to_owned());
        }
        // The secret may lack the host and the database name.
        if read.contains("DATABASE_URL_SECRET_ARN") {
            read.extend(["DATABASE_HOST", "DATABASE_NAME"].map(str::to_owned));
        }
        let given = variables(function).as_object().expect("variables");
        assert_eq!(
            given.keys().cloned().collect::<BTreeSet<_>>(),
            read,
            "{function}"
        );
    }
}

/// `DashScopeAppId2aFinanceArea` of `app2a_finance_area`.
pub(crate) fn parameter_of(app: App) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    let parts = app.name().trim_start_matches("app").split('_');
    format!("DashScopeAppId{}", parts.map(capital).collect::<String>())
}

#[test]
fn each_app_has_a_parameter_for_its_application() {
    let metadata = &transformed()["Metadata"]["AWS::CloudFormation::Interface"];
    let groups = list(&metadata["ParameterGroups"]).into_iter();
    let grouped: Vec<_> = groups
        .flat_map(|group| list(&group["Parameters"]))
        .collect();
    for app in App::ALL {
        let parameter = parameter_of(app);
        let variable = &variables("job-worker")[app.variable()];
        assert_eq!(*variable, json!({"Ref": parameter}), "{app:?}");
        assert!(
            grouped.contains(&&json!(parameter)),
            "{parameter} is in no group"
        );
    }
}

#[tokio::test]
async fn parameter_defaults_equal_the_defaults_in_the_code() {
    let nothing = Env::from_pairs([("DATABASE_URL", SECRETS[0].3)]);
    let database = DatabaseConfig::from_env(&nothing).await;
    let jobs = JobLimits::from_env(&nothing).expect("limits");
    let chat = ChatLimits::from_env(&nothing).expect("limits");
    let retention = Retention::from_env(&nothing).expect("a retention");
    let number = |function: &str, name: &str| by_default(&variables(function)[name]).clone();
    assert_eq!(
        number("sweep", "DATABASE_MAX_CONNECTIONS"),
        database.expect("a database").max_connections
    );
    assert_eq!(number("job-worker", "JOB_CONCURRENCY"), jobs.at_once);
    assert_eq!(
        number("job-worker", "JOB_RESERVED_TOKENS"),
        jobs.reserved_tokens
    );
    assert_eq!(
        number("chat-stream", "CHAT_RATE_PER_MINUTE"),
        chat.rate_per_minute
    );
    assert_eq!(number("chat-stream", "CHAT_MAX_STREAMS"), chat.max_streams);
    assert_eq!(
        number("chat-stream", "CHAT_RESERVED_TOKENS"),
        chat.reserved_tokens
    );
    assert_eq!(
        number("sweep", "RUN_LOG_RETENTION_DAYS"),
        retention.run_log_days
    );
    for app in App::ALL {
        assert_eq!(number("job-worker", &app.variable()), "", "{app:?}");
    }
    // The default allows no other origin.
    for function in deployed::that_serve_http() {
        assert_eq!(number(&function, "CORS_ALLOWED_ORIGINS"), "", "{function}");
    }
}

#[test]
fn only_functions_that_wake_workers_may_send_to_the_queue() {
    let queue = arn_of("JobQueue").to_string();
    let dead_letters = arn_of("EventDeadLetters").to_string();
    for (function, _) in cloud::FUNCTIONS {
        let mut expected = BTreeSet::new();
        let mut expect = |action: &str, queue: &str| {
            expected.insert((action.to_owned(), queue.to_owned()));
        };
        if WAKE.contains(&function) {
            assert_eq!(
                variables(function)["JOB_QUEUE_URL"],
                json!({"Ref": "JobQueue"})
            );
            expect("sqs:SendMessage", &queue);
        }
        if function == "job-worker" {
            // Lambda polls the queue with the function's role.
            expect("sqs:ReceiveMessage", &queue);
            expect("sqs:DeleteMessage", &queue);
            expect("sqs:GetQueueAttributes", &queue);
        }
        if function == "trigger-dispatch" {
            expect("sqs:SendMessage", &dead_letters);
        }
        let mut grants = grants(function);
        grants.retain(|(action, _)| action != "secretsmanager:GetSecretValue");
        assert_eq!(grants, expected, "{function}");
    }
}

#[test]
fn no_policy_has_needless_permissions() {
    /// All values of members with these names, at any depth.
    fn named<'a>(names: &[&str], value: &'a Value, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if names.contains(&&**name) {
                        found.push(value);
                    }
                    named(names, value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| named(names, item, found)),
            _ => {}
        }
    }

    let mut parts = Vec::new();
    for kind in [
        "AWS::IAM::Role",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::SQS::QueuePolicy",
        "AWS::Events::EventBusPolicy",
    ] {
        for (_, resource) in resources(kind) {
            let names = [
                "Action",
                "NotAction",
                "Resource",
                "NotResource",
                "Principal",
                "NotPrincipal",
            ];
            named(&names, resource, &mut parts);
        }
    }
    assert!(parts.len() > 50, "{}", parts.len());
    for part in parts {
        assert!(!part.to_string().contains('*'), "{part}");
    }

    // The only managed policies are for logs, network interfaces and traces, and CodeDeploy's for
    // functions. AWS's own policies name all resources.
    for (role, resource) in resources("AWS::IAM::Role") {
        for policy in list(&resource["Properties"]["ManagedPolicyArns"]) {
            let text = policy.to_string();
            let known = [
                "AWSCodeDeployRoleForLambda",
                "AWSLambdaBasicExecutionRole",
                "AWSLambdaVPCAccessExecutionRole",
                "AWSXrayWriteOnlyAccess",
                "DecryptSecrets",
            ];
            assert!(
                known.iter().any(|known| text.contains(known)),
                "{role}: {text}"
            );
        }
    }
}

#[test]
fn the_event_rule_matches_the_events_that_the_code_accepts() {
    let rule = one("AWS::Events::Rule", |_| true);
    assert_eq!(rule["EventBusName"], json!({"Ref": "BusinessEventBus"}));
    let pattern = &rule["EventPattern"];
    let passed: BTreeSet<_> = list(&pattern["detail-type"])
        .into_iter()
        .map(|word| word.as_str().expect("a word"))
        .collect();
    let payload = json!({ "order_id": 1, "note_id": 1, "task_id": 1 });
    let payload = payload.as_object().expect("an object");
    let understood = EventType::ALL.into_iter().map(EventType::name);
    let understood =
        understood.filter(|name| NewEvent::parse(name, 1, Some(1), payload.clone(), false).is_ok());
    assert_eq!(passed, understood.collect());

    let targets = list(&rule["Targets"]);
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0]["Arn"], alias_of("trigger-dispatch"));
}

#[test]
fn an_event_without_a_job_goes_to_the_dead_letter_queue() {
    let dead_letters = arn_of("EventDeadLetters");
    let (dispatch, _) = resource("trigger-dispatch");
    let failures = one("AWS::Lambda::EventInvokeConfig", |config| {
        config["FunctionName"] == json!({"Ref": dispatch})
    });
    assert_eq!(
        failures["DestinationConfig"]["OnFailure"]["Destination"],
        dead_letters
    );

    // The rule itself sends an event that did not reach the function, and a rule has no role.
    let (rule_id, rule) = resources("AWS::Events::Rule").next().expect("a rule");
    let target = &rule["Properties"]["Targets"][0];
    assert_eq!(target["DeadLetterConfig"]["Arn"], dead_letters);
    let policy = one("AWS::SQS::QueuePolicy", |_| true);
    assert_eq!(policy["Queues"], json!([{"Ref": "EventDeadLetters"}]));
    let statement = &policy["PolicyDocument"]["Statement"];
    assert_eq!(
        statement,
        &json!([{
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": dead_letters,
            "Condition": {"ArnEquals": {"aws:SourceArn": arn_of(rule_id)}},
        }])
    );
}

#[test]
fn unprocessed_messages_are_redelivered_a_limited_number_of_times() {
    let (_, function) = resource("job-worker");
    let messages = one("AWS::Lambda::EventSourceMapping", |_| true);
    assert_eq!(messages["FunctionName"], alias_of("job-worker"));
    assert_eq!(messages["EventSourceArn"], arn_of("JobQueue"));
    assert_eq!(
        messages["FunctionResponseTypes"],
        json!(["ReportBatchItemFailures"])
    );

    let queue = &transformed()["Resources"]["JobQueue"]["Properties"];
    let seconds = function["Properties"]["Timeout"].as_u64().expect("seconds");
    assert!(queue["VisibilityTimeout"].as_u64().expect("seconds") >= seconds);
    let redrive = &queue["RedrivePolicy"];
    assert_eq!(redrive["deadLetterTargetArn"], arn_of("JobDeadLetters"));
    assert!(
        redrive["maxReceiveCount"]
            .as_u64()
            .is_some_and(|times| times > 1)
    );
}

#[test]
fn queues_are_encrypted_and_dead_letters_have_the_longest_retention() {
    for (name, queue) in resources("AWS::SQS::Queue") {
        let properties = &queue["Properties"];
        assert_eq!(properties["SqsManagedSseEnabled"], true, "{name}");
        if name.ends_with("DeadLetters") {
            assert_eq!(properties["MessageRetentionPeriod"], 14 * 86_400, "{name}");
            assert!(properties["RedrivePolicy"].is_null(), "{name}");
        }
    }
}

/// The properties of the only schedule of a function.
fn schedule_of(function: &str) -> &'static Value {
    one("AWS::Scheduler::Schedule", |schedule| {
        schedule["Target"]["Arn"] == alias_of(function)
    })
}

#[test]
fn schedules_are_the_same_locally_and_in_the_cloud() {
    assert_eq!(schedules::EVERY_MINUTE.as_secs(), 60);
    for function in ["job-worker", "notify", "sweep"] {
        let schedule = schedule_of(function);
        assert_eq!(
            schedule["ScheduleExpression"], "rate(1 minute)",
            "{function}"
        );
    }
    let schedule = schedule_of("prewarm");
    let at = schedules::PREWARM_AT;
    assert_eq!(
        by_default(&schedule["ScheduleExpression"]),
        &format!("cron({} {} * * ? *)", at.minute(), at.hour())
    );
    let zone = by_default(&schedule["ScheduleExpressionTimezone"]);
    assert_eq!(zone, "Asia/Shanghai");
}

/// The resources that `DependsOn` names.
fn depends_on(resource: &Value) -> Vec<&str> {
    let named = &resource["DependsOn"];
    let one = named.as_str().into_iter();
    let many = named.as_array().into_iter().flatten();
    one.chain(many.filter_map(Value::as_str)).collect()
}

#[test]
fn every_function_except_the_migration_depends_on_the_schema() {
    for (name, _) in cloud::FUNCTIONS {
        let (_, function) = resource(name);
        let waits = depends_on(function).contains(&"Migration");
        assert_eq!(waits, name != "db-migrate", "{name}");
    }
}

#[test]
fn each_new_build_migrates_with_its_own_code() {
    let (_, migration) = resources("Custom::Migration").next().expect("a migration");
    let properties = &migration["Properties"];
    let (function, _) = resource("db-migrate");
    // Neither an alias nor a version: a rollback would then run the previous code.
    assert_eq!(
        properties["ServiceToken"],
        json!({ "Fn::GetAtt": [function, "Arn"] })
    );
    let version = properties["Build"]["Ref"].as_str().expect("a version");
    let (_, version) = resources("AWS::Lambda::Version")
        .find(|(id, _)| *id == version)
        .expect("the version that the build makes");
    assert_eq!(
        version["Properties"]["FunctionName"],
        json!({ "Ref": function })
    );
    let timeout = cloud::FUNCTIONS
        .iter()
        .find(|(name, _)| *name == "db-migrate");
    let timeout = timeout.expect("a function").1.as_secs();
    assert!(properties["ServiceTimeout"].as_u64() > Some(timeout));
}

#[test]
fn two_stacks_of_one_account_have_different_names() {
    for (kind, name) in [
        ("AWS::Lambda::Function", "FunctionName"),
        ("AWS::Logs::LogGroup", "LogGroupName"),
        ("AWS::Scheduler::Schedule", "Name"),
        ("AWS::SQS::Queue", "QueueName"),
        ("AWS::Events::EventBus", "Name"),
        ("AWS::ApiGateway::RestApi", "Name"),
        ("AWS::ApiGateway::UsagePlan", "UsagePlanName"),
        ("AWS::CloudWatch::Alarm", "AlarmName"),
        ("AWS::CloudWatch::Dashboard", "DashboardName"),
        ("AWS::SNS::Topic", "TopicName"),
    ] {
        for (logical_id, resource) in resources(kind) {
            let name = resource["Properties"][name].to_string();
            assert!(name.contains("AWS::StackName"), "{logical_id}: {name}");
        }
    }
}

#[test]
fn the_gateways_own_errors_have_the_format_of_the_mini_program_api() {
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
}

#[test]
fn the_template_is_ascii_as_cloudformation_requires() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let template = std::fs::read_to_string(path).expect("read template.yaml");
    assert!(template.is_ascii());
}
