//! Time until the first token if DashScope is far away: on a new connection, and on one that Parlor
//! opened before.

use std::{net::Ipv4Addr, time::Duration};

use local::postgres::Binaries;
use reqwest::{Client, Url};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    child::{Child, Role},
    client::{self, Wire},
    progress,
    report::{Figure, Section},
    stats::Samples,
};

const ONE_WAY: Duration = Duration::from_millis(50);
/// TCP and TLS 1.3 take a round trip each before the first request.
const OPENING: Duration = ONE_WAY.saturating_mul(4);
const PROCESSES: usize = 12;
/// A pause between messages, in which nothing is sent.
const REST: Duration = Duration::from_secs(35);
const CONTENT: &str = "今天店里生意怎么样？[[sim:long:20]]";

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    progress("connection");
    let bench = BenchDatabase::new(postgres, false)?;
    let (url, db) = bench.create("connection").await?;
    let people = bench_database::people(&db, PROCESSES * 3).await?;
    let simulator = Child::start(&Role::Simulator {
        tokens_per_second: None,
    })?;
    let upstream = far_away(&simulator.url).await?;

    let (mut on_new, mut on_kept) = (Samples::default(), Samples::default());
    let (mut at_once, mut after_opening) = (Samples::default(), Samples::default());
    let (mut second, mut rested) = (Samples::default(), Samples::default());
    let mut resting = Vec::new();
    for group in people.chunks_exact(3) {
        let direct = Client::new();
        for times in [&mut on_new, &mut on_kept] {
            let request = client::ask_upstream(&direct, &upstream, CONTENT);
            times.push(client::time_to_first_token(request, Wire::DashScope).await?);
        }
        let parlor = Child::parlor(&url, &upstream)?;
        at_once.push(first_token(&parlor, &group[0]).await?);
        let parlor = Child::parlor(&url, &upstream)?;
        sleep(OPENING * 2).await;
        after_opening.push(first_token(&parlor, &group[0]).await?);
        second.push(first_token(&parlor, &group[1]).await?);
        resting.push((parlor, &group[2]));
    }
    progress(format!("connection, {} s of rest", REST.as_secs()));
    sleep(REST).await;
    for (parlor, person) in &resting {
        rested.push(first_token(parlor, person).await?);
    }

    let kept = on_kept.median();
    let new = on_new.minus(kept).median();
    let figure = |what: &str, times: &Samples| {
        Figure::new(what, times.minus(kept).median(), "ms").floor(new)
    };
    Ok(Section {
        title: "Connection to DashScope",
        conditions: format!(
            "Median time to the first token through Parlor, minus that of the same request sent directly on a \
             kept connection. DashScope is {} ms away in each direction, and a new connection can be \
             used after {} ms, as with TCP and TLS 1.3. {PROCESSES} processes each. The floor is the \
             same request sent directly on a new connection: what a call costs that opens its \
             connection itself.",
            ONE_WAY.as_millis(),
            OPENING.as_millis(),
        ),
        figures: vec![
            figure("first message, right after the start", &at_once),
            figure("first message, when the connection is open", &after_opening),
            figure("second message", &second),
            figure(
                &format!("third message, after {} s of rest", REST.as_secs()),
                &rested,
            ),
        ],
        notes: vec![
            "Right after the start, the call waits for the rest of the opening, which began before \
             the connections to PostgreSQL."
                .into(),
        ],
    })
}

async fn first_token(parlor: &Child, person: &Person) -> Result<Duration> {
    let http = Client::new();
    let request = client::ask_parlor(&http, &parlor.url, person, CONTENT);
    client::time_to_first_token(request, Wire::Parlor).await
}

/// A base URL that is `base` behind a network with delay.
async fn far_away(base: &str) -> Result<String> {
    let mut url: Url = base.parse()?;
    let service = (Ipv4Addr::LOCALHOST, url.port().ok_or("no port")?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    url.set_port(Some(listener.local_addr()?.port())).ok();
    #[expect(clippy::disallowed_methods, reason = "it ends with the benchmark")]
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, service));
        }
    });
    Ok(url.to_string())
}

async fn carry(client: TcpStream, service: (Ipv4Addr, u16)) -> Result<()> {
    let open = Instant::now() + OPENING;
    let service = TcpStream::connect(service).await?;
    for stream in [&client, &service] {
        stream.set_nodelay(true)?;
    }
    let (from_client, to_client) = client.into_split();
    let (from_service, to_service) = service.into_split();
    tokio::join!(
        delay(from_client, to_service, open),
        delay(from_service, to_client, open)
    );
    Ok(())
}

/// Copies bytes, each [`ONE_WAY`] after it was sent.
async fn delay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, open: Instant) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let receive = async move {
        let mut bytes = Vec::new();
        while from.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            let at = Instant::now().max(open) + ONE_WAY;
            sender.send((at, std::mem::take(&mut bytes))).ok();
        }
    };
    let send = async {
        while let Some((at, bytes)) = receiver.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    };
    tokio::join!(receive, send);
}
