//! A simulation of the busiest hour: questions arrive at random, and limits refuse some of them.
//! It has a fixed seed, so that it prints the same figures each time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use fastrand::Rng;

/// Seconds that are simulated, and seconds at the start that do not count.
const SECONDS: f64 = 120.0;
const WARM_UP_SECONDS: f64 = 60.0;
/// Most questions that are simulated. More would take minutes.
const MOST_QUESTIONS: f64 = 3e6;
/// The duration of a reply is a sum of this many exponential parts: half of the replies take
/// between 0.63 and 1.28 times the mean.
const PARTS: u32 = 4;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Hour {
    /// Questions per second, on average.
    pub questions_per_second: f64,
    /// Seconds of a reply, on average.
    pub seconds_per_reply: f64,
    /// Replies that may be in progress at once. More are refused.
    pub replies_at_once: f64,
    /// Replies that may begin within a second. More are refused.
    pub calls_per_second: f64,
    /// Times that a client sends a question. It waits 1 to 2 s after a refusal.
    pub tries: u32,
}

/// The result, of the questions that arrived after the warm-up.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Part of the questions that were accepted at once.
    pub accepted_at_once: f64,
    /// Part of the questions that were refused at each try.
    pub refused: f64,
    /// Seconds until a question was accepted, of the accepted ones: the 99th percentile.
    pub wait_p99_seconds: f64,
    /// Most replies in progress at once.
    pub most_at_once: usize,
}

/// A try: its time in microseconds, the time of the question, and the number of the try.
type Try = Reverse<(u64, u64, u32)>;

/// Runs the simulation. `None`: there are too many questions.
pub fn simulate(hour: &Hour) -> Option<Outcome> {
    if hour.questions_per_second * SECONDS > MOST_QUESTIONS {
        return None;
    }
    let mut random = Rng::with_seed(1);
    let mut next_question = 0.0;
    let mut retries = BinaryHeap::<Try>::new();
    let mut ends = BinaryHeap::<Reverse<u64>>::new();
    let mut begun = VecDeque::<u64>::new();
    let (mut questions, mut at_once, mut refused, mut most_at_once) = (0_u32, 0_u32, 0_u32, 0);
    let mut waits = Vec::new();
    let calls_per_second = whole(hour.calls_per_second);
    let replies_at_once = whole(hour.replies_at_once);
    loop {
        let arrival = micros(next_question);
        let (now, asked, number) = match retries.peek() {
            Some(&Reverse(retry)) if retry.0 <= arrival => {
                retries.pop();
                retry
            }
            _ if next_question < SECONDS => {
                next_question += exponential(&mut random, 1.0 / hour.questions_per_second);
                (arrival, arrival, 1)
            }
            _ => match retries.pop() {
                Some(Reverse(retry)) => retry,
                None => break,
            },
        };
        let counts = asked >= micros(WARM_UP_SECONDS);
        if number == 1 && counts {
            questions += 1;
        }
        while ends.peek().is_some_and(|end| end.0 <= now) {
            ends.pop();
        }
        while begun.front().is_some_and(|begin| begin + 1_000_000 <= now) {
            begun.pop_front();
        }
        if ends.len() < replies_at_once && begun.len() < calls_per_second {
            let part = hour.seconds_per_reply / f64::from(PARTS);
            let seconds: f64 = (0..PARTS).map(|_| exponential(&mut random, part)).sum();
            ends.push(Reverse(now + micros(seconds)));
            begun.push_back(now);
            most_at_once = most_at_once.max(ends.len());
            if counts {
                at_once += u32::from(number == 1);
                waits.push(now - asked);
            }
        } else if number < hour.tries {
            let pause = micros(1.0 + random.f64());
            retries.push(Reverse((now + pause, asked, number + 1)));
        } else if counts {
            refused += 1;
        }
    }
    waits.sort_unstable();
    let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or(0);
    let part = |count: u32| f64::from(count) / f64::from(questions.max(1));
    Some(Outcome {
        accepted_at_once: part(at_once),
        refused: part(refused),
        wait_p99_seconds: Duration::from_micros(p99).as_secs_f64(),
        most_at_once,
    })
}

fn exponential(random: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - random.f64()).ln()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration is positive, and the cast saturates"
)]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a limit is positive, and the cast saturates at infinity"
)]
fn whole(limit: f64) -> usize {
    limit as usize
}
