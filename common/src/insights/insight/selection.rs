//! What a client asks for: all insights of a page, or one insight.

use serde_json::{Map, Value, json};

use crate::{
    governance::{apps::App, auth::Caller},
    insights::{
        access,
        apps::TargetKind,
        facts::Period,
        pages::Page,
        results::{ALL_AREAS, Target},
    },
    platform::error::{Error, Reason, Result},
};

/// Length limit of the name of an area, in characters. `prewarm` skips longer ones, too.
const MAX_AREA: usize = 64;

/// The filters of a request.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct Filters {
    /// The member or task of a page.
    pub context_id: Option<i64>,
    pub member_id: Option<i64>,
    pub task_id: Option<i64>,
    pub note_id: Option<i64>,
    pub period: Option<Period>,
    /// `None` means all areas together.
    pub area: Option<String>,
}

/// Applications and their targets, in the order in which a chain asks them.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    items: Vec<(App, Target)>,
    /// True if the client named one application.
    is_named: bool,
}

impl Selection {
    /// The insights that a page shows. Empty for pages without insights.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a filter of the page is missing or invalid.
    pub fn of_page(page: Page, filters: &Filters) -> Result<Self> {
        let id = || {
            let id = filters.context_id;
            id.ok_or(Error::invalid("contextId", Reason::Missing))
        };
        let items = match page {
            Page::BoardFinance => {
                let period = filters.period.unwrap_or(Period::ThisMonth);
                vec![
                    (App::Finance, filters.finance(period)?),
                    (App::FinanceArea, Target::Areas(period)),
                ]
            }
            Page::CustomerDetail => {
                let member = Target::Member(id()?);
                [App::Clue, App::ClueConsolidated, App::CustomerAnalysis]
                    .map(|app| (app, member.clone()))
                    .into()
            }
            Page::TaskDetail => {
                let task = Target::Task(id()?);
                [App::Analysis, App::Tactics]
                    .map(|app| (app, task.clone()))
                    .into()
            }
            Page::BoardCustomer | Page::BoardCoach | Page::CoachDetail | Page::Performance => {
                Vec::new()
            }
        };
        Ok(Self {
            items,
            is_named: false,
        })
    }

    /// One insight.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the application has no results, or if its target is missing or
    /// invalid.
    pub fn of_app(app: App, filters: &Filters) -> Result<Self> {
        let missing = |name: &'static str| Error::invalid(name, Reason::Missing);
        let member = || filters.member_id.map(Target::Member);
        let period = || filters.period.ok_or(missing("period"));
        let definition = app.definition();
        let definition = definition.ok_or(Error::invalid("app", Reason::Unknown))?;
        let target = match definition.target {
            TargetKind::PeriodAndArea => filters.finance(period()?)?,
            TargetKind::Period => Target::Areas(period()?),
            TargetKind::Note => {
                let note = filters.note_id.map(Target::Note);
                note.ok_or(missing("noteId"))?
            }
            TargetKind::MemberOrTask => match (filters.task_id, member()) {
                (Some(_), Some(_)) => {
                    return Err(Error::invalid("memberId", Reason::Exclusive("taskId")));
                }
                (Some(task), None) => Target::Task(task),
                (None, member) => member.ok_or(missing("memberId"))?,
            },
            TargetKind::Member => member().ok_or(missing("memberId"))?,
        };
        Ok(Self {
            items: vec![(app, target)],
            is_named: true,
        })
    }

    /// The items that the caller may read.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the client named an application that the caller may not read.
    pub(super) fn readable_by(&self, caller: &Caller) -> Result<Vec<(App, Target)>> {
        let may_read = |(_, target): &&(App, Target)| access::may_read(caller, target.subject());
        let items: Vec<_> = self.items.iter().filter(may_read).cloned().collect();
        if self.is_named && items.is_empty() {
            return Err(Error::Forbidden);
        }
        Ok(items)
    }
}

impl Filters {
    fn finance(&self, period: Period) -> Result<Target> {
        let area = self.area.as_deref().filter(|area| *area != ALL_AREAS);
        if area.is_some_and(str::is_empty) {
            return Err(Error::invalid("area", Reason::Empty));
        }
        if area.is_some_and(|area| area.chars().count() > MAX_AREA) {
            return Err(Error::invalid("area", Reason::TooLong(MAX_AREA)));
        }
        Ok(Target::Filter {
            period,
            area: area.map(str::to_owned),
        })
    }
}

/// The payload of a job whose chain has these targets.
pub(super) fn payload(targets: &[(App, Target)]) -> Value {
    let mut payload = Map::new();
    for (_, target) in targets {
        let members = match target {
            Target::Member(_) => json!({}),
            Target::Task(id) => json!({ "task_id": id }),
            Target::Note(id) => json!({ "note_id": id }),
            Target::Filter { period, area } => json!({
                "period": period.name(),
                "area": area.as_deref().unwrap_or(ALL_AREAS),
            }),
            Target::Areas(period) => json!({ "period": period.name() }),
        };
        if let Value::Object(members) = members {
            payload.extend(members);
        }
    }
    Value::Object(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(selection: &Selection) -> Vec<String> {
        let target = |(app, target): &(App, Target)| format!("{} {}", app.name(), target.id());
        selection.items.iter().map(target).collect()
    }

    #[test]
    fn a_page_has_its_insights_in_the_order_of_their_chain() {
        let filters = Filters {
            context_id: Some(7),
            period: Some(Period::Today),
            area: Some("包厢".to_owned()),
            ..Filters::default()
        };
        let of = |page| targets(&Selection::of_page(page, &filters).unwrap());
        assert_eq!(
            of(Page::BoardFinance),
            ["app2_finance today:包厢", "app2a_finance_area today"]
        );
        assert_eq!(
            of(Page::CustomerDetail),
            [
                "app3_clue member:7",
                "app8_clue_consolidated member:7",
                "app7_customer_analysis member:7"
            ]
        );
        assert_eq!(
            of(Page::TaskDetail),
            ["app4_analysis task:7", "app5_tactics task:7"]
        );
        assert!(of(Page::BoardCoach).is_empty());
    }

    #[test]
    fn an_app_without_its_target_is_refused_by_field() {
        let field = |app| match Selection::of_app(app, &Filters::default()) {
            Err(Error::Invalid { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(field(App::Chat), "app");
        assert_eq!(field(App::Finance), "period");
        assert_eq!(field(App::NoteAnalysis), "noteId");
        assert_eq!(field(App::Tactics), "memberId");
    }
}
