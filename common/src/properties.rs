//! Helpers for the property tests.
//!
//! Each property test is in a module named `properties` under the module it tests.
//! `PROPTEST_CASES=… cargo test -p common -- properties` runs all of them and no other test.

use axum::extract::FromRequestParts as _;
use futures_util::FutureExt as _;
use http::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Number, Value};

use crate::web::QueryText;

/// The default number of cases in proptest.
const PROPTEST_CASES: u64 = 256;

/// A configuration with `usual` cases, for tests where 256 cases are too slow or too few.
/// `PROPTEST_CASES` scales the number in proportion: 512 doubles it.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    let scaled = (u64::from(usual) * u64::from(config.cases)).div_ceil(PROPTEST_CASES);
    ProptestConfig {
        cases: u32::try_from(scaled).unwrap_or(u32::MAX),
        ..config
    }
}

/// Text that often breaks parsers.
const TRAPS: &[&str] = &[
    "\0",
    "\n",
    "\r",
    "\u{feff}",
    "\u{2028}",
    "\u{a0}",
    "\u{3000}",
    "\u{10ffff}",
    "🎱",
    "收到",
    "{",
    "}",
    "]",
    "\"",
    "\\",
    "\\u0000",
    ":",
    " ",
    "%00",
    "null",
    "data:",
];

/// Random text that often contains items of [`TRAPS`].
pub(crate) fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => select(TRAPS).prop_map(str::to_owned),
        2 => "(?s).{0,4}",
        1 => "[a-z0-9]{1,6}",
    ];
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// JSON of any shape. Some of its member names are from `names`.
pub(crate) fn json(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        (-3..600_i64).prop_map(Number::from),
        // Eighths survive a round trip through JSON. Not every fraction does.
        any::<i32>().prop_map(|eighths| Number::from_f64(f64::from(eighths) / 8.0).unwrap()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        let name = prop_oneof![3 => select(names).prop_map(str::to_owned), 1 => text()];
        let members = vec((name, inner.clone()), 0..6);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

/// Parses a query string that is already percent-encoded.
pub(crate) fn raw_query(query: &str) -> QueryText {
    let request = Request::builder().uri(format!("/?{query}")).body(());
    let (mut parts, ()) = request.unwrap().into_parts();
    let read = QueryText::from_request_parts(&mut parts, &()).now_or_never();
    read.unwrap().unwrap()
}

/// A percent-encoded query string with these parameters.
pub(crate) fn encoded<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name.as_ref()), encoded(value.as_ref())));
    pairs.collect::<Vec<_>>().join("&")
}

/// The query of a request with these parameters.
pub(crate) fn query<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> QueryText {
    raw_query(&encoded(pairs))
}

/// Parses a whole number: digits with an optional sign, within 64 bits.
pub(crate) fn whole(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i128 = text.parse().ok().filter(|_| plain)?;
    number.try_into().ok()
}

/// Numbers at the limits of what is accepted, and of 64 bits.
const EDGES: &[&str] = &[
    "0",
    "-0",
    "1",
    "+1",
    "01",
    "100",
    "101",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
];

/// Text that is a whole number or looks similar.
pub(crate) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        (-2..110_i64).prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[+-]?[0-9]{0,21}",
        "[ +-]{0,2}[0-9]{0,3}[ .e]?",
        select(EDGES).prop_map(str::to_owned),
        text(),
    ]
}

/// Places to cut a body. A place may occur twice, which gives an empty chunk.
pub(crate) fn cuts() -> impl Strategy<Value = Cuts> {
    prop_oneof![
        vec(any::<prop::sample::Index>(), 0..24).prop_map(Cuts::At),
        (1..64_usize).prop_map(Cuts::Every),
    ]
}

/// Cuts a body into chunks.
#[derive(Clone, Debug)]
pub(crate) enum Cuts {
    At(Vec<prop::sample::Index>),
    Every(usize),
}

impl Cuts {
    pub(crate) fn of<'a>(&self, body: &'a [u8]) -> Vec<&'a [u8]> {
        match self {
            Self::Every(size) => body.chunks(*size).collect(),
            Self::At(places) => {
                let mut places: Vec<usize> = places
                    .iter()
                    .map(|place| place.index(body.len() + 1))
                    .chain([0, body.len()])
                    .collect();
                places.sort_unstable();
                let chunks = places.windows(2).map(|cut| &body[cut[0]..cut[1]]);
                chunks.collect()
            }
        }
    }
}
