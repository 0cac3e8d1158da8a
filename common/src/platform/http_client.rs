//! The HTTP client for all outgoing requests: DashScope, AWS, `CloudFormation`.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, ClientBuilder, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// The limits of the services are not documented. The client of DashScope has a setting of its own.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// A client builder without timeouts. The caller sets them.
///
/// - Root certificates are bundled: reading those of the system slows a cold start by milliseconds.
/// - It uses no proxy: only `platform::env` reads the environment.
/// - It follows no redirect: a redirect would send the request body to another host.
///
/// # Errors
/// The TLS library has no protocol version for its cryptography. This depends only on the build.
pub fn client() -> Result<ClientBuilder, rustls::Error> {
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .pool_idle_timeout(POOL_IDLE)
        .redirect(Policy::none())
        .no_proxy())
}
