//! Tests of the replacement of a rejected key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use super::server::{json, sse};
use super::*;

const REFUSED: &str = include_str!("../testdata/error-401.json");

/// A key source with one other key. It counts its calls.
#[derive(Debug)]
struct OtherKey {
    key: Option<&'static str>,
    calls: AtomicU32,
}

impl KeySource for OtherKey {
    fn refresh_after_rejection<'a>(
        &'a self,
        rejected: &'a SecretString,
    ) -> BoxFuture<'a, Option<SecretString>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let key = self.key.filter(|key| *key != rejected.expose_secret());
        std::future::ready(key.map(SecretString::from)).boxed()
    }
}

fn client_with_other_key(server: &Server, key: Option<&'static str>) -> (DashScope, Arc<OtherKey>) {
    let calls = AtomicU32::new(0);
    let source = Arc::new(OtherKey { key, calls });
    let key_source: Option<Arc<dyn KeySource>> = Some(Arc::<OtherKey>::clone(&source));
    let config = Config {
        key_source,
        ..config(server)
    };
    (DashScope::new(config).unwrap(), source)
}

fn keys(server: &Server) -> Vec<String> {
    let requests = server.requests();
    let key = |request: &String| {
        let line = request
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        line.unwrap().to_owned()
    };
    requests.iter().map(key).collect()
}

#[tokio::test]
async fn rejected_key_is_replaced_for_all_later_calls() {
    for refusal in [
        json(401, REFUSED),
        json(401, "Unauthorized"),
        sse(format!(
            "id:1\nevent:error\n:HTTP_STATUS/401\ndata:{REFUSED}\n\n"
        )),
    ] {
        let server = Server::start(vec![refusal, sse(DELTA)]).await;
        let (client, source) = client_with_other_key(&server, Some("sk-new"));
        let (text, answer) = events(&client, &call()).await;
        assert_eq!((&*text, answer.unwrap().attempts()), ("收到，请继续。", 2));
        events(&client, &call()).await.1.unwrap();
        let expected = ["Bearer sk-test-000", "Bearer sk-new", "Bearer sk-new"];
        assert_eq!(keys(&server), expected);
        assert_eq!(source.calls.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn rejection_is_returned_without_another_key() {
    for key in [None, Some("sk-test-000"), Some(" "), Some("sk-\nx")] {
        let server = Server::start(vec![json(401, REFUSED)]).await;
        let error = events(&client_with_other_key(&server, key).0, &call())
            .await
            .1
            .unwrap_err();
        assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
        assert_eq!(error.details().attempts, 1);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn second_rejected_key_is_not_replaced() {
    let server = Server::start(vec![json(401, REFUSED)]).await;
    let (client, _) = client_with_other_key(&server, Some("sk-new"));
    let error = events(&client, &call()).await.1.unwrap_err();
    assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
    assert_eq!((error.details().attempts, server.requests().len()), (2, 2));
    assert!(!error.counts_for_circuit());
}

#[tokio::test]
async fn other_errors_do_not_replace_the_key() {
    let other = r#"{"code":"NOT AUTHORIZED","message":"m","request_id":"r"}"#;
    for refusal in [json(401, other), json(403, "no"), json(400, "no")] {
        let server = Server::start(vec![refusal]).await;
        let (client, source) = client_with_other_key(&server, Some("sk-new"));
        events(&client, &call()).await.1.unwrap_err();
        assert_eq!(source.calls.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn debug_output_has_no_key() {
    let server = Server::start(vec![json(401, REFUSED), sse(DELTA)]).await;
    let (client, _) = client_with_other_key(&server, Some("sk-new"));
    events(&client, &call()).await.1.unwrap();
    let shown = format!("{client:?}");
    assert!(!shown.contains("sk-test-000"), "{shown}");
    // The one match is the plain field of `OtherKey`. The key of the client is not printed.
    assert_eq!(shown.matches("sk-new").count(), 1, "{shown}");
}
