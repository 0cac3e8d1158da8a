//! Invariants of conversations, jobs, results and usage counters. They are valid after any failure,
//! once nothing runs and dead replies and jobs are swept.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{
    events::{EventStream, SseEvent, terminal, text},
    parlor::Parlor,
};

/// Invariants of the conversation `$1`. Each query returns the rows that violate the rule.
const OF_A_CONVERSATION: [(&str, &str); 9] = [
    (
        "a superseded message has its negative id as its number",
        "select to_jsonb(m) from biz.ai_messages m
         where conversation_id = $1 and (superseded_at is not null or seq < 0) and (superseded_at is null or seq <> -id)",
    ),
    (
        "messages are numbered from 1 without a gap, and counted",
        "select to_jsonb(c) from biz.ai_conversations c
         where id = $1 and array(select seq from biz.ai_messages where conversation_id = c.id and seq > 0 order by seq)
               is distinct from array(select generate_series(1, c.message_count))",
    ),
    (
        "every message has one end",
        "select to_jsonb(m) from biz.ai_messages m
         where conversation_id = $1 and (state = 'streaming' or lease_until is not null or finished_at is null)",
    ),
    (
        "the text of an ended reply is in its message alone",
        "select to_jsonb(s) from biz.ai_reply_segments s join biz.ai_messages m on m.id = s.message_id
         where m.conversation_id = $1",
    ),
    (
        "a user message has one reply, right after it",
        "select to_jsonb(m) from biz.ai_messages m
         where conversation_id = $1 and role = 'user' and m.seq > 0 and m.seq + 1 is distinct from (
             select a.seq from biz.ai_messages a
             where a.conversation_id = m.conversation_id and a.role = 'assistant' and a.reply_to = m.id and a.seq > 0)",
    ),
    (
        "an interrupted reply has text, a failed reply has none, and both have an error code",
        "select to_jsonb(m) from biz.ai_messages m
         where conversation_id = $1 and role = 'assistant'
           and ((content = '') is distinct from (state = 'failed') and state <> 'stopped'
                or (error_code is not null) is distinct from (state in ('failed', 'interrupted')))",
    ),
    (
        "only a complete reply has a reason of its end, and only a reply with text has a card",
        "select to_jsonb(m) from biz.ai_messages m
         where conversation_id = $1
           and (is_cut is not null and state <> 'complete' or reference_card is not null and content = '')",
    ),
    (
        "a reply has one run with the same end",
        "select to_jsonb(m) from biz.ai_messages m
         where conversation_id = $1 and role = 'assistant' and 1 is distinct from (
             select count(*) filter (where (response_text, tokens_used) is not distinct from (m.content, m.tokens_used)
                        and finished_at is not null and case m.state when 'complete' then status = 'success'
                            when 'stopped' then status = 'stopped' else status in ('failed', 'timeout') end)
                    * count(*)
             from biz.ai_run_logs where message_id = m.id)",
    ),
    (
        "the list shows the newest text",
        "select to_jsonb(c) from biz.ai_conversations c
         left join lateral (
             select * from biz.ai_messages m where m.conversation_id = c.id and m.content <> '' and m.seq > 0 order by m.seq desc limit 1
         ) m on true
         where c.id = $1 and (last_message_id, last_message_role, last_message_preview, last_message_at)
               is distinct from (m.id, m.role, left(m.content, 100), m.created_at)",
    ),
];

/// Invariants of all runs, usage counters and circuits.
const OF_THE_BOOKS: [(&str, &str); 8] = [
    (
        "no run is still running",
        "select to_jsonb(r) from biz.ai_run_logs r where status = 'running' or finished_at is null",
    ),
    (
        "a day's usage is the sum of its runs, and nothing is reserved",
        "with runs as (
             select site_id, local_day as day, app_type, count(*) as calls,
                    count(*) filter (where status in ('success', 'stopped')) as successes,
                    count(*) filter (where status in ('failed', 'timeout')) as failures,
                    sum(coalesce(tokens_charged, tokens_used, case when tokens_estimated then reserved_tokens end, 0))::bigint as tokens,
                    sum(tokens_in) as tokens_in, sum(tokens_out) as tokens_out, sum(cost) as cost, count(*) - count(cost) as unpriced,
                    sum(latency_ms)::bigint as latency, max(latency_ms) as slowest,
                    count(first_token_ms) as first_tokens, max(first_token_ms) as slowest_token
             from biz.ai_run_logs
             where status not in ('running', 'circuit_open', 'budget_exceeded', 'quota_exceeded') group by 1, 2, 3
         )
         select jsonb_build_array(to_jsonb(runs), to_jsonb(u))
         from runs full join biz.ai_usage_daily u using (site_id, day, app_type)
         where (coalesce(runs.calls, 0), coalesce(runs.successes, 0), coalesce(runs.failures, 0), coalesce(runs.tokens, 0),
                coalesce(runs.latency, 0), coalesce(runs.calls, 0), 0,
                coalesce(runs.slowest, 0), coalesce(runs.first_tokens, 0), coalesce(runs.slowest_token, 0),
                coalesce(runs.tokens_in, 0), coalesce(runs.tokens_out, 0), coalesce(runs.cost, 0), coalesce(runs.unpriced, 0))
               is distinct from (u.calls, u.successes, u.failures, u.tokens, u.latency_sum_ms,
                                 (select coalesce(sum(bucket), 0) from unnest(u.latency_buckets) bucket), u.reserved_tokens,
                                 u.latency_max_ms, (select coalesce(sum(bucket), 0) from unnest(u.first_token_buckets) bucket),
                                 u.first_token_max_ms, u.tokens_in, u.tokens_out, u.cost, u.unpriced_calls)
            or u.calls <> u.successes + u.failures",
    ),
    (
        "a day's tokens and cost are the sum over its apps",
        "select to_jsonb(d)
         from biz.ai_usage_days d
         full join (
             select site_id, day, sum(tokens + reserved_tokens) as tokens, sum(cost) as cost from biz.ai_usage_daily group by 1, 2
         ) u using (site_id, day)
         where (coalesce(d.tokens, 0), coalesce(d.cost, 0)) is distinct from (coalesce(u.tokens, 0), coalesce(u.cost, 0))",
    ),
    (
        "the usage of a user and a bot on a day is the sum of their runs",
        "with runs as (
             select site_id, local_day as day, user_id, bot_id, count(*) as calls,
                    count(*) filter (where status in ('success', 'stopped')) as successes, sum(tokens_in) as tokens_in,
                    sum(tokens_out) as tokens_out, sum(tokens_charged) as tokens, sum(cost) as cost,
                    count(*) - count(cost) as unpriced
             from biz.ai_run_logs
             where status not in ('running', 'circuit_open', 'budget_exceeded', 'quota_exceeded') group by 1, 2, 3, 4
         ), used as (
             select site_id, day, user_id, bot_id, sum(calls) as calls, sum(successes) as successes, sum(failures) as failures,
                    sum(tokens_in) as tokens_in, sum(tokens_out) as tokens_out, sum(tokens) as tokens, sum(cost) as cost,
                    sum(unpriced_calls) as unpriced
             from biz.ai_usage_details group by 1, 2, 3, 4
         )
         select jsonb_build_array(to_jsonb(runs), to_jsonb(u))
         from runs full join used u on (runs.site_id, runs.day, coalesce(runs.user_id, 0), coalesce(runs.bot_id::text, ''))
                                     = (u.site_id, u.day, coalesce(u.user_id, 0), coalesce(u.bot_id::text, ''))
         where (runs.calls, runs.successes, runs.calls - runs.successes, coalesce(runs.tokens_in, 0), coalesce(runs.tokens_out, 0),
                runs.tokens, coalesce(runs.cost, 0), runs.unpriced)
               is distinct from (u.calls, u.successes, u.failures, u.tokens_in, u.tokens_out, u.tokens, u.cost, u.unpriced)",
    ),
    (
        "the usage of a model on a day is the sum over its runs",
        "with models as (
             select r.site_id, r.local_day as day, m.model_id, m.input_tokens + m.output_tokens as tokens,
                    case when r.cost is null then 0 else m.cost end as cost
             from biz.ai_run_logs r cross join rows from (
                 jsonb_to_recordset(r.models) as (model_id text, input_tokens bigint, output_tokens bigint), unnest(r.model_costs)) m (model_id, input_tokens, output_tokens, cost)
             union all
             select r.site_id, r.local_day, null, r.tokens_charged - case when r.models is not null then coalesce(r.tokens_used, 0) else 0 end, 0
             from biz.ai_run_logs r
             where r.status not in ('running', 'circuit_open', 'budget_exceeded', 'quota_exceeded')
         ), runs as (
             select site_id, day, model_id, sum(tokens) as tokens, sum(cost) as cost from models group by 1, 2, 3
         ), used as (
             select site_id, day, model_id, sum(tokens) as tokens, sum(cost) as cost from biz.ai_usage_details group by 1, 2, 3
         )
         select jsonb_build_array(to_jsonb(runs), to_jsonb(u))
         from runs full join used u on (runs.site_id, runs.day, coalesce(runs.model_id, '')) = (u.site_id, u.day, coalesce(u.model_id, ''))
         where (coalesce(runs.tokens, 0), coalesce(runs.cost, 0)) is distinct from (coalesce(u.tokens, 0), coalesce(u.cost, 0))",
    ),
    (
        "a half-open circuit has a running probe",
        "select to_jsonb(k) from biz.ai_circuits k
         where state = 'half_open'
           and not exists (select from biz.ai_run_logs r where r.id = k.probe_run_id and r.status = 'running')",
    ),
    (
        "`listed_conversations` counts the conversations that have messages",
        "select to_jsonb(u) from biz.users u
         where listed_conversations <> (
             select count(*) from biz.ai_conversations c where c.user_id = u.id and c.message_count > 0)",
    ),
    (
        "`listed_sessions` counts the sessions",
        "select to_jsonb(u) from biz.users u
         where listed_sessions <> (
             select count(*) from biz.ai_conversations c where c.user_id = u.id and c.bot_id is not null)",
    ),
];

/// Invariants of all jobs, once no job runs. `target` is the target of the app in the job, as
/// `jobs::chain` computes it.
const OF_THE_JOBS: [(&str, &str); 5] = [
    (
        "no job runs, and a finished job has a finish time",
        "select to_jsonb(j) from biz.ai_trigger_jobs j
         where status = 'running' or lease_until is not null or attempts < 0
            or (finished_at is null) is distinct from (status = 'pending')",
    ),
    (
        "a successful job has run its whole chain",
        "select to_jsonb(j) from biz.ai_trigger_jobs j
         where status = 'succeeded' and event_type <> 'etl.finished' and step <> cardinality(app_chain)",
    ),
    (
        "each step of a successful job has a successful run or an earlier result",
        "select to_jsonb(j) || jsonb_build_object('app', s.app)
         from biz.ai_trigger_jobs j cross join unnest(j.app_chain) s (app)
         cross join lateral (select 'member:' || j.member_id, 'task:' || (j.payload ->> 'task_id'), j.payload ->> 'period') t (member, task, period)
         cross join lateral (select case s.app
             when 'app2_finance' then t.period || ':' || coalesce(j.payload ->> 'area', 'all')
             when 'app2a_finance_area' then t.period
             when 'app4_analysis' then coalesce(t.task, t.member) when 'app5_tactics' then coalesce(t.task, t.member)
             when 'app6_note_analysis' then 'note:' || (j.payload ->> 'note_id')
             else t.member end) a (target)
         where j.status = 'succeeded' and j.event_type <> 'etl.finished'
           and not exists (select from biz.ai_run_logs r where r.job_id = j.id and r.app_type = s.app and r.status = 'success')
           and not exists (select from biz.ai_cache c
                           where c.site_id = j.site_id and c.cache_type = s.app and c.target_id = a.target and c.finished_at <= j.finished_at)",
    ),
    (
        "no step of a job has two successful runs",
        "select jsonb_build_array(job_id, app_type, count(*)) from biz.ai_run_logs
         where status = 'success' group by job_id, app_type having job_id is not null and count(*) > 1",
    ),
    (
        "a run is of its job's site and member",
        "select to_jsonb(r) from biz.ai_run_logs r left join biz.ai_trigger_jobs j on j.id = r.job_id
         where r.job_id is not null and (j.site_id, coalesce(j.member_id, 0)) is distinct from (r.site_id, coalesce(r.member_id, 0))",
    ),
];

/// Invariants of all results, once no job runs.
const OF_THE_CACHE: [(&str, &str); 5] = [
    (
        "a result in generation belongs to a running job",
        "select to_jsonb(c) from biz.ai_cache c
         where status = 'generating'
           and not exists (select from biz.ai_trigger_jobs j where j.id = c.job_id and j.site_id = c.site_id and j.status = 'running')",
    ),
    (
        "a target has at most one valid result",
        "select jsonb_agg(to_jsonb(c)) from biz.ai_cache c where status = 'valid'
         group by site_id, cache_type, target_id having count(*) > 1",
    ),
    (
        "a result comes from a successful run of the same site, app and job",
        "select to_jsonb(c) from biz.ai_cache c
         where status <> 'generating' and not exists (
             select from biz.ai_run_logs r
             where r.id = c.run_id and r.status = 'success' and r.site_id = c.site_id and r.app_type = c.cache_type and r.job_id = c.job_id)",
    ),
    (
        "no run has two results",
        "select jsonb_agg(to_jsonb(c)) from biz.ai_cache c where run_id is not null group by run_id having count(*) > 1",
    ),
    (
        "an app's entries at a site are counted",
        "select jsonb_build_array(to_jsonb(s), counted)
         from biz.ai_cache_sizes s
         full join (select site_id, cache_type, count(*) as counted from biz.ai_cache group by 1, 2) c using (site_id, cache_type)
         where coalesce(s.entries, 0) <> coalesce(counted, 0)",
    ),
];

/// Checks the conversation and the books (runs, usage counters, circuits), and that the next
/// message of the conversation gets a reply.
pub async fn check(parlor: &Parlor, user: i64, chat: i64) {
    check_stored(parlor, user, chat).await;
    check_next_message(parlor, user, chat).await;
    check_stored(parlor, user, chat).await;
}

/// Like [`check`], without another message.
pub async fn check_stored(parlor: &Parlor, user: i64, chat: i64) {
    check_conversation(parlor, user, chat).await;
    check_books(parlor).await;
}

/// After any failure, a healthy application replies to the next message. An open circuit may
/// delay it, so its pause is ended here.
pub async fn check_next_message(parlor: &Parlor, user: i64, chat: i64) {
    parlor.simulator.set_scenario(None, None);
    parlor.simulator.release();
    parlor
        .execute("update biz.ai_circuits set retry_at = clock_timestamp() where retry_at > clock_timestamp()")
        .await;
    let sent = parlor.send(user, chat, "继续").await;
    let reply = &sent.ok()["aiReply"];
    assert_eq!(reply["status"], "complete", "{reply}");
    assert_ne!(reply["content"], "");
}

/// Checks the stored messages of a conversation, and that each way to read them returns the same.
pub async fn check_conversation(parlor: &Parlor, user: i64, chat: i64) {
    for (rule, query) in OF_A_CONVERSATION {
        let found: Vec<Value> = sqlx::query_scalar(query)
            .bind(chat)
            .fetch_all(&parlor.db)
            .await
            .unwrap();
        assert_eq!(found, [] as [Value; 0], "{rule}");
    }

    let stored: Vec<Value> = sqlx::query_scalar(
        "select jsonb_build_object('id', id, 'role', role, 'content', content, 'status', state, 'reply_to', reply_to,
             'client_message_id', client_message_id)
         from biz.ai_messages where conversation_id = $1 and seq > 0 order by seq limit 100",
    )
    .bind(chat)
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let listed = parlor.messages(user, chat).await;
    let fields =
        |message: &Value| ["id", "role", "content", "status"].map(|name| message[name].clone());
    let (returned, expected): (Vec<_>, Vec<_>) = (
        listed.iter().map(fields).collect(),
        stored.iter().map(fields).collect(),
    );
    assert_eq!(returned, expected);

    let calls = parlor.simulator.calls_count();
    for (number, message) in stored.iter().enumerate() {
        if message["role"] == "assistant" {
            check_resume(parlor, user, message).await;
        } else if !message["client_message_id"].is_null() {
            check_repeat(parlor, user, chat, message, &stored[number + 1]).await;
        }
    }
    assert_eq!(
        parlor.simulator.calls_count(),
        calls,
        "DashScope is not called again"
    );
}

/// Reads a finished reply (CHAT-5) from its start and from its middle.
async fn check_resume(parlor: &Parlor, user: i64, reply: &Value) {
    let content = reply["content"].as_str().unwrap();
    let half = content.chars().count() / 2;
    for after in [0, half] {
        let path = format!("/api/xcx/chat/stream/{}?after={after}", reply["id"]);
        let events = read(parlor.request_as(user, "GET", &path)).await;
        let rest: String = content.chars().skip(after).collect();
        assert_eq!(text(&events), rest, "{reply}");
        ends_as(events.last().unwrap(), reply);
    }
}

/// Sends the message again (CHAT-4) and expects the stored message and reply.
async fn check_repeat(parlor: &Parlor, user: i64, chat: i64, message: &Value, reply: &Value) {
    let body = json!({
        "chatId": chat, "content": message["content"], "clientMessageId": message["client_message_id"],
    });
    let again = parlor.request_as(user, "POST", "/api/xcx/chat/stream");
    let events = read(again.json(&body)).await;
    let start = &events[0].data;
    assert_eq!(
        (&start["userMessageId"], &start["messageId"]),
        (&message["id"], &reply["id"])
    );
    assert_eq!(text(&events), reply["content"]);
    ends_as(terminal(&events), reply);
}

async fn read(request: reqwest::RequestBuilder) -> Vec<SseEvent> {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    EventStream::new(response).rest().await
}

#[track_caller]
fn ends_as(end: &SseEvent, reply: &Value) {
    let good = matches!(reply["status"].as_str(), Some("complete" | "stopped"));
    let name = if good { "done" } else { "error" };
    assert_eq!(end.name, name, "{end:?} of {reply}");
    if good {
        assert_eq!(end.data["status"], reply["status"]);
    }
}

/// Checks jobs, results and books. No job may be running, and dead jobs must be swept.
pub async fn check_jobs(parlor: &Parlor) {
    find_nothing(parlor, &OF_THE_JOBS).await;
    check_results(parlor).await;
    check_books(parlor).await;
}

/// Checks only the results. After an invalidation, the same call may be paid for again.
pub async fn check_results(parlor: &Parlor) {
    find_nothing(parlor, &OF_THE_CACHE).await;
}

async fn find_nothing(parlor: &Parlor, rules: &[(&str, &'static str)]) {
    for (rule, query) in rules {
        let found: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(*query))
            .fetch_all(&parlor.db)
            .await
            .unwrap();
        assert_eq!(found, [] as [Value; 0], "{rule}");
    }
}

/// Checks that runs, usage counters and the calls that the simulator received agree.
pub async fn check_books(parlor: &Parlor) {
    find_nothing(parlor, &OF_THE_BOOKS).await;
    // A maker that died did not record its attempts. It had made at most one call.
    let known: i64 = sqlx::query_scalar(
        "select coalesce(sum(greatest(1, attempts)), 0)::bigint from biz.ai_run_logs
         where status not in ('circuit_open', 'budget_exceeded', 'quota_exceeded')",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    let calls = i64::try_from(parlor.simulator.calls_count()).unwrap();
    assert!(
        calls <= known,
        "{calls} calls, but the runs have recorded {known}"
    );
}
