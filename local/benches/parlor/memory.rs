//! Memory of a function after 1,000 requests.

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
/// Below the limit of 20 a minute.
const REQUESTS_EACH: usize = 15;
/// The admin of the site.
const ADMIN: i64 = 1004;
/// The first member of the site.
const MEMBER: usize = 10_001;
const MEMBERS: usize = 50;
/// The list of each function that has one.
const READ_BY_PEOPLE: [&str; 2] = ["/api/xcx/chat/history", "/api/chat/sessions"];
const READ_BY_ADMINS: [&str; 4] = [
    "/api/admin/ai/dashboard",
    "/api/admin/ai/run-logs",
    "/api/admin/ai/trigger-jobs",
    "/api/admin/ai/cache",
];
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
    for path in READ_BY_PEOPLE {
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
    for path in READ_BY_ADMINS {
        each(&admin, |person| {
            http.get(format!("{base}{path}")).bearer_auth(&person.token)
        })
        .await?;
    }
    for request in 0..REQUESTS {
        tell(emulator, "trigger-dispatch", &visit(request)).await?;
    }
    for function in ["prewarm", "job-worker", "sweep", "db-migrate"] {
        for _ in 0..REQUESTS {
            tell(emulator, function, &json!({})).await?;
        }
    }

    let mut figures = Vec::new();
    for (name, _) in cloud::FUNCTIONS {
        let processes = emulator.instances(name)?;
        let process = processes.first().ok_or("a function died")?;
        let mib = child::resident_kib(*process)? / 1024.0;
        figures.push(Figure::new(name, mib, "MiB").target(32.0));
    }
    Ok(Section {
        title: "Memory",
        conditions: format!(
            "Resident set of each `release` binary after {REQUESTS} requests, one at a time, through the emulated \
             Runtime API: first pages of the lists; replies in one piece; replies as streams, of 200 tokens each; visits of \
             {MEMBERS} members; the jobs of these visits and of the insights made ahead, all at the worker's first request; \
             sweeps and migrations with nothing to do."
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
    /// Behind the emulated gateway.
    async fn start(directory: &Path, database_url: &str, upstream: &str) -> Result<Self> {
        let apps = App::ALL.map(|app| (app.variable(), app.name()));
        let service = [
            ("DASHSCOPE_API_KEY", "sk-benchmark"),
            ("DASHSCOPE_BASE_URL", upstream),
        ];
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

async fn tell(emulator: &Emulator, function: &str, event: &Value) -> Result<()> {
    match emulator.invoke(function, event).await? {
        Outcome::Error(error) => Err(format!("{function}: {error}").into()),
        Outcome::Response(_) | Outcome::Stream(_) => Ok(()),
    }
}

/// A member's visit, as the event bus tells it.
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
        let answer = request(person).send().await?;
        if !answer.status().is_success() {
            return Err(format!("{}: {}", answer.status(), answer.text().await?).into());
        }
        answer.bytes().await?;
    }
    Ok(())
}
