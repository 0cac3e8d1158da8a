//! The console in Chromium, with the demo's history of 30 days.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path as PathOf, State},
    routing::post,
};
use common::platform::env::Env;
use local::{
    demo, gateway,
    landing::{self, Landing, SignInCodes},
};
use tokio::process::Command;

use crate::harness::{
    node,
    parlor::{COACH, Parlor, SECRET, Setup, serve, token},
};

/// Users whose tokens the script gets.
const USERS: [i64; 3] = [COACH, 1004, 9001];
/// Pictures of this total size still load quickly on a page of the documentation.
const MOST_BYTES: u64 = 1024 * 1024;

/// Serves what `serve` serves, and routes with which the script pauses and releases replies.
async fn serve_all(parlor: &Arc<Parlor>) -> String {
    let landing = Landing {
        db: parlor.tools.db.clone(),
        secret: SECRET.into(),
        session: parlor.tools.session.clone(),
        codes: SignInCodes::default(),
        openapi: gateway::openapi(&parlor.tools).to_json().unwrap().into(),
        is_simulated: true,
        is_emulated: false,
        has_schedules: true,
    };
    let simulator = Router::new()
        .route("/simulator/hold/{pieces}", post(hold))
        .route("/simulator/release", post(release))
        .with_state(Arc::clone(parlor));
    let app = gateway::app(&parlor.tools);
    serve(app.merge(landing::router(landing)).merge(simulator)).await
}

/// Pauses each reply after some pieces of its text.
async fn hold(State(parlor): State<Arc<Parlor>>, PathOf(pieces): PathOf<usize>) {
    parlor.simulator.hold_after(pieces);
}

async fn release(State(parlor): State<Arc<Parlor>>) {
    parlor.simulator.release();
}

/// Works on background jobs, as `serve` does.
async fn work(parlor: &Parlor) -> ! {
    loop {
        parlor.work().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Total size of the pictures in a folder.
fn size(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let pictures = files.filter(|file| file.path().extension() == Some(OsStr::new("webp")));
    pictures.map(|file| file.metadata().unwrap().len()).sum()
}

/// Set `PICTURES` to keep the pictures.
#[tokio::test]
async fn the_console_works_in_a_browser() {
    let Some(chromium) = node::chromium() else {
        eprintln!("NOT CHECKED: Chromium is not installed (Debian: apt-get install chromium)");
        return;
    };
    let Some(packages) = tokio::task::spawn_blocking(node::browser_packages)
        .await
        .unwrap()
    else {
        eprintln!("NOT CHECKED: npm could not install the packages");
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let process = Env::from_process();
    let pictures = process.text("PICTURES").map(PathBuf::from);
    let pictures = pictures.as_deref().unwrap_or(temporary.path());
    let parlor = Arc::new(Parlor::with_business(Setup::default()).await);
    demo::load_history(&parlor.db).await.unwrap();
    let address = serve_all(&parlor).await;
    let tokens = USERS
        .map(|user| format!("\"{user}\":\"{}\"", token(user)))
        .join(",");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/console.mjs");
    let node = tokio::task::spawn_blocking(node::program).await.unwrap();
    let mut command = Command::new(node);
    command
        .args([OsStr::new("--test"), script.as_os_str()])
        .env("PARLOR_URL", address)
        .env("TOKENS", format!("{{{tokens}}}"))
        .env("CHROMIUM", chromium)
        .env("PACKAGES", packages)
        .env("PICTURES", pictures)
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true);
    let output = tokio::select! {
        output = command.output() => output.unwrap(),
        never = work(&parlor) => never,
    };
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let bytes = size(pictures);
    assert!(
        0 < bytes && bytes <= MOST_BYTES,
        "{bytes} bytes of pictures"
    );
}
