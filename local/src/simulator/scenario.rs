//! The scenarios: their names, their parameters, and how a call picks one.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::sessions::UnknownSession;
use super::usage::OddUsage;

/// The list of scenarios, as people read it in the module's page and in `--help`.
pub const LIST: &str = include_str!("scenarios.md");

/// A way for `DashScope` to behave. Parsed from `name` or `name:parameter`; several are
/// joined with `+` (`echo+crlf`), `say` standing last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "a field says what its name says; `LIST` describes the scenarios"
)]
pub enum Scenario {
    /// 20 tokens a second for so many seconds.
    Slow { seconds: u32 },
    /// So many tokens at the ordinary speed.
    Long { tokens: usize },
    /// The same, each token saying when it was written.
    Clock { tokens: usize },
    /// Nothing for so many seconds, then an ordinary answer.
    Silent { seconds: u32 },
    /// Nothing, ever.
    Hang,
    /// Some pieces, then silence.
    Stall { after: usize },
    /// Some pieces, then a wait for [`Simulator::release`](super::Simulator::release).
    Gate { after: usize },
    /// A retryable failure before any text.
    FailFirst(Times),
    /// A failure in the middle of the stream.
    FailMid { after: usize },
    /// Content inspection in the middle of the stream.
    Inspection { after: usize },
    /// The connection is cut in the middle of a frame.
    Cut { after: usize },
    /// A clean end without `stop`.
    NoStop,
    /// HTTP 429.
    Throttle(Times),
    /// HTTP 429 with `Retry-After`.
    RetryAfter { seconds: u32, times: Times },
    /// HTTP 503.
    Unavailable(Times),
    /// HTTP 401.
    Unauthorized,
    /// The application may not be used.
    AppDenied,
    /// HTTP 400, body framed as SSE.
    ErrorFramed,
    /// The same, labelled as JSON.
    ErrorMislabelled,
    /// HTTP 200, one JSON object that is an error.
    Error200,
    /// The session that was sent is not known any more.
    ExpiredSession(UnknownSession),
    /// Text or frame that is not JSON where JSON belongs.
    BadJson(BadJson),
    /// The answer of an app that answers in JSON, as models often write it.
    Wrapped(Wrapping),
    /// One JSON object in place of a stream.
    JsonInstead,
    /// No text at all.
    Empty,
    /// Leading frames without text.
    EmptyFrames { frames: usize },
    /// One piece of so many bytes.
    Huge { bytes: usize },
    /// The prompt comes back.
    Echo,
    /// These pieces, exactly.
    Say(Vec<String>),
    /// No `usage`.
    NoUsage,
    /// `usage` in other shapes.
    OddUsage(OddUsage),
    /// NUL characters in ids and messages.
    Nul,
    /// Reasoning first.
    Thoughts,
    /// Workflow messages in place of text.
    Workflow,
    /// One byte per TCP write.
    Utf8Split,
    /// CR LF line ends.
    Crlf,
    /// No blank line between frames.
    NoBlankLines,
    /// A space after each colon.
    Spaces,
    /// Comments between and inside frames.
    Heartbeats,
    /// Several at once, applied in order.
    Combined(Vec<Scenario>),
}

/// How often a refusal comes before the call succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Each time.
    Always,
    /// So many times for the same question to the same app; then one success, then again.
    First(u32),
}

/// Which JSON is broken by `bad-json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadJson {
    /// The answer of an app that answers in JSON, otherwise a frame.
    Fitting,
    /// The text of the answer, so many times.
    Answer(Times),
    /// The `data:` of a frame in the middle.
    Frame,
}

/// What an answer in JSON is given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// A fenced block, between sentences.
    Fence,
    /// Nothing, not even its object: the list alone.
    BareList,
}

impl Wrapping {
    /// The answer in this form; as it is where it has none.
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

/// No scenario has this name, or its parameter does not fit.
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
        "odd-usage" => Scenario::OddUsage(match parameter {
            None => OddUsage::Mixed,
            Some("empty") => OddUsage::Empty,
            Some("null") => OddUsage::Null,
            Some("flat") => OddUsage::Flat,
            Some("many") => OddUsage::Many,
            Some(_) => return None,
        }),
        _ if parameter.is_none() => parse_bare(name)?,
        _ => return None,
    };
    Some(scenario)
}

/// The scenarios that take no parameter.
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

/// The scenario in an app id: `sim-NAME`, or `sim-NAME-anything`.
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
            let name = name.replace("SHAPE", "flat");
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
    fn an_app_id_may_go_on_after_the_name() {
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
