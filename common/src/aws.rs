//! What everything that asks AWS has in common.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_secretsmanager::config::{BehaviorVersion, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_types::SdkConfig;

use crate::config::Env;

/// Region, credentials and endpoint as Lambda gives them to a function, in variables, and an HTTP client with the
/// TLS that the rest of the program has.
///
/// The SDK's own search for them, in profiles, metadata and roles to assume, would be a good part of every binary.
pub(crate) fn config(env: &Env) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let keys = env
        .text("AWS_ACCESS_KEY_ID")
        .zip(env.text("AWS_SECRET_ACCESS_KEY"));
    let credentials = keys.map(|(id, secret)| {
        let session_token = env.text("AWS_SESSION_TOKEN").map(str::to_owned);
        // They hold for as long as the instance that was given them.
        let credentials = Credentials::new(id, secret, session_token, None, "environment");
        SharedCredentialsProvider::new(credentials)
    });
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(
            env.text("AWS_REGION")
                .map(|name| Region::new(name.to_owned())),
        );
    config.set_credentials_provider(credentials);
    config.set_endpoint_url(env.text("AWS_ENDPOINT_URL").map(str::to_owned));
    config.build()
}
