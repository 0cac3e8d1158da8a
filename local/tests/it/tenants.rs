//! Access to objects with an owner, on every route that names one: by a colleague, by another site
//! and by an admin.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{
    parlor::{COACH, OTHER_SITE, Parlor, STAFF, answer},
    routes::{self, OTHER_SITE_ADMIN, PLATFORM_ADMIN, Route, SITE_ADMIN},
};

/// One object of each kind, of user 1001 and site 1.
struct Objects {
    chat: i64,
    reply: i64,
    session: String,
    run: i64,
    job: i64,
    batch: String,
    report: i64,
    insight: i64,
    channel: i64,
    word: i64,
}

impl Objects {
    async fn new(parlor: &Parlor) -> Self {
        let chat = parlor.open(COACH, "t").await;
        let sent = parlor.send(COACH, chat, "[[sim:fail-first]]").await;
        let reply = sent.ok()["aiReply"]["id"].as_i64().unwrap();
        let bot = json!({ "bot_id": "00000000-0000-4000-8000-000000000001" });
        let session = parlor.post(COACH, "/api/chat/sessions", &bot).await;
        // The run of the failed reply is also an alert.
        let run = parlor.last_run().await["id"].as_i64().unwrap();
        let job = sqlx::query_scalar(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain, status)
             values (1, 'consumption.settled', 'event_bus', 'event', 10001, '{app3_clue}', 'failed') returning id",
        )
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        let batch = sqlx::query_scalar(
            "insert into biz.ai_batches (site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by)
             values (1, '{app3_clue}', '{10001}', 1, 2000, now() + interval '10 minutes', 1004) returning id::text",
        )
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        let body = json!({ "subjectType": "message", "subjectId": reply, "reason": "other" });
        let report = parlor.post(COACH, "/api/xcx/reports", &body).await;
        let insight = sqlx::query_scalar(
            "insert into biz.ai_cache (site_id, cache_type, target_id, status, result_json, triggered_by, business_date, valid_days, expires_at)
             values (1, 'app2_finance', 'today:all', 'valid', '{}', 'event', site_today(1), 0, now() + interval '1 hour') returning id",
        )
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        let channel = sqlx::query_scalar(
            "insert into biz.notification_channels (site_id, kind, name, url, level, hourly_cap, enabled)
             values (1, 'webhook', 'ops', 'https://hooks.example/', 'info', 20, true) returning id",
        )
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        let word = json!({ "word": "违禁词" });
        let path = "/api/admin/ai/moderation-words";
        let word = parlor.post(SITE_ADMIN, path, &word).await;
        Self {
            channel,
            word: word.created()["id"].as_i64().unwrap(),
            report: report.created()["reportId"].as_i64().unwrap(),
            insight,
            chat,
            reply,
            session: session.created()["session"]["id"]
                .as_str()
                .unwrap()
                .to_owned(),
            run,
            job,
            batch,
        }
    }

    /// The path of a route with its object. `None` if it names no object.
    fn path(&self, route: &Route) -> Option<String> {
        let template = &*route.template;
        let id = match template {
            _ if template.contains("{batch_id}") => self.batch.clone(),
            _ if template.contains("{messageId}") => self.reply.to_string(),
            _ if template.starts_with("/api/xcx/insights/{id}") => self.insight.to_string(),
            _ if template.contains("{chatId}") => self.chat.to_string(),
            _ if template.starts_with("/api/chat/sessions/{id}") => self.session.clone(),
            _ if template.starts_with("/api/admin/ai/reports/{id}") => self.report.to_string(),
            _ if template.starts_with("/api/admin/ai/notification-channels/{id}") => {
                self.channel.to_string()
            }
            _ if template.starts_with("/api/admin/ai/moderation-words/{id}") => {
                self.word.to_string()
            }
            _ if template.starts_with("/api/admin/ai/messages/{id}") => self.reply.to_string(),
            _ if template.starts_with("/api/admin/ai/users/{id}") => STAFF.to_string(),
            _ if template.starts_with("/api/admin/ai/trigger-jobs/{id}") => self.job.to_string(),
            _ if template.starts_with("/api/admin/ai/run-logs/{id}")
                || template.starts_with("/api/admin/ai/alerts/{id}") =>
            {
                self.run.to_string()
            }
            // The object is named in the body.
            "/api/xcx/chat/stream" => return Some(template.to_owned()),
            _ => {
                assert!(
                    !template.contains('{'),
                    "add an object for {template} to Objects"
                );
                return None;
            }
        };
        let (before, rest) = template.split_once('{')?;
        let (_, after) = rest.split_once('}')?;
        Some(format!("{before}{id}{after}"))
    }

    fn body(&self, route: &Route) -> Value {
        let mut body = route.body.clone();
        if body["chatId"].is_number() {
            body["chatId"] = self.chat.into();
        }
        body
    }
}

/// True if only managers may read the object of a route. The insight is about finance.
fn needs_manager(route: &Route) -> bool {
    route.template.starts_with("/api/xcx/insights/{id}")
}

/// Every route that names an object, with its path.
fn named(objects: &Objects) -> Vec<(Route, String)> {
    let routes = routes::all().into_iter();
    routes
        .filter_map(|route| objects.path(&route).map(|path| (route, path)))
        .collect()
}

fn request(parlor: &Parlor, user: i64, route: &Route, path: &str, body: &Value) -> RequestBuilder {
    let request = parlor.request_as(user, &route.method, path);
    if body.is_null() {
        request
    } else {
        request.json(body)
    }
}

#[tokio::test]
async fn an_object_is_refused_to_other_users_on_every_route() {
    let parlor = Parlor::start().await;
    let objects = Objects::new(&parlor).await;
    let before = contents(&parlor).await;
    for (route, path) in named(&objects) {
        let body = objects.body(&route);
        let strangers: &[(i64, String, u16, &str)] = if route.is_for_admins() {
            &[
                // Without a site, the other admin's own site is searched. With site 1, access is
                // forbidden.
                (OTHER_SITE_ADMIN, path.clone(), 404, "not_found"),
                (
                    OTHER_SITE_ADMIN,
                    format!("{path}?site_id=1"),
                    403,
                    "forbidden",
                ),
                (SITE_ADMIN, format!("{path}?site_id=2"), 403, "forbidden"),
            ]
        } else if needs_manager(&route) {
            &[
                (STAFF, path.clone(), 403, "forbidden"),
                (OTHER_SITE_ADMIN, path.clone(), 404, "not_found"),
            ]
        } else {
            &[
                (STAFF, path.clone(), 403, "not_owner"),
                (OTHER_SITE, path.clone(), 404, "not_found"),
            ]
        };
        for (user, path, status, code) in strangers {
            let refused = answer(request(&parlor, *user, &route, path, &body)).await;
            assert_eq!(
                (refused.status.as_u16(), refused.body["code"].as_str()),
                (*status, Some(*code)),
                "{user} {} {path}: {}",
                route.method,
                refused.body
            );
        }
    }
    // A platform admin names a site that does not have the object.
    for (route, path) in named(&objects) {
        if route.is_for_admins() {
            let path = format!("{path}?site_id=2");
            let refused = answer(request(
                &parlor,
                PLATFORM_ADMIN,
                &route,
                &path,
                &objects.body(&route),
            ))
            .await;
            assert_eq!(
                refused.status, 404,
                "{} {path}: {}",
                route.method, refused.body
            );
        }
    }
    assert_eq!(contents(&parlor).await, before, "the data changed");
}

#[tokio::test]
async fn an_object_is_accessible_to_its_owner_on_every_route() {
    let parlor = Parlor::start().await;
    let objects = Objects::new(&parlor).await;
    let mut named = named(&objects);
    // The other routes need the object.
    named.sort_by_key(|(route, _)| route.method == "DELETE");
    for (route, path) in named {
        let body = objects.body(&route);
        let mut owners = vec![if route.is_for_admins() || needs_manager(&route) {
            SITE_ADMIN
        } else {
            COACH
        }];
        if route.is_for_admins() {
            owners.push(PLATFORM_ADMIN);
        }
        for owner in owners {
            // A platform admin must name the site of a change.
            let path = if owner == PLATFORM_ADMIN {
                format!("{path}?site_id=1")
            } else {
                path.clone()
            };
            let passed = answer(request(&parlor, owner, &route, &path, &body)).await;
            // The effect on one object may prevent the next request: 400 and 409 report a state,
            // and 404 that the first admin has deleted the object.
            let is_deleted = route.method == "DELETE" && owner == PLATFORM_ADMIN;
            assert!(
                passed.status.is_success()
                    || matches!(passed.status.as_u16(), 400 | 409)
                    || (is_deleted && passed.status == 404),
                "{owner} {} {path}: {} {}",
                route.method,
                passed.status,
                passed.body
            );
        }
    }
}

/// The contents of all tables that a request could change.
async fn contents(parlor: &Parlor) -> Value {
    sqlx::query_scalar(
        "select jsonb_build_object(
             'conversations', (select jsonb_agg(to_jsonb(c) order by id) from biz.ai_conversations c),
             'messages', (select jsonb_agg(to_jsonb(m) order by id) from biz.ai_messages m),
             'runs', (select jsonb_agg(to_jsonb(l) order by id) from biz.ai_run_logs l),
             'jobs', (select jsonb_agg(to_jsonb(j) order by id) from biz.ai_trigger_jobs j),
             'reports', (select jsonb_agg(to_jsonb(r) order by id) from biz.ai_reports r),
             'feedback', (select jsonb_agg(to_jsonb(f) order by id) from biz.ai_feedback f),
             'batches', (select jsonb_agg(to_jsonb(b) order by id) from biz.ai_batches b),
             'words', (select jsonb_agg(to_jsonb(w) order by id) from biz.moderation_words w),
             'audit', (select jsonb_agg(to_jsonb(a) order by id) from biz.ai_admin_audit a))",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap()
}
