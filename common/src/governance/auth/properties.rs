//! Whatever comes as a token, only what we would sign ourselves is one.

use axum::extract::FromRequestParts as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::platform::clock;
use crate::{
    platform::db::{self, DatabaseConfig},
    properties::{cases, json, number, text, whole},
};
use secrecy::{ExposeSecret as _, SecretString};

/// The claims that are read, and some that are not.
const CLAIMS: &[&str] = &[
    "sub", "site_id", "role", "nickname", "type", "exp", "nbf", "iat", "iss", "aud", "jti",
];

fn secret() -> SecretString {
    SecretString::from("the secret of the property tests")
}

fn secrets() -> JwtSecrets {
    JwtSecrets::new(&secret(), None).unwrap()
}

fn verify(token: &str) -> Result<Claims> {
    secrets().verify(token)
}

/// A token of any header and payload under the right signature.
fn signed(algorithm: Algorithm, header: &[u8], payload: &[u8]) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let key = EncodingKey::from_secret(secret().expose_secret().as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn with_claims(claims: &Value) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    signed(
        Algorithm::HS256,
        header.to_string().as_bytes(),
        claims.to_string().as_bytes(),
    )
}

/// A second of the clock, and what was verified within it.
fn within_a_second<T>(verified: impl Fn(i64) -> T) -> (i64, T) {
    loop {
        let now = clock::now().timestamp();
        let result = verified(now);
        if clock::now().timestamp() == now {
            return (now, result);
        }
    }
}

/// Claims that hold for the next hour.
fn good(now: i64) -> Value {
    json!({
        "sub": "1001", "site_id": 1, "role": "coach", "nickname": "阿杰", "type": "access", "exp": now + 3600,
    })
}

/// A value for a claim: near to what is asked of it, or anything.
#[derive(Clone, Debug)]
enum Claim {
    Absent,
    Any(Value),
    /// Seconds from now.
    In(i64),
    /// Milliseconds from now, as a fraction.
    Fraction(i32),
}

fn claim() -> impl Strategy<Value = (&'static str, Claim)> {
    let near = prop_oneof![
        (-40..40_i64).prop_map(Claim::In),
        (-40_000..40_000).prop_map(Claim::Fraction),
        select(vec![
            json!(null),
            json!(0),
            json!(-1),
            json!(1e18),
            json!(1e19),
            json!(1e30),
            json!(u64::MAX),
            json!(i64::MAX),
            json!("9999999999"),
            json!("access"),
            json!("ACCESS"),
            json!("refresh"),
            json!([1]),
            json!({}),
        ])
        .prop_map(Claim::Any),
        Just(Claim::Absent),
        json(CLAIMS).prop_map(Claim::Any),
    ];
    let at_the_edge = (
        select(vec!["exp", "nbf"]),
        select(vec![-31, -30, -29, 29, 30, 31]).prop_map(Claim::In),
    );
    prop_oneof![4 => (select(CLAIMS), near), 1 => at_the_edge]
}

fn set(claims: &mut Value, now: i64, (name, claim): &(&str, Claim)) {
    let claims = claims.as_object_mut().unwrap();
    let value = match claim {
        Claim::Absent => {
            claims.remove(*name);
            return;
        }
        Claim::Any(value) => value.clone(),
        Claim::In(seconds) => json!(now + seconds),
        Claim::Fraction(millis) => {
            let now = f64::from(u32::try_from(now).unwrap());
            json!(now + f64::from(*millis) / 1000.0)
        }
    };
    claims.insert((*name).to_owned(), value);
}

/// A time that a claim may have, in whole seconds.
fn seconds(value: &Value) -> Option<f64> {
    let seconds = value.as_f64()?;
    let fits = value.is_u64() || (0.0..2_f64.powi(64)).contains(&seconds);
    fits.then(|| seconds.round())
}

/// The documented rule, told anew.
fn holds(claims: &Value, now: i64) -> bool {
    let now = f64::from(u32::try_from(now).unwrap());
    claims["sub"].is_string()
        && claims["type"] == "access"
        && (claims["site_id"].is_null() || claims["site_id"].is_i64())
        && seconds(&claims["exp"]).is_some_and(|exp| exp >= now - 30.0)
        && claims
            .get("nbf")
            .is_none_or(|nbf| seconds(nbf).is_some_and(|nbf| nbf <= now + 30.0))
}

fn is_refusal(result: &Result<Claims>) -> bool {
    matches!(result, Err(Error::Unauthorized(_)))
}

/// Callers that ask no database, for `user` is remembered.
fn callers(runtime: &tokio::runtime::Runtime, user: &User) -> Callers {
    let _entered = runtime.enter();
    let config = DatabaseConfig {
        url: SecretString::from("postgres://127.0.0.1:1/none").into(),
        max_connections: 1,
        behind_proxy: false,
    };
    let callers = Callers::new(secrets(), db::connect_lazy(&config).unwrap());
    let remembered = (Instant::now(), user.clone());
    callers.remembered.lock().unwrap().put(user.id, remembered);
    callers
}

fn user(id: i64, site_id: Option<i64>) -> User {
    User {
        id,
        site_id,
        nickname: "阿杰".to_owned(),
        role: Role::Coach,
        approved: true,
    }
}

/// Who is seen to call with these `Authorization` headers, where `user` may.
fn caller(headers: &[HeaderValue], user: &User) -> Result<Caller> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let callers = callers(&runtime, user);
    let mut request = Request::builder();
    for value in headers {
        request = request.header(AUTHORIZATION, value);
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    runtime.block_on(Caller::from_request_parts(&mut parts, &callers))
}

fn header(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap()
}

fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(b'\t'), 32..127_u8, 128..=255_u8], 0..60)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_text_as_a_token_is_refused(
        token in prop_oneof![
            "(?s).{0,60}",
            "[A-Za-z0-9_=-]{0,30}\\.[A-Za-z0-9_=-]{0,60}\\.[A-Za-z0-9_=-]{0,44}",
            vec(text(), 0..4).prop_map(|parts| parts.join(".")),
        ],
    ) {
        prop_assert!(is_refusal(&verify(&token)));
    }

    #[test]
    fn any_authorization_header_is_refused(headers in vec(header_bytes(), 0..3)) {
        let headers: Vec<_> = headers.iter().map(|bytes| header(bytes)).collect();
        let refused = caller(&headers, &user(1001, Some(1)));
        prop_assert!(matches!(refused, Err(Error::Unauthorized(_))));
    }

    #[test]
    fn a_token_that_holds_counts_exactly_where_it_is_the_one_bearer_token(
        scheme in select(vec!["Bearer", "bearer", "BEARER", "bEaReR", "Basic", "Bearer:", "", " Bearer"]),
        between in select(vec![" ", "  ", "\t", "", " \t ", ","]),
        after in select(vec!["", " ", "\t", ".", " x", "="]),
        others in 0..2_usize,
    ) {
        let who = user(1001, Some(1));
        let token = sign(&secret(), &who, Duration::from_secs(600)).unwrap();
        let mut headers = vec![header(format!("{scheme}{between}{token}{after}").as_bytes())];
        headers.extend(vec![header(b"Bearer x"); others]);
        let holds = scheme.eq_ignore_ascii_case("bearer")
            && between.starts_with(' ')
            && after.trim().is_empty()
            && others == 0;
        let caller = caller(&headers, &who);
        prop_assert_eq!(caller.is_ok(), holds);
        prop_assert!(holds || matches!(caller, Err(Error::Unauthorized(_))));
    }

    #[test]
    fn claims_of_any_type_hold_exactly_by_the_documented_rule(changes in vec(claim(), 0..4)) {
        let (now, (claims, result)) = within_a_second(|now| {
            let mut claims = good(now);
            for change in &changes {
                set(&mut claims, now, change);
            }
            let result = verify(&with_claims(&claims));
            (claims, result)
        });
        prop_assert_eq!(result.is_ok(), holds(&claims, now), "{}", claims);
        prop_assert!(result.is_ok() || is_refusal(&result));
        if let Ok(read) = result {
            prop_assert_eq!(Some(&*read.sub), claims["sub"].as_str());
            prop_assert_eq!(read.site_id, claims["site_id"].as_i64());
        }
    }

    #[test]
    fn a_payload_of_any_bytes_or_json_is_refused_unless_it_holds(
        json in json(CLAIMS),
        bytes in vec(any::<u8>(), 0..60),
        twice in select(vec!["sub", "exp", "type"]),
    ) {
        let header = br#"{"alg":"HS256"}"#;
        prop_assert!(is_refusal(&verify(&signed(Algorithm::HS256, header, &bytes))));
        let now = clock::now().timestamp();
        let refused = verify(&with_claims(&json));
        prop_assert!(is_refusal(&refused) || holds(&json, now));
        // A claim that is there twice may be read as either, by others.
        let good = good(now).to_string();
        let doubled = format!("{{\"{twice}\":{},{}", json!(1), &good[1..]);
        prop_assert!(is_refusal(&verify(&signed(Algorithm::HS256, header, doubled.as_bytes()))));
    }

    #[test]
    fn only_the_one_algorithm_counts_whatever_else_the_header_says(
        said in prop_oneof![
            select(vec!["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA", "none", "None", "hs256", "HS256 "])
                .prop_map(Value::from),
            json(CLAIMS),
        ],
        signed_with in select(vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]),
        others in prop::collection::hash_map("[a-z]{1,8}", json(CLAIMS), 0..3),
    ) {
        let mut header = json!(others);
        for known in ["jwk", "crit", "kid", "typ", "cty", "jku", "zip", "enc", "url", "nonce"] {
            header.as_object_mut().unwrap().remove(known);
        }
        header["alg"] = said.clone();
        let payload = good(clock::now().timestamp()).to_string();
        let token = signed(signed_with, header.to_string().as_bytes(), payload.as_bytes());
        let result = verify(&token);
        let holds = said == "HS256" && signed_with == Algorithm::HS256;
        prop_assert_eq!(result.is_ok(), holds, "{}", header);
        prop_assert!(holds || is_refusal(&result));
    }

    #[test]
    fn a_header_of_any_bytes_or_json_is_refused(json in json(&["alg", "typ", "kid"]), bytes in vec(any::<u8>(), 0..40)) {
        let payload = good(clock::now().timestamp()).to_string();
        for header in [json.to_string().into_bytes(), bytes] {
            let result = verify(&signed(Algorithm::HS256, &header, payload.as_bytes()));
            prop_assert!(is_refusal(&result));
        }
    }

    #[test]
    fn a_header_that_asks_for_what_is_not_understood_is_refused(asked in vec("[a-z]{1,8}", 0..3)) {
        let header = json!({ "alg": "HS256", "crit": asked });
        let payload = good(clock::now().timestamp()).to_string();
        let token = signed(Algorithm::HS256, header.to_string().as_bytes(), payload.as_bytes());
        prop_assert!(is_refusal(&verify(&token)));
    }

    #[test]
    fn a_token_with_one_character_changed_added_or_lost_is_refused(
        place in any::<prop::sample::Index>(),
        other in 1..128_u8,
        id in any::<i64>(),
    ) {
        let good = sign(&secret(), &user(id, Some(1)), Duration::from_secs(600)).unwrap();
        prop_assert!(verify(&good).is_ok());
        let place = place.index(good.len());
        let (before, rest) = good.split_at(place);
        let bytes = good.as_bytes();
        let changed = if bytes[place] == other { other ^ 1 } else { other };
        for token in [
            format!("{before}{}{}", char::from(changed), &rest[1..]),
            format!("{before}{}{rest}", char::from(other)),
            format!("{before}{}", &rest[1..]),
            format!("{good}{}", char::from(other)),
        ] {
            prop_assert!(is_refusal(&verify(&token)), "{} for {}", token, good);
        }
    }

    #[test]
    fn what_was_signed_is_read_back_under_its_secret_or_the_one_before(
        id in any::<i64>(),
        site_id in any::<Option<i64>>(),
        nickname in text(),
        others in "[ -~]{32,80}",
    ) {
        let who = User { nickname, ..user(id, site_id) };
        let token = sign(&secret(), &who, Duration::from_secs(600)).unwrap();
        let another = SecretString::from(others);
        let known = [
            JwtSecrets::new(&secret(), None).unwrap(),
            JwtSecrets::new(&secret(), Some(&another)).unwrap(),
            JwtSecrets::new(&another, Some(&secret())).unwrap(),
        ];
        for secrets in known {
            let claims = secrets.verify(&token).unwrap();
            prop_assert_eq!(claims.sub, id.to_string());
            prop_assert_eq!(claims.site_id, site_id);
            prop_assert_eq!(claims.kind, "access");
        }
        prop_assert!(is_refusal(&JwtSecrets::new(&another, None).unwrap().verify(&token)));
    }

    #[test]
    fn a_subject_is_a_user_of_the_same_site_or_nobody(
        sub in prop_oneof![
            any::<i64>().prop_map(|id| id.to_string()),
            number(),
        ],
        claimed in prop_oneof![3 => Just(Some(1)), 1 => any::<Option<i64>>()],
        site_id in select(vec![Some(1), None]),
    ) {
        let id = whole(&sub);
        let mut claims = good(clock::now().timestamp());
        claims["sub"] = json!(sub);
        claims["site_id"] = json!(claimed);
        let who = user(id.unwrap_or(7), site_id);
        let caller = caller(&[header(format!("Bearer {}", with_claims(&claims)).as_bytes())], &who);
        match caller {
            Ok(caller) => {
                prop_assert_eq!((Some(caller.user_id), Some(caller.site_id)), (id, site_id));
                prop_assert_eq!(claimed, site_id);
            }
            Err(Error::Unauthorized(_)) => prop_assert_eq!(id, None),
            Err(Error::NotApproved) => prop_assert!(id.is_some() && claimed != site_id),
            Err(Error::Forbidden) => prop_assert!(id.is_some() && claimed.is_none() && site_id.is_none()),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
