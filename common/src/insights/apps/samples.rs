//! Small, realistic facts, in the form in which the database returns them.

use chrono::{TimeZone as _, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Reference;
use crate::insights::facts::{CoachFacts, FinanceFacts, MemberFacts, NoteFacts, TaskFacts};

fn facts<T: DeserializeOwned>(row: Value) -> T {
    serde_json::from_value(row).unwrap()
}

/// Finance of one area, or of both.
pub(super) fn finance(both: bool) -> FinanceFacts {
    let hall = json!({ "name": "大厅", "revenue": 8200.5, "orders": 96, "revenue_before": 7600.0 });
    let room = json!({ "name": "包厢", "revenue": 5100.0, "orders": 31, "revenue_before": 5600.0 });
    let areas = if both { vec![room, hall] } else { vec![hall] };
    let total = json!({
        "revenue": 8200.5, "orders": 96, "member_orders": 40, "table_hours": 210.5,
        "new_members": 3, "recharged": 2000.0,
    });
    let mut before = total.clone();
    before["revenue"] = json!(7600.0);
    facts(json!({
        "site": "星空台球·旗舰店", "first_day": "2026-06-01", "last_day": "2026-06-02",
        "total": total, "before": before, "areas": areas,
        "daily": [
            { "date": "2026-06-01", "weekday": "周一", "revenue": 3800.0, "orders": 45 },
            { "date": "2026-06-02", "weekday": "周二", "revenue": 4400.5, "orders": 51 },
        ],
    }))
}

/// A member with this number of orders, newest first.
pub(super) fn member(orders: usize) -> MemberFacts {
    let orders = (0..orders).map(|index| {
        json!({ "day": "2026-05-30", "area": "斯诺克区", "item": format!("台费{index}"), "minutes": 120,
                "amount": 136.0, "coached": false })
    });
    facts(json!({
        "name": "李思远", "level": "金卡", "joined_on": "2025-03-08", "birthday": "06-18", "balance": 320.5,
        "favourite_area": "斯诺克区", "favourite_time": "工作日晚上", "coach": "阿杰", "days_since_visit": 3,
        "visits_30d": 5, "spent_30d": 680.0, "visits_90d": 14, "spent_90d": 1904.0,
        "orders": orders.collect::<Vec<_>>(),
        "notes": [{ "day": "2026-05-20", "author": "阿杰", "content": "喜欢安静的台子，爱喝乌龙茶。" }],
    }))
}

pub(super) fn coach() -> CoachFacts {
    let results = json!({ "lessons": 12, "hours": 18.5, "revenue": 4200.0, "days_worked": 9 });
    facts(json!({
        "name": "阿杰", "first_day": "2026-06-01", "last_day": "2026-06-02", "now": results, "before": results,
        "members": 46, "open_tasks": 3, "late_tasks": 1, "done_tasks": 5,
    }))
}

pub(super) fn task() -> TaskFacts {
    facts(json!({
        "title": "提醒余额", "detail": "李思远的储值卡余额不多了。", "coach": "阿杰", "status": "未完成",
        "assigned_on": "2026-06-01", "due_on": "2026-06-08", "done_on": null, "coach_id": 1001, "member_id": 10_001,
    }))
}

pub(super) fn note(content: &str) -> NoteFacts {
    facts(json!({ "day": "2026-06-01", "author": "阿杰", "content": content, "member_id": 10_001 }))
}

pub(super) fn clues() -> Value {
    json!({ "clues": [
        { "category": "到店频次", "summary": "近90天到店14次", "detail": "多在工作日晚上。" },
    ] })
}

/// References with texts of this number of characters, newest first.
pub(super) fn references(characters: usize) -> Vec<Reference> {
    let names = ["新", "旧", "更旧"];
    let days = (0..3).map(|days| Utc.with_ymd_and_hms(2026, 6, 2 - days.min(1), 8, 30 - days, 0));
    std::iter::zip(names, days)
        .map(|(name, created_at)| Reference {
            created_at: created_at.unwrap(),
            result: json!({ "insights": [{ "seq": 1, "title": name.repeat(characters), "body": "" }] }),
        })
        .collect()
}
