use std::sync::atomic::{AtomicBool, Ordering};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

const PUBLIC: &str = "93.184.216.34";

#[test]
fn special_addresses_are_not_public() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:93.184.216.34",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn addresses_beside_special_ones_are_public() {
    for address in [
        PUBLIC,
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2400:3200::1",
        "2606:4700::1111",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn every_spelling_of_a_loopback_address_is_recognised() {
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "①②⑦.0.0.1",
    ] {
        let url = Url::parse(&format!("https://{host}/")).unwrap();
        let address = literal(url.host_str().unwrap());
        assert_eq!(address.map(is_public), Some(false), "{host}");
    }
}

/// Returns the same addresses for each host.
struct Fixed(&'static [&'static str]);

impl Lookup for Fixed {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let found = self.0.iter().map(|ip| ip.parse().unwrap()).collect();
        Box::pin(async move { Ok(found) })
    }
}

/// Returns a public address once, then a private one.
#[derive(Default)]
struct Rebinding(AtomicBool);

impl Lookup for Rebinding {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let asked = self.0.swap(true, Ordering::SeqCst);
        let address = if asked { "127.0.0.1" } else { PUBLIC };
        Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
    }
}

/// Responds to each connection with the same bytes, and counts them.
async fn server(response: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a server of a test")]
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            // The requests of these tests fit into one read.
            let mut head = Vec::with_capacity(1024);
            socket.read_buf(&mut head).await.ok();
            socket.write_all(response.as_bytes()).await.ok();
            socket.shutdown().await.ok();
        }
    });
    address
}

fn client(lookup: impl Lookup, stand_in: SocketAddr) -> PublicClient {
    PublicClient::with_stand_in(Arc::new(lookup), stand_in)
}

async fn post(client: &PublicClient, url: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
    let url = Url::parse(url).unwrap();
    client.post(url, HeaderMap::new(), "{}".into()).await
}

#[tokio::test]
async fn a_host_with_one_address_that_is_not_public_is_refused() {
    let server = server("HTTP/1.1 200 OK\r\n\r\n").await;
    let url = Url::parse("https://hooks.example/").unwrap();
    for addresses in [
        &["10.0.0.1"] as &'static [&str],
        &[PUBLIC, "10.0.0.1"],
        &["fd00:ec2::254"],
        &[],
    ] {
        let client = client(Fixed(addresses), server);
        assert_eq!(client.check(&url).await, Err(NotPublic), "{addresses:?}");
        let sent = post(&client, url.as_str()).await;
        assert_eq!(sent, Err(Failure::NotPublic), "{addresses:?}");
    }
    let client = client(Fixed(&[PUBLIC]), server);
    assert_eq!(client.check(&url).await, Ok(()));
    assert_eq!(post(&client, url.as_str()).await.unwrap().0, 200);
}

#[tokio::test]
async fn dns_that_changes_after_the_check_is_refused() {
    let server = server("HTTP/1.1 200 OK\r\n\r\n").await;
    let client = client(Rebinding::default(), server);
    let url = Url::parse("https://rebinding.example/").unwrap();
    assert_eq!(client.check(&url).await, Ok(()));
    let sent = post(&client, url.as_str()).await;
    assert_eq!(sent, Err(Failure::NotPublic));
}

#[tokio::test]
async fn literal_addresses_are_checked_without_dns() {
    let server = server("HTTP/1.1 200 OK\r\n\r\n").await;
    let client = client(Fixed(&[PUBLIC]), server);
    for url in ["https://127.0.0.1/", "https://0x7f.1/", "https://[::1]/"] {
        assert_eq!(post(&client, url).await, Err(Failure::NotPublic), "{url}");
        let url = Url::parse(url).unwrap();
        assert_eq!(client.check(&url).await, Err(NotPublic), "{url}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = server(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let client = client(Fixed(&[PUBLIC]), server);
    let sent = post(&client, "https://hooks.example/").await;
    assert_eq!(sent.unwrap().0, 307);
}

#[tokio::test]
async fn the_client_of_the_functions_needs_tls_and_a_public_address() {
    let client = PublicClient::default();
    assert!(post(&client, "http://93.184.216.34/").await.is_err());
    let sent = post(&client, "https://localhost/").await;
    assert_eq!(sent, Err(Failure::NotPublic));
    let url = Url::parse("https://localhost/").unwrap();
    assert_eq!(client.check(&url).await, Err(NotPublic));
}

#[tokio::test]
async fn at_most_4_kib_of_a_response_are_read() {
    let long: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000)).into_boxed_str());
    let client = client(Fixed(&[PUBLIC]), server(long).await);
    let (_, body) = post(&client, "https://hooks.example/").await.unwrap();
    assert_eq!(body.len(), MAX_RESPONSE);
}
