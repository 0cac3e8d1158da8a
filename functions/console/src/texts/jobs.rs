//! Texts of the pages of alerts, jobs, batches, results and prewarm.

texts! {
    /// Alerts by cause.
    AlertsTexts {
        cause: "Cause" / "原因",
        count: "Times" / "次数",
        over_time: "Over time" / "趋势",
        at_most: "per interval at most" / "单个区间最多",
        first: "First" / "首次",
        last: "Last" / "最近",
        newest_run: "newest run" / "最新一次",
        acknowledge: "Acknowledge" / "确认",
        ignore: "Ignore" / "忽略",
        whole_cause: "all of this cause" / "该原因的全部",
        bounded: "Only the newest 1,000 alerts of an app are grouped." / "每个应用只统计最新的 1,000 条告警。",
        none: "There are no alerts with these filters." / "没有符合条件的告警。",
    }
}

texts! {
    /// Trigger jobs.
    JobsTexts {
        event: "Event" / "事件",
        chain: "Chain" / "步骤",
        created: "Created" / "创建",
        waits_for: "Waits for" / "等待",
        until: "until" / "至",
        forced: "does not use valid results" / "不使用已有结果",
        duplicates: "Duplicates today" / "今日重复事件",
        retry_all: "Retry all jobs of this list" / "重试列表中的全部任务",
        cancel_all: "Cancel all jobs of this list" / "取消列表中的全部任务",
        without_retried: "Jobs that already have a retry are left out. If the number differs, nothing changes and the page shows the right one." / "已有重试的任务不计入。数量不一致时不会执行，页面会显示正确的数量。",
        without_replies: "Replies to messages of sessions are left out. If the number differs, nothing changes and the page shows the right one." / "会话消息的回复不计入。数量不一致时不会执行，页面会显示正确的数量。",
        job: "Job" / "任务",
        step_done: "done" / "已完成",
        step_skipped: "skipped: the result is valid" / "已跳过：结果有效",
        step_running: "running" / "进行中",
        step_failed: "failed" / "失败",
        step_left: "not yet" / "未开始",
        step_not_run: "not run" / "未执行",
        attempts: "Tries" / "尝试次数",
        started: "Started" / "开始",
        finished: "Ended" / "结束",
        cancelling: "Ends after this step" / "本步骤后结束",
        connector: "Came by" / "来源",
        retry_of: "Retry of" / "重试自",
        duplicate_of: "Duplicate of" / "重复于",
        batch: "Batch" / "批量",
        of_batch: "Jobs of batch" / "所属批量",
        of_any_batch: "remove this filter" / "取消此筛选",
        payload: "Payload" / "事件内容",
        retry: "Retry" / "重试",
        cancel: "Cancel the job" / "取消任务",
        run_now: "Run now" / "立即运行",
        none: "There are no jobs with these filters. Events of the business system create them." / "没有符合条件的任务，任务由业务系统的事件触发。",
    }
}

texts! {
    /// Batches.
    BatchesTexts {
        new: "New batch" / "新建批量",
        apps: "Apps" / "应用",
        members: "Members" / "会员",
        paste: "Paste member numbers with anything between them. Maximum:" / "粘贴会员编号，分隔符不限。最多：",
        estimate: "Estimate" / "估算",
        progress: "Progress, in calls" / "进度（调用次数）",
        estimated_calls: "Estimated calls" / "预计调用",
        estimated_tokens: "Estimated tokens" / "预计 token",
        no_cost: "cost not known" / "费用未知",
        spent: "Tokens spent so far" / "已用 token",
        unpriced: "calls of unknown cost" / "次调用费用未知",
        done: "done" / "完成",
        failed: "failed" / "失败",
        cancelled: "cancelled" / "取消",
        left: "left" / "待执行",
        created_by: "By user" / "创建人",
        batch: "Batch" / "批量",
        budget_left: "Left in the budget for new batches" / "预算可供新批量使用",
        share: "Share of it" / "占剩余",
        expires: "Can be confirmed until" / "确认截止",
        confirm: "Confirm: make these calls" / "确认：执行这些调用",
        cancel_rest: "Cancel the rest" / "取消其余",
        drop: "Drop the estimate" / "放弃估算",
        jobs: "All jobs of this batch" / "该批量的全部任务",
        failed_jobs: "Retry the failed jobs of this batch" / "重试该批量失败的任务",
        choose_site: "Choose a site above to start a batch." / "请先在页面顶部选择门店。",
        none: "There are no batches." / "还没有批量。",
    }
}

texts! {
    /// Prewarm.
    PrewarmTexts {
        period: "Period" / "时段",
        all_areas: "All areas" / "全部区域",
        by_area: "By area" / "区域对比",
        until: "until" / "至",
        next_run: "Next run" / "下次运行",
        no_schedule: "The schedule is not a time of each day." / "计划不是每天固定时间。",
        dry_run: "Count what is missing" / "统计缺少的结果",
        run: "Generate missing results now" / "立即生成缺少的结果",
        costs: "Each missing result is one call, which costs tokens." / "每个缺少的结果调用一次应用，会消耗 token。",
        would_queue: "Would be queued" / "将生成",
        already_valid: "Already valid" / "已有效",
        under_way: "In progress" / "生成中",
        choose_site: "Choose a site above to run it." / "请先在页面顶部选择门店。",
        none: "No site has finance data of the last 31 days. Load facts to see results here." / "近 31 天没有财务数据，导入业务数据后显示。",
    }
}

texts! {
    /// Results.
    ResultsTexts {
        target: "Target" / "对象",
        score: "Score" / "评分",
        made: "Started" / "开始生成",
        expires: "Valid until" / "有效至",
        replaced: "replaced by a newer result" / "已被新结果取代",
        trigger: "Started by" / "触发方式",
        history: "History" / "历史",
        changed: "Changes since the previous result" / "与上一版的差异",
        make_anew: "Generate again" / "重新生成",
        invalidate: "Invalidate results" / "作废结果",
        of_app: "Invalidate all valid results of" / "作废该应用的全部有效结果：",
        of_member: "Invalidate the valid results about member" / "作废该会员的有效结果：",
        whole_site: "Invalidate all valid results of the site" / "作废本门店的全部有效结果",
        count: "Count the results of a member" / "统计会员的结果",
        none_valid: "There are no valid results to invalidate." / "没有可作废的有效结果。",
        choose_site: "Choose a site above to invalidate results." / "请先在页面顶部选择门店。",
        explain: "Staff no longer see invalidated results. The next request generates new ones, which costs tokens." / "作废后员工不再看到这些结果；下次请求会重新生成，并消耗 token。",
        none: "There are no results with these filters. Remove a filter, or run a job to generate results." / "没有符合条件的结果，可减少筛选条件，或运行任务生成结果。",
    }
}
