//! Every route of the product, each with a valid request, derived from the OpenAPI document.

use local::command;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{
    parlor::{COACH, Parlor, STAFF, token},
    sessions::BOT,
};

/// The manager of site 1.
pub const MANAGER: i64 = 1003;
/// The admin of site 1.
pub const SITE_ADMIN: i64 = 1004;
/// A viewer of site 1.
pub const VIEWER: i64 = 1007;
/// The admin of site 2.
pub const OTHER_SITE_ADMIN: i64 = 2004;
/// The platform admin, of all sites.
pub const PLATFORM_ADMIN: i64 = 9001;

/// The prefix of routes that only admins may call.
const ADMIN: &str = "/api/admin/";

/// Optional parameters and fields that requests still set. The admin of another site is refused
/// only if the site is named. A session update that changes nothing is invalid. Insights are those
/// of a page or of an app. A new notification channel needs an address.
const OPTIONAL: [&str; 4] = ["site_id", "sourcePage", "title", "url"];

/// A route with a valid request. It is about site 1; admin routes name the site.
#[derive(Clone, Debug)]
pub struct Route {
    pub method: String,
    pub template: String,
    /// The path with its query.
    pub path: String,
    /// Null if the route takes no body.
    pub body: Value,
}

impl Route {
    /// Builds the request of an operation of the document.
    fn of(document: &Value, template: &str, method: &str, operation: &Value) -> Self {
        let mut path = template.to_owned();
        let mut query = Vec::new();
        let parameters = operation["parameters"].as_array();
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name");
            let is_needed = parameter["required"] == true || OPTIONAL.contains(&name);
            if !is_needed {
                continue;
            }
            let value = value(name, &parameter["schema"]);
            let value = value.as_str().map_or(value.to_string(), str::to_owned);
            if parameter["in"] == "path" {
                path = path.replace(&format!("{{{name}}}"), &value);
            } else {
                query.push(format!("{name}={value}"));
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        Self {
            method: method.to_uppercase(),
            template: template.to_owned(),
            path,
            body: body(document, schema),
        }
    }

    pub fn is_for_admins(&self) -> bool {
        self.template.starts_with(ADMIN)
    }

    /// True if it is not about a site.
    fn is_for_all_sites(&self) -> bool {
        self.template == "/api/admin/ai/prices" || self.template.starts_with("/api/admin/ai/agents")
    }

    /// True if only platform admins may call it.
    fn is_for_platform_admins(&self) -> bool {
        self.is_for_all_sites() && self.method != "GET"
    }

    /// True if only managers of the site may call it.
    pub fn is_for_managers(&self) -> bool {
        self.template == "/api/xcx/insights/{id}/history"
    }

    /// A user who may call the route.
    pub fn user(&self) -> i64 {
        self.users()[0]
    }

    /// Two users who may call the route.
    pub fn users(&self) -> [i64; 2] {
        if self.is_for_platform_admins() {
            [PLATFORM_ADMIN, PLATFORM_ADMIN]
        } else if self.is_for_admins() {
            [SITE_ADMIN, PLATFORM_ADMIN]
        } else if self.is_for_managers() {
            [MANAGER, SITE_ADMIN]
        } else {
            [COACH, STAFF]
        }
    }

    /// Users with a valid account who may not call the route.
    pub fn strangers(&self) -> Vec<i64> {
        if self.is_for_platform_admins() {
            vec![COACH, STAFF, MANAGER, SITE_ADMIN, OTHER_SITE_ADMIN, VIEWER]
        } else if self.is_for_all_sites() {
            vec![COACH, STAFF, MANAGER]
        } else if self.is_for_admins() {
            let mut strangers = vec![COACH, STAFF, MANAGER, OTHER_SITE_ADMIN];
            if self.method != "GET" {
                strangers.push(VIEWER);
            }
            strangers
        } else if self.is_for_managers() {
            vec![COACH, STAFF, PLATFORM_ADMIN]
        } else {
            vec![PLATFORM_ADMIN]
        }
    }

    /// The request of a demo user.
    pub fn request_as(&self, user: i64, parlor: &Parlor) -> RequestBuilder {
        self.request(parlor).bearer_auth(token(user))
    }

    /// The request without a token.
    pub fn request(&self, parlor: &Parlor) -> RequestBuilder {
        let request = parlor.request(&self.method, &self.path);
        if self.body.is_null() {
            request
        } else {
            request.json(&self.body)
        }
    }
}

/// A body with the required fields. Null without a schema.
fn body(document: &Value, schema: &Value) -> Value {
    let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|text| text.rsplit('/').next())
    else {
        return Value::Null;
    };
    let schema = &document["components"]["schemas"][name];
    let fields = schema["properties"].as_object().expect("fields");
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.contains(&json!(name)));
    let needed = fields
        .iter()
        .filter(|(name, _)| is_required(name) || OPTIONAL.contains(&name.as_str()));
    needed
        .map(|(name, schema)| (name.clone(), value(name, schema)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A valid value of a parameter or field, by its name or else by its type.
fn value(name: &str, schema: &Value) -> Value {
    match name {
        "role" => json!("staff"),
        "kind" => json!("webhook"),
        "name" => json!("ops"),
        "url" => json!("https://hooks.example/"),
        "status" => json!("approved"),
        "app_type" => json!("app1_chat"),
        "app_types" => json!(["app3_clue"]),
        "bot_id" => json!(BOT),
        "content" | "title" | "q" => json!("你好"),
        "contextId" => json!("7"),
        "contextType" => json!("task"),
        "daily_limit" => json!(1_000_000),
        "subject_type" => json!("role"),
        "subject_id" => json!("coach"),
        "event_type" => json!("etl.finished"),
        "member_ids" => json!([10_001]),
        "texts" => json!(["你好"]),
        "scopes" => json!(["usage:read"]),
        "mode" => json!("live"),
        "model" => json!("qwen-plus"),
        "tiers" => json!([{ "input_per_million": "0.8", "output_per_million": "2" }]),
        "valid_from" => json!("2026-01-01"),
        "sourcePage" => json!("board-customer"),
        "monthly_limit" => json!(20_000_000),
        "answer" => json!("已处理"),
        "expected" => json!(1),
        "filter" => json!({}),
        "rating" => json!("up"),
        "reason" => json!("other"),
        "word" => json!("违禁词"),
        "subjectType" => json!("message"),
        _ if schema["format"] == "uuid" => json!("00000000-0000-4000-8000-00000000abcd"),
        _ if schema["type"].to_string().contains("integer") => json!(1),
        _ => panic!("add a valid value of `{name}` to `value` in local/tests/it/harness/routes.rs"),
    }
}

#[track_caller]
pub fn all() -> Vec<Route> {
    let document = command::openapi_json().expect("describe the routers");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let routes: Vec<_> = paths
        .iter()
        .flat_map(|(template, item)| {
            let operations = item.as_object().expect("operations").iter();
            operations.map(|(method, operation)| Route::of(&document, template, method, operation))
        })
        .collect();
    for route in routes.iter().filter(|route| route.is_for_admins()) {
        assert!(
            route.is_for_all_sites()
                || route.body["site_id"] == 1
                || route.path.contains("site_id=1"),
            "{route:?} does not name its site, so that another site's admin cannot be refused"
        );
    }
    routes
}
