//! Texts of the pages of budgets, usage, apps, runtime context and audit.

texts! {
    /// Budgets and quotas.
    BudgetsTexts {
        budget: "Budget" / "预算",
        day: "Today" / "今日",
        month: "This month" / "本月",
        period: "Period" / "周期",
        used: "Used" / "已用",
        left: "Left" / "剩余",
        limit: "Limit" / "限额",
        share: "Share" / "占比",
        cap: "Cap" / "上限",
        cost_limit: "Cost limit (¥)" / "费用限额（元）",
        includes_reserved: "Used tokens include the reservations of running calls. The cost covers ended calls with a known price." / "已用 token 包含进行中调用的预留量；费用仅统计已结束且价格已知的调用。",
        changed_by: "Last changed by user" / "最近修改人",
        default_limits: "These are the default limits. Nobody has changed them." / "当前为默认限额，尚未修改。",
        history: "All changes" / "修改记录",
        change_budget: "Change the budget" / "修改预算",
        daily_limit: "Tokens per day" / "每日 token 限额",
        monthly_limit: "Tokens per month" / "每月 token 限额",
        daily_cost_limit: "Cost per day (¥), empty: no limit" / "每日费用限额（元），留空为不限",
        monthly_cost_limit: "Cost per month (¥), empty: no limit" / "每月费用限额（元），留空为不限",
        daily_cap: "Cap of tokens per day, empty: none" / "每日 token 上限，留空为无",
        monthly_cap: "Cap of tokens per month, empty: none" / "每月 token 上限，留空为无",
        explain_cap: "A limit cannot be above its cap. Only platform admins set caps." / "限额不能超过上限；仅平台管理员可设置上限。",
        explain_limits: "The limits apply to the next call. 0 rejects every call." / "限额从下一次调用起生效，0 表示拒绝所有调用。",
        choose_site: "These are the numbers of all sites together. Choose a site to change its budget or its quotas." / "以上为全部门店合计。请选择门店后修改预算或配额。",
        quotas: "Quotas" / "配额",
        explain_quotas: "A quota limits one user, each user of a role, or one bot. Background jobs have no quota." / "配额可限制单个用户、某角色的每个用户或单个机器人，不限制后台任务。",
        most_used: "Use of a role is that of its user who used most." / "角色的用量取该角色中用量最高的用户。",
        subject: "Quota of" / "对象",
        kind: "Type" / "类型",
        of_user: "User" / "用户",
        of_role: "Role" / "角色",
        of_bot: "Bot" / "机器人",
        find: "Find a user or bot by name or id" / "按名称或编号查找用户、机器人",
        more_users: "Only 50 users are listed. Search for others." / "仅列出 50 名用户，其余请搜索。",
        no_limit: "no limit" / "不限",
        no_quotas: "No quotas. Only the budget of the site limits calls." / "没有配额，调用仅受门店预算限制。",
        new_quota: "New quota" / "新建配额",
        empty_is_none: "An empty limit means no limit." / "留空表示不限。",
        remove: "Remove" / "移除",
        remove_sure: "Remove this quota" / "移除此配额",
    }
}

texts! {
    /// Usage.
    UsageTexts {
        successes: "Success" / "成功",
        failures: "Failed" / "失败",
        tokens_in: "Input" / "输入",
        tokens_out: "Output" / "输出",
        charged: "Charged" / "计费",
        unpriced: "Without a price" / "无价格",
        explain_unpriced: "Some calls have no known price. The cost does not include them." / "部分调用价格未知，未计入费用。",
        chart: "Charged tokens" / "计费 token",
        top: "Top 10" / "前 10 名",
        others: "Others" / "其余",
        none: "(none)" / "（无）",
        no_user: "no user (background jobs)" / "无用户（后台任务）",
        rest_in_csv: "more rows are only in the CSV." / "行仅在 CSV 中提供。",
        no_usage: "No calls in these days. Choose other dates." / "所选日期内没有调用，可更换日期。",
    }
}

texts! {
    /// Apps, and prices of models.
    AppsTexts {
        application: "Application" / "应用 ID",
        own_id: "Own id" / "自有 ID",
        fallback: "Fallback" / "备用应用",
        enabled: "Enabled" / "启用",
        disabled: "disabled" / "已停用",
        flow: "Stream of a flow" / "流程输出模式",
        thoughts: "Thoughts" / "思考过程",
        first_token: "First token (s)" / "首字超时（秒）",
        per_second: "Calls per second" / "每秒调用",
        rag_options: "rag_options (JSON)" / "rag_options（JSON）",
        circuit: "Circuit" / "熔断器",
        next_call: "next call" / "下次调用",
        last_call: "Last call" / "最近调用",
        inherited: "inherited" / "继承",
        of_all_sites: "Default of all sites" / "全部门店默认",
        own_settings: "Sites with settings of their own" / "有单独设置的门店",
        choose_site: "A change here applies to all sites without settings of their own. Choose a site to change only that site." / "此处修改对所有未单独设置的门店生效；如只修改一家门店，请先选择门店。",
        new_id: "New application id, empty: unchanged" / "新的应用 ID，留空不变",
        new_fallback: "New fallback id, empty: unchanged" / "新的备用应用 ID，留空不变",
        remove_id: "Remove the own id" / "移除自有 ID",
        remove_fallback: "Remove the fallback" / "移除备用应用",
        explain: "Only the last 4 characters of an application id are shown." / "应用 ID 仅显示末 4 位。",
        explain_empty: "Empty settings are inherited. A change applies to the next call." / "留空的设置沿用上级；修改从下一次调用起生效。",
        history: "All changes" / "修改记录",
        to_prices: "Prices of models" / "模型价格",
        model: "Model" / "模型",
        valid_from: "Valid from" / "生效日期",
        up_to: "Up to input tokens" / "输入 token 上限",
        any: "any" / "不限",
        input_price: "Input, ¥ per million" / "输入（元/百万 token）",
        output_price: "Output, ¥ per million" / "输出（元/百万 token）",
        explain_prices: "A price applies to runs that end after the change and began on its first day or later. Costs of ended runs do not change." / "价格适用于生效日期及之后开始、且在修改后结束的调用；已结束调用的费用不变。",
        explain_tiers: "Tiers ascend by input tokens. Only the last tier has no upper bound." / "各档按输入 token 递增，仅最后一档不设上限。",
        no_prices: "No prices. Calls have no cost until a price is set." / "暂无价格，设置前调用不计费用。",
        new_price: "New price" / "新建价格",
        remove: "Remove" / "移除",
        remove_sure: "Remove this price" / "移除此价格",
    }
}

texts! {
    /// The runtime context.
    ContextTexts {
        mode: "Mode" / "模式",
        date: "Business date" / "营业日期",
        changed: "Last change" / "最近修改",
        by_user: "by user" / "修改人",
        explain: "In the sandbox, the business date of a site is fixed, and staff see data of that day. Budgets and usage keep counting on calendar days." / "沙盒模式下门店的营业日期固定，员工看到该日的数据；预算与用量仍按自然日统计。",
        effect: "The change applies immediately to all users of the site." / "修改立即对该门店所有用户生效。",
        history: "All changes" / "修改记录",
    }
}

texts! {
    /// The audit log.
    AuditTexts {
        action: "Action" / "操作",
        object: "Object" / "对象",
        details: "Changes" / "内容",
        key: "machine key" / "机器密钥",
        for_all: "all sites" / "全部门店",
        more: "The CSV has all of it." / "完整内容见 CSV。",
    }
}
