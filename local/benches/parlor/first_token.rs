//! Time that Parlor adds before the first token.

use std::{net::Ipv4Addr, time::Instant};

use common::platform::db::Db;
use local::{
    postgres::Binaries,
    simulator::{self, Simulator},
};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    child::{Child, Role},
    client::{self, Stream, Wire},
    progress,
    report::{Figure, Section},
    stats::Samples,
    wire,
};

/// Below the default limit of 20 per minute.
const MESSAGES_EACH: usize = 18;
/// So many users send 2,016 messages.
const PEOPLE: usize = 112;
/// An application accepts 100 calls per second. After the messages of so many users, which are 90,
/// the database forgets them: between paced requests, the CPU would sleep and lose its caches.
const FORGET_AFTER: usize = 5;
const CONTENT: &str = "今天店里生意怎么样？[[sim:long:20]]";

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    let mut figures = Vec::new();
    let mut notes = Vec::new();
    for (durable, what, target) in [(true, "fsync on", 1.8), (false, "fsync off", 1.2)] {
        progress(format!("first-token, {what}"));
        let bench = BenchDatabase::new(postgres, durable)?;
        let (url, db) = bench.create("first_token").await?;
        let people = bench_database::people(&db, PEOPLE * 3 + 1).await?;
        let (over_http, rest) = people.split_at(PEOPLE);
        let (moderated, rest) = rest.split_at(PEOPLE);
        let (counted, bare) = rest.split_first().ok_or("no users")?;
        if durable {
            let statements = statements_before_asking(&url, counted).await?;
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            figures.push(
                Figure::new(
                    "statements before the upstream request",
                    statements as f64,
                    "",
                )
                .target(1.0),
            );
        }
        let Added { parlor, direct } = added(&url, &db, over_http, "none").await?;
        let added = parlor.minus(direct.median());
        let median = Figure::new(format!("added, p50, {what}"), added.median(), "ms");
        let slowest = Figure::new(format!("added, p99, {what}"), added.at(0.99), "ms");
        let costs = Costs::of(&db, bare).await?;
        let floor = &costs.begin_reply;
        figures.push(median.target(target).floor(floor.median()));
        figures.push(slowest.target(5.0).floor(floor.at(0.99)));
        let checked = self::added(&url, &db, moderated, "words").await?;
        let checked = checked.parlor.minus(checked.direct.median());
        figures.push(Figure::new(
            format!("added, p50, {what}, moderation by words"),
            checked.median(),
            "ms",
        ));
        notes.push(format!(
            "{what}, medians of {} requests: the first token takes {:.2} ms through Parlor and \
             {:.2} ms directly from the simulator. `begin_reply` on a warm connection takes \
             {:.2} ms. For comparison, an empty round trip (`select 1`) takes {:.2} ms, and a \
             committed insert of one row {:.2} ms. The remaining {:.2} ms are HTTP twice, the \
             token's signature, JSON, the log and the hops between tasks.",
            parlor.len(),
            parlor.median(),
            direct.median(),
            floor.median(),
            costs.round_trip.median(),
            costs.commit.median(),
            added.median() - floor.median(),
        ));
    }
    Ok(Section {
        title: "First token",
        conditions: "Time from sending `POST /api/xcx/chat/stream` to the first `message` event, minus \
            the median time of the same request to the simulator, which adds no delay. One request at \
            a time over a kept connection, with default limits, a warm caller cache, and sessions \
            instead of history. The limit of 100 calls per second of an application is not reached. \
            Parlor, simulator, client and PostgreSQL are separate processes on one machine. The floor is `begin_reply` in a loop. Moderation is off, except where it is named."
            .into(),
        figures,
        notes,
    })
}

struct Added {
    parlor: Samples,
    direct: Samples,
}

async fn added(url: &str, db: &Db, people: &[Person], moderation: &str) -> Result<Added> {
    let simulator = Child::start(&Role::Simulator {
        tokens_per_second: None,
    })?;
    let parlor = Child::start(&Role::Parlor {
        database_url: url.to_owned(),
        upstream: simulator.url.clone(),
        moderation: moderation.to_owned(),
    })?;
    let http = reqwest::Client::new();
    let mut times = Added {
        parlor: Samples::default(),
        direct: Samples::default(),
    };
    for (number, person) in people.iter().enumerate() {
        if number.is_multiple_of(FORGET_AFTER) {
            sqlx::query("delete from biz.ai_app_calls")
                .execute(db)
                .await?;
        }
        let warm = http.get(format!("{}/api/xcx/chat/history", parlor.url));
        warm.bearer_auth(&person.token)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?;
        for _ in 0..MESSAGES_EACH {
            let request = client::ask_parlor(&http, &parlor.url, person, CONTENT);
            times
                .parlor
                .push(client::time_to_first_token(request, Wire::Parlor).await?);
            let request = client::ask_upstream(&http, &simulator.url, CONTENT);
            times
                .direct
                .push(client::time_to_first_token(request, Wire::DashScope).await?);
        }
    }
    Ok(times)
}

/// Counts the round trips to the database before the upstream gets the request. The caller is in
/// the cache.
async fn statements_before_asking(url: &str, person: &Person) -> Result<usize> {
    let counter = wire::Wire::before(url).await;
    let simulator = Simulator::start(
        (Ipv4Addr::LOCALHOST, 0).into(),
        simulator::Options::default(),
    )
    .await?;
    let parlor = Child::parlor(&counter.url, &simulator.base_url())?;
    let http = reqwest::Client::new();
    let ask = async || {
        Stream::open(
            client::ask_parlor(&http, &parlor.url, person, CONTENT),
            Wire::Parlor,
        )
        .await
    };
    // These requests fill the caller cache and prepare the statements on each connection of the
    // pool.
    for _ in 0..10 {
        ask().await?.finish().await?;
    }
    let before = counter.round_trips();
    simulator.hold_after(0);
    let stream = ask().await?;
    simulator.held(1).await;
    let statements = counter.round_trips() - before;
    simulator.release();
    stream.finish().await?;
    Ok(statements)
}

/// Times of the database without Parlor.
#[derive(Default)]
struct Costs {
    round_trip: Samples,
    commit: Samples,
    begin_reply: Samples,
}

impl Costs {
    async fn of(db: &Db, people: &[Person]) -> Result<Self> {
        let mut costs = Self::default();
        sqlx::raw_sql("create table benchmark_row (n bigint)")
            .execute(db)
            .await?;
        for person in people {
            for _ in 0..MESSAGES_EACH {
                let began = Instant::now();
                sqlx::query("select 1").execute(db).await?;
                costs.round_trip.push(began.elapsed());

                let began = Instant::now();
                sqlx::query("insert into benchmark_row values (1)")
                    .execute(db)
                    .await?;
                costs.commit.push(began.elapsed());

                let began = Instant::now();
                let (outcome, message_id): (String, Option<i64>) = sqlx::query_as(
                    "select outcome, message_id from begin_reply($1, $2, $3, row($4::text, null, null), 'app-' || $2, row(0.6, 30000, 0, 2000), 20, 2, 30, row(3000, 50, 20))",
                )
                .bind(bench_database::SITE)
                .bind(person.id)
                .bind(person.chat_id)
                .bind(CONTENT)
                .fetch_one(db)
                .await?;
                costs.begin_reply.push(began.elapsed());
                if outcome != "begun" {
                    return Err(format!("begin_reply returned {outcome}").into());
                }
                sqlx::query("update biz.ai_messages set state = 'complete', content = 'x', lease_until = null where id = $1")
                    .bind(message_id)
                    .execute(db)
                    .await?;
            }
        }
        Ok(costs)
    }
}
