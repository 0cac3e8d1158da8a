//! The scenarios: their names and parameters, and how a call selects one.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::recording::Recording;
use super::sessions::UnknownSession;
use super::usage::OddUsage;

/// The list of scenarios, for the documentation of the module and `--help`.
pub const LIST: &str = include_str!("scenarios.md");

/// A behaviour of the simulator. Parsed from `name` or `name:parameter`. Several are joined with
/// `+` (`echo+crlf`); `say` must be the last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names say it; `LIST` describes the scenarios"
)]
pub enum Scenario {
    Slow {
        seconds: u32,
    },
    Long {
        tokens: usize,
    },
    Clock {
        tokens: usize,
    },
    Silent {
        seconds: u32,
    },
    Hang,
    Stall {
        after: usize,
    },
    /// Waits for [`Simulator::release`](super::Simulator::release) after some pieces.
    Gate {
        after: usize,
    },
    FailFirst(Times),
    FailMid {
        after: usize,
    },
    Inspection {
        after: usize,
    },
    Cut {
        after: usize,
    },
    /// The connection is cut before the text, while the application thinks.
    CutFirst(Times),
    NoStop,
    Throttle(Times),
    RetryAfter {
        seconds: u32,
        times: Times,
    },
    Unavailable(Times),
    Unauthorized,
    AppDenied,
    ErrorFramed,
    ErrorMislabelled,
    Error200,
    ExpiredSession(UnknownSession),
    BadJson(BadJson),
    /// The result of an app in a form that models often use.
    Wrapped(Wrapping),
    JsonInstead,
    Empty,
    EmptyFrames {
        frames: usize,
    },
    Huge {
        bytes: usize,
    },
    Echo,
    Say(Vec<String>),
    Recorded(Recording),
    NoUsage,
    OddUsage(OddUsage),
    /// The models of `usage`.
    Models(Vec<String>),
    Nul,
    Thoughts,
    Workflow,
    Utf8Split,
    Crlf,
    NoBlankLines,
    Spaces,
    Heartbeats,
    /// Several scenarios, applied in order.
    Combined(Vec<Scenario>),
}

/// Number of failures before a call succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Every call fails.
    Always,
    /// So many calls with the same question to the same app fail. The next one succeeds, and then
    /// the count starts again.
    First(u32),
}

/// The part that `bad-json` breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadJson {
    /// The text of an app that returns JSON, otherwise a frame.
    Fitting,
    /// The text, so many times.
    Answer(Times),
    /// The `data:` of a frame in the middle.
    Frame,
}

/// The form of a JSON result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// In a fenced block, between sentences.
    Fence,
    /// Only the list of the result, without its object.
    BareList,
}

impl Wrapping {
    /// Converts a result to this form. A result without a list is not changed to a bare list.
    pub(super) fn around(self, answer: &str) -> String {
        match self {
            Self::Fence => {
                format!("好的，以下是分析结果：\n\n```json\n{answer}\n```\n\n希望对您有帮助。")
            }
            Self::BareList => {
                let object: Map<String, Value> = serde_json::from_str(answer).unwrap_or_default();
                let list = object.values().find(|value| value.is_array());
                list.map_or_else(|| answer.to_owned(), Value::to_string)
            }
        }
    }
}

/// The name is unknown or its parameter is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no scenario is called {0:?}; see the simulator's --help")]
pub struct UnknownScenario(String);

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, rest) = match text.split_once('+') {
            Some((first, rest)) if !text.starts_with("say:") => (first, Some(rest)),
            _ => (text, None),
        };
        let one = parse_one(first).ok_or_else(|| UnknownScenario(first.to_owned()))?;
        match rest.map(Self::from_str).transpose()? {
            None => Ok(one),
            Some(Self::Combined(mut others)) => {
                others.insert(0, one);
                Ok(Self::Combined(others))
            }
            Some(other) => Ok(Self::Combined(vec![one, other])),
        }
    }
}

fn parse_one(text: &str) -> Option<Scenario> {
    let (name, parameter) = match text.split_once(':') {
        Some((name, parameter)) => (name, Some(parameter)),
        None => (text, None),
    };
    let scenario = match name {
        "slow" => Scenario::Slow {
            seconds: number(parameter, 10)?,
        },
        "long" => Scenario::Long {
            tokens: number(parameter, 3000)?,
        },
        "clock" => Scenario::Clock {
            tokens: number(parameter, 3000)?,
        },
        "silent" => Scenario::Silent {
            seconds: number(parameter, 15)?,
        },
        "stall" => Scenario::Stall {
            after: number(parameter, 3)?,
        },
        "gate" => Scenario::Gate {
            after: parameter?.parse().ok()?,
        },
        "fail-first" => Scenario::FailFirst(times(parameter)?),
        "fail-mid" => Scenario::FailMid {
            after: number(parameter, 3)?,
        },
        "inspection" => Scenario::Inspection {
            after: number(parameter, 1)?,
        },
        "cut" => Scenario::Cut {
            after: number(parameter, 3)?,
        },
        "cut-first" => Scenario::CutFirst(times(parameter)?),
        "throttle" => Scenario::Throttle(times(parameter)?),
        "unavailable" => Scenario::Unavailable(times(parameter)?),
        "retry-after" => retry_after(parameter?)?,
        "expired-session" => Scenario::ExpiredSession(match parameter {
            None => UnknownSession::StartFresh,
            Some("400") => UnknownSession::Refuse,
            Some(_) => return None,
        }),
        "bad-json" => Scenario::BadJson(match parameter {
            None => BadJson::Fitting,
            Some("answer") => BadJson::Answer(Times::Always),
            Some("frame") => BadJson::Frame,
            Some(_) => return None,
        }),
        "empty-frames" => Scenario::EmptyFrames {
            frames: number(parameter, 60)?,
        },
        "huge" => Scenario::Huge {
            bytes: number(parameter, 1 << 20)?,
        },
        "say" => Scenario::Say(parameter?.split('|').map(str::to_owned).collect()),
        "recorded" => Scenario::Recorded(Recording::parse(parameter?)?),
        "models" => Scenario::Models(parameter?.split(',').map(str::to_owned).collect()),
        "odd-usage" => Scenario::OddUsage(match parameter {
            None => OddUsage::Mixed,
            Some("empty") => OddUsage::Empty,
            Some("null") => OddUsage::Null,
            Some("flat") => OddUsage::Flat,
            Some("huge") => OddUsage::Huge,
            Some("many") => OddUsage::Many,
            Some(_) => return None,
        }),
        _ if parameter.is_none() => parse_bare(name)?,
        _ => return None,
    };
    Some(scenario)
}

/// Parses a scenario without a parameter.
fn parse_bare(name: &str) -> Option<Scenario> {
    Some(match name {
        "hang" => Scenario::Hang,
        "no-stop" => Scenario::NoStop,
        "throttle-once" => Scenario::Throttle(Times::First(1)),
        "unauthorized" => Scenario::Unauthorized,
        "app-denied" => Scenario::AppDenied,
        "error-framed" => Scenario::ErrorFramed,
        "error-mislabelled" => Scenario::ErrorMislabelled,
        "error-200" => Scenario::Error200,
        "bad-json-once" => Scenario::BadJson(BadJson::Answer(Times::First(1))),
        "fenced" => Scenario::Wrapped(Wrapping::Fence),
        "bare-list" => Scenario::Wrapped(Wrapping::BareList),
        "json-instead" => Scenario::JsonInstead,
        "empty" => Scenario::Empty,
        "echo" => Scenario::Echo,
        "no-usage" => Scenario::NoUsage,
        "nul" => Scenario::Nul,
        "thoughts" => Scenario::Thoughts,
        "workflow" => Scenario::Workflow,
        "utf8-split" => Scenario::Utf8Split,
        "crlf" => Scenario::Crlf,
        "no-blank-lines" => Scenario::NoBlankLines,
        "spaces" => Scenario::Spaces,
        "heartbeats" => Scenario::Heartbeats,
        _ => return None,
    })
}

fn number<T: FromStr>(parameter: Option<&str>, otherwise: T) -> Option<T> {
    parameter.map_or(Some(otherwise), |text| text.parse().ok())
}

fn times(parameter: Option<&str>) -> Option<Times> {
    parameter.map_or(Some(Times::Always), |text| {
        text.parse().ok().map(Times::First)
    })
}

fn retry_after(parameter: &str) -> Option<Scenario> {
    let (seconds, repeats) = parameter.split_once(':').unwrap_or((parameter, "1"));
    let times = Times::First(repeats.parse().ok()?);
    Some(Scenario::RetryAfter {
        seconds: seconds.parse().ok()?,
        times,
    })
}

/// The scenario in an app id of the form `sim-NAME` or `sim-NAME-SUFFIX`.
pub(super) fn in_app_id(app_id: &str) -> Option<Result<Scenario, UnknownScenario>> {
    let name = app_id.strip_prefix("sim-")?;
    let shorter = name.rmatch_indices('-').map(|(end, _)| &name[..end]);
    let found = std::iter::once(name)
        .chain(shorter)
        .find_map(|name| name.parse().ok());
    Some(found.ok_or_else(|| UnknownScenario(name.to_owned())))
}

/// The scenario that the last `[[sim:NAME]]` of a question names.
pub(super) fn in_question(question: &str) -> Option<Result<Scenario, UnknownScenario>> {
    let (_, after) = question.rsplit_once("[[sim:")?;
    let (name, _) = after.split_once("]]")?;
    Some(name.trim().parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_parses() {
        let rows = LIST
            .lines()
            .skip(2)
            .map(|row| row.split('|').nth(1).unwrap());
        let names: Vec<&str> = rows
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        assert!(names.len() > 40, "{names:?}");
        for name in names {
            let words = ["SECONDS", "TOKENS", "PIECES", "TIMES", "FRAMES", "BYTES"];
            let name = words
                .iter()
                .fold(name.to_owned(), |name, word| name.replace(word, "2"));
            let name = name
                .replace("SHAPE", "flat")
                .replace("FILE", "thinking")
                .replace("NAMES", "a,b");
            assert!(name.parse::<Scenario>().is_ok(), "{name}");
        }
    }

    #[test]
    fn several_scenarios_are_joined_with_a_plus() {
        let parsed = "crlf+cut:2+say:a+b|c".parse();
        let say = Scenario::Say(vec!["a+b".into(), "c".into()]);
        let expected = vec![Scenario::Crlf, Scenario::Cut { after: 2 }, say];
        assert_eq!(parsed, Ok(Scenario::Combined(expected)));
    }

    #[test]
    fn app_id_can_have_a_suffix_after_the_name() {
        assert_eq!(
            in_app_id("sim-throttle-once"),
            Some(Ok(Scenario::Throttle(Times::First(1))))
        );
        assert_eq!(
            in_app_id("sim-cut:1-app-7"),
            Some(Ok(Scenario::Cut { after: 1 }))
        );
        assert!(in_app_id("sim-typo").unwrap().is_err());
        assert!(in_app_id("app1_chat").is_none());
    }
}
