//! Insights as the API shows them.

use chrono::{DateTime, Utc};
use common::{
    insights::{
        insight::{Insight, State},
        results::{Target, TargetView},
    },
    web::GivenRating,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Insights of a page, or one insight.
#[derive(Serialize, ToSchema)]
pub(crate) struct InsightList {
    pub items: Vec<InsightItem>,
}

impl From<Vec<Insight>> for InsightList {
    fn from(insights: Vec<Insight>) -> Self {
        Self {
            items: insights.into_iter().map(InsightItem::from).collect(),
        }
    }
}

/// An insight.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InsightItem {
    /// Null if there is no result to show.
    #[schema(required)]
    id: Option<i64>,
    /// Name of the app, such as `app2_finance`.
    app: &'static str,
    /// Name of the app for users, in Chinese.
    title: &'static str,
    target: InsightTarget,
    /// `ready`, `generating`, `missing`, `disabled` or `failed`.
    state: &'static str,
    /// True if a newer result is being generated or has replaced this one.
    stale: bool,
    /// The JSON of the app.
    #[schema(required, value_type = Option<Object>)]
    result: Option<Value>,
    /// From 1 to 10. Null if the app does not score.
    #[schema(required)]
    score: Option<i32>,
    /// When its generation started.
    #[schema(required)]
    generated_at: Option<DateTime<Utc>>,
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    #[schema(required)]
    prompt_version: Option<String>,
    /// Always true.
    ai_generated: bool,
    /// The caller's feedback on the result.
    #[schema(required)]
    feedback: Option<GivenRating>,
    /// A sentence for the user, if the state is `failed` or `disabled`.
    #[schema(required)]
    detail: Option<&'static str>,
}

impl From<Insight> for InsightItem {
    fn from(insight: Insight) -> Self {
        Self {
            id: insight.id,
            app: insight.app.name(),
            title: insight.app.title(),
            target: InsightTarget::from(&insight.target),
            state: insight.state.name(),
            stale: insight.stale,
            result: insight.result,
            score: insight.score,
            generated_at: insight.generated_at,
            expires_at: insight.expires_at,
            prompt_version: insight.prompt_version,
            ai_generated: true,
            feedback: insight.rating.map(|rating| GivenRating { rating }),
            detail: detail(insight.state),
        }
    }
}

const fn detail(state: State) -> Option<&'static str> {
    match state {
        State::Failed => Some("上次生成失败，请重新生成"),
        State::Disabled => Some("该分析尚未启用"),
        State::Ready | State::Generating | State::Missing => None,
    }
}

/// What an insight is about.
#[derive(Serialize, ToSchema)]
pub(crate) struct InsightTarget {
    /// `member`, `task`, `note` or `finance`.
    r#type: &'static str,
    /// Id of the member, task or note. Null for finance.
    #[schema(required)]
    id: Option<i64>,
    /// Period of finance.
    #[schema(required)]
    period: Option<&'static str>,
    /// Area of finance, or `all`. Null for the comparison of areas.
    #[schema(required)]
    area: Option<String>,
}

impl From<&Target> for InsightTarget {
    fn from(target: &Target) -> Self {
        let TargetView {
            kind,
            id,
            period,
            area,
        } = target.into();
        Self {
            r#type: kind,
            id,
            period,
            area,
        }
    }
}
