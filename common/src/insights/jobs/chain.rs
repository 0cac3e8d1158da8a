//! The applications that follow an event, their order and their targets.

use serde_json::Value;

use super::event::EventType;
use crate::{
    governance::apps::App,
    insights::{
        apps::TargetKind,
        facts::Period,
        results::{ALL_AREAS, Target},
    },
};

/// The applications that follow an event. If a chain fails, a retry continues at the failed step.
pub(super) fn of(event: EventType, payload: &Value) -> Vec<App> {
    let mut chain = match event {
        EventType::ConsumptionSettled => {
            vec![App::Clue, App::ClueConsolidated, App::CustomerAnalysis]
        }
        EventType::NoteCreated => vec![App::NoteAnalysis, App::ClueConsolidated],
        EventType::TaskAssigned => vec![App::Analysis, App::Tactics],
        // For one filter. `prewarm` queues a job for each.
        EventType::EtlFinished | EventType::Prewarm => vec![App::Finance, App::FinanceArea],
        EventType::SessionMessage => vec![App::Chat],
        // `batches` and `insight::refresh` write the chain that a person chose.
        EventType::Batch | EventType::InsightRefresh => Vec::new(),
    };
    if event == EventType::ConsumptionSettled && id(payload, "coach_id").is_some() {
        chain.extend([App::Analysis, App::Tactics]);
    }
    chain
}

/// The target of an application. `None` if the payload lacks a field; [`super::NewEvent`] prevents
/// that.
pub(super) fn target(app: App, member_id: Option<i64>, payload: &Value) -> Option<Target> {
    match app.definition()?.target {
        TargetKind::PeriodAndArea => Some(Target::Filter {
            period: period(payload)?,
            area: text(payload, "area")
                .filter(|area| *area != ALL_AREAS)
                .map(str::to_owned),
        }),
        TargetKind::Period => Some(Target::Areas(period(payload)?)),
        TargetKind::Note => id(payload, "note_id").map(Target::Note),
        TargetKind::MemberOrTask => id(payload, "task_id")
            .map(Target::Task)
            .or(member_id.map(Target::Member)),
        TargetKind::Member => member_id.map(Target::Member),
    }
}

/// A positive integer of a payload.
pub(super) fn id(payload: &Value, name: &str) -> Option<i64> {
    payload.get(name)?.as_i64().filter(|id| *id > 0)
}

fn text<'a>(payload: &'a Value, name: &str) -> Option<&'a str> {
    payload.get(name)?.as_str()
}

fn period(payload: &Value) -> Option<Period> {
    Period::parse(text(payload, "period")?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_visit_with_a_coach_adds_analysis_and_tactics() {
        let alone = of(EventType::ConsumptionSettled, &json!({ "order_id": 5 }));
        assert_eq!(
            alone,
            [App::Clue, App::ClueConsolidated, App::CustomerAnalysis]
        );
        let coached = of(EventType::ConsumptionSettled, &json!({ "coach_id": 1001 }));
        assert_eq!(coached[3..], [App::Analysis, App::Tactics]);
    }

    #[test]
    fn the_target_is_the_task_if_there_is_one_else_the_member() {
        let task = target(App::Analysis, Some(7), &json!({ "task_id": 3 }));
        assert_eq!(task, Some(Target::Task(3)));
        let visit = target(App::Analysis, Some(7), &json!({ "coach_id": 1001 }));
        assert_eq!(visit, Some(Target::Member(7)));
    }

    #[test]
    fn the_target_of_a_filter_has_a_period_and_an_area_or_all() {
        let filter = |payload| target(App::Finance, None, &payload).map(|target| target.id());
        let all = json!({ "period": "today", "area": "all" });
        assert_eq!(filter(all).as_deref(), Some("today:all"));
        let area = json!({ "period": "today", "area": "包厢" });
        assert_eq!(filter(area).as_deref(), Some("today:包厢"));
        assert_eq!(filter(json!({ "period": "tomorrow" })), None);
    }
}
