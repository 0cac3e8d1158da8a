//! Prices of models, costs of runs, and usage by day, app, user, bot and model.

use chrono::NaiveDate;
use common::platform::db::Db;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use reqwest::header::{ETAG, IF_MATCH};
use serde_json::{Value, json};

use crate::harness::{
    cases, invariants,
    jobs::consumption,
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF, Setup, answer},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
    sessions::BOT,
    sweep,
};

const PRICES: &str = "/api/admin/ai/prices";
const USAGE: &str = "/api/admin/ai/usage";
const BUDGET: &str = "/api/admin/ai/budget";

async fn put(parlor: &Parlor, user: i64, path: &str, body: &Value) -> Answer {
    answer(parlor.request_as(user, "PUT", path).json(body)).await
}

/// Sets a price with one tier, or removes it if `amounts` is `None`.
async fn set_price(
    parlor: &Parlor,
    model: &str,
    day: &str,
    amounts: Option<(&str, &str)>,
) -> Value {
    let tier =
        |(input, output)| json!({ "input_per_million": input, "output_per_million": output });
    let tiers: Vec<Value> = amounts.map(tier).into_iter().collect();
    let body = json!({ "model": model, "valid_from": day, "tiers": tiers });
    put(parlor, PLATFORM_ADMIN, PRICES, &body)
        .await
        .ok()
        .clone()
}

async fn run_log(parlor: &Parlor) -> Value {
    let page = parlor.get(SITE_ADMIN, "/api/admin/ai/run-logs").await;
    page.ok()["items"][0].clone()
}

#[tokio::test]
async fn a_price_is_replaced_only_in_the_version_that_the_client_read() {
    let parlor = Parlor::start().await;
    sqlx::query("delete from biz.ai_prices")
        .execute(&parlor.db)
        .await
        .unwrap();
    let tiers = json!([
        { "up_to_input_tokens": 128_000, "input_per_million": "0.8", "output_per_million": "2" },
        { "input_per_million": "2.400000", "output_per_million": "20.5" },
    ]);
    let mut body = json!({ "model": "qwen-plus", "valid_from": "2026-01-01", "tiers": tiers });
    let set = put(&parlor, PLATFORM_ADMIN, PRICES, &body).await;
    let first = set.ok().clone();
    assert_eq!(set.headers[ETAG], first["etag"].as_str().unwrap());
    assert_eq!(
        first["tiers"],
        json!([
            { "up_to_input_tokens": 128_000, "input_per_million": "0.8", "output_per_million": "2" },
            { "up_to_input_tokens": null, "input_per_million": "2.4", "output_per_million": "20.5" },
        ])
    );
    let listed = parlor.get(SITE_ADMIN, PRICES).await;
    assert_eq!(listed.ok()["items"], json!([first]));

    let replace = |body: Value, etag: &str| {
        let request = parlor.request_as(PLATFORM_ADMIN, "PUT", PRICES);
        answer(request.header(IF_MATCH, etag).json(&body))
    };
    let etag = first["etag"].as_str().unwrap();
    body["tiers"][0]["output_per_million"] = json!("1.9");
    let second = replace(body.clone(), etag).await.ok().clone();
    replace(body.clone(), etag)
        .await
        .refused_at(PRICES, 412, "conflict");
    body["tiers"] = json!([]);
    let etag = second["etag"].as_str().unwrap();
    assert_eq!(replace(body.clone(), etag).await.ok()["etag"], Value::Null);
    replace(body, etag)
        .await
        .refused_at(PRICES, 412, "conflict");
    assert_eq!(
        parlor.get(SITE_ADMIN, PRICES).await.ok()["items"],
        json!([])
    );

    // The changes belong to no site, so only platform admins see them.
    let path = "/api/admin/ai/audit?action=price.set";
    let audit = parlor.get(PLATFORM_ADMIN, path).await.ok().clone();
    assert_eq!(audit["total"], 3);
    let newest = &audit["items"][0];
    assert_eq!(
        (&newest["site_id"], &newest["object_id"]),
        (&Value::Null, &json!("qwen-plus"))
    );
    assert_eq!(newest["details"]["after"], json!([]));
    assert_eq!(newest["details"]["before"], second["tiers"]);
    assert_eq!(parlor.get(SITE_ADMIN, path).await.ok()["total"], 0);
}

#[tokio::test]
async fn only_platform_admins_change_prices_and_invalid_ones_are_refused_by_field() {
    let parlor = Parlor::start().await;
    let tier = |bound: Value, input: &str| json!({ "up_to_input_tokens": bound, "input_per_million": input, "output_per_million": "1" });
    let valid =
        json!({ "model": "m", "valid_from": "2026-01-01", "tiers": [tier(Value::Null, "1")] });
    for user in [SITE_ADMIN, OTHER_SITE_ADMIN, COACH] {
        let refused = put(&parlor, user, PRICES, &valid).await;
        refused.refused_at(PRICES, 403, "forbidden");
    }
    for (name, value, field) in [
        ("model", Value::Null, "model"),
        ("model", json!(" "), "model"),
        ("model", json!("m".repeat(101)), "model"),
        ("model", json!("m\u{0}"), "model"),
        ("valid_from", Value::Null, "valid_from"),
        ("valid_from", json!("2026-02-30"), "valid_from"),
        ("tiers", Value::Null, "tiers"),
        ("tiers", json!([tier(json!(5), "1")]), "tiers"),
        (
            "tiers",
            json!([
                tier(json!(5), "1"),
                tier(json!(5), "1"),
                tier(Value::Null, "1")
            ]),
            "tiers",
        ),
        (
            "tiers",
            json!([tier(Value::Null, "1"), tier(Value::Null, "1")]),
            "tiers",
        ),
        (
            "tiers",
            json!([tier(json!(0), "1"), tier(Value::Null, "1")]),
            "up_to_input_tokens",
        ),
        (
            "tiers",
            json!([tier(Value::Null, "-1")]),
            "input_per_million",
        ),
        (
            "tiers",
            json!([tier(Value::Null, "0.1234567")]),
            "input_per_million",
        ),
        (
            "tiers",
            json!([tier(Value::Null, "100000.1")]),
            "input_per_million",
        ),
        (
            "tiers",
            json!([{ "input_per_million": "1" }]),
            "output_per_million",
        ),
    ] {
        let mut body = valid.clone();
        body[name] = value;
        let refused = put(&parlor, PLATFORM_ADMIN, PRICES, &body).await;
        let refused = refused.refused_at(PRICES, 422, "invalid_request");
        assert_eq!(refused["field"], field, "{body}");
    }
}

#[tokio::test]
async fn a_run_costs_what_its_models_cost_on_its_day() {
    let parlor = Parlor::start().await;
    set_price(&parlor, "main", "2020-01-01", Some(("1.5", "4"))).await;
    // Neither the price of tomorrow nor an older one applies.
    set_price(&parlor, "main", "2019-01-01", Some(("100", "100"))).await;
    set_price(&parlor, "main", "2100-01-01", Some(("100", "100"))).await;
    set_price(&parlor, "small", "2020-01-01", Some(("0.3", "0.6"))).await;
    let chat = parlor.open(COACH, "t").await;
    parlor
        .stream_to_end(COACH, chat, "[[sim:models:small,main+say:好的]]在吗")
        .await;
    let run = parlor.last_run().await;
    let models = run["models"].as_array().unwrap();
    let figures = |name: &str| {
        let place = models.iter().position(|model| model["model_id"] == name);
        let model = &models[place.unwrap()];
        let cost = &run["model_costs"][place.unwrap()];
        [&model["input_tokens"], &model["output_tokens"], cost].map(|n| n.as_i64().unwrap())
    };
    let ([main_in, main_out, main_cost], [small_in, small_out, small_cost]) =
        (figures("main"), figures("small"));
    assert_eq!(run["tokens_in"], main_in + small_in);
    assert_eq!(run["tokens_out"], main_out + small_out);
    // In tenths of a millionth, rounded half up.
    let cost = main_in * 15 + main_out * 40 + small_in * 3 + small_out * 6;
    assert_eq!(run["cost"], (cost + 5) / 10);
    assert_eq!(run["cost"], main_cost + small_cost);

    let listed = run_log(&parlor).await;
    assert_eq!(listed["cost"], format!("0.{:06}", (cost + 5) / 10));
    assert_eq!(
        (
            &listed["finish_reason"],
            &listed["user_id"],
            &listed["bot_id"]
        ),
        (&json!("stop"), &json!(COACH), &Value::Null)
    );
    assert_eq!(listed["model_id"], models[0]["model_id"]);
    let path = format!("/api/admin/ai/run-logs/{}", run["id"]);
    let shown = parlor.get(SITE_ADMIN, &path).await.ok().clone();
    assert_eq!(shown["models"].as_array().unwrap().len(), 2);
    let first = &run["model_costs"][0].as_i64().unwrap();
    assert_eq!(shown["models"][0]["cost"], format!("0.{first:06}"));
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_run_without_all_prices_and_usages_has_no_cost() {
    let parlor = Parlor::start().await;
    set_price(&parlor, "main", "2020-01-01", Some(("1", "1"))).await;
    let chat = parlor.open(COACH, "t").await;
    for scenario in [
        "models:main,unknown",
        "no-usage",
        "odd-usage:flat",
        "models:main+cut-first:1+no-usage",
    ] {
        let content = format!("[[sim:{scenario}+say:好]]在吗");
        parlor.stream_to_end(COACH, chat, &content).await;
        assert_eq!(run_log(&parlor).await["cost"], Value::Null, "{scenario}");
    }
    // A call that used nothing costs nothing.
    parlor
        .send(COACH, chat, "[[sim:unauthorized]]在吗")
        .await
        .ok();
    assert_eq!(run_log(&parlor).await["cost"], "0.000000");
    // Both tries are of the same model.
    parlor
        .stream_to_end(COACH, chat, "[[sim:models:main+cut-first:1+say:好]]在吗")
        .await;
    let run = parlor.last_run().await;
    assert_eq!(run["models"].as_array().unwrap().len(), 1);
    assert_eq!(run["cost"], run["tokens_used"]);
    let dashboard = parlor.get(SITE_ADMIN, "/api/admin/ai/dashboard").await;
    let dashboard = dashboard.ok();
    assert_eq!(dashboard["today_unpriced_calls"], 4);
    let cost = format!("0.{:06}", run["cost"].as_i64().unwrap());
    assert_eq!(
        (&dashboard["today_cost"], &dashboard["trend_7d"][6]["cost"]),
        (&json!(cost), &json!(cost))
    );
    invariants::check_books(&parlor).await;
}

/// The price of a model: bounds of the tiers, and prices per million tokens in millionths of a
/// yuan.
#[derive(Clone, Debug)]
struct Tiers {
    bounds: Vec<i64>,
    prices: Vec<(i64, i64)>,
}

fn tiers() -> impl Strategy<Value = Tiers> {
    let bounds = prop::collection::btree_set(1..2_000_000_i64, 0..3);
    let price = prop_oneof![0..10_i64, 0..=100_000_000_000_i64];
    (bounds, vec((price.clone(), price), 3)).prop_map(|(bounds, mut prices)| {
        prices.truncate(bounds.len() + 1);
        while prices.len() <= bounds.len() {
            prices.push((1, 999_999));
        }
        Tiers {
            bounds: bounds.into_iter().collect(),
            prices,
        }
    })
}

/// A count near a bound, or any.
fn count(bounds: &[i64]) -> impl Strategy<Value = i64> + use<> {
    let near: Vec<i64> = bounds
        .iter()
        .flat_map(|bound| [bound - 1, *bound, bound + 1])
        .chain([0, 1])
        .collect();
    prop_oneof![prop::sample::select(near), 0..2_000_000_i64]
}

/// The cost in millionths of a yuan, by exact integers: a product of tokens and a price has six
/// more decimals.
fn exact(models: &[(Tiers, i64, i64)]) -> i64 {
    let sum: i128 = models
        .iter()
        .map(|(tiers, input, output)| {
            let tier = tiers.bounds.iter().filter(|bound| *input > **bound).count();
            let (read, written) = tiers.prices[tier];
            i128::from(*input) * i128::from(read) + i128::from(*output) * i128::from(written)
        })
        .sum();
    i64::try_from((sum + 500_000) / 1_000_000).unwrap()
}

async fn costs(db: &Db, models: &[(Tiers, i64, i64)]) -> (i64, i64) {
    let mut tx = db.transaction().await.unwrap();
    let mut used = Vec::new();
    for (place, (tiers, input, output)) in models.iter().enumerate() {
        let prices = |price: fn(&(i64, i64)) -> i64| tiers.prices.iter().map(price).collect();
        let (input_prices, output_prices): (Vec<i64>, Vec<i64>) =
            (prices(|price| price.0), prices(|price| price.1));
        sqlx::query(
            "insert into biz.ai_prices (model, valid_from, up_to_input_tokens, input_per_million, output_per_million)
             values ($1, '2020-01-01', $2, $3, $4)",
        )
        .bind(format!("model {place}"))
        .bind(&tiers.bounds)
        .bind(input_prices)
        .bind(output_prices)
        .execute(&mut *tx)
        .await
        .unwrap();
        used.push(json!({ "model_id": format!("model {place}"), "input_tokens": input, "output_tokens": output }));
    }
    let begun = json!({
        "id": 1, "site_id": 1, "app_type": "app1_chat", "trigger_type": "chat", "reserved_tokens": 1, "prompt_tokens": 1,
        "attempts": 0, "local_day": "2026-11-29", "created_at": "2026-11-29T12:00:00Z",
    });
    let end = json!({ "status": "success", "latency_ms": 1, "attempts": 1, "circuit": "neither", "models": used });
    sqlx::query("select open_run(jsonb_populate_record(null::biz.ai_run_logs, $1))")
        .bind(&begun)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(
        "select finish_run(1, 1, '2026-11-29T12:00:00Z', jsonb_populate_record(null::run_end, $1))",
    )
    .bind(&end)
    .execute(&mut *tx)
    .await
    .unwrap();
    // The transaction is rolled back.
    sqlx::query_as(
        "select cost, (select coalesce(sum(cost), 0)::bigint from unnest(model_costs) cost) from biz.ai_run_logs where id = 1",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_are_exact_and_rounded_half_up() {
    let parlor = Parlor::start().await;
    let model = tiers().prop_flat_map(|tiers| {
        let counts = (count(&tiers.bounds), count(&[]));
        (Just(tiers), counts).prop_map(|(tiers, (input, output))| (tiers, input, output))
    });
    let handle = tokio::runtime::Handle::current();
    let db = parlor.db.clone();
    tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(ProptestConfig::with_cases(cases(200)));
        runner
            .run(&vec(model, 0..4), |models| {
                let (cost, sum) = handle.block_on(costs(&db, &models));
                prop_assert_eq!(cost, exact(&models));
                prop_assert_eq!(sum, cost, "the costs of the models do not add up");
                Ok(())
            })
            .unwrap();
    })
    .await
    .unwrap();
}

async fn usage(parlor: &Parlor, user: i64, group: &str) -> Vec<Value> {
    let path = format!("{USAGE}?group_by={group}");
    let list = parlor.get(user, &path).await;
    list.ok()["items"].as_array().unwrap().clone()
}

/// A decimal string in millionths.
fn millionths(cost: &Value) -> i64 {
    cost.as_str().unwrap().replace('.', "").parse().unwrap()
}

/// The sums over all items: calls, successes, failures, tokens in, out and charged, cost, unpriced
/// calls.
fn sums(items: &[Value]) -> [i64; 8] {
    let names = [
        "calls",
        "successes",
        "failures",
        "tokens_in",
        "tokens_out",
        "tokens",
    ];
    let mut sums = [0; 8];
    for item in items {
        for (sum, name) in sums.iter_mut().zip(names) {
            *sum += item[name].as_i64().unwrap();
        }
        sums[6] += millionths(&item["cost"]);
        sums[7] += item["unpriced_calls"].as_i64().unwrap();
    }
    sums
}

/// What the run log has of the current month.
async fn of_runs(parlor: &Parlor) -> [i64; 8] {
    let sums: Value = sqlx::query_scalar(
        "select jsonb_build_array(
             count(*), count(*) filter (where status in ('success', 'stopped')), count(*) filter (where status in ('failed', 'timeout')),
             coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), coalesce(sum(tokens_charged), 0), coalesce(sum(cost), 0),
             count(*) filter (where cost is null))
         from biz.ai_run_logs
         where site_id = 1 and status not in ('running', 'circuit_open', 'budget_exceeded')
           and local_day >= date_trunc('month', local_day(zone_of(1)))",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    serde_json::from_value(sums).unwrap()
}

#[tokio::test]
async fn all_figures_agree_after_random_traffic_with_failures_kills_and_sweeps() {
    let parlor = Parlor::with_business(Setup::default()).await;
    set_price(
        &parlor,
        "qwen-plus",
        "2020-01-01",
        Some(("0.8", "2.000001")),
    )
    .await;
    set_price(&parlor, "qwen-max", "2020-01-01", Some(("2.4", "9.6"))).await;
    let scenarios = [
        "say:好",
        "models:qwen-max+say:好",
        "models:qwen-plus,qwen-max,qwen-turbo+say:好的",
        "models:qwen-max,qwen-plus+say:好的",
        "cut:1+say:一|二|三",
        "cut-first:1+say:好",
        "cut-first:1+no-usage+say:好",
        "fail-mid:1+say:一|二|三",
        "no-usage+say:好",
        "odd-usage:flat+say:好",
        "odd-usage:huge+say:好",
        "inspection",
        "unauthorized",
        "empty",
    ];
    let mut rng = fastrand::Rng::new();
    let seed = rng.get_seed();
    let session = parlor.begin_session(STAFF).await;
    let path = format!("/api/xcx/chat/messages?contextType=bot&contextId={BOT}");
    let bot_chat = parlor.get(COACH, &path).await.ok()["chatId"]
        .as_i64()
        .unwrap();
    for turn in 0..40_i64 {
        let user = if rng.bool() { COACH } else { STAFF };
        let chat = parlor.open(user, &format!("t{}", rng.u8(..4))).await;
        let content = format!(
            "[[sim:{}]]第{turn}问",
            scenarios[rng.usize(..scenarios.len())]
        );
        match rng.u8(..10) {
            0 => {
                parlor.begin_and_die(user, chat, &content, "半句").await;
                sweep(&parlor.db, 90).await.unwrap();
            }
            1 => {
                parlor.begin_and_die(user, chat, &content, "").await;
            }
            2 => {
                parlor.post_message(STAFF, &session, &content).await;
                parlor.work().await;
            }
            3 => {
                parlor.send(COACH, bot_chat, &content).await;
            }
            4 => {
                parlor.trigger(&consumption(10_001 + turn, turn)).await;
                parlor.work().await;
            }
            5 => {
                // Another site.
                let chat = parlor.open(OTHER_SITE, "t").await;
                parlor.send(OTHER_SITE, chat, &content).await;
            }
            _ => {
                parlor.send(user, chat, &content).await;
            }
        }
        // Ends the circuits that the failures opened.
        parlor
            .execute("update biz.ai_circuits set state = 'closed', failures = 0, retry_at = null, probe_run_id = null")
            .await;
    }
    parlor
        .execute("update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'")
        .await;
    sweep(&parlor.db, 90).await.unwrap();
    parlor.work_until_done().await;
    parlor.settled().await;

    let runs = of_runs(&parlor).await;
    assert!(runs[0] > 0 && runs[6] > 0 && runs[7] > 0, "{runs:?}");
    for group in ["day", "app", "user", "bot", "model"] {
        let items = usage(&parlor, SITE_ADMIN, group).await;
        assert_eq!(sums(&items), runs, "by {group}, seed {seed}: {items:?}");
    }
    for item in usage(&parlor, SITE_ADMIN, "user").await {
        let Some(user) = item["key"].as_str() else {
            continue;
        };
        let own = parlor
            .get(user.parse().unwrap(), "/api/xcx/usage")
            .await
            .ok()
            .clone();
        assert_eq!(own["month"]["tokens"], item["tokens"], "seed {seed}");
    }
    let dashboard = parlor.get(SITE_ADMIN, "/api/admin/ai/dashboard").await;
    let dashboard = dashboard.ok();
    let days = usage(&parlor, SITE_ADMIN, "day").await;
    let today = days.last().unwrap();
    assert_eq!(
        [
            "today_calls",
            "today_tokens",
            "today_cost",
            "today_unpriced_calls"
        ]
        .map(|name| &dashboard[name]),
        ["calls", "tokens", "cost", "unpriced_calls"].map(|name| &today[name]),
        "seed {seed}"
    );
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn usage_has_names_and_covers_the_current_month_unless_dates_are_given() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:say:好]]在吗").await.ok();
    let path = format!("/api/xcx/chat/messages?contextType=bot&contextId={BOT}");
    let bot_chat = parlor.get(COACH, &path).await.ok()["chatId"]
        .as_i64()
        .unwrap();
    parlor
        .send(COACH, bot_chat, "[[sim:say:好]]在吗")
        .await
        .ok();
    let bots = usage(&parlor, SITE_ADMIN, "bot").await;
    let keys: Vec<_> = bots.iter().map(|item| item["key"].clone()).collect();
    assert!(
        keys.contains(&Value::Null) && keys.contains(&json!(BOT)),
        "{bots:?}"
    );
    let users = usage(&parlor, SITE_ADMIN, "user").await;
    assert_eq!(
        (&users[0]["key"], &users[0]["label"], &users[0]["calls"]),
        (&json!(COACH.to_string()), &json!("阿杰"), &json!(2))
    );
    assert_eq!(
        usage(&parlor, SITE_ADMIN, "model").await[0]["key"],
        "qwen-plus"
    );
    assert_eq!(usage(&parlor, PLATFORM_ADMIN, "app").await[0]["calls"], 2);
    assert_eq!(
        usage(&parlor, OTHER_SITE_ADMIN, "user").await,
        [] as [Value; 0]
    );

    let today: NaiveDate = sqlx::query_scalar("select local_day(zone_of(1))")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    let days = usage(&parlor, SITE_ADMIN, "day").await;
    assert_eq!(days[0]["key"], today.format("%Y-%m-01").to_string());
    assert_eq!(days.last().unwrap()["key"], today.to_string());
    let path = format!("{USAGE}?date_from=2020-02-27&date_to=2020-03-01");
    let old = parlor.get(SITE_ADMIN, &path).await.ok().clone();
    assert_eq!(old["items"].as_array().unwrap().len(), 4);
    assert_eq!(old["items"][2]["key"], "2020-02-29");
    assert_eq!(old["items"][2]["cost"], "0.000000");
    for (query, field) in [
        ("date_from=2020-01-01&date_to=2021-02-04", "date_from"),
        ("group_by=week", "group_by"),
        ("date_to=x", "date_to"),
    ] {
        let path = format!("{USAGE}?{query}");
        let refused = parlor.get(SITE_ADMIN, &path).await;
        assert_eq!(
            refused.refused_at(&path, 422, "invalid_request")["field"],
            field
        );
    }
    let path = format!("{USAGE}?site_id=4711");
    parlor
        .get(PLATFORM_ADMIN, &path)
        .await
        .refused_at(&path, 404, "not_found");

    let request = parlor.request_as(SITE_ADMIN, "GET", &format!("{USAGE}?group_by=user"));
    let response = request.header("accept", "text/csv").send().await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "text/csv; charset=utf-8"
    );
    let table = response.text().await.unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "\u{feff}key,label,calls,successes,failures,tokens_in,tokens_out,tokens,cost,unpriced_calls"
    );
    assert!(lines[1].starts_with("1001,阿杰,2,2,0,"), "{table}");
}

#[tokio::test]
async fn a_limit_of_cost_refuses_calls_once_it_is_reached() {
    let parlor = Parlor::with_business(Setup::default()).await;
    set_price(&parlor, "qwen-plus", "2026-02-01", Some(("1000", "1000"))).await;
    let limits = |daily: Value, monthly: Value| json!({ "daily_limit": 1_000_000, "monthly_limit": 20_000_000, "daily_cost_limit": daily, "monthly_cost_limit": monthly });
    let set = put(
        &parlor,
        SITE_ADMIN,
        BUDGET,
        &limits(json!("0.01"), Value::Null),
    )
    .await;
    let set = set.ok();
    assert_eq!(
        ["daily_cost", "daily_cost_limit", "monthly_cost_limit"].map(|name| &set[name]),
        [&json!("0.000000"), &json!("0.010000"), &Value::Null]
    );
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:say:好]]在吗").await.ok();
    parlor.settled().await;
    let refused = parlor.send(COACH, chat, "在吗").await;
    let day = refused.refused(429, "budget_exceeded")["retryAfter"].clone();
    assert!(day.as_i64().unwrap() <= 24 * 3600);

    // A member that is left out does not change.
    let tokens = json!({ "daily_limit": 1_000_000, "monthly_limit": 20_000_000 });
    let set = put(&parlor, SITE_ADMIN, BUDGET, &tokens).await;
    assert_eq!(set.ok()["daily_cost_limit"], "0.010000");
    let set = put(
        &parlor,
        SITE_ADMIN,
        BUDGET,
        &limits(Value::Null, json!("0.02")),
    )
    .await;
    let cost = millionths(&set.ok()["monthly_cost"]);
    assert!(cost > 20_000, "{cost}");
    parlor
        .send(COACH, chat, "在吗")
        .await
        .refused(429, "budget_exceeded");
    put(
        &parlor,
        SITE_ADMIN,
        BUDGET,
        &limits(Value::Null, json!("100.5")),
    )
    .await
    .ok();
    parlor.send(COACH, chat, "在吗").await.ok();

    // A job waits until a limit of cost has room again.
    put(
        &parlor,
        SITE_ADMIN,
        BUDGET,
        &limits(json!("0"), Value::Null),
    )
    .await
    .ok();
    let job = parlor.trigger_accepted(&consumption(10_001, 1)).await;
    parlor.work().await;
    assert_eq!(parlor.job(job).await["waits_for"], "budget");
    parlor.work().await;
    assert_eq!(parlor.job(job).await["waits_for"], "budget");
    put(
        &parlor,
        SITE_ADMIN,
        BUDGET,
        &limits(Value::Null, Value::Null),
    )
    .await
    .ok();
    parlor.work_until_done().await;
    assert_eq!(parlor.job(job).await["status"], "succeeded");
}

#[tokio::test]
async fn only_a_platform_admin_sets_the_cap_and_no_limit_is_above_it() {
    let parlor = Parlor::start().await;
    let limits = |daily: i64, monthly: i64| json!({ "site_id": 1, "daily_limit": daily, "monthly_limit": monthly });
    let mut capped = limits(1000, 2000);
    capped["cap"] = json!({ "daily_limit": 1000, "monthly_limit": 20_000 });
    put(&parlor, SITE_ADMIN, BUDGET, &capped)
        .await
        .refused_at(BUDGET, 403, "forbidden");
    let set = put(&parlor, PLATFORM_ADMIN, BUDGET, &capped).await;
    assert_eq!(set.ok()["cap"], capped["cap"]);
    for (daily, monthly, field) in [(1001, 2000, "daily_limit"), (1000, 20_001, "monthly_limit")] {
        for user in [SITE_ADMIN, PLATFORM_ADMIN] {
            let refused = put(&parlor, user, BUDGET, &limits(daily, monthly)).await;
            let refused = refused.refused_at(BUDGET, 422, "invalid_request");
            assert_eq!(refused["field"], field);
        }
    }
    // Without a cap in the body, it stays. Null removes it.
    let set = put(&parlor, SITE_ADMIN, BUDGET, &limits(500, 20_000)).await;
    assert_eq!(set.ok()["cap"], capped["cap"]);
    let mut free = limits(1001, 20_001);
    free["cap"] = Value::Null;
    let set = put(&parlor, PLATFORM_ADMIN, BUDGET, &free).await;
    let none = json!({ "daily_limit": null, "monthly_limit": null });
    assert_eq!(set.ok()["cap"], none);
    let audit = parlor.get(SITE_ADMIN, "/api/admin/ai/audit").await;
    let newest = &audit.ok()["items"][0]["details"];
    assert_eq!(
        (&newest["before"]["cap"], &newest["after"]["cap"]),
        (&capped["cap"], &none)
    );
}
