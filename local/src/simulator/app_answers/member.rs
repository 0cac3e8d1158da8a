//! The facts about a member, and the result of app7.

use serde_json::{Value, json};

use super::{clues::unended, figure, list, text};

/// The facts about a member.
pub(super) struct Member<'a> {
    facts: &'a Value,
    pub name: &'a str,
    pub visits: f64,
    pub spent: f64,
}

/// State of a member, by the days since the last visit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Active,
    Cooling,
    Leaving,
    Gone,
}

impl<'a> Member<'a> {
    pub fn of(facts: &'a Value) -> Self {
        let facts = &facts["会员"];
        Self {
            facts,
            name: text(facts, "会员姓名").unwrap_or("该会员"),
            visits: figure(facts, "近90天到店次数"),
            spent: figure(facts, "近90天消费"),
        }
    }

    pub fn text(&self, label: &str) -> Option<&'a str> {
        text(self.facts, label)
    }

    pub fn figure(&self, label: &str) -> f64 {
        figure(self.facts, label)
    }

    pub fn orders(&self) -> &'a [Value] {
        list(self.facts, "消费明细")
    }

    pub fn newest_note(&self) -> Option<&'a str> {
        text(list(self.facts, "备注").first()?, "内容")
    }

    /// The favourite area.
    pub fn area(&self) -> &'a str {
        self.text("常去区域").unwrap_or("大厅")
    }

    /// The favourite time.
    pub fn time(&self) -> &'a str {
        self.text("常来时段").unwrap_or("周末")
    }

    pub fn days_since_visit(&self) -> Option<i64> {
        self.facts["距上次到店天数"].as_i64()
    }

    pub fn state(&self) -> State {
        match self.days_since_visit() {
            Some(..=7) => State::Active,
            Some(..=21) => State::Cooling,
            Some(_) => State::Leaving,
            None => State::Gone,
        }
    }

    /// The time since the last visit, in words.
    pub fn last_visit(&self) -> String {
        match self.days_since_visit() {
            Some(0) => "今天刚到店".to_owned(),
            Some(days) => format!("距上次到店{days}天"),
            None => "近90天没有到店".to_owned(),
        }
    }
}

/// The result of app7.
pub(super) fn strategies(facts: &Value) -> Value {
    let member = Member::of(facts);
    let (name, area, time) = (member.name, member.area(), member.time());
    let last_visit = member.last_visit();
    let (first, summary) = match member.state() {
        State::Active => (
            (
                "稳住到店频次",
                format!("{name}{last_visit}，约定固定的{time}到店，提前在{area}留台。"),
            ),
            "正处在活跃期，重在服务和储值",
        ),
        State::Cooling => (
            (
                "轻触达促回访",
                format!("{name}{last_visit}，由熟悉的同事发一条问候，邀请{time}来{area}打两局。"),
            ),
            "频次有所放缓，宜在两周内拉回",
        ),
        State::Leaving => (
            (
                "流失挽回",
                format!(
                    "{name}{last_visit}，本周电话了解原因，送一张{area}一小时体验券，限十四天内使用。"
                ),
            ),
            "有流失风险，需要店长关注",
        ),
        State::Gone => (
            (
                "沉睡唤醒",
                format!("{name}{last_visit}，先以活动通知的方式触达，有回应再安排专人跟进。"),
            ),
            "已经沉睡，投入不宜过多",
        ),
    };
    let balance = member.figure("储值余额");
    let second = if balance < 200.0 {
        (
            "提醒储值",
            format!("储值余额仅{balance}元，结账时介绍本月的充值活动。"),
        )
    } else {
        (
            "用好储值余额",
            format!("账上还有{balance}元，可以推荐陪练课或{area}套餐，带动到店。"),
        )
    };
    let mut strategies = vec![first, second];
    if let Some(note) = member.newest_note() {
        strategies.push((
            "照顾个人偏好",
            format!("备注提到“{}”，下次接待时照此安排。", unended(note)),
        ));
    }
    if let Some(clue) = list(&facts["线索"], "clues").first()
        && let Some(summary) = text(clue, "summary")
    {
        strategies.push((
            "跟进已有线索",
            format!("线索显示“{summary}”，回访时从这里聊起。"),
        ));
    }
    let strategies = strategies
        .into_iter()
        .map(|(title, content)| json!({ "title": title, "content": content }));
    json!({
        "strategies": strategies.collect::<Vec<_>>(),
        "summary": format!(
            "{name}（{}）近90天到店{}次、消费{}元，{summary}。",
            member.text("会员等级").unwrap_or("会员"), member.visits, member.spent,
        ),
    })
}
