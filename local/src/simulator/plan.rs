//! A plan describes the response to one call. Scenarios change it, one after the other.

use std::time::Duration;

use super::frames::Style;
use super::recording::Recording;
use super::refusal::{Form, Refusal};
use super::scenario::{BadJson, Scenario, Times, Wrapping};
use super::sessions::UnknownSession;
use super::usage::Shape;

/// The response to a call.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent scenarios that can be combined"
)]
pub(super) struct Plan {
    /// Wait before the response head.
    pub silence: Option<Silence>,
    /// The call as a whole is refused.
    pub refusal: Option<Refused>,
    /// Replaces the whole response.
    pub recording: Option<Recording>,
    pub text: Text,
    /// Each piece is replaced by the time of its writing.
    pub clock: bool,
    /// Replaces the ordinary speed.
    pub tokens_per_second: Option<u32>,
    /// Frames without text at the beginning.
    pub leading: Leading,
    pub thoughts: bool,
    pub workflow: bool,
    pub usage: Shape,
    pub style: Style,
    pub byte_by_byte: bool,
    pub json_instead: bool,
    /// A gate after so many pieces.
    pub gate: Option<usize>,
    /// A failure after so many pieces.
    pub broken: Option<(usize, Break)>,
    /// A connection that is cut before the text, so many times.
    pub cut_first: Option<Times>,
    pub no_stop: bool,
    /// The session of the request counts as expired.
    pub session_expired: Option<UnknownSession>,
    /// Ids and error messages end in a NUL character.
    pub nul: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Silence {
    For(Duration),
    Forever,
}

#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub refusal: Refusal,
    pub form: Form,
    pub times: Times,
    /// Seconds in the `Retry-After` header.
    pub retry_after: Option<u32>,
}

/// Source of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// An ordinary reply to the question.
    Answer,
    /// An ordinary reply in another form.
    Wrapped(Wrapping),
    /// A reply that is not valid JSON, so many times. Then an ordinary one.
    BrokenAnswer(Times),
    /// The prompt.
    Echo,
    /// These pieces.
    Pieces(Vec<String>),
    /// So many pieces of one token.
    Filler(usize),
    /// One piece of so many bytes.
    Huge(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Leading {
    pub frames: usize,
    /// Tokens that each frame adds.
    pub tokens: usize,
}

/// A failure in the middle of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Break {
    Error(Refusal),
    /// The connection is cut in the middle of a frame.
    Cut,
    /// No more bytes on an open connection.
    Stall,
    /// A frame that is not JSON. The stream then continues.
    Garbage,
}

impl Plan {
    /// The plan without a scenario.
    pub fn ordinary() -> Self {
        Self {
            silence: None,
            refusal: None,
            recording: None,
            text: Text::Answer,
            clock: false,
            tokens_per_second: None,
            leading: Leading {
                frames: 1,
                tokens: 0,
            },
            thoughts: false,
            workflow: false,
            usage: Shape::Ordinary,
            style: Style::default(),
            byte_by_byte: false,
            json_instead: false,
            gate: None,
            broken: None,
            cut_first: None,
            no_stop: false,
            session_expired: None,
            nul: false,
        }
    }

    /// Changes the plan for a scenario. `returns_json` is true for an app that returns JSON.
    pub fn apply(&mut self, scenario: &Scenario, returns_json: bool) {
        match *scenario {
            Scenario::Slow { seconds } => {
                self.tokens_per_second = Some(20);
                self.text = Text::Filler(seconds as usize * 20);
            }
            Scenario::Long { tokens } => self.text = Text::Filler(tokens),
            Scenario::Clock { tokens } => {
                self.clock = true;
                self.text = Text::Filler(tokens);
            }
            Scenario::Silent { seconds } => {
                self.silence = Some(Silence::For(Duration::from_secs(seconds.into())));
            }
            Scenario::Hang => self.silence = Some(Silence::Forever),
            Scenario::Stall { after } => self.broken = Some((after, Break::Stall)),
            Scenario::Gate { after } => self.gate = Some(after),
            Scenario::FailMid { after } => self.fail(after, Refusal::internal()),
            Scenario::Inspection { after } => self.fail(after, Refusal::inspection()),
            Scenario::Cut { after } => self.broken = Some((after, Break::Cut)),
            Scenario::CutFirst(times) => self.cut_first = Some(times),
            Scenario::NoStop => self.no_stop = true,
            Scenario::ExpiredSession(then) => self.session_expired = Some(then),
            Scenario::BadJson(BadJson::Answer(times)) => self.text = Text::BrokenAnswer(times),
            Scenario::BadJson(BadJson::Fitting) if returns_json => {
                self.text = Text::BrokenAnswer(Times::Always);
            }
            Scenario::BadJson(_) => self.broken = Some((3, Break::Garbage)),
            Scenario::Wrapped(wrapping) => self.text = Text::Wrapped(wrapping),
            Scenario::JsonInstead => self.json_instead = true,
            Scenario::Empty => self.text = Text::Pieces(Vec::new()),
            Scenario::EmptyFrames { frames } => self.leading = Leading { frames, tokens: 1 },
            Scenario::Huge { bytes } => self.text = Text::Huge(bytes),
            Scenario::Echo => self.text = Text::Echo,
            Scenario::Say(ref pieces) => self.text = Text::Pieces(pieces.clone()),
            Scenario::Recorded(recording) => self.recording = Some(recording),
            Scenario::NoUsage => self.usage = Shape::Absent,
            Scenario::Models(ref names) => self.usage = Shape::Models(names.clone()),
            Scenario::OddUsage(odd) => self.usage = Shape::Odd(odd),
            Scenario::Nul => self.nul = true,
            Scenario::Thoughts => self.thoughts = true,
            Scenario::Workflow => self.workflow = true,
            Scenario::Utf8Split => self.byte_by_byte = true,
            Scenario::Crlf => self.style.crlf = true,
            Scenario::NoBlankLines => self.style.no_blank_lines = true,
            Scenario::Spaces => self.style.spaces = true,
            Scenario::Heartbeats => self.style.heartbeats = true,
            Scenario::Combined(ref all) => {
                for one in all {
                    self.apply(one, returns_json);
                }
            }
            _ => self.refusal = refused(scenario),
        }
    }

    /// The error of this call, if it fails.
    pub fn error_mut(&mut self) -> Option<&mut Refusal> {
        match (&mut self.refusal, &mut self.broken) {
            (Some(refused), _) => Some(&mut refused.refusal),
            (None, Some((_, Break::Error(refusal)))) => Some(refusal),
            _ => None,
        }
    }

    /// Cuts the connection while the application thinks.
    pub fn cut_before_text(&mut self) {
        self.leading = Leading {
            frames: 3,
            tokens: 5,
        };
        self.broken = Some((0, Break::Cut));
    }

    /// A recorded stream that fails has no leading empty frame.
    fn fail(&mut self, after: usize, refusal: Refusal) {
        self.leading.frames = 0;
        self.broken = Some((after, Break::Error(refusal)));
    }
}

/// The refusal of a scenario that refuses the whole call.
fn refused(scenario: &Scenario) -> Option<Refused> {
    let top_p = || Refusal::invalid("Range of top_p should be (0.0, 1.0]");
    let (refusal, form, times) = match *scenario {
        Scenario::FailFirst(times) => (Refusal::internal(), Form::FirstFrame, times),
        Scenario::Throttle(times) | Scenario::RetryAfter { times, .. } => {
            (Refusal::throttled(), Form::Plain, times)
        }
        Scenario::Unavailable(times) => (Refusal::unavailable(), Form::Plain, times),
        Scenario::Unauthorized => (Refusal::invalid_api_key(), Form::Plain, Times::Always),
        Scenario::AppDenied => (Refusal::app_denied(), Form::FirstFrame, Times::Always),
        Scenario::ErrorFramed => (top_p(), Form::Framed, Times::Always),
        Scenario::ErrorMislabelled => (top_p(), Form::Mislabelled, Times::Always),
        Scenario::Error200 => (Refusal::inspection(), Form::Ok, Times::Always),
        _ => return None,
    };
    let retry_after = match *scenario {
        Scenario::RetryAfter { seconds, .. } => Some(seconds),
        _ => None,
    };
    Some(Refused {
        refusal,
        form,
        times,
        retry_after,
    })
}
