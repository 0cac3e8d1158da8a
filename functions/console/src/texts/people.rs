//! Texts of the pages of feedback, reports, bots, users, channels and keys.

texts! {
    /// Feedback.
    FeedbackTexts {
        rating: "Rating" / "评价",
        version: "Prompt version" / "提示词版本",
        question: "Question" / "提问",
        answer: "Answer" / "回答",
        reasons: "Reasons" / "原因",
        comment: "Comment" / "评论",
        run: "Run" / "调用",
        deleted: "The text was deleted." / "内容已删除。",
        empty: "No feedback matches. Users rate answers in the chat and results in the mini-program." / "没有符合条件的反馈。用户在对话中评价回答，在小程序中评价结果。",
    }
}

texts! {
    /// Reports.
    ReportsTexts {
        state: "State" / "状态",
        open: "open" / "待处理",
        resolved: "resolved" / "已处理",
        due: "Due" / "截止",
        overdue: "overdue" / "已逾期",
        reported: "Reported" / "投诉时间",
        remark: "Text of the report" / "投诉说明",
        content: "Reported text" / "被投诉内容",
        answer: "Answer" / "答复",
        answered: "Answered" / "答复时间",
        deleted: "The text was deleted." / "内容已删除。",
        resolve: "Resolve" / "处理",
        answer_to_user: "Answer, which the user reads" / "答复内容（用户可见）",
        block_too: "Also block the message" / "同时屏蔽该消息",
        blocking: "Block or unblock the message" / "屏蔽或恢复消息",
        blocked_means: "A blocked message is hidden from users, and no prompt contains it." / "屏蔽后用户看不到该消息，后续提示词也不再包含它。",
        block: "Block" / "屏蔽",
        unblock: "Unblock" / "恢复",
        empty: "No reports here. Users report answers in the chat." / "没有投诉。用户可在对话中投诉回答。",
    }
}

texts! {
    /// Users.
    UsersTexts {
        name: "Name" / "昵称",
        role: "Role" / "角色",
        has_openid: "WeChat openid" / "微信 openid",
        awaiting: "awaiting approval" / "待审核",
        delete_data: "Delete the data of this user" / "删除该用户的数据",
        delete_means: "Conversations, feedback, prompts and answers are deleted in the background. The user is disabled until then. This cannot be undone." / "会话、反馈、提示词和回答将在后台删除，期间该用户被停用。此操作不可撤销。",
        keep_disabled: "Keep the user disabled afterwards" / "删除后保持停用",
        delete_button: "Delete the data" / "删除数据",
        yourself: "You cannot change yourself." / "不能修改自己。",
        of_platform: "Platform admins are not changed here." / "平台管理员不在此处修改。",
        explain: "Your business system creates users. A change applies within 30 seconds." / "用户由业务系统创建。修改在 30 秒内生效。",
        empty: "No users. Your business system creates them." / "没有用户。用户由业务系统创建。",
    }
}

texts! {
    /// Channels of notifications.
    ChannelsTexts {
        kind: "Service" / "类型",
        name: "Name" / "名称",
        address: "Address" / "地址",
        secret: "Signing secret" / "签名密钥",
        level: "From level" / "最低级别",
        hourly_cap: "Most per hour" / "每小时上限",
        muted: "Muted until" / "静音至",
        mute: "Mute" / "静音",
        not_muted: "not muted" / "不静音",
        unchanged: "unchanged" / "保持不变",
        hours: "h" / "小时",
        enabled: "Enabled" / "启用",
        last_delivery: "Last delivery" / "最近投递",
        delivered: "delivered" / "已送达",
        failed: "failed" / "失败",
        never: "none yet" / "尚无",
        no_address: "no address, nothing is sent" / "未设置地址，不会发送",
        leave_empty: "Leave address and secret empty to keep them. They are never shown." / "地址和密钥留空则保持不变，且不会再次显示。",
        remove_secret: "Remove the secret" / "删除密钥",
        test: "Send a test message" / "发送测试消息",
        test_means: "The result appears under “Last delivery” within two minutes." / "结果在两分钟内显示在“最近投递”中。",
        delete_means: "Waiting notifications of the channel are deleted, too." / "该渠道待发送的通知也会被删除。",
        new: "New channel" / "新建渠道",
        what: "A channel sends alerts, budget warnings and overdue reports to a group robot or a webhook." / "通知渠道将告警、预算提醒和逾期投诉发送到群机器人或 Webhook。",
        choose_site: "Choose a site above to create a channel." / "请先在上方选择门店，再新建渠道。",
        empty: "No channels yet." / "还没有通知渠道。",
    }
}

texts! {
    /// Machine keys.
    ApiKeysTexts {
        name: "Name" / "名称",
        scopes: "Scopes" / "权限",
        key: "Key" / "密钥",
        created_by: "Created by" / "创建人",
        created: "Created" / "创建时间",
        expires: "Expires" / "到期",
        never: "never" / "永不",
        not_used: "not used" / "未使用",
        last_used: "Last used" / "最近使用",
        days: "days" / "天",
        new: "New key" / "新建密钥",
        new_key: "The new key" / "新密钥",
        shown_once: "Copy the key now. It is not stored and not shown again." / "请立即复制密钥。系统不保存明文，之后无法再次查看。",
        revoke: "Revoke" / "吊销",
        revoke_means: "The next request with this key is refused." / "使用该密钥的下一次请求将被拒绝。",
        what: "Programs use a key in place of a user's token." / "程序使用密钥代替用户令牌调用接口。",
        choose_site: "Without a chosen site, the key is for all sites." / "未选择门店时，密钥适用于全部门店。",
        empty: "No keys yet." / "还没有密钥。",
    }
}

texts! {
    /// Bots, their agents and openers, and moderation words.
    BotsTexts {
        agents: "Agents" / "智能体",
        openers: "Openers" / "开场问题",
        words: "Moderation words" / "敏感词",
        name: "Name" / "名称",
        display_name: "Name for users" / "展示名称",
        avatar: "Picture (URL)" / "头像（URL）",
        access: "Who may use it" / "可用范围",
        agent: "Agent" / "智能体",
        no_agent: "none, the bot does not reply" / "无，机器人不会回复",
        grants: "Chosen users (ids)" / "指定用户（编号）",
        grants_means: "Ids of users, separated by spaces. They matter only if chosen users may use the bot." / "用户编号，以空格分隔。仅在可用范围为指定用户时生效。",
        new_bot: "New bot" / "新建机器人",
        bots_mean: "Users choose a bot when they begin a chat. A change applies to the next message." / "用户发起对话时可选择机器人。修改从下一条消息起生效。",
        delete_bot: "The conversations of the bot remain and can be read, but get no more replies. Its openers are deleted." / "该机器人的会话会保留且可查看，但不再回复。其开场问题会被删除。",
        only_platform: "by a platform admin, in “All sites”" / "由平台管理员在“全部门店”下修改",
        without_site: "Without a chosen site, it is for all sites." / "未选择门店时，适用于全部门店。",
        no_bots: "No bots yet." / "还没有机器人。",
        application: "DashScope application" / "百炼应用",
        fallback: "Fallback application" / "备用应用",
        keep_empty: "Leave an id empty to keep it." / "编号留空则保持不变。",
        remove: "Remove" / "移除",
        new_agent: "New agent" / "新建智能体",
        agents_mean: "An agent is a DashScope application that bots use. It belongs to no site. Only platform admins change it." / "智能体即机器人使用的百炼应用，不属于任何门店，只能由平台管理员修改。",
        delete_agent: "An agent that a bot uses cannot be deleted." / "仍被机器人使用的智能体不能删除。",
        no_agents: "No agents yet." / "还没有智能体。",
        place: "Where the chat begins" / "对话入口",
        anywhere: "anywhere else" / "其他入口",
        questions: "Questions, one per line" / "问题，每行一条",
        openers_mean: "Questions with which a chat may begin. At most 6 of 200 characters. A site without openers uses those of all sites." / "对话开始时可选的问题，最多 6 条，每条不超过 200 字。门店未设置时使用全部门店的默认问题。",
        new_openers: "New openers" / "新建开场问题",
        remove_openers: "An empty list removes the openers of this place." / "留空则删除该入口的开场问题。",
        no_openers: "No openers yet." / "还没有开场问题。",
        word: "Word" / "敏感词",
        added: "Added" / "添加时间",
        added_by: "Added by" / "添加人",
        add: "Add" / "添加",
        words_mean: "A question or reply with such a word is blocked. Case, spaces and punctuation do not matter. A change applies within 30 seconds." / "包含敏感词的提问或回复会被拦截，匹配时忽略大小写、空格和标点。修改在 30 秒内生效。",
        no_words: "No words yet." / "还没有敏感词。",
    }
}
