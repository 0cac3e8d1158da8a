//! `cargo run -- scale`: the model's arithmetic, the simulation, and the tables of the document.

use std::{fs, path::Path};

use clap::Parser as _;
use local::{
    command::{Arguments, Command},
    scale::{
        DOCUMENTS, Options, compute, growth, language,
        measured::Measured,
        model::{
            self, Capacity, Load, Resource, Sizing, cost, first_limit, limit,
            messages_per_day_at_limit, used,
        },
        queue::{Hour, simulate},
        replace,
        text::{Language, number},
    },
};

/// The options of `scale` with these arguments.
fn options(arguments: &[&str]) -> Options {
    let line = ["parlor", "scale"]
        .into_iter()
        .chain(arguments.iter().copied());
    match Arguments::parse_from(line).command {
        Some(Command::Scale(options)) => *options,
        other => panic!("{other:?}"),
    }
}

/// A load whose figures are easy to compute by hand: 10 messages per second in the busiest hour.
fn ten_per_second() -> (Load, Sizing) {
    let Options { load, sizing, .. } = options(&[
        "--messages-per-day=432000",
        "--peak-factor=2",
        "--seconds-per-reply=20",
        "--reply-tokens=400",
        "--reads-per-message=3",
    ]);
    (load, sizing)
}

#[track_caller]
fn assert_near(value: f64, expected: f64) {
    let difference = (value - expected).abs();
    assert!(
        difference <= expected.abs() * 1e-6,
        "{value}, not {expected}"
    );
}

#[test]
fn the_load_of_the_busiest_hour_follows_from_messages_and_peak_factor() {
    let (load, sizing) = ten_per_second();
    assert_near(load.mean_per_second(), 5.0);
    assert_near(load.peak_per_second(), 10.0);
    assert_near(load.replies_at_once(), 200.0);
    assert_near(load.tokens_per_second(), 4000.0);
    assert_near(load.requests_per_second(), 40.0);
    // A checkpoint at 1.5 s, 3 s, …, 19.5 s.
    assert_near(load.checkpoints_per_reply(), 13.0);
    assert_near(model::environments(&load, &sizing), 200.0 / 64.0);
}

#[test]
fn a_resource_is_used_in_proportion_to_the_messages() {
    let measured = Measured::read().unwrap();
    let (load, sizing) = ten_per_second();
    let used = |resource, capacity| used(resource, &load, &sizing, &measured, capacity);
    // 200 replies, and 30 reads per second of 20 ms.
    assert_near(used(Resource::Lambda, Capacity::Standard), 200.6);
    assert_near(used(Resource::Lambda, Capacity::Managed), 0.6);
    assert_near(used(Resource::Connections, Capacity::Standard), 401.2);
    assert_near(used(Resource::Connections, Capacity::Managed), 12.5 + 1.2);
    assert_near(used(Resource::ApplicationCalls, Capacity::Standard), 10.0);
    assert_near(used(Resource::AccountCalls, Capacity::Standard), 600.0);
    for resource in Resource::ALL {
        let at = messages_per_day_at_limit(resource, &load, &sizing, &measured, Capacity::Standard);
        let most = load.times(at / load.messages_per_day);
        assert_near(
            model::used(resource, &most, &sizing, &measured, Capacity::Standard),
            limit(resource, &sizing),
        );
    }
}

#[test]
fn the_first_limit_is_the_one_with_the_fewest_messages() {
    let measured = Measured::read().unwrap();
    let (load, mut sizing) = ten_per_second();
    sizing.lambda_concurrency = 20.06;
    let (resource, at) = first_limit(&load, &sizing, &measured, Capacity::Standard);
    assert_eq!(resource, Resource::Lambda);
    assert_near(at, 43_200.0);
    sizing.application_calls_per_second = 0.5;
    let (resource, at) = first_limit(&load, &sizing, &measured, Capacity::Standard);
    assert_eq!(resource, Resource::ApplicationCalls);
    assert_near(at, 21_600.0);
}

#[test]
fn each_step_of_growth_carries_more_messages_and_the_last_carries_all() {
    let measured = Measured::read().unwrap();
    let Options { load, sizing, .. } = options(&["--messages-per-day=100000000"]);
    let without = growth::without_limits_of_dashscope(&sizing);
    for sizing in [sizing, without] {
        let steps = growth::steps(&load, &sizing, &measured);
        assert!(steps.is_sorted_by(|a, b| a.messages_per_day <= b.messages_per_day));
        let (last, others) = steps.split_last().unwrap();
        assert!(last.action.is_none() && last.messages_per_day >= load.messages_per_day);
        assert!(others.iter().all(|step| step.action.is_some()));
    }
}

#[test]
fn stored_messages_stay_and_runs_are_dropped() {
    let (load, sizing) = ten_per_second();
    let of_days = |days| model::stored_gib(&load, &sizing, days);
    let kept_gib =
        load.messages_per_day * model::kept_bytes_per_message(&load, &sizing) / 1_073_741_824.0;
    assert_near(of_days(400.0) - of_days(300.0), 100.0 * kept_gib);
    assert!(of_days(100.0) > 100.0 * kept_gib);
}

#[test]
fn a_cost_is_the_amount_times_the_price() {
    let measured = Measured::read().unwrap();
    let Options { sizing, prices, .. } = options(&[]);
    let (load, _) = ten_per_second();
    let cost = cost(&load, &sizing, &measured, &prices);
    let messages_a_month = 432_000.0 * 730.0 / 24.0;
    let replies = messages_a_month * (20.0 * 0.5 * 0.000_016_666_7 + 0.2e-6);
    assert_near(cost.lambda_standard, replies);
    assert_near(cost.api, messages_a_month * 4.0 * 3.5e-6);
    // 4 environments need fewer vCPU than the three instances that AWS starts.
    assert_near(model::managed_vcpu(&load, &sizing, &measured), 6.0);
    let instances = 6.0 * 730.0 * 0.0408 * 1.15;
    assert_near(cost.lambda_managed, instances + messages_a_month * 0.2e-6);
}

#[test]
fn max_connections_are_those_of_rds() {
    assert_near(model::max_connections(32.0), 3604.0);
    assert_near(model::max_connections(512.0), 5000.0);
}

/// The probability that all of `places` are taken when `offered` would be in use without a limit
/// (Erlang B).
fn erlang_b(places: u32, offered: f64) -> f64 {
    (1..=places).fold(1.0, |blocked, n| {
        offered * blocked / (f64::from(n) + offered * blocked)
    })
}

#[test]
fn the_simulation_agrees_with_the_formula_of_erlang() {
    let outcome = simulate(&Hour {
        questions_per_second: 50.0,
        seconds_per_reply: 4.0,
        replies_at_once: 190.0,
        calls_per_second: f64::INFINITY,
        tries: 1,
    })
    .unwrap();
    let expected = erlang_b(190, 200.0);
    assert!(
        (outcome.refused - expected).abs() < 0.02,
        "{}, not {expected}",
        outcome.refused
    );
    assert_eq!(outcome.most_at_once, 190);
    assert!(outcome.wait_p99_seconds < 1e-6);
}

#[test]
fn the_simulation_refuses_what_is_above_the_calls_per_second() {
    let hour = Hour {
        questions_per_second: 100.0,
        seconds_per_reply: 1.0,
        replies_at_once: f64::INFINITY,
        calls_per_second: 50.0,
        tries: 1,
    };
    let outcome = simulate(&hour).unwrap();
    assert!((outcome.refused - 0.5).abs() < 0.03, "{outcome:?}");
    let enough = simulate(&Hour {
        calls_per_second: 200.0,
        ..hour
    })
    .unwrap();
    assert!(enough.accepted_at_once > 0.999, "{enough:?}");
}

#[test]
fn an_option_must_be_a_number_that_makes_sense() {
    for wrong in [
        "--messages-per-day=0",
        "--applications=-1",
        "--target=NaN",
        "--zones=inf",
    ] {
        Arguments::try_parse_from(["parlor", "scale", wrong]).unwrap_err();
    }
    // Too many for the simulation; everything else is computed.
    let tables = compute(&options(&[
        "--messages-per-day=1e9",
        "--reads-per-message=0",
    ]))
    .unwrap();
    let (_, queue) = tables.iter().find(|(name, _)| *name == "queue").unwrap();
    assert!(queue.plain().contains("–"), "{}", queue.plain());
}

#[test]
fn a_number_has_three_significant_digits() {
    for (value, expected) in [
        (0.0, "0"),
        (0.012_345, "0.0123"),
        (1.0, "1"),
        (57.87, "57.9"),
        (999.6, "1,000"),
        (1_157.4, "1,160"),
        (100_000_000.0, "100,000,000"),
    ] {
        assert_eq!(number(value), expected);
    }
}

#[test]
fn an_option_changes_the_tables() {
    let tables = compute(&options(&["--messages-per-day=2000"])).unwrap();
    let page = "<!-- scale load -->\n\nold\n\n<!-- end -->\nrest\n";
    let made = replace(page, Language::English, &tables).unwrap();
    let start = "<!-- scale load -->\n\n| in the busiest hour | 1× |";
    assert!(made.starts_with(start), "{made}");
    let line = "| messages a day | 2,000 | 20,000 | 200,000 |";
    assert!(made.contains(line), "{made}");
    assert!(made.ends_with("\n\n<!-- end -->\nrest\n"), "{made}");
    assert!(!made.contains("old"), "{made}");
    for wrong in [
        "<!-- scale nothing -->\n<!-- end -->\n",
        "<!-- scale load -->\n",
    ] {
        replace(wrong, Language::English, &tables).unwrap_err();
    }
}

#[test]
fn the_document_has_the_tables_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tables = compute(&options(&[])).unwrap();
    let mut wrong = Vec::new();
    for name in DOCUMENTS {
        let page = fs::read_to_string(root.join(name)).unwrap();
        for (table, _) in &tables {
            assert!(
                page.contains(&format!("<!-- scale {table} -->\n")),
                "{name} has no table {table}"
            );
        }
        if replace(&page, language(Path::new(name)), &tables).unwrap() != page {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:?} have old tables: cargo run -- scale --markdown {}",
        DOCUMENTS.join(" --markdown ")
    );
}
