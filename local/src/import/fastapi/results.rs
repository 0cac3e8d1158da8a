//! Results of the apps.

use common::{
    governance::apps::App,
    insights::{
        apps::{self, Definition, TargetKind, Validity},
        facts::Period,
        results::{ALL_AREAS, Target},
    },
};
use serde_json::{Map, Value, json};

use super::super::{
    Import, Kind, Numbers,
    plain::Plain,
    row::{Issue, Row},
    users::Users,
};
use crate::command::AnyError;

const RESULT: Kind = Kind {
    name: "result",
    count: "select count(*) as rows, count(distinct id) as ids,
                   max(case when id::text ~ '^[0-9]{1,18}$' then id::text::bigint end) as highest from ai_cache",
    numbers: Some(Numbers {
        table: "biz.ai_cache",
        taken: "select id from biz.ai_cache where id = any($1)",
    }),
};

/// Length limit of a target, in characters.
const MAX_TARGET: usize = 200;

pub(super) async fn import(import: &mut Import) -> Result<(), AnyError> {
    import
        .plain(Plain {
            kind: &RESULT,
            select: include_str!("results.sql"),
            convert,
            writes: &[include_str!("results/insert.sql")],
        })
        .await
}

fn convert(row: &mut Row, users: &Users) -> Result<Map<String, Value>, Issue> {
    let site_id = users.site(row.required_integer("site_id")?)?;
    let word = row.text("cache_type").unwrap_or_default();
    let app = App::parse(&word).ok_or_else(|| Issue::with("unknown cache_type", &word))?;
    let definition = app.definition().ok_or("the chat has no results")?;
    let target = row.text("target_id").unwrap_or_default();
    let target = parse_target(definition, &target)
        .ok_or_else(|| Issue::with("unknown target_id", &target))?;
    let result = row.json("result_json").ok_or("it has no result")?;
    let mut status = row.word(
        "status",
        status,
        "expired",
        "unknown status: stored as expired",
    );
    if row.text("status").is_none() {
        status = "valid";
    }
    if status == "valid" && apps::check(app, &result.to_string()).is_err() {
        row.change("the result has not the form of its app: stored as expired");
        status = "expired";
    }
    if status == "valid" && !row.flag("is_newest") {
        status = "expired";
    }
    let values = json!({
        "site_id": site_id,
        "cache_type": app.name(),
        "target_id": target.id(),
        "member_id": match target {
            Target::Member(id) => Some(id),
            _ => None,
        },
        "status": status,
        "result_json": result,
        "score": row.integer("score").filter(|score| (1..=10).contains(score)),
        "triggered_by": row.text("triggered_by").unwrap_or_else(|| "event".to_owned()),
        "valid_days": match definition.validity {
            Validity::Day => 0,
            Validity::Days(days) => days,
        },
        "created_at": row.required_time("created_at")?,
        "expires_at": row.time("expires_at"),
    });
    Ok(values.as_object().cloned().unwrap_or_default())
}

fn status(word: &str) -> Option<&'static str> {
    let words = ["valid", "expired", "invalidated"];
    words.into_iter().find(|known| *known == word)
}

/// The earlier id was the bare number, or a period with or without an area.
fn parse_target(definition: &Definition, text: &str) -> Option<Target> {
    let number = || text.parse().ok().filter(|id| *id > 0);
    if text.chars().count() > MAX_TARGET {
        return None;
    }
    match definition.target {
        TargetKind::Member | TargetKind::MemberOrTask => number().map(Target::Member),
        TargetKind::Note => number().map(Target::Note),
        TargetKind::Period => Period::parse(text).map(Target::Areas),
        TargetKind::PeriodAndArea => {
            let (period, area) = text.split_once(':').unwrap_or((text, ALL_AREAS));
            let period = Period::parse(period)?;
            let area = Some(area.to_owned()).filter(|area| area != ALL_AREAS);
            (area.as_deref() != Some("")).then_some(Target::Filter { period, area })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(app: App, text: &str) -> Option<String> {
        parse_target(app.definition().unwrap(), text).map(|target| target.id())
    }

    #[test]
    fn bare_ids_become_targets_of_their_app() {
        let found = |app, text| target(app, text).unwrap();
        assert_eq!(found(App::Clue, "10001"), "member:10001");
        assert_eq!(found(App::Analysis, "10001"), "member:10001");
        assert_eq!(found(App::NoteAnalysis, "7"), "note:7");
        assert_eq!(found(App::FinanceArea, "today"), "today");
        assert_eq!(found(App::Finance, "today"), "today:all");
        assert_eq!(found(App::Finance, "today:包厢"), "today:包厢");
        for text in ["", "0", "member:7", "someday"] {
            assert_eq!(target(App::Clue, text), None, "{text}");
            assert_eq!(target(App::Finance, text), None, "{text}");
        }
    }
}
