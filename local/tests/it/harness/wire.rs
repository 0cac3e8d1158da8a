//! A proxy in front of PostgreSQL that counts round trips, and can be cut.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

/// Counts the `Sync` and `Query` messages of clients: each is one round trip.
pub struct Wire {
    pub url: String,
    round_trips: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Wire {
    /// In front of the server of this URL.
    pub async fn before(url: &str) -> Self {
        let mut parsed = reqwest::Url::parse(url).unwrap();
        let upstream = format!(
            "{}:{}",
            parsed.host_str().unwrap(),
            parsed.port().unwrap_or(5432)
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        parsed.set_host(Some("127.0.0.1")).unwrap();
        parsed
            .set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let wire = Self {
            url: parsed.to_string(),
            round_trips: Arc::default(),
            down: Arc::default(),
            cut: Arc::default(),
        };
        let (count, down, cut) = (
            Arc::clone(&wire.round_trips),
            Arc::clone(&wire.down),
            Arc::clone(&wire.cut),
        );
        #[expect(clippy::disallowed_methods, reason = "the proxy of a test")]
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if down.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&upstream).await else {
                    continue;
                };
                let (count, cut) = (Arc::clone(&count), Arc::clone(&cut));
                tokio::spawn(async move {
                    tokio::select! {
                        () = relay(client, server, &count) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        wire
    }

    pub fn round_trips(&self) -> usize {
        self.round_trips.load(Ordering::SeqCst)
    }

    /// Cuts every connection and takes no new ones.
    pub fn go_down(&self) {
        self.down.store(true, Ordering::SeqCst);
        self.cut.notify_waiters();
    }

    pub fn come_up(&self) {
        self.down.store(false, Ordering::SeqCst);
    }
}

async fn relay(client: TcpStream, server: TcpStream, count: &AtomicUsize) {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    tokio::select! {
        _ = forth(from_client, to_server, count) => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

/// Hands messages on, whole, and counts those that wait for an answer.
async fn forth(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    // Until the start-up message has gone, messages have no type.
    let mut kind = None;
    loop {
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        if matches!(kind, Some(b'S' | b'Q')) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend(length.to_be_bytes());
        message.extend(&body);
        server.write_all(&message).await?;
        let asks_for_tls = kind.is_none() && body.starts_with(&80_877_103_u32.to_be_bytes());
        if !asks_for_tls {
            kind = Some(client.read_u8().await?);
        }
    }
}
