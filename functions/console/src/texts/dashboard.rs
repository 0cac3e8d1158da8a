//! Texts of the dashboard.

texts! {
    /// The dashboard.
    DashboardTexts {
        today: "Today" / "今日",
        success: "Success" / "成功率",
        unpriced: "calls without a price" / "次调用无价格",
        first_token: "First token" / "首字",
        p95: "p95" / "p95",
        last_7_days: "Last 7 days" / "近 7 天",
        last_30_days: "Last 30 days" / "近 30 天",
        day: "Day" / "日期",
        by_app: "By app, on these days" / "各应用（同期）",
        health: "Health" / "健康状况",
        last_call: "Last call" / "最近调用",
        circuit: "Circuit" / "熔断器",
        retry_at: "next call" / "下次调用",
        budget: "Budget" / "预算",
        of_day: "Day" / "当日",
        of_month: "Month" / "当月",
        forecast: "At this pace, by the end of the month" / "按当前速度，月底将达",
        cost: "Cost (¥)" / "费用（元）",
        enough: "within the limit" / "未超限额",
        too_little: "above the limit" / "将超限额",
        newest: "Newest alerts" / "最新告警",
        no_alerts: "No alerts." / "没有告警。",
        thumbs: "Feedback, 90 days" / "近 90 天反馈",
        version: "Prompt version" / "提示词版本",
        up: "Up" / "赞",
        down: "Down" / "踩",
        no_calls: "No calls yet. Ask a question in the chat." / "还没有调用，可先在对话中提问。",
    }
}
