//! Texts of the frame of all pages, of the sign-in page and of errors.

texts! {
    /// The frame, and words that several pages need.
    CommonTexts {
        product: "Parlor console" / "Parlor 控制台",
        skip: "Skip to content" / "跳到正文",
        dashboard: "Dashboard" / "总览",
        runs: "Runs" / "调用记录",
        alerts: "Alerts" / "告警",
        jobs: "Jobs" / "任务",
        batches: "Batches" / "批量",
        results: "Results" / "结果",
        prewarm: "Prewarm" / "预热",
        budgets: "Budgets & quotas" / "预算与配额",
        usage: "Usage" / "用量",
        feedback: "Feedback" / "反馈",
        reports: "Reports" / "投诉",
        apps: "Apps" / "应用",
        prices: "Prices" / "价格",
        runtime_context: "Runtime context" / "运行环境",
        bots: "Bots" / "机器人",
        users: "Users" / "用户",
        channels: "Channels" / "通知渠道",
        api_keys: "API keys" / "接口密钥",
        audit: "Audit" / "审计",
        chat: "Chat" / "对话",
        all: "all" / "全部",
        all_sites: "All sites" / "全部门店",
        site: "Site" / "门店",
        choose: "Choose" / "选择",
        sign_out: "Sign out" / "退出",
        sandbox: "In the sandbox" / "沙盒模式",
        sandbox_date: "business date" / "营业日期",
        times_in: "Times are in" / "时间均为",
        refreshes: "Refreshes every 10 s" / "每 10 秒刷新",
        pause: "Pause" / "暂停",
        resume: "Resume" / "继续",
        copy: "Copy" / "复制",
        copied: "Copied" / "已复制",
        filter: "Filter" / "筛选",
        csv: "Download as CSV" / "下载 CSV",
        from: "From" / "从",
        to: "To" / "至",
        app: "App" / "应用",
        status: "Status" / "状态",
        user: "User" / "用户",
        member: "Member" / "会员",
        bot: "Bot" / "机器人",
        time: "Time" / "时间",
        id: "ID" / "编号",
        tokens: "Tokens" / "Token 数",
        cost: "Cost" / "费用",
        latency: "Latency" / "耗时",
        calls: "Calls" / "调用",
        total: "Total" / "共",
        sum: "Total" / "合计",
        comma: ", " / "、",
        read_only: "You may read, not change. Texts of users, prompts and error messages are hidden." / "只读账号：不能修改，且看不到用户内容、提示词和错误信息。",
        at_least: "at least" / "至少",
        next_page: "Next page" / "下一页",
        first_page: "First page" / "第一页",
        nothing: "Nothing matches. Remove a filter to see more." / "没有符合条件的内容，可减少筛选条件。",
        hidden: "Hidden for viewers" / "督导不可见",
        cancel: "Cancel" / "取消",
        save: "Save" / "保存",
        create: "Create" / "新建",
        change: "Change" / "修改",
        delete: "Delete" / "删除",
        none: "none" / "无",
        yes: "yes" / "是",
        no: "no" / "否",
        details: "Details" / "详情",
        help: "Keys: / goes to the filters, ? shows this help, Esc closes it." / "快捷键：/ 跳到筛选，? 显示帮助，Esc 关闭。",
    }
}

texts! {
    /// The sign-in page.
    SignInTexts {
        title: "Sign in" / "登录",
        token: "Token" / "令牌",
        explain: "Paste a token that your business system signed." / "请粘贴业务系统签发的令牌。",
        submit: "Sign in" / "登录",
        refused: "The token is not valid, or it has expired." / "令牌无效或已过期。",
        signed_in: "You are signed in." / "已登录。",
        go_on: "Continue" / "继续",
    }
}

texts! {
    /// Error pages.
    ErrorTexts {
        title: "That did not work" / "操作未完成",
        code: "Code" / "错误码",
        to_dashboard: "To the dashboard" / "返回总览",
        back: "Go back with your browser to change the form." / "请用浏览器返回上一页修改表单。",
    }
}
