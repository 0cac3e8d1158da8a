//! Results of app2 and app2a: insights into the finance of a site.

use serde_json::{Value, json};

use super::{figure, list, text};
use crate::simulator::facts::Fact;

/// The result of app2: insights into one period.
pub(super) fn insights(facts: &Value) -> Value {
    let finance = &facts["财务"];
    let (now, before) = (&finance["合计"], &finance["上一周期"]);
    let period = text(facts, "周期").unwrap_or("本期");
    let area = text(facts, "区域").unwrap_or("全部区域");
    let (revenue, orders) = (figure(now, "营收"), figure(now, "订单数"));
    if revenue <= 0.0 {
        let insight = (
            format!("{period}{area}暂无营收"),
            "请核对数据是否已经同步，再看变化。".to_owned(),
        );
        return numbered([insight]);
    }

    let change = change(revenue, figure(before, "营收"));
    let mut insights = vec![(
        format!("{period}{area}营收{revenue}元，{change}"),
        format!(
            "{}至{}共{orders}单，客单价约{:.0}元；上一周期营收{}元、{}单。",
            text(finance, "起始日期").unwrap_or("期初"),
            text(finance, "截止日期").unwrap_or("期末"),
            revenue / orders.max(1.0),
            figure(before, "营收"),
            figure(before, "订单数"),
        ),
    )];
    let areas = ranked(finance);
    if let [best, _, ..] = areas[..] {
        let name = text(best, "区域").unwrap_or("该区域");
        let taken = figure(best, "营收");
        insights.push((
            format!("{name}是最强区域，占营收{:.1}%", 100.0 * taken / revenue),
            format!(
                "{name}营收{taken}元，{}，高峰时段优先保证{name}的人手。",
                self::change(taken, figure(best, "上一周期营收"))
            ),
        ));
    }
    let days = list(finance, "每日");
    let best = days
        .iter()
        .max_by(|a, b| figure(a, "营收").total_cmp(&figure(b, "营收")));
    if let (Some(day), true) = (best, days.len() > 1) {
        let (weekday, date) = (
            text(day, "星期").unwrap_or("当日"),
            text(day, "日期").unwrap_or("期间"),
        );
        insights.push((
            format!("{weekday}（{date}）生意最好"),
            format!(
                "当天营收{}元、{}单，可以把活动放到其余的日子来拉平客流。",
                figure(day, "营收"),
                figure(day, "订单数")
            ),
        ));
    }
    insights.push((
        format!(
            "会员订单占{:.1}%，新增会员{}人",
            100.0 * figure(now, "会员订单数") / orders.max(1.0),
            figure(now, "新增会员")
        ),
        format!(
            "储值充值{}元，上一周期{}元；散客结账时可以多介绍一句储值优惠。",
            figure(now, "储值充值"),
            figure(before, "储值充值")
        ),
    ));
    numbered(insights)
}

/// The result of app2a: a comparison of the areas.
pub(super) fn areas(facts: &Value) -> Value {
    let areas = ranked(&facts["财务"]);
    let period = text(facts, "周期").unwrap_or("本期");
    let total: f64 = areas.iter().map(|area| figure(area, "营收")).sum();
    let each = areas.iter().zip(1..).map(|(area, place)| {
        let name = text(area, "区域").unwrap_or("该区域");
        let (revenue, before) = (figure(area, "营收"), figure(area, "上一周期营收"));
        let advice = if revenue >= before {
            "保持现有的排台和服务"
        } else {
            "建议检查空台时段，配合教练课或套餐引流"
        };
        (
            format!(
                "第{place}名{name}：营收{revenue}元，{}",
                change(revenue, before)
            ),
            format!(
                "{period}{name}占全店{:.1}%，{}单，上一周期营收{before}元；{advice}。",
                100.0 * revenue / total.max(1.0),
                figure(area, "订单数"),
            ),
        )
    });
    let mut insights: Vec<_> = each.collect();
    if insights.is_empty() {
        insights.push((
            format!("{period}各区域暂无数据"),
            "没有可以比较的区域，请核对数据是否已经同步。".to_owned(),
        ));
    }
    numbered(insights)
}

/// The result of app2 for a prompt without the usual labels: insights into any figures in it.
pub(super) fn figures(facts: &[Fact]) -> Value {
    let figures = facts.iter().filter(|fact| fact.is_figure()).take(5);
    let texts = figures.map(|Fact { label, value }| {
        (
            format!("{label}：{value}"),
            format!("本期{label}为{value}，建议与上期对比，留意变化的原因。"),
        )
    });
    let mut insights: Vec<_> = texts.collect();
    if insights.is_empty() {
        insights.push((
            "本期数据不足".to_owned(),
            "暂无可比数据，建议核对录入。".to_owned(),
        ));
    }
    numbered(insights)
}

/// The areas, highest revenue first.
fn ranked(finance: &Value) -> Vec<&Value> {
    let mut areas: Vec<_> = list(finance, "各区域").iter().collect();
    areas.sort_by(|a, b| figure(b, "营收").total_cmp(&figure(a, "营收")));
    areas
}

fn change(now: f64, before: f64) -> String {
    if before <= 0.0 {
        return "上一周期无可比数据".to_owned();
    }
    let percent = 100.0 * (now - before) / before;
    match percent {
        percent if percent >= 0.05 => format!("较上一周期上升{percent:.1}%"),
        percent if percent <= -0.05 => format!("较上一周期下降{:.1}%", percent.abs()),
        _ => "与上一周期持平".to_owned(),
    }
}

fn numbered(texts: impl IntoIterator<Item = (String, String)>) -> Value {
    let insights = texts.into_iter().zip(1..);
    let insights =
        insights.map(|((title, body), seq)| json!({ "seq": seq, "title": title, "body": body }));
    json!({ "insights": insights.collect::<Vec<_>>() })
}
