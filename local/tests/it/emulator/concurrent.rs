//! A process that handles several events at once, as on Lambda Managed Instances.

use super::*;

const STREAMS: usize = 16;

/// The talking function in one process, with this many workers.
async fn talking(workers: usize, timeout: Duration) -> Emulator {
    let mut spec = spec("talk").await;
    spec.max_instances = 1;
    spec.max_concurrency = workers;
    spec.timeout = timeout;
    Emulator::start(vec![spec]).unwrap()
}

/// Starts a stream and reads its first event. Returns the rest of its body.
async fn start(emulator: &Emulator, name: &str, gates: &TempDir) -> Body {
    let event = get_event(&format!("/talk/{name}"), Some(gates));
    let outcome = within(emulator.invoke("talk", &event)).await.unwrap();
    let response = within(outcome.into_http()).await.unwrap();
    assert_eq!(response.status(), 200, "{name}");
    let mut body = response.into_body();
    assert_eq!(chunk(&mut body).await, format!("data: {name} first\n\n"));
    body
}

async fn rest(body: Body) -> Result<String, String> {
    let rest = within(body.collect())
        .await
        .map_err(|err| err.to_string())?;
    Ok(String::from_utf8(rest.to_bytes().to_vec()).unwrap())
}

fn lines(emulator: &Emulator) -> Vec<Value> {
    let lines = emulator.logs("talk").unwrap().into_iter();
    lines
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}

#[tokio::test]
async fn sixteen_streams_in_one_process_do_not_disturb_each_other() {
    let gates = tempfile::tempdir().unwrap();
    let emulator = talking(STREAMS, PATIENCE).await;
    // No stream ends before the gate is opened, so all are in progress at once.
    let names: Vec<_> = (0..STREAMS)
        .map(|number| match number {
            3 => "panic-3".to_owned(),
            7 => "panic-7".to_owned(),
            other => format!("stream-{other}"),
        })
        .collect();
    let starts = names.iter().map(|name| start(&emulator, name, &gates));
    let bodies = futures_util::future::join_all(starts).await;
    assert_eq!(emulator.instances("talk").unwrap().len(), 1);
    // A client that leaves changes nothing for the others.
    let mut bodies: Vec<_> = names.iter().zip(bodies).collect();
    drop(bodies.remove(11));
    open(&gates, "go");
    for (name, body) in bodies {
        let expected = if name.starts_with("panic") {
            String::new()
        } else {
            format!("data: {name} last\n\n")
        };
        assert_eq!(rest(body).await.unwrap(), expected, "{name}");
    }

    // Each line has the id of its own request, also that of a panic.
    let spoken = || {
        let lines = lines(&emulator).into_iter();
        lines.filter(|line| line["message"] == "spoken")
    };
    let of = |name: &str, what: &str| {
        let line = spoken().find(|line| line["name"] == name && line["what"] == what);
        Some(line?["span"]["request_id"].as_str()?.to_owned())
    };
    until(|| spoken().count() == STREAMS + STREAMS - 2).await;
    let mut ids: Vec<_> = names
        .iter()
        .map(|name| of(name, "first").unwrap())
        .collect();
    for (name, id) in names.iter().zip(&ids) {
        if !name.starts_with("panic") {
            assert_eq!(of(name, "last").as_ref(), Some(id), "{name}");
        }
    }
    let panicked = lines(&emulator).into_iter();
    let mut panicked: Vec<_> = panicked
        .filter(|line| line["message"] == "panicked")
        .map(|line| line["span"]["request_id"].as_str().unwrap().to_owned())
        .collect();
    let mut expected = vec![ids[3].clone(), ids[7].clone()];
    panicked.sort_unstable();
    expected.sort_unstable();
    assert_eq!(panicked, expected);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), STREAMS);

    // All workers are still there.
    let again = names.iter().filter(|name| !name.starts_with("panic"));
    for name in again.cycle().take(2 * STREAMS) {
        let body = start(&emulator, name, &gates).await;
        assert_eq!(rest(body).await.unwrap(), format!("data: {name} last\n\n"));
    }
    assert_eq!(emulator.instances("talk").unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_beyond_the_workers_waits() {
    let gates = tempfile::tempdir().unwrap();
    let emulator = talking(2, PATIENCE).await;
    let first = start(&emulator, "a", &gates).await;
    let second = start(&emulator, "b", &gates).await;
    let third = start(&emulator, "c", &gates);
    let mut third = std::pin::pin!(third);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut third).await;
    assert!(early.is_err(), "a third worker");
    open(&gates, "go");
    assert_eq!(rest(first).await.unwrap(), "data: a last\n\n");
    assert_eq!(rest(second).await.unwrap(), "data: b last\n\n");
    assert_eq!(rest(third.await).await.unwrap(), "data: c last\n\n");
}

#[tokio::test]
async fn a_timeout_cuts_its_own_stream_and_the_process_continues() {
    let gates = tempfile::tempdir().unwrap();
    let emulator = talking(2, Duration::from_secs(3)).await;
    let process = async |name: &str| {
        let body = start(&emulator, name, &gates).await;
        (body, emulator.instances("talk").unwrap())
    };
    let (slow, first) = process("slow").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (other, _) = process("other").await;
    let error = rest(slow).await.unwrap_err();
    assert!(error.contains("timed out"), "{error}");
    open(&gates, "go");
    assert_eq!(rest(other).await.unwrap(), "data: other last\n\n");
    // Both workers serve again. The one of the stream that was cut did not end.
    for _ in 0..4 {
        let bodies = tokio::join!(process("x"), process("y"));
        for ((body, process), name) in [(bodies.0, "x"), (bodies.1, "y")] {
            assert_eq!(rest(body).await.unwrap(), format!("data: {name} last\n\n"));
            assert_eq!(process, first);
        }
    }
}

#[tokio::test]
async fn a_worker_is_busy_after_a_timeout_until_it_responds() {
    let gates = tempfile::tempdir().unwrap();
    let mut spec = spec("echo").await;
    spec.max_instances = 1;
    spec.max_concurrency = 2;
    spec.timeout = Duration::from_secs(2);
    let emulator = Emulator::start(vec![spec]).unwrap();
    let event = get_event("/wait", Some(&gates));
    let outcomes = tokio::join!(invoke(&emulator, &event), invoke(&emulator, &event));
    for outcome in [outcomes.0, outcomes.1] {
        let Outcome::Error(error) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(error.kind, "Sandbox.Timedout");
    }
    // The process still handles both events, so it has no worker for a third one.
    let process = emulator.instances("echo").unwrap();
    let third = recorded("rest-get.json");
    let mut third = std::pin::pin!(invoke(&emulator, &third));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut third).await;
    assert!(early.is_err(), "{early:?}");
    open(&gates, "go");
    let answer = answered_json(third.await).await;
    assert_eq!(
        process,
        [u32::try_from(answer["processId"].as_u64().unwrap()).unwrap()]
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_shared_process_is_not_frozen_between_events() {
    let gates = tempfile::tempdir().unwrap();
    open(&gates, "go");
    let emulator = talking(2, PATIENCE).await;
    rest(start(&emulator, "a", &gates).await).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let process = emulator.instances("talk").unwrap()[0];
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    assert!(
        !stat.rsplit_once(") ").unwrap().1.starts_with('T'),
        "{stat}"
    );
    within(emulator.kill("talk")).await.unwrap();
    rest(start(&emulator, "b", &gates).await).await.unwrap();
    assert_ne!(emulator.instances("talk").unwrap(), [process]);
}
