//! Results of app4 and app5: analysis and tactics for a coach.

use serde_json::{Value, json};

use super::{
    list,
    member::{Member, State},
    text,
};

/// The result of app4.
pub(super) fn analysis(facts: &Value) -> Value {
    let member = Member::of(facts);
    let (name, last_visit) = (member.name, member.last_visit());
    let (task, coach) = (&facts["任务"], text(&facts["教练"], "教练"));
    let coach = coach.or(text(task, "教练")).or(member.text("负责教练"));
    let coach = coach.unwrap_or("负责同事");
    let purpose = match member.state() {
        State::Active => "巩固到店习惯",
        State::Cooling => "邀请本周到店",
        State::Leaving | State::Gone => "了解没有到店的原因",
    };
    let (description, until) = match text(task, "任务") {
        Some(title) => (
            format!(
                "{coach}跟进“{title}”：{}",
                text(task, "说明").unwrap_or(title)
            ),
            text(task, "截止日期").unwrap_or("本周末"),
        ),
        None => (format!("{coach}回访{name}，{purpose}"), "本周末"),
    };
    let mut suggestions = vec![
        format!("联系{name}，{last_visit}，{purpose}（{until}截止）"),
        format!(
            "推荐{}的{}，近90天已到店{}次",
            member.time(),
            member.area(),
            member.visits
        ),
    ];
    if let Some(summary) = list(&facts["最新线索"], "clues")
        .first()
        .and_then(|clue| text(clue, "summary"))
    {
        suggestions.push(format!("从线索“{summary}”切入，少谈促销"));
    }
    suggestions.push("把沟通结果写进备注，便于同事接手".to_owned());
    json!({
        "task_description": description,
        "action_suggestions": suggestions,
        "one_line_summary": format!("{name}近90天消费{}元，{last_visit}，{purpose}", member.spent),
    })
}

/// The result of app5.
pub(super) fn tactics(facts: &Value) -> Value {
    let member = Member::of(facts);
    let (name, area, time) = (member.name, member.area(), member.time());
    let greeting = match member.state() {
        State::Active => format!("{name}，上次在{area}打得怎么样？最近手感看着越来越好了。"),
        State::Cooling => format!("{name}，有些日子没见了，{area}给您留着老位置。"),
        State::Leaving | State::Gone => {
            format!("{name}，好久不见，最近是不是比较忙？一直惦记着您。")
        }
    };
    let mut tactics = vec![
        ("微信问候", greeting),
        (
            "邀约到店",
            format!("{name}，{time}给您在{area}留一张台，七点还是八点方便？"),
        ),
    ];
    let balance = member.figure("储值余额");
    if balance < 200.0 {
        tactics.push((
            "提醒余额",
            format!("{name}，您卡里还有{balance}元，这个月充值有活动，要不要我发您看看？"),
        ));
    }
    if let Some(summary) = text(&facts["分析结果"], "one_line_summary") {
        tactics.push((
            "电话回访",
            format!(
                "{name}您好，我是店里的{}，想听听您的意见。（要点：{summary}）",
                member.text("负责教练").unwrap_or("教练")
            ),
        ));
    }
    let tactics = tactics
        .into_iter()
        .map(|(scenario, script)| json!({ "scenario": scenario, "script": script }));
    json!({ "tactics": tactics.collect::<Vec<_>>() })
}
