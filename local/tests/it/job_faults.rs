//! Whatever breaks, at whatever step of a chain: the job comes to its end, nothing is stuck, and no
//! answer that was stored is asked and paid for again.
//!
//! A case brings a job to a step, breaks something there, lets the dead be swept, and has another
//! worker go on: for each step, each break.

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

/// The chain under test.
const APPS: [&str; 3] = [
    "app3_clue",
    "app8_clue_consolidated",
    "app7_customer_analysis",
];

const MEMBER: i64 = 70_001;
/// What the site knows of the member.
const PROFILE: &str = "insert into dws.member_profile (site_id, member_id, name, level, joined_on)
    values (1, 70001, '周思远', '金卡', '2024-01-01')";
/// What every `advance_job` of the job says, and what stands in no prompt and no answer.
const TARGET: &str = "member:70001";

/// How far an app of the chain has come. After the last there are the first two alone: nothing is
/// left to be done, and that the job has succeeded has, or has not, reached the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    /// Its turn has come, but nothing of it has reached the database.
    Due,
    /// Its entry is leased, but the worker has not heard of that.
    Leased,
    /// Its prompt is made; the run has not reached the database.
    Opening,
    /// The run is stored, but the worker has not heard of that.
    Opened,
    /// DashScope has the call and has not answered.
    Asked,
    /// The answer has come, and has not reached the database.
    Answered,
    /// The answer is stored, but the worker has not heard of that.
    Kept,
}

const POINTS: [Point; 7] = [
    Point::Due,
    Point::Leased,
    Point::Opening,
    Point::Opened,
    Point::Asked,
    Point::Answered,
    Point::Kept,
];

/// A point of the chain's app of that number.
#[derive(Clone, Copy, Debug)]
struct Step(usize, Point);

fn steps() -> impl Iterator<Item = Step> {
    let of_apps = (0..APPS.len()).flat_map(|app| POINTS.map(|point| Step(app, point)));
    of_apps.chain([Point::Due, Point::Leased].map(|point| Step(APPS.len(), point)))
}

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// The worker's future is dropped. What it was saying to the database arrives late, when another
    /// has done its work.
    Dropped,
    /// `kill -9` of the function.
    Killed,
    /// `kill -9` of PostgreSQL, which is then started again.
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
            case.go_on(Break::PostgresKilled),
        )
    }))
    .await;
}

async fn at_each_step(what: Break) {
    // Steps are reached in time only where nobody builds beside them.
    binaries::build().await.unwrap();
    all(steps().map(|step| {
        let case = async move {
            let case = Case::reach(step, what, TestDatabase::new().await).await;
            case.go_on(what).await;
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
        panic!("it is in here")
    };
    work.await.unwrap();
    // Given back, the job could be asked for again while it is not known what has become of the run.
    assert_eq!(case.parlor.job(case.job).await["status"], "running");
    case.parlor.expire_leases_and_sweep().await;
    case.parlor.make_jobs_due().await;
    invariants::check_jobs(&case.parlor).await;
    case.parlor.work().await;
    is_done(step, Break::Dropped, &case.parlor, case.job).await;
}

/// A job that stands at a step.
struct Case {
    step: Step,
    /// Another instance, to look from and to go on. Its simulator is the worker's.
    parlor: Parlor,
    wire: Wire,
    worker: Working,
    job: i64,
}

/// Who is at work, behind the wire.
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

    /// Breaks it, has the dead swept, has another worker go on, and looks at what is left.
    async fn go_on(self, what: Break) {
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

        // On a busy machine a statement may be given up, and the job with it.
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
        is_done(step, what, &parlor, job).await;
        let held = matches!(step.1, Point::Due | Point::Opening | Point::Answered);
        if what == Break::Dropped && held {
            let late = wire.late_responses();
            wire.clear_rules();
            until("it is said after all", async || {
                (wire.late_responses() > late).then_some(())
            })
            .await;
            is_done(step, what, &parlor, job).await;
        }
    }
}

/// The job succeeded, each app has one answer, and what was stored before the break was not asked again.
async fn is_done(step: Step, what: Break, parlor: &Parlor, job: i64) {
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
        let was_lost = number == step.0 && matches!(step.1, Point::Asked | Point::Answered);
        match what {
            // Its worker lives, and stores the answer when it can.
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
        // It has been at work for a while: it has a connection, which may take long on a busy machine.
        until("it is at work", async || {
            (here.worker.run(None).await == Worked::IDLE).then_some(())
        })
        .await;
        parlor.make_jobs_due().await;
        let reached = Arc::clone(reached);
        #[expect(clippy::disallowed_methods, reason = "a worker that can be killed")]
        let work = tokio::spawn(async move {
            here.worker.run(None).await;
            while may_go_again(&here.db, &reached).await {
                here.worker.run(None).await;
            }
        });
        Self::Here(work)
    }

    async fn function(parlor: &Parlor, wire: &Wire, reached: &Arc<AtomicBool>) -> Self {
        let mut specs = specs(parlor).await;
        specs.retain(|spec| spec.name == "job-worker");
        // The one that has been at work is the one that is killed.
        specs[0].max_instances = 1;
        for (name, value) in &mut specs[0].env {
            if name == "DATABASE_URL" {
                value.clone_from(&wire.url);
            }
        }
        let ids = common::governance::apps::App::ALL
            .map(|app| (app.variable().to_owned(), app.name().to_owned()));
        specs[0].env.extend(ids);
        let emulator = Arc::new(Emulator::start(specs).unwrap());
        let idle = serde_json::to_vec(&Worked::IDLE).unwrap();
        until("it is at work", async || match work(&emulator).await {
            Outcome::Response(done) => (*done == *idle).then_some(()),
            other => panic!("{other:?}"),
        })
        .await;
        parlor.make_jobs_due().await;
        let (invoked, reached) = (Arc::clone(&emulator), Arc::clone(reached));
        let db = parlor.db.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "nobody waits for who will be killed"
        )]
        tokio::spawn(async move {
            work(&invoked).await;
            while may_go_again(&db, &reached).await {
                work(&invoked).await;
            }
        });
        Self::Function(emulator)
    }
}

/// Whether the step was not reached: on a busy machine a statement may be given up before it could have been
/// answered, and the job with it. Then its turn comes again.
async fn may_go_again(db: &Db, reached: &AtomicBool) -> bool {
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

/// Words that only the answer of an app says, and whoever read it.
fn words_of(app: &str) -> String {
    format!("as {app} has said")
}

/// Gives an app its answer, with a scenario before it.
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

/// Before something is wrong, on a machine that is busy with building.
const LONGEST: Duration = Duration::from_mins(1);

/// Waits until an app has been asked, and stands before its answer.
async fn asked(parlor: &Parlor) {
    timeout(LONGEST, parlor.simulator.held(1))
        .await
        .expect("it is asked");
}

/// Sets a worker to work, and returns when the job stands at the step.
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
    let mind: &dyn Fn() = match point {
        Point::Due => &|| wire.delay_messages_with(TARGET),
        Point::Leased => &|| wire.drop_responses_to(TARGET),
        Point::Opening => &|| wire.delay_messages_with(&version),
        Point::Opened => &|| wire.drop_responses_to(&version),
        Point::Asked => &|| answers(parlor, name, "gate:0+"),
        Point::Answered => &|| wire.delay_messages_with(&words_of(name)),
        Point::Kept => &|| wire.drop_responses_to(&words_of(name)),
    };
    // The job says its target again and again: only from the app before on is it this step's.
    let worker = if point <= Point::Leased && app > 0 {
        answers(parlor, APPS[app - 1], "gate:0+");
        let worker = start().await;
        asked(parlor).await;
        mind();
        parlor.simulator.release();
        worker
    } else {
        mind();
        start().await
    };
    let what = format!("{name} is {point:?}");
    match point {
        Point::Due | Point::Opening | Point::Answered => {
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
        Point::Asked => asked(parlor).await,
        Point::Kept => {
            until_within(LONGEST, &what, async || {
                finds("select exists (select from biz.ai_cache where status = 'valid' and cache_type = $1)").await
            })
            .await;
        }
    }
    worker
}
