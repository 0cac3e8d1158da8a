//! A task of a coach.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::found;
use crate::platform::{db::Db, error::Result};

/// One task of a coach.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct TaskFacts {
    #[serde(rename(serialize = "任务"))]
    title: String,
    #[serde(rename(serialize = "说明"))]
    detail: String,
    #[serde(rename(serialize = "教练"))]
    coach: String,
    #[serde(rename(serialize = "状态"))]
    status: String,
    #[serde(rename(serialize = "派发日期"))]
    assigned_on: NaiveDate,
    #[serde(rename(serialize = "截止日期"))]
    due_on: NaiveDate,
    #[serde(rename(serialize = "完成日期"))]
    done_on: Option<NaiveDate>,
    /// The coach who has the task.
    #[serde(skip_serializing)]
    pub coach_id: i64,
    /// The member of the task, if it has one.
    #[serde(skip_serializing)]
    pub member_id: Option<i64>,
}

/// Reads a task of a site.
///
/// # Errors
/// [`crate::Error::NotFound`] if the site has no such task.
pub async fn task(db: &Db, site_id: i64, task_id: i64) -> Result<TaskFacts> {
    let facts = sqlx::query_scalar!(
        r#"
        select jsonb_build_object(
            'title', title, 'detail', detail, 'coach', coach_name, 'coach_id', coach_id, 'member_id', member_id,
            'status', case status when 'done' then '已完成' else '未完成' end,
            'assigned_on', assigned_on, 'due_on', due_on, 'done_on', done_on) as "facts!: Json<TaskFacts>"
        from dws.coach_task
        where site_id = $1 and task_id = $2
        "#,
        site_id,
        task_id,
    );
    found(facts.fetch_optional(db)).await
}
