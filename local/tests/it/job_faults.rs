//! Failures at each step of a chain. The job ends, nothing stays blocked, and no stored answer is
//! requested and paid for again.
//!
//! Each case brings a job to a step, causes a failure, sweeps, and lets another worker continue.

mod late;

use crate::harness::sweep;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{insights::jobs::Worked, platform::db::Db};
use futures_util::{StreamExt as _, stream};
use local::emulator::{Emulator, Outcome, binaries};
use serde_json::json;
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    faults::{AT_ONCE, all, renew},
    harness::{
        cloud::specs,
        database::{OwnServer, TestDatabase},
        invariants,
        jobs::{column, consumption},
        parlor::{Parlor, Setup},
        until, until_within,
        wire::Wire,
    },
};

const APPS: [&str; 3] = [
    "app3_clue",
    "app8_clue_consolidated",
    "app7_customer_analysis",
];

const MEMBER: i64 = 70_001;
/// The facts about the member.
const PROFILE: &str = "insert into dws.member_profile (site_id, member_id, name, level, joined_on)
    values (1, 70001, '周思远', '金卡', '2024-01-01')";
/// The target. It is in every `advance_job` statement of the job, but in no prompt and no answer.
const TARGET: &str = "member:70001";

/// The progress of one app of the chain. After the last app, only the first two occur: the chain is
/// done, and the success of the job is or is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    /// The app is next, but no statement of it has reached the database.
    Due,
    /// The cache entry is leased, but the response of the database has not arrived.
    Leased,
    /// The prompt is made. The run has not reached the database.
    Opening,
    /// The run is stored, but the response of the database has not arrived.
    Opened,
    /// DashScope has received the call and has not responded.
    Called,
    /// The answer has arrived, but has not reached the database.
    AnswerReceived,
    /// The answer is stored, but the response of the database has not arrived.
    AnswerStored,
}

const POINTS: [Point; 7] = [
    Point::Due,
    Point::Leased,
    Point::Opening,
    Point::Opened,
    Point::Called,
    Point::AnswerReceived,
    Point::AnswerStored,
];

/// A point of the app with this index in the chain.
#[derive(Clone, Copy, Debug)]
struct Step(usize, Point);

fn steps() -> impl Iterator<Item = Step> {
    let of_apps = (0..APPS.len()).flat_map(|app| POINTS.map(|point| Step(app, point)));
    of_apps.chain([Point::Due, Point::Leased].map(|point| Step(APPS.len(), point)))
}

/// The kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// The worker's future is dropped. Its last statement reaches the database late, after another
    /// worker has finished the job.
    Dropped,
    /// The function is killed (SIGKILL).
    Killed,
    /// PostgreSQL is killed (SIGKILL) and restarted.
    PostgresKilled,
}

#[tokio::test]
async fn a_worker_dropped_at_any_step_keeps_the_invariants() {
    at_each_step(Break::Dropped).await;
}

#[tokio::test]
async fn a_worker_function_killed_at_any_step_keeps_the_invariants() {
    at_each_step(Break::Killed).await;
}

#[tokio::test]
async fn postgresql_killed_at_any_step_of_a_chain_keeps_the_invariants() {
    binaries::build().await.unwrap();
    let mut server = OwnServer::start().await;
    let reach =
        async |step| Case::reach(step, Break::PostgresKilled, server.database().await).await;
    let cases: Vec<_> = stream::iter(steps().map(reach))
        .buffered(AT_ONCE)
        .collect()
        .await;
    server.kill().await;
    server.start_again().await;
    all(cases.into_iter().map(|case| {
        (
            format!("{:?}", case.step),
            case.break_and_check(Break::PostgresKilled),
        )
    }))
    .await;
}

async fn at_each_step(what: Break) {
    // Built first: a build during the test would make statements time out.
    binaries::build().await.unwrap();
    all(steps().map(|step| {
        let case = async move {
            let case = Case::reach(step, what, TestDatabase::new().await).await;
            case.break_and_check(what).await;
        };
        (format!("{step:?}"), case)
    }))
    .await;
}

#[tokio::test]
async fn a_run_unknown_to_its_worker_is_settled_with_its_job() {
    let step = Step(1, Point::Opened);
    let case = Case::reach(step, Break::PostgresKilled, TestDatabase::new().await).await;
    let Working::Here(work) = case.worker else {
        panic!("the worker runs in this process")
    };
    work.await.unwrap();
    // The worker must not release the job: the run may exist, and a retry would call DashScope
    // again.
    assert_eq!(case.parlor.job(case.job).await["status"], "running");
    case.parlor.expire_leases_and_sweep().await;
    case.parlor.make_jobs_due().await;
    invariants::check_jobs(&case.parlor).await;
    case.parlor.work().await;
    check_done(step, Break::Dropped, &case.parlor, case.job).await;
}

/// A job at a step.
struct Case {
    step: Step,
    /// Another instance for checks and for continuing the job. The worker uses its simulator.
    parlor: Parlor,
    wire: Wire,
    worker: Working,
    job: i64,
}

/// The worker under test, behind the [`Wire`].
enum Working {
    Here(JoinHandle<()>),
    Function(Arc<Emulator>),
}

impl Case {
    async fn reach(step: Step, what: Break, database: TestDatabase) -> Self {
        let wire = Wire::before(database.url()).await;
        let parlor = Parlor::start_with(Setup {
            database: Some(Arc::new(database)),
            ..Setup::default()
        })
        .await;
        parlor.execute(PROFILE).await;
        for app in APPS {
            answers(&parlor, app, "");
        }
        let job = parlor.member_paid(MEMBER, 1).await;
        parlor
            .execute("update biz.ai_trigger_jobs set run_after = 'infinity'")
            .await;
        let reached = Arc::default();
        let worker = reach(step, &parlor, &wire, async || {
            if what == Break::Killed {
                Working::function(&parlor, &wire, &reached).await
            } else {
                Working::here(&parlor, &wire, &reached).await
            }
        })
        .await;
        reached.store(true, Ordering::SeqCst);
        Self {
            step,
            parlor,
            wire,
            worker,
            job,
        }
    }

    /// Causes the failure, sweeps, lets another worker finish the job, and checks the result.
    async fn break_and_check(self, what: Break) {
        let Self {
            step,
            parlor,
            wire,
            worker,
            job,
        } = self;
        match &worker {
            Working::Function(emulator) => {
                assert_eq!(emulator.kill("job-worker").await.unwrap(), 1);
                wire.cut();
            }
            Working::Here(work) if what == Break::Dropped => work.abort(),
            Working::Here(_) => renew(&parlor).await,
        }
        if what != Break::Dropped {
            wire.clear_rules();
        }
        for app in APPS {
            answers(&parlor, app, "");
        }
        parlor.simulator.release();
        let emulator = match worker {
            Working::Here(work) => {
                let end = work.await;
                assert_eq!(end.is_err(), what == Break::Dropped, "{end:?}");
                None
            }
            Working::Function(emulator) => Some(emulator),
        };

        // On a busy machine, a statement may time out, and the job is put off.
        until_within(LONGEST, "the job has ended", async || {
            parlor.expire_leases_and_sweep().await;
            parlor.make_jobs_due().await;
            match &emulator {
                None => _ = parlor.work().await,
                Some(emulator) => _ = work(emulator).await,
            }
            (parlor.job(job).await["status"] != "pending").then_some(())
        })
        .await;
        check_done(step, what, &parlor, job).await;
        let held = matches!(step.1, Point::Due | Point::Opening | Point::AnswerReceived);
        if what == Break::Dropped && held {
            let late = wire.late_responses();
            wire.clear_rules();
            until("the late statement is executed", async || {
                (wire.late_responses() > late).then_some(())
            })
            .await;
            check_done(step, what, &parlor, job).await;
        }
    }
}

/// Checks that the job succeeded, that each app has one result, and that no stored answer was
/// requested again.
async fn check_done(step: Step, what: Break, parlor: &Parlor, job: i64) {
    let done = parlor.job(job).await;
    assert_eq!(
        (&done["status"], &done["step"]),
        (&json!("succeeded"), &json!(APPS.len())),
        "{done}"
    );
    assert_eq!(column(&parlor.entries().await, "cache_type"), APPS);
    assert_eq!(column(&parlor.entries().await, "status"), ["valid"; 3]);
    let calls = parlor.simulator.calls();
    for (number, app) in APPS.into_iter().enumerate() {
        let asked = calls.iter().filter(|call| call.app_id == app).count();
        let was_lost = number == step.0 && matches!(step.1, Point::Called | Point::AnswerReceived);
        match what {
            // The worker lives and retries to store the answer.
            Break::PostgresKilled if was_lost => {
                assert!((1..=2).contains(&asked), "{app}: {asked}");
            }
            _ => assert_eq!(asked, 1 + usize::from(was_lost), "{app}"),
        }
    }
    invariants::check_jobs(parlor).await;
    let again = parlor.trigger(&consumption(MEMBER, 1)).await;
    assert_eq!(again.body["status"], "skipped_duplicate");
}

impl Working {
    async fn here(parlor: &Parlor, wire: &Wire, reached: &Arc<AtomicBool>) -> Self {
        let here = Parlor::start_with(Setup {
            database: Some(Arc::clone(&parlor.database)),
            database_url: Some(wire.url.clone()),
            dashscope_url: Some(parlor.simulator.base_url()),
            ..Setup::default()
        })
        .await;
        // The worker is warm: it has a connection. Connecting may take long on a busy machine.
        until("the worker is idle", async || {
            (here.worker.run(None).await == Worked::IDLE).then_some(())
        })
        .await;
        parlor.make_jobs_due().await;
        let reached = Arc::clone(reached);
        #[expect(clippy::disallowed_methods, reason = "a worker that can be killed")]
        let work = tokio::spawn(async move {
            here.worker.run(None).await;
            while must_retry(&here.db, &reached).await {
                here.worker.run(None).await;
            }
        });
        Self::Here(work)
    }

    async fn function(parlor: &Parlor, wire: &Wire, reached: &Arc<AtomicBool>) -> Self {
        let mut specs = specs(parlor).await;
        specs.retain(|spec| spec.name == "job-worker");
        // One instance, so that the warm one is killed.
        specs[0].max_instances = 1;
        for (name, value) in &mut specs[0].env {
            if name == "DATABASE_URL" {
                value.clone_from(&wire.url);
            }
        }
        let ids =
            common::governance::apps::App::ALL.map(|app| (app.variable(), app.name().to_owned()));
        specs[0].env.extend(ids);
        let emulator = Arc::new(Emulator::start(specs).unwrap());
        let idle = serde_json::to_vec(&Worked::IDLE).unwrap();
        until("the worker is idle", async || match work(&emulator).await {
            Outcome::Response(done) => (*done == *idle).then_some(()),
            other => panic!("{other:?}"),
        })
        .await;
        parlor.make_jobs_due().await;
        let (invoked, reached) = (Arc::clone(&emulator), Arc::clone(reached));
        let db = parlor.db.clone();
        #[expect(clippy::disallowed_methods, reason = "the function will be killed")]
        tokio::spawn(async move {
            work(&invoked).await;
            while must_retry(&db, &reached).await {
                work(&invoked).await;
            }
        });
        Self::Function(emulator)
    }
}

/// True if the step was not reached, because a statement timed out on a busy machine and the job
/// was put off. Makes the job due again.
async fn must_retry(db: &Db, reached: &AtomicBool) -> bool {
    if reached.load(Ordering::SeqCst) {
        return false;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    sqlx::query("update biz.ai_trigger_jobs set run_after = now() where status = 'pending'")
        .execute(db)
        .await
        .ok();
    sweep(db, 90).await.ok();
    true
}

async fn work(emulator: &Emulator) -> Outcome {
    emulator.invoke("job-worker", &json!({})).await.unwrap()
}

/// Text that only the answer of this app contains, and the prompts of apps that read it.
fn words_of(app: &str) -> String {
    format!("text of {app}")
}

/// Sets the answer of an app, after the scenario `before`.
fn answers(parlor: &Parlor, app: &str, before: &str) {
    let words = words_of(app);
    let answer = match app {
        "app7_customer_analysis" => {
            json!({ "strategies": [{ "title": words, "content": "…" }], "summary": "…" })
        }
        _ => {
            json!({ "clues": [{ "category": "…", "summary": words, "detail": "…", "providers": ["…"] }] })
        }
    };
    let scenario = format!("{before}say:{answer}").parse().unwrap();
    parlor.simulator.set_scenario(Some(app), Some(scenario));
}

/// The maximum wait, on a machine that is busy with a build.
const LONGEST: Duration = Duration::from_mins(1);

/// Waits until DashScope has received the call of an app.
async fn wait_for_call(parlor: &Parlor) {
    timeout(LONGEST, parlor.simulator.held(1))
        .await
        .expect("the app is called");
}

/// Starts a worker and returns when the job is at the step.
async fn reach(
    Step(app, point): Step,
    parlor: &Parlor,
    wire: &Wire,
    start: impl AsyncFnOnce() -> Working,
) -> Working {
    let name = APPS.get(app).copied().unwrap_or_default();
    let version = format!("{name}/");
    let held = wire.delayed();
    let is_held = async || (wire.delayed() > held).then_some(());
    let finds = async |query: &'static str| {
        let found: bool = sqlx::query_scalar(query)
            .bind(name)
            .fetch_one(&parlor.db)
            .await
            .unwrap();
        found.then_some(())
    };
    let apply_rule: &dyn Fn() = match point {
        Point::Due => &|| wire.delay_messages_with(TARGET),
        Point::Leased => &|| wire.drop_responses_to(TARGET),
        Point::Opening => &|| wire.delay_messages_with(&version),
        Point::Opened => &|| wire.drop_responses_to(&version),
        Point::Called => &|| answers(parlor, name, "gate:0+"),
        Point::AnswerReceived => &|| wire.delay_messages_with(&words_of(name)),
        Point::AnswerStored => &|| wire.drop_responses_to(&words_of(name)),
    };
    // The target is in a statement of each app. The wire may act only after the previous app.
    let worker = if point <= Point::Leased && app > 0 {
        answers(parlor, APPS[app - 1], "gate:0+");
        let worker = start().await;
        wait_for_call(parlor).await;
        apply_rule();
        parlor.simulator.release();
        worker
    } else {
        apply_rule();
        start().await
    };
    let what = format!("{name} is {point:?}");
    match point {
        Point::Due | Point::Opening | Point::AnswerReceived => {
            until_within(LONGEST, &what, is_held).await;
        }
        Point::Leased if app == APPS.len() => {
            until_within(LONGEST, &what, async || {
                finds("select exists (select from biz.ai_trigger_jobs where status = 'succeeded' and $1 = '')").await
            })
            .await;
        }
        Point::Leased => {
            until_within(LONGEST, &what, async || {
                finds("select exists (select from biz.ai_cache where status = 'generating' and cache_type = $1)").await
            })
            .await;
        }
        Point::Opened => {
            until_within(LONGEST, &what, async || {
                finds("select exists (select from biz.ai_run_logs where status = 'running' and app_type = $1)").await
            })
            .await;
        }
        Point::Called => wait_for_call(parlor).await,
        Point::AnswerStored => {
            until_within(LONGEST, &what, async || {
                finds("select exists (select from biz.ai_cache where status = 'valid' and cache_type = $1)").await
            })
            .await;
        }
    }
    worker
}
