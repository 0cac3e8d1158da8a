//! Texts of the pages of runs.

texts! {
    /// The run log, and a run.
    RunsTexts {
        trigger: "Started by" / "触发方式",
        error_code: "Error code" / "错误码",
        model: "Model" / "模型",
        version: "Prompt version" / "提示词版本",
        min_latency: "Latency from (ms)" / "耗时不低于（毫秒）",
        first_token: "First token" / "首字",
        run: "Run" / "调用",
        timeline: "Timeline" / "时间线",
        began: "began" / "开始",
        ended: "ended" / "结束",
        attempts: "attempts" / "次尝试",
        prompt: "Prompt" / "提示词",
        answer: "Answer" / "回答",
        as_text: "As text" / "纯文本",
        models: "Tokens by model" / "各模型用量",
        input: "Input" / "输入",
        output: "Output" / "输出",
        finish_reason: "End of the answer" / "结束原因",
        upstream_id: "Request id of DashScope" / "百炼请求编号",
        session: "Session" / "会话",
        message: "Message" / "消息",
        job: "Job" / "任务",
        fault_upstream: "The cause is upstream: DashScope or the network." / "原因在上游：百炼或网络。",
        fault_limit: "A limit of this site refused the call." / "因本门店的限额被拒绝。",
        fault_answer: "The app's answer could not be used." / "应用的回答无法使用。",
        fault_own: "The cause is in this system or its settings." / "原因在本系统或其配置。",
        reserved: "charged" / "计费",
        refusals: "refusals in this row" / "次拒绝（合并）",
        not_known: "not known" / "未知",
    }
}
