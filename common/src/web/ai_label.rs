//! The label of AI text.

/// The visible label of AI text in exports, as the rules on labelling of AI content require.
pub const AI_LABEL: &str = "内容由 AI 生成，仅供参考";
