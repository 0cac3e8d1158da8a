//! Plausible token counts, and the shapes of `usage`.

use serde::Serialize;

/// Approximate size of the system prompt that is configured in the DashScope console.
const SYSTEM_PROMPT_TOKENS: usize = 24;

/// An unusual shape of `usage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OddUsage {
    /// All shapes in rotation, `many` in the last frame.
    Mixed,
    /// `{}`
    Empty,
    /// `null`
    Null,
    /// Counts without `models`.
    Flat,
    /// Two models. Their sum is the count.
    Many,
    /// More tokens than a model can use, in the last frame.
    Huge,
}

/// The shape of `usage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Ordinary,
    /// These models share the tokens.
    Models(Vec<String>),
    Absent,
    Odd(OddUsage),
}

/// Token counts so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    pub input: usize,
    pub output: usize,
}

/// The `usage` of a frame. The fields are in the order of the recordings.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Usage {
    Models {
        models: Vec<ModelUsage>,
    },
    Empty {},
    Null,
    Flat {
        input_tokens: usize,
        output_tokens: usize,
        total_tokens: usize,
    },
}

#[derive(Serialize)]
pub(super) struct ModelUsage {
    input_tokens: usize,
    output_tokens: usize,
    model_id: String,
}

/// Tokens of a text: one per two characters, rounded up.
pub(super) fn count(text: &str) -> usize {
    text.chars().count().div_ceil(2)
}

/// Tokens of a prompt, including those of the system prompt.
pub(super) fn count_input(prompt: &str) -> usize {
    SYSTEM_PROMPT_TOKENS + count(prompt)
}

impl Shape {
    /// The `usage` of frame number `frame`, if it has one.
    pub fn of(&self, tokens: Tokens, frame: u64, last: bool) -> Option<Usage> {
        let odd = match *self {
            Self::Absent => return None,
            Self::Models(ref names) => {
                return Some(Usage::Models {
                    models: shares(tokens, names),
                });
            }
            Self::Ordinary => {
                return Some(Usage::Models {
                    models: vec![qwen(tokens)],
                });
            }
            Self::Odd(OddUsage::Huge) if last => {
                let output = 170_000_000_000_000;
                return Some(Usage::Models {
                    models: vec![qwen(Tokens { output, ..tokens })],
                });
            }
            Self::Odd(OddUsage::Mixed) if last => OddUsage::Many,
            Self::Odd(OddUsage::Mixed) => match frame % 4 {
                1 => OddUsage::Empty,
                2 => OddUsage::Null,
                3 => OddUsage::Flat,
                _ => OddUsage::Many,
            },
            Self::Odd(odd) => odd,
        };
        Some(match odd {
            OddUsage::Null => Usage::Null,
            OddUsage::Flat => Usage::Flat {
                input_tokens: tokens.input,
                output_tokens: tokens.output,
                total_tokens: tokens.input + tokens.output,
            },
            OddUsage::Many => {
                let small = Tokens {
                    input: tokens.input / 3,
                    output: tokens.output / 3,
                };
                let rest = Tokens {
                    input: tokens.input - small.input,
                    output: tokens.output - small.output,
                };
                let turbo = ModelUsage {
                    model_id: "qwen-turbo".to_owned(),
                    ..qwen(small)
                };
                Usage::Models {
                    models: vec![turbo, qwen(rest)],
                }
            }
            OddUsage::Mixed | OddUsage::Huge | OddUsage::Empty => Usage::Empty {},
        })
    }
}

/// Shares that differ by at most one token.
fn shares(tokens: Tokens, names: &[String]) -> Vec<ModelUsage> {
    let number = names.len();
    let share = |all: usize, place: usize| all * (place + 1) / number - all * place / number;
    let models = names.iter().enumerate().map(|(place, name)| ModelUsage {
        input_tokens: share(tokens.input, place),
        output_tokens: share(tokens.output, place),
        model_id: name.clone(),
    });
    models.collect()
}

fn qwen(tokens: Tokens) -> ModelUsage {
    ModelUsage {
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        model_id: "qwen-plus".to_owned(),
    }
}
