//! The words of the API, such as statuses, in both languages.

use crate::language::Language;

/// Word, English, Chinese.
#[rustfmt::skip]
const WORDS: &[(&str, &str, &str)] = &[
    // Apps.
    ("app1_chat", "Chat", "对话"),
    ("app2_finance", "Finance", "财务洞察"),
    ("app2a_finance_area", "Finance by area", "区域财务"),
    ("app3_clue", "Consumption clues", "消费线索"),
    ("app4_analysis", "Member strategy", "会员策略"),
    ("app5_tactics", "Talking points", "沟通话术"),
    ("app6_note_analysis", "Note clues", "备注线索"),
    ("app7_customer_analysis", "Retention", "客户维系"),
    ("app8_clue_consolidated", "Merged clues", "线索汇总"),
    // Roles.
    ("viewer", "viewer", "督导"),
    ("coach", "coach", "教练"),
    ("staff", "staff", "员工"),
    ("manager", "manager", "店长"),
    ("site_admin", "site admin", "门店管理员"),
    ("admin", "platform admin", "平台管理员"),
    // Runs and jobs.
    ("running", "running", "进行中"),
    ("success", "success", "成功"),
    ("succeeded", "succeeded", "成功"),
    ("failed", "failed", "失败"),
    ("timeout", "timeout", "超时"),
    ("circuit_open", "circuit open", "熔断"),
    ("budget_exceeded", "over budget", "超出预算"),
    ("quota_exceeded", "over quota", "超出配额"),
    ("stopped", "stopped", "已停止"),
    ("pending", "pending", "待处理"),
    ("skipped_duplicate", "duplicate", "重复"),
    ("cancelled", "cancelled", "已取消"),
    // What starts a run or a job.
    ("chat", "chat", "对话"),
    ("session", "session", "会话"),
    ("event", "event", "事件"),
    ("prewarm", "prewarm", "预热"),
    ("batch", "batch", "批量"),
    ("manual", "manual", "手动"),
    ("consumption.settled", "consumption settled", "消费结算"),
    ("note.created", "note created", "新增备注"),
    ("task.assigned", "task assigned", "分配任务"),
    ("etl.finished", "facts loaded", "数据就绪"),
    ("chat.session_message", "session message", "会话消息"),
    ("insight.refresh", "insights requested", "请求洞察"),
    // How a job was requested.
    ("event_bus", "event bus", "事件总线"),
    ("admin_api", "admin API", "管理接口"),
    ("schedule", "schedule", "定时任务"),
    ("command", "command line", "命令行"),
    ("job", "another job", "其他任务"),
    // What a job waits for.
    ("budget", "budget", "预算"),
    ("circuit", "circuit", "熔断恢复"),
    ("generator", "another generation", "其他生成任务"),
    ("facts", "facts", "业务数据"),
    ("backoff", "retry delay", "重试间隔"),
    // Alerts.
    ("acknowledged", "acknowledged", "已确认"),
    ("ignored", "ignored", "已忽略"),
    // States of results, batches and prewarm.
    ("ready", "ready", "已生成"),
    ("generating", "generating", "生成中"),
    ("valid", "valid", "有效"),
    ("expired", "expired", "已过期"),
    ("invalidated", "invalidated", "已作废"),
    ("missing", "missing", "缺少"),
    ("estimated", "estimated", "已估算"),
    ("done", "done", "已完成"),
    // Periods of finance.
    ("today", "today", "今天"),
    ("yesterday", "yesterday", "昨天"),
    ("this_week", "this week", "本周"),
    ("last_week", "last week", "上周"),
    ("this_month", "this month", "本月"),
    ("last_month", "last month", "上月"),
    ("last_3_months", "last 3 months", "近 3 个月"),
    ("last_6_months", "last 6 months", "近 6 个月"),
    // Groups of usage.
    ("day", "Day", "日期"),
    ("app", "App", "应用"),
    ("user", "User", "用户"),
    ("bot", "Bot", "机器人"),
    ("model", "Model", "模型"),
    // Modes of a site.
    ("live", "live", "正常"),
    ("sandbox", "sandbox", "沙盒"),
    // Actions of the audit log.
    ("budget.set", "set the budget", "设置预算"),
    ("quota.set", "set a quota", "设置配额"),
    ("runtime_context.set", "set the runtime context", "设置运行环境"),
    ("alert.acknowledge", "acknowledged an alert", "确认告警"),
    ("alert.ignore", "ignored an alert", "忽略告警"),
    ("trigger_job.create", "created a job", "创建任务"),
    ("trigger_job.retry", "retried a job", "重试任务"),
    ("trigger_job.cancel", "cancelled a job", "取消任务"),
    ("trigger_job.run_now", "ran a job now", "立即运行任务"),
    ("trigger_jobs.retry", "retried jobs", "批量重试任务"),
    ("trigger_jobs.cancel", "cancelled jobs", "批量取消任务"),
    ("prewarm.queue", "queued the prewarm", "触发预热"),
    ("batch.estimate", "estimated a batch", "估算批量"),
    ("batch.confirm", "confirmed a batch", "确认批量"),
    ("batch.cancel", "cancelled a batch", "取消批量"),
    ("cache.invalidate", "invalidated results", "作废结果"),
    ("message.block", "blocked a message", "屏蔽消息"),
    ("message.unblock", "unblocked a message", "恢复消息"),
    ("report.resolve", "resolved a report", "处理投诉"),
    ("price.set", "set a price", "设置价格"),
    ("notification_channel.create", "created a channel", "新建通知渠道"),
    ("notification_channel.set", "changed a channel", "修改通知渠道"),
    ("notification_channel.delete", "deleted a channel", "删除通知渠道"),
    ("notification_channel.test", "tested a channel", "测试通知渠道"),
    ("run.read", "read a run", "查看调用内容"),
    ("console.sign_in", "signed in", "登录"),
    ("console.sign_out", "signed out", "退出"),
    ("run_logs.export", "exported runs", "导出调用记录"),
    ("feedback.export", "exported feedback", "导出反馈"),
    ("usage.export", "exported usage", "导出用量"),
    ("audit.export", "exported the audit log", "导出审计记录"),
    ("user_data.delete", "deleted a user's data", "删除用户数据"),
    ("user.set", "changed a user", "修改用户"),
    ("app.set", "changed an app", "修改应用"),
    ("agent.create", "created an agent", "新建智能体"),
    ("agent.set", "changed an agent", "修改智能体"),
    ("agent.delete", "deleted an agent", "删除智能体"),
    ("bot.create", "created a bot", "新建机器人"),
    ("bot.set", "changed a bot", "修改机器人"),
    ("bot.delete", "deleted a bot", "删除机器人"),
    ("openers.set", "set openers", "设置开场问题"),
    ("api_key.create", "created an API key", "新建接口密钥"),
    ("api_key.delete", "revoked an API key", "吊销接口密钥"),
    ("moderation_word.create", "added a blocked word", "新增屏蔽词"),
    ("moderation_word.delete", "deleted a blocked word", "删除屏蔽词"),
    // Circuits.
    ("closed", "closed", "正常"),
    ("open", "open", "断开"),
    ("half_open", "half open", "试探"),
    // Feedback and reports.
    ("up", "thumb up", "赞"),
    ("down", "thumb down", "踩"),
    ("inaccurate", "inaccurate", "不准确"),
    ("unhelpful", "unhelpful", "没有帮助"),
    ("unsafe", "unsafe", "不安全"),
    ("illegal", "illegal", "违法违规"),
    ("privacy", "privacy", "隐私问题"),
    ("other", "other", "其他"),
    ("message", "message", "消息"),
    ("insight", "result", "结果"),
    ("resolved", "resolved", "已处理"),
    // Users and bots.
    ("approved", "approved", "已审核"),
    ("disabled", "disabled", "已停用"),
    ("active", "active", "启用"),
    ("public", "all users", "所有用户"),
    ("granted", "chosen users", "指定用户"),
    // Channels.
    ("wecom", "WeCom", "企业微信"),
    ("dingtalk", "DingTalk", "钉钉"),
    ("feishu", "Feishu", "飞书"),
    ("webhook", "webhook", "Webhook 地址"),
    ("info", "info", "提示"),
    ("warning", "warning", "警告"),
    ("critical", "critical", "严重"),
    // Scopes of keys.
    ("jobs:write", "send events (jobs:write)", "发送事件（jobs:write）"),
    ("usage:read", "read usage (usage:read)", "读取用量（usage:read）"),
    // Pages of the mini-program.
    ("board-finance", "finance board", "财务看板"),
    ("board-customer", "member board", "会员看板"),
    ("board-coach", "coach board", "教练看板"),
    ("task-detail", "task", "任务详情"),
    ("customer-detail", "member", "会员详情"),
    ("coach-detail", "coach page", "教练详情"),
    ("performance", "performance", "业绩"),
];

/// A word in a language, or the word itself if it is in no table, such as an error code.
pub(crate) fn in_language(language: Language, word: &str) -> &str {
    let found = WORDS.iter().find(|(known, ..)| *known == word);
    match (found, language) {
        (Some((_, english, _)), Language::English) => english,
        (Some((_, _, chinese)), Language::Chinese) => chinese,
        (None, _) => word,
    }
}

#[cfg(test)]
mod tests {
    use common::{
        chat::bots,
        governance::{
            alerts,
            apps::App,
            audit::Action,
            auth::{KeyScope, Role},
            feedback::{Fault, Rating, SubjectType},
            notifications::channels::{Kind, Level},
            reports::Cause,
            runs,
            usage::GroupBy,
            users,
        },
        insights::{facts::Period, jobs, pages::Page, results},
    };

    use super::*;

    #[test]
    fn every_word_of_the_api_is_translated_once() {
        let all = [
            App::ALL.map(App::name).to_vec(),
            Role::ALL.map(Role::name).to_vec(),
            runs::Status::ALL.map(runs::Status::name).to_vec(),
            runs::Trigger::ALL.map(runs::Trigger::name).to_vec(),
            jobs::Status::ALL.map(jobs::Status::name).to_vec(),
            jobs::EventType::ALL.map(jobs::EventType::name).to_vec(),
            jobs::WaitingFor::ALL.map(jobs::WaitingFor::name).to_vec(),
            alerts::Status::ALL.map(alerts::Status::name).to_vec(),
            Action::ALL.map(Action::name).to_vec(),
            results::Status::ALL.map(results::Status::name).to_vec(),
            jobs::FilterState::ALL.map(jobs::FilterState::name).to_vec(),
            Period::ALL.map(Period::name).to_vec(),
            GroupBy::ALL.map(GroupBy::name).to_vec(),
            Rating::ALL.map(Rating::name).to_vec(),
            Fault::ALL.map(Fault::name).to_vec(),
            Cause::ALL.map(Cause::name).to_vec(),
            SubjectType::ALL.map(SubjectType::name).to_vec(),
            users::Status::ALL.map(users::Status::name).to_vec(),
            bots::Status::ALL.map(bots::Status::name).to_vec(),
            bots::Access::ALL.map(bots::Access::name).to_vec(),
            Kind::ALL.map(Kind::name).to_vec(),
            Level::ALL.map(Level::name).to_vec(),
            KeyScope::ALL.map(KeyScope::name).to_vec(),
            Page::ALL.map(Page::name).to_vec(),
        ];
        for word in all.into_iter().flatten() {
            let known = WORDS.iter().filter(|(known, ..)| *known == word).count();
            assert_eq!(known, 1, "{word}");
        }
    }
}
