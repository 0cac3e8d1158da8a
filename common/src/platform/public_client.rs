//! An HTTPS client for addresses that users chose. It connects to public addresses only, so that
//! nobody reaches the private network, or the metadata of the machine, through it.

use std::{
    error::Error as StdError,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::http_client;

/// Until the response is complete, including the connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The part of a response that is read.
const MAX_RESPONSE: usize = 4096;

/// Looks up the addresses of a host.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of a host name.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the system.
struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The address is not public, or its name cannot be resolved. The two are one error, so that a
/// caller learns nothing about names and addresses of the private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is not public")]
pub struct NotPublic;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// See [`NotPublic`].
    NotPublic,
    /// No response within 5 s.
    Timeout,
    /// No connection, no TLS, or a broken response.
    Connection,
}

/// A client that connects to public addresses only.
#[derive(Clone)]
pub struct PublicClient {
    /// `None` if the TLS library cannot start, which depends only on the build.
    client: Option<Client>,
    lookup: Arc<dyn Lookup>,
    stand_in: Option<SocketAddr>,
}

impl Default for PublicClient {
    /// The client of the functions.
    fn default() -> Self {
        Self::build(Arc::new(SystemLookup), None)
    }
}

impl PublicClient {
    /// For tests and the local run: all rules apply to the URL and to the addresses that `lookup`
    /// returns, but the connection goes to `stand_in`, without TLS.
    pub fn with_stand_in(lookup: Arc<dyn Lookup>, stand_in: SocketAddr) -> Self {
        Self::build(lookup, Some(stand_in))
    }

    fn build(lookup: Arc<dyn Lookup>, stand_in: Option<SocketAddr>) -> Self {
        let resolver = PublicResolver {
            lookup: Arc::clone(&lookup),
            stand_in,
        };
        let client = http_client::client().ok().and_then(|client| {
            client
                .https_only(stand_in.is_none())
                .timeout(TIMEOUT)
                // Each request resolves and checks its host again.
                .pool_max_idle_per_host(0)
                .dns_resolver(resolver)
                .build()
                .ok()
        });
        Self {
            client,
            lookup,
            stand_in,
        }
    }

    /// Resolves the host of a URL and checks its addresses.
    ///
    /// # Errors
    /// [`NotPublic`] if one of them is not public, or if there is none.
    pub async fn check(&self, url: &Url) -> Result<(), NotPublic> {
        let host = url.host_str().ok_or(NotPublic)?;
        if let Some(address) = literal(host) {
            return if is_public(address) {
                Ok(())
            } else {
                Err(NotPublic)
            };
        }
        let found = public_addresses(self.lookup.lookup(host.to_owned()));
        tokio::time::timeout(TIMEOUT, found)
            .await
            .unwrap_or(Err(NotPublic))
            .map(drop)
    }

    /// Sends a POST request with a JSON body. Returns status and at most 4 KiB of the response.
    /// Follows no redirect.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn post(
        &self,
        mut url: Url,
        headers: HeaderMap,
        body: String,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        // The resolver is not asked for a literal address.
        let address = url.host_str().and_then(literal);
        if address.is_some_and(|address| !is_public(address)) {
            return Err(Failure::NotPublic);
        }
        if let Some(stand_in) = self.stand_in {
            // Both fail only for URLs without a host.
            url.set_scheme("http").ok();
            url.set_port(Some(stand_in.port())).ok();
        }
        let client = self.client.as_ref().ok_or(Failure::Connection)?;
        let request = client.post(url).headers(headers);
        let request = request.header(CONTENT_TYPE, "application/json; charset=utf-8");
        let mut response = request.body(body).send().await.map_err(failure)?;
        let mut start = Vec::new();
        while start.len() < MAX_RESPONSE {
            let Some(chunk) = response.chunk().await.map_err(failure)? else {
                break;
            };
            start.extend_from_slice(&chunk[..chunk.len().min(MAX_RESPONSE - start.len())]);
        }
        Ok((response.status(), start))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is used with `map_err`")]
fn failure(err: reqwest::Error) -> Failure {
    if err.is_timeout() {
        return Failure::Timeout;
    }
    let mut cause: Option<&dyn StdError> = Some(&err);
    while let Some(err) = cause {
        if err.is::<NotPublic>() {
            return Failure::NotPublic;
        }
        cause = err.source();
    }
    Failure::Connection
}

/// Resolves a host for the connection itself. DNS that answers differently the second time is
/// checked the second time.
struct PublicResolver {
    lookup: Arc<dyn Lookup>,
    stand_in: Option<SocketAddr>,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.lookup.lookup(name.as_str().to_owned());
        let stand_in = self.stand_in;
        Box::pin(async move {
            let found = public_addresses(found).await?;
            let addresses = match stand_in {
                Some(address) => vec![address],
                None => found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect(),
            };
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

async fn public_addresses(
    found: BoxFuture<'static, io::Result<Vec<IpAddr>>>,
) -> Result<Vec<IpAddr>, NotPublic> {
    let found = found.await.map_err(|_| NotPublic)?;
    if found.is_empty() || !found.iter().copied().all(is_public) {
        return Err(NotPublic);
    }
    Ok(found)
}

/// The address in a URL's host, if it is not a name. The URL parser has already read decimal,
/// octal, hexadecimal and short forms of IPv4.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let host = host.strip_prefix('[').unwrap_or(host);
    host.strip_suffix(']').unwrap_or(host).parse().ok()
}

/// True for addresses of the public internet, by the special-purpose registries of IANA.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match a {
        // This network, private, loopback; from 224: multicast, reserved, broadcast.
        0 | 10 | 127 | 224..=255 => true,
        // Shared by the customers of a provider (100.64.0.0/10); metadata of Alibaba Cloud.
        100 => (64..128).contains(&b),
        // Link-local; metadata of AWS.
        169 => b == 254,
        172 => (16..32).contains(&b),
        192 => matches!((b, c), (168, _) | (0, 0 | 2) | (88, 99)),
        // Benchmarks (198.18.0.0/15) and documentation.
        198 => matches!((b, c), (18 | 19, _) | (51, 100)),
        203 => (b, c) == (0, 113),
        _ => false,
    };
    !is_special
}

/// Only `2000::/3` is assigned to the public internet. So loopback, unspecified, unique local,
/// link-local, multicast, IPv4-mapped (`::ffff:0:0/96`) and NAT64 (`64:ff9b::/96`) are not public.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_special = match a {
        // Protocols such as Teredo (2001::/23), and documentation.
        0x2001 => b < 0x200 || b == 0xdb8,
        // 6to4 contains an IPv4 address, which may be private.
        0x2002 => true,
        0x3fff => b < 0x1000,
        _ => false,
    };
    a & 0xe000 == 0x2000 && !is_special
}

#[cfg(test)]
mod tests;
