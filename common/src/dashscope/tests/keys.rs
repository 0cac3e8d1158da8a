//! A key that is replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use super::server::{json, sse};
use super::*;

const REFUSED: &str = include_str!("../testdata/error-401.json");

/// Tells one other key, and counts how often it is asked.
#[derive(Debug)]
struct Told {
    key: Option<&'static str>,
    asked: AtomicU32,
}

impl KeySource for Told {
    fn refresh_after_rejection<'a>(
        &'a self,
        refused: &'a SecretString,
    ) -> BoxFuture<'a, Option<SecretString>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let key = self.key.filter(|key| *key != refused.expose_secret());
        std::future::ready(key.map(SecretString::from)).boxed()
    }
}

fn told(server: &Server, key: Option<&'static str>) -> (DashScope, Arc<Told>) {
    let asked = AtomicU32::new(0);
    let source = Arc::new(Told { key, asked });
    let key_source: Option<Arc<dyn KeySource>> = Some(Arc::<Told>::clone(&source));
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
async fn a_refused_key_is_exchanged_once_and_for_all() {
    for refusal in [
        json(401, REFUSED),
        json(401, "Unauthorized"),
        sse(format!(
            "id:1\nevent:error\n:HTTP_STATUS/401\ndata:{REFUSED}\n\n"
        )),
    ] {
        let server = Server::start(vec![refusal, sse(DELTA)]).await;
        let (client, source) = told(&server, Some("sk-new"));
        let (text, answer) = events(&client, &call()).await;
        assert_eq!((&*text, answer.unwrap().attempts()), ("收到，请继续。", 2));
        events(&client, &call()).await.1.unwrap();
        let expected = ["Bearer sk-test-000", "Bearer sk-new", "Bearer sk-new"];
        assert_eq!(keys(&server), expected);
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn without_another_key_the_refusal_stands() {
    for key in [None, Some("sk-test-000"), Some(" "), Some("sk-\nx")] {
        let server = Server::start(vec![json(401, REFUSED)]).await;
        let error = events(&told(&server, key).0, &call()).await.1.unwrap_err();
        assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
        assert_eq!(error.details().attempts, 1);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn another_key_that_is_refused_too_is_not_tried_again() {
    let server = Server::start(vec![json(401, REFUSED)]).await;
    let (client, _) = told(&server, Some("sk-new"));
    let error = events(&client, &call()).await.1.unwrap_err();
    assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
    assert_eq!((error.details().attempts, server.requests().len()), (2, 2));
    assert!(!error.counts_for_circuit());
}

#[tokio::test]
async fn what_is_not_about_the_key_asks_for_no_other() {
    let other = r#"{"code":"NOT AUTHORIZED","message":"m","request_id":"r"}"#;
    for refusal in [json(401, other), json(403, "no"), json(400, "no")] {
        let server = Server::start(vec![refusal]).await;
        let (client, source) = told(&server, Some("sk-new"));
        events(&client, &call()).await.1.unwrap_err();
        assert_eq!(source.asked.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn no_key_is_shown() {
    let server = Server::start(vec![json(401, REFUSED), sse(DELTA)]).await;
    let (client, _) = told(&server, Some("sk-new"));
    events(&client, &call()).await.1.unwrap();
    let shown = format!("{client:?}");
    assert!(!shown.contains("sk-test-000"), "{shown}");
    // The stand-in's own field is no secret; the client's key is.
    assert_eq!(shown.matches("sk-new").count(), 1, "{shown}");
}
