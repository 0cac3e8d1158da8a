//! Resuming the stream of a long reply from its beginning.

use std::time::Instant;

use common::platform::db::Db;
use local::postgres::Binaries;

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    child::Child,
    progress,
    report::{Figure, Section},
    stats::Samples,
};

const CHARACTERS: usize = 100_000;
const REQUESTS: usize = 500;
/// Characters of the reply. They are in random order, so that the text does not compress too well.
const LETTERS: &str = "今天的台球厅人气不错🎱，老会员陆续到店。建议先看预约，再安排教练👍；晚场客流较多，可以提前准备球桌和茶水🍵。";

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    progress(format!("resume, {REQUESTS} times {CHARACTERS} characters"));
    let bench = BenchDatabase::new(postgres, true)?;
    let (url, db) = bench.create("resume").await?;
    let people = bench_database::people(&db, 1).await?;
    let person = people.first().ok_or("no users")?;
    let letters: Vec<char> = LETTERS.chars().collect();
    let mut chance = fastrand::Rng::with_seed(1);
    let text: String = (0..CHARACTERS)
        .filter_map(|_| chance.choice(&letters))
        .collect();
    let message_id = store(&db, person, &text).await?;
    let parlor = Child::parlor(&url, "http://127.0.0.1:9/api/v1")?;
    let reply = format!("{}/api/xcx/chat/stream/{message_id}", parlor.url);
    let http = reqwest::Client::new();

    let mut first = Samples::default();
    let mut last = Samples::default();
    let mut floor = Samples::default();
    let mut bytes = 0;
    let mut resident = 0.0;
    for n in 0..=REQUESTS {
        if n == 1 {
            resident = parlor.resident_kib()?;
        }
        let began = Instant::now();
        let request = http.get(&reply).bearer_auth(&person.token);
        let mut response = request.send().await?.error_for_status()?;
        bytes = response.chunk().await?.map_or(0, |chunk| chunk.len());
        let head = began.elapsed();
        let mut tail = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            bytes += chunk.len();
            tail.extend_from_slice(&chunk);
            tail.drain(..tail.len().saturating_sub(1024));
        }
        let ended = began.elapsed();
        if !String::from_utf8_lossy(&tail).contains("event: done\n") {
            return Err("a stored reply was not read to its end".into());
        }
        let began = Instant::now();
        let content: String = sqlx::query_scalar(
            "select content from biz.ai_messages where id = $1 and site_id = $2",
        )
        .bind(message_id)
        .bind(bench_database::SITE)
        .fetch_one(&db)
        .await?;
        let bare = began.elapsed();
        if content != text {
            return Err("the reply is not what was stored".into());
        }
        // The first request fills the caller cache and prepares the statements.
        if n > 0 {
            first.push(head);
            last.push(ended);
            floor.push(bare);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let mib = bytes as f64 / f64::from(1 << 20);
    Ok(Section {
        title: "Resume",
        conditions: format!(
            "A client resumes a finished reply from its beginning (CHAT-5), {REQUESTS} times over a \
             kept connection. The reply has {CHARACTERS} characters, Chinese with emoji, {} KiB. \
             Parlor has one thread and the connections of one function. The floor is `select content` \
             of that row.",
            text.len() / 1024,
        ),
        figures: vec![
            Figure::new("to the first byte, p50", first.median(), "ms"),
            Figure::new("to the first byte, p99", first.at(0.99), "ms"),
            Figure::new("to the last byte, p50", last.median(), "ms").floor(floor.median()),
            Figure::new("to the last byte, p99", last.at(0.99), "ms").floor(floor.at(0.99)),
            Figure::new("memory that it takes", parlor.peak_kib()? - resident, "KiB"),
        ],
        notes: vec![format!(
            "{:.0} MiB per second; the events of a reply have {mib:.2} MiB. Memory is the peak of the \
             process, minus its memory after the first request.",
            mib / (last.median() / 1e3),
        )],
    })
}

/// Inserts a finished reply and returns its id.
async fn store(db: &Db, person: &Person, text: &str) -> Result<i64> {
    let id = sqlx::query_scalar(
        "insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content, tokens_used, finished_at)
         values ($1, $2, $3, 1, 'assistant', $4, 1, now()) returning id",
    )
    .bind(person.chat_id)
    .bind(bench_database::SITE)
    .bind(person.id)
    .bind(text)
    .fetch_one(db)
    .await?;
    Ok(id)
}
