//! Memory of each function after 1,000 requests.

use std::{net::Ipv4Addr, path::Path};

use common::{governance::apps::App, platform::env::Env};
use local::{
    cloud,
    emulator::{Emulator, Outcome},
    postgres::Binaries as Postgres,
};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    child::{self, Child, Role},
    client, progress,
    release::Binaries,
    report::{Figure, Section},
};

const REQUESTS: usize = 1_000;
/// Below the limit of 20 per minute.
const REQUESTS_EACH: usize = 15;
/// User id of the site's admin.
const ADMIN: i64 = 1004;
/// Id of the first member of the site.
const MEMBER: usize = 10_001;
const MEMBERS: usize = 50;
// One list or page of each function that has some.
const USER_LISTS: [&str; 3] = [
    "/api/xcx/chat/history",
    "/api/chat/sessions",
    "/api/xcx/insights?sourcePage=customer-detail&contextId=10001",
];
const ADMIN_LISTS: [&str; 6] = [
    "/api/admin/ai/dashboard",
    "/api/admin/ai/run-logs",
    "/api/admin/ai/trigger-jobs",
    "/api/admin/ai/cache",
    "/api/admin/ai/apps",
    "/console",
];
/// The functions without routes, except `trigger-dispatch`, whose events differ.
const BACKGROUND: [&str; 5] = ["prewarm", "job-worker", "sweep", "notify", "db-migrate"];
const CONTENT: &str = "今天店里生意怎么样？[[sim:long:200]]";

pub async fn measure(postgres: &Postgres) -> Result<Section> {
    let binaries = Binaries::build()?;
    progress("memory");
    let bench = BenchDatabase::new(postgres, false)?;
    let (url, db) = bench.create("memory").await?;
    let people = bench_database::people(&db, REQUESTS.div_ceil(REQUESTS_EACH) * 2).await?;
    let (streaming, sending) = people.split_at(people.len() / 2);
    let simulator = Child::start(&Role::Simulator {
        tokens_per_second: None,
    })?;
    let functions = Functions::start(binaries.directory(), &url, &simulator.url).await?;
    let Functions {
        http,
        base,
        emulator,
    } = &functions;

    each(streaming, |person| {
        client::ask_parlor(http, base, person, CONTENT)
    })
    .await?;
    each(sending, |person| {
        let path = format!("{base}/api/xcx/chat/{}/messages", person.chat_id);
        http.post(path)
            .bearer_auth(&person.token)
            .json(&json!({ "content": CONTENT }))
    })
    .await?;
    for path in USER_LISTS {
        each(streaming, |person| {
            http.get(format!("{base}{path}")).bearer_auth(&person.token)
        })
        .await?;
    }
    let admin = [Person {
        id: ADMIN,
        token: bench_database::token(ADMIN)?,
        chat_id: 0,
    }];
    for path in ADMIN_LISTS {
        each(&admin, |person| {
            http.get(format!("{base}{path}")).bearer_auth(&person.token)
        })
        .await?;
    }
    for request in 0..REQUESTS {
        invoke(emulator, "trigger-dispatch", &visit(request)).await?;
    }
    for function in BACKGROUND {
        for _ in 0..REQUESTS {
            invoke(emulator, function, &json!({})).await?;
        }
    }

    let mut figures = Vec::new();
    for (name, _) in cloud::FUNCTIONS {
        let processes = emulator.instances(name)?;
        let process = processes.first();
        let process = process.ok_or_else(|| format!("{name} does not run"))?;
        let mib = child::resident_kib(*process)? / 1024.0;
        figures.push(Figure::new(name, mib, "MiB").target(16.0));
    }
    Ok(Section {
        title: "Memory",
        conditions: format!(
            "Resident set of each `release` binary after {REQUESTS} requests through the emulated \
             Runtime API, one at a time. The requests are first pages of lists, replies of 200 tokens \
             with and without streaming, visits of {MEMBERS} members, and sweeps, notifications and migrations without work. \
             The first request of `job-worker` runs all jobs of these visits and of the prewarm."
        ),
        figures,
        notes: Vec::new(),
    })
}

struct Functions {
    http: Client,
    base: String,
    emulator: Emulator,
}

impl Functions {
    /// Starts the functions behind the emulated API Gateway.
    async fn start(directory: &Path, database_url: &str, upstream: &str) -> Result<Self> {
        let apps = App::ALL.map(|app| (app.variable(), app.name()));
        let service = [
            ("DASHSCOPE_API_KEY", "sk-benchmark"),
            ("DASHSCOPE_BASE_URL", upstream),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let env = Env::from_pairs(apps.into_iter().chain(service));
        let specs = cloud::specs(
            directory,
            &env,
            &database_url.into(),
            &bench_database::SECRET.into(),
        );
        let emulator = Emulator::start(specs)?;
        let router = emulator.router(cloud::routes()?)?;
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        #[expect(clippy::disallowed_methods, reason = "a server")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            http: Client::new(),
            base,
            emulator,
        })
    }
}

async fn invoke(emulator: &Emulator, function: &str, event: &Value) -> Result<()> {
    match emulator.invoke(function, event).await? {
        Outcome::Error(error) => Err(format!("{function}: {error}").into()),
        Outcome::Response(_) | Outcome::Stream(_) => Ok(()),
    }
}

/// The event of a member's visit from the event bus.
fn visit(number: usize) -> Value {
    json!({
        "source": "parlor.business",
        "detail-type": "consumption.settled",
        "detail": { "site_id": bench_database::SITE, "member_id": MEMBER + number % MEMBERS, "payload": {} },
    })
}

async fn each(people: &[Person], request: impl Fn(&Person) -> RequestBuilder) -> Result<()> {
    let each = REQUESTS_EACH.max(REQUESTS.div_ceil(people.len()));
    let rounds = people
        .iter()
        .flat_map(|person| std::iter::repeat_n(person, each));
    for person in rounds.take(REQUESTS) {
        let response = request(person).send().await?;
        if !response.status().is_success() {
            return Err(format!("{}: {}", response.status(), response.text().await?).into());
        }
        response.bytes().await?;
    }
    Ok(())
}
