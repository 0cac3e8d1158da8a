//! Property tests: of arbitrary tokens, only those that follow the documented rule are accepted.

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

/// Claims that are read, and some that are not.
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

/// A token with this header and payload and a correct signature.
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

/// Calls `verify` until one call begins and ends within the same second. Returns that second and
/// the result.
fn within_a_second<T>(verify: impl Fn(i64) -> T) -> (i64, T) {
    loop {
        let now = clock::now().timestamp();
        let result = verify(now);
        if clock::now().timestamp() == now {
            return (now, result);
        }
    }
}

/// Claims that are valid for the next hour.
fn good(now: i64) -> Value {
    json!({
        "sub": "1001", "site_id": 1, "role": "coach", "nickname": "阿杰", "type": "access", "exp": now + 3600,
    })
}

/// A value for a claim: near the limit of the rule, or arbitrary.
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

/// The time of a claim in whole seconds, if it is a valid time.
fn seconds(value: &Value) -> Option<f64> {
    let seconds = value.as_f64()?;
    let fits = value.is_u64() || (0.0..2_f64.powi(64)).contains(&seconds);
    fits.then(|| seconds.round())
}

/// The documented rule, implemented a second time.
fn is_valid(claims: &Value, now: i64) -> bool {
    let now = f64::from(u32::try_from(now).unwrap());
    claims["sub"].is_string()
        && claims["type"] == "access"
        && (claims["site_id"].is_null() || claims["site_id"].is_i64())
        && seconds(&claims["exp"]).is_some_and(|exp| exp >= now - 30.0)
        && claims
            .get("nbf")
            .is_none_or(|nbf| seconds(nbf).is_some_and(|nbf| nbf <= now + 30.0))
}

fn is_unauthorized(result: &Result<Claims>) -> bool {
    matches!(result, Err(Error::Unauthorized(_)))
}

/// A `Callers` that needs no database, because `user` is in its cache.
fn callers(runtime: &tokio::runtime::Runtime, user: &User) -> Callers {
    let _entered = runtime.enter();
    let config = DatabaseConfig {
        url: SecretString::from("postgres://127.0.0.1:1/none").into(),
        max_connections: 1,
        behind_proxy: false,
    };
    let callers = Callers::new(secrets(), db::connect_lazy(&config).unwrap());
    let cached = (Instant::now(), user.clone());
    callers.cached.lock().unwrap().put(user.id, cached);
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

/// The caller of a request with these `Authorization` headers, if `user` is approved.
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
    fn arbitrary_text_is_not_a_token(
        token in prop_oneof![
            "(?s).{0,60}",
            "[A-Za-z0-9_=-]{0,30}\\.[A-Za-z0-9_=-]{0,60}\\.[A-Za-z0-9_=-]{0,44}",
            vec(text(), 0..4).prop_map(|parts| parts.join(".")),
        ],
    ) {
        prop_assert!(is_unauthorized(&verify(&token)));
    }

    #[test]
    fn an_arbitrary_authorization_header_is_unauthorized(headers in vec(header_bytes(), 0..3)) {
        let headers: Vec<_> = headers.iter().map(|bytes| header(bytes)).collect();
        let result = caller(&headers, &user(1001, Some(1)));
        prop_assert!(matches!(result, Err(Error::Unauthorized(_))));
    }

    #[test]
    fn a_valid_token_is_accepted_only_as_the_single_bearer_token(
        scheme in select(vec!["Bearer", "bearer", "BEARER", "bEaReR", "Basic", "Bearer:", "", " Bearer"]),
        between in select(vec![" ", "  ", "\t", "", " \t ", ","]),
        after in select(vec!["", " ", "\t", ".", " x", "="]),
        others in 0..2_usize,
    ) {
        let user = user(1001, Some(1));
        let token = sign(&secret(), &user, Duration::from_secs(600)).unwrap();
        let mut headers = vec![header(format!("{scheme}{between}{token}{after}").as_bytes())];
        headers.extend(vec![header(b"Bearer x"); others]);
        let is_accepted = scheme.eq_ignore_ascii_case("bearer")
            && between.starts_with(' ')
            && after.trim().is_empty()
            && others == 0;
        let caller = caller(&headers, &user);
        prop_assert_eq!(caller.is_ok(), is_accepted);
        prop_assert!(is_accepted || matches!(caller, Err(Error::Unauthorized(_))));
    }

    #[test]
    fn claims_of_any_type_are_valid_exactly_by_the_documented_rule(changes in vec(claim(), 0..4)) {
        let (now, (claims, result)) = within_a_second(|now| {
            let mut claims = good(now);
            for change in &changes {
                set(&mut claims, now, change);
            }
            let result = verify(&with_claims(&claims));
            (claims, result)
        });
        prop_assert_eq!(result.is_ok(), is_valid(&claims, now), "{}", claims);
        prop_assert!(result.is_ok() || is_unauthorized(&result));
        if let Ok(read) = result {
            prop_assert_eq!(Some(&*read.sub), claims["sub"].as_str());
            prop_assert_eq!(read.site_id, claims["site_id"].as_i64());
        }
    }

    #[test]
    fn a_payload_of_arbitrary_bytes_or_json_is_unauthorized_unless_valid(
        json in json(CLAIMS),
        bytes in vec(any::<u8>(), 0..60),
        twice in select(vec!["sub", "exp", "type"]),
    ) {
        let header = br#"{"alg":"HS256"}"#;
        prop_assert!(is_unauthorized(&verify(&signed(Algorithm::HS256, header, &bytes))));
        let now = clock::now().timestamp();
        let result = verify(&with_claims(&json));
        prop_assert!(is_unauthorized(&result) || is_valid(&json, now));
        // Other parsers may read either value of a duplicate claim.
        let good = good(now).to_string();
        let doubled = format!("{{\"{twice}\":{},{}", json!(1), &good[1..]);
        prop_assert!(is_unauthorized(&verify(&signed(Algorithm::HS256, header, doubled.as_bytes()))));
    }

    #[test]
    fn only_hs256_is_accepted_with_any_other_header_fields(
        algorithm in prop_oneof![
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
        header["alg"] = algorithm.clone();
        let payload = good(clock::now().timestamp()).to_string();
        let token = signed(signed_with, header.to_string().as_bytes(), payload.as_bytes());
        let result = verify(&token);
        let is_accepted = algorithm == "HS256" && signed_with == Algorithm::HS256;
        prop_assert_eq!(result.is_ok(), is_accepted, "{}", header);
        prop_assert!(is_accepted || is_unauthorized(&result));
    }

    #[test]
    fn a_header_of_arbitrary_bytes_or_json_is_unauthorized(json in json(&["alg", "typ", "kid"]), bytes in vec(any::<u8>(), 0..40)) {
        let payload = good(clock::now().timestamp()).to_string();
        for header in [json.to_string().into_bytes(), bytes] {
            let result = verify(&signed(Algorithm::HS256, &header, payload.as_bytes()));
            prop_assert!(is_unauthorized(&result));
        }
    }

    #[test]
    fn a_header_with_a_critical_extension_is_unauthorized(extensions in vec("[a-z]{1,8}", 0..3)) {
        let header = json!({ "alg": "HS256", "crit": extensions });
        let payload = good(clock::now().timestamp()).to_string();
        let token = signed(Algorithm::HS256, header.to_string().as_bytes(), payload.as_bytes());
        prop_assert!(is_unauthorized(&verify(&token)));
    }

    #[test]
    fn a_token_with_one_character_changed_added_or_removed_is_unauthorized(
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
            prop_assert!(is_unauthorized(&verify(&token)), "{} for {}", token, good);
        }
    }

    #[test]
    fn a_signed_token_is_valid_under_the_current_or_the_previous_secret(
        id in any::<i64>(),
        site_id in any::<Option<i64>>(),
        nickname in text(),
        others in "[ -~]{32,80}",
    ) {
        let user = User { nickname, ..user(id, site_id) };
        let token = sign(&secret(), &user, Duration::from_secs(600)).unwrap();
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
        prop_assert!(is_unauthorized(&JwtSecrets::new(&another, None).unwrap().verify(&token)));
    }

    #[test]
    fn a_subject_must_be_a_user_of_the_claimed_site(
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
        let user = user(id.unwrap_or(7), site_id);
        let caller = caller(&[header(format!("Bearer {}", with_claims(&claims)).as_bytes())], &user);
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
