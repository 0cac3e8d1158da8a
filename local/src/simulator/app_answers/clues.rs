//! Results of app3, app6 and app8: clues about a member.

use serde_json::{Value, json};

use super::{
    list,
    member::{Member, State},
    text,
};

/// Category, words in a note that indicate it, and points for the score.
const SIGNS: [(&str, &[&str], usize); 5] = [
    ("消费意向", &["想", "感兴趣", "希望", "问了", "价格"], 3),
    (
        "流失风险",
        &["忙", "远", "没接", "没人接", "旧", "嫌", "开了一家"],
        3,
    ),
    ("偏好习惯", &["喜欢", "爱", "每次", "一般", "安静"], 2),
    ("社交关系", &["朋友", "同事", "客户", "孩子"], 2),
    ("活动机会", &["比赛", "会员日", "活动", "生日"], 1),
];

/// The result of app3.
pub(super) fn of_consumption(facts: &Value) -> Value {
    let member = Member::of(facts);
    let Member {
        name,
        visits,
        spent,
        ..
    } = member;
    if member.state() == State::Gone {
        let detail = format!(
            "{name}储值余额{}元，常去区域为{}，可作为唤醒的由头。",
            member.figure("储值余额"),
            member.area()
        );
        return json!({ "clues": [clue("流失预警", "近90天没有到店", &detail)] });
    }

    let recent = member.figure("近30天到店次数");
    let trend = match 3.0 * recent - visits {
        more if more > 1.0 => "近一个月来得更勤",
        more if more < -1.0 => "近一个月来得变少",
        _ => "频率平稳",
    };
    let mut clues = vec![
        clue(
            "到店频次",
            &format!("近90天到店{visits}次，近30天{recent}次"),
            &format!("{name}{}，{trend}。", member.last_visit()),
        ),
        clue(
            "消费能力",
            &format!(
                "近90天消费{spent}元，每次约{:.0}元",
                spent / visits.max(1.0)
            ),
            &format!(
                "近30天消费{}元，储值余额{}元，会员等级{}。",
                member.figure("近30天消费"),
                member.figure("储值余额"),
                member.text("会员等级").unwrap_or("未知")
            ),
        ),
        clue(
            "消费习惯",
            &format!("常去{}，多在{}", member.area(), member.time()),
            &habit(&member),
        ),
    ];
    let orders = member.orders();
    let coached = orders
        .iter()
        .filter(|order| order["有教练"] == true)
        .count();
    clues.push(if coached > 0 {
        let coach = member.text("负责教练").unwrap_or("教练");
        let detail = format!(
            "最近{}单里有{coached}单有教练参与，可由{coach}推荐课包。",
            orders.len()
        );
        clue("陪练需求", &format!("已上过{coached}次陪练"), &detail)
    } else {
        let detail = format!(
            "最近{}单都没有教练参与，可以邀请{name}体验一次。",
            orders.len()
        );
        clue("陪练需求", "还没有体验过陪练", &detail)
    });
    if member.state() == State::Leaving {
        let detail = format!("{name}过去90天来过{visits}次，现在停了下来，建议尽快回访。");
        clues.push(clue("流失预警", &member.last_visit(), &detail));
    }
    json!({ "clues": clues })
}

fn habit(member: &Member<'_>) -> String {
    match member.orders().first() {
        Some(order) => format!(
            "最近一单是{}在{}的{}，{}分钟、{}元。",
            text(order, "日期").unwrap_or("近日"),
            text(order, "区域").unwrap_or("店内"),
            text(order, "项目").unwrap_or("消费"),
            super::figure(order, "分钟"),
            super::figure(order, "金额"),
        ),
        None => "近期没有消费明细。".to_owned(),
    }
}

/// The result of app6. The score grows with the number of categories in the note.
pub(super) fn of_note(facts: &Value) -> Value {
    let member = Member::of(facts);
    let note = text(&facts["备注"], "内容").unwrap_or_default();
    let author = text(&facts["备注"], "记录人").unwrap_or("同事");
    let mut score = 1 + (note.chars().count() / 12).min(2);
    let mut clues = Vec::new();
    for (category, words, worth) in SIGNS {
        let sentence = note
            .split(['。', '，', '；', '\n'])
            .find(|part| words.iter().any(|word| part.contains(word)));
        if let Some(sentence) = sentence {
            score += worth;
            let detail = format!("{author}备注{}：“{}”。", member.name, unended(note));
            clues.push(clue(category, sentence.trim(), &detail));
        }
    }
    json!({ "score": score.min(10), "clues": clues })
}

/// Removes the full stop at the end, to quote the text in a sentence.
pub(super) fn unended(text: &str) -> &str {
    text.trim().trim_end_matches('。')
}

/// The result of app8: clues of the same category are merged, with all their sources.
pub(super) fn consolidated(facts: &Value) -> Value {
    let mut merged: Vec<Value> = Vec::new();
    for source in list(facts, "各来源线索") {
        let label = text(source, "来源").unwrap_or("系统");
        for given in list(source, "线索") {
            let [category, summary, detail] = ["category", "summary", "detail"]
                .map(|field| text(given, field).unwrap_or("未注明"));
            let known = merged.iter_mut().find(|one| one["category"] == category);
            if let Some(known) = known {
                add_text(&mut known["summary"], summary);
                add_text(&mut known["detail"], detail);
                add_provider(&mut known["providers"], label);
            } else {
                let mut new = clue(category, summary, detail);
                new["providers"] = json!([label]);
                merged.push(new);
            }
        }
    }
    json!({ "clues": merged })
}

fn add_text(known: &mut Value, more: &str) {
    if let Value::String(known) = known
        && !known.contains(more)
    {
        known.push('；');
        known.push_str(more);
    }
}

fn add_provider(providers: &mut Value, label: &str) {
    if let Value::Array(providers) = providers
        && !providers.iter().any(|known| known == label)
    {
        providers.push(label.into());
    }
}

fn clue(category: &str, summary: &str, detail: &str) -> Value {
    json!({ "category": category, "summary": summary, "detail": detail })
}
