//! The HTTP client of whatever is asked outside: DashScope, AWS, `CloudFormation`.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, ClientBuilder, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Idle connections of five minutes were found dead by others; the services' own limits are not
/// known.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// One without time limits, which are for whoever asks to set.
///
/// The bundled roots: reading the system's takes milliseconds of a cold start. No proxy from the
/// environment, which only the configuration may read; no redirects, which would carry what is said
/// elsewhere.
///
/// # Errors
/// None of the TLS library's protocol versions fits its cryptography, which no machine changes.
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
