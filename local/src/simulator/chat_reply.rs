//! Ordinary chat replies: Chinese text about the question. The same call gets the same reply.

use fastrand::Rng;
use sha2::{Digest, Sha256};

use super::facts::{self, Fact};
use super::question::Parts;
use super::request::{Call, User};

const OPENINGS: [&str; 4] = ["收到。", "好的，", "这个问题很实际，", "明白，"];

/// Words in a question, and the advice for them. The last entry fits any question.
const ADVICE: [(&[&str], [&str; 3]); 6] = [
    (
        &["会员", "客户", "顾客", "客人"],
        [
            "先翻一遍最近 30 天没到店的会员，挑消费稳定的几位逐一问候",
            "回访时从上次到店的细节聊起，少提促销，多问感受",
            "约定下次到店的时间，并把结果记进备注，方便同事接手",
        ],
    ),
    (
        &["营收", "收入", "财务", "业绩", "流水", "成本"],
        [
            "把收入按区域和时段拆开看，先找出变化最大的一块",
            "和上周同一天相比，而不是和昨天比，避免周末的影响",
            "若客单价下降，先检查套餐结构，再考虑调整价格",
        ],
    ),
    (
        &["预约", "排班", "教练", "排课"],
        [
            "晚上七点到十点优先留给老会员，空档再开放散客预约",
            "给每位教练留出两节之间十分钟的缓冲",
            "前一天傍晚确认次日预约，临时取消的及时补位",
        ],
    ),
    (
        &["投诉", "差评", "退款", "不满"],
        [
            "先道歉并复述对方的问题，让客人确认你听懂了",
            "当场能解决的当场解决，不能的给出明确的答复时间",
            "事后把原因写进交接班记录，避免同类问题再次发生",
        ],
    ),
    (
        &["话术", "怎么说", "怎么聊", "沟通"],
        [
            "开场先叫出称呼，提一个对方熟悉的细节",
            "中间只讲一个重点，用提问代替介绍",
            "结尾给两个可选的时间，让对方做选择题",
        ],
    ),
    (
        &[],
        [
            "先把今天必须完成的事列出来，按影响大小排序",
            "和当班同事对一下分工，谁负责、几点前完成说清楚",
            "下班前用五分钟复盘，把没做完的留给明天的第一件事",
        ],
    ),
];

/// The random numbers for the reply to a call. The seed is a hash of the call and the round.
pub(super) fn rng(call: &Call, round: u32) -> Rng {
    let mut hash = Sha256::new();
    for part in [
        &call.app_id,
        &call.prompt,
        &call.user.nickname,
        &call.user.role,
    ] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(round.to_be_bytes());
    let digest = hash.finalize();
    Rng::with_seed(
        digest
            .iter()
            .take(8)
            .fold(0, |seed, byte| seed << 8 | u64::from(*byte)),
    )
}

/// The reply of the chat app in round `round` of a session.
pub(super) fn chat(call: &Call, round: u32, rng: &mut Rng) -> String {
    let parts = Parts::of(&call.prompt);
    let question = parts.readable_question();
    let mut said = vec![
        greeting(&call.user),
        OPENINGS[rng.usize(..OPENINGS.len())].to_owned(),
        format!("你问的是“{}”。", beginning(&question, 20)),
    ];
    let figures = figures(parts.context);
    if !figures.is_empty() {
        let list: Vec<_> = figures
            .iter()
            .map(|fact| format!("{}为{}", fact.label, fact.value))
            .collect();
        said.push(format!("从当前页面看，{}。", list.join("，")));
    }
    said.push("我的建议：\n".to_owned());
    let numbered = (1..).zip(advice(&question));
    said.extend(numbered.map(|(number, advice)| format!("{number}. {advice}。\n")));
    said.push(match round {
        1 => "需要的话，我可以接着细化其中任何一条。".to_owned(),
        _ => format!("这是我们本次会话的第 {round} 轮，前面聊到的内容我都记着。"),
    });
    said.concat()
}

/// The reasoning before the reply.
pub(super) fn thought(call: &Call) -> String {
    let question = Parts::of(&call.prompt).readable_question();
    format!(
        "用户问的是“{}”，先看已有的数据，再给出可执行的建议。",
        beginning(&question, 12)
    )
}

fn greeting(user: &User) -> String {
    let role = match user.role.as_str() {
        "coach" => "教练",
        "manager" => "店长",
        "site_admin" | "admin" => "管理员",
        "staff" => "同事",
        other => other,
    };
    match (user.nickname.as_str(), role) {
        ("", "") => String::new(),
        (nickname, role) => format!("{nickname}{role}，你好！"),
    }
}

fn figures(context: &str) -> Vec<Fact> {
    let mut facts = facts::find(context);
    facts.retain(Fact::is_figure);
    facts.truncate(3);
    facts
}

fn advice(question: &str) -> &'static [&'static str; 3] {
    let fits = |(words, _): &&(&[&str], _)| {
        words.is_empty() || words.iter().any(|word| question.contains(word))
    };
    ADVICE
        .iter()
        .find(fits)
        .map_or(&ADVICE[ADVICE.len() - 1].1, |(_, advice)| advice)
}

/// The first `most` characters, with an ellipsis if there are more.
fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
