use super::*;

fn alert() -> Message {
    Message {
        delivery_id: 7,
        site_id: 1,
        site: "徐汇店".into(),
        channel: "值班群".into(),
        event: "opened".into(),
        held: 0,
        level: Some("warning".into()),
        incident: Some("alert".into()),
        details: json!({ "app": "app3_clue", "status": "failed", "error_code": "upstream_error" }),
        occurrences: 50,
        began: Some("11-29 14:05".into()),
        ended: None,
    }
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[test]
fn an_alert_names_site_app_error_and_count() {
    assert_eq!(
        alert().text(),
        "【Parlor】AI 调用告警\n门店：徐汇店\n应用：app3_clue\n错误：failed / upstream_error\n次数：50\n开始：11-29 14:05"
    );
    let many = Message {
        occurrences: 1000,
        ..alert()
    };
    assert!(many.text().contains("次数：至少 1000"));
}

#[test]
fn dingtalk_signs_in_the_query_with_milliseconds() {
    let robot = url("https://oapi.dingtalk.com/robot/send?access_token=t");
    let signed = signed(Kind::Dingtalk, robot, Some("SECx"), &alert(), 1_700_000_000);
    let query: Vec<_> = signed.url.query_pairs().into_owned().collect();
    assert_eq!(query[1], ("timestamp".into(), "1700000000000".into()));
    let expected = BASE64.encode(hmac("SECx", "1700000000000\nSECx"));
    assert_eq!(query[2], ("sign".into(), expected));
    // `+`, `/` and `=` of Base64 are escaped.
    let raw = signed.url.query().unwrap().rsplit_once("sign=").unwrap().1;
    assert!(!raw.contains(['+', '/', '=']), "{raw}");
}

#[test]
fn feishu_signs_in_the_body_with_seconds() {
    let robot = url("https://open.feishu.cn/open-apis/bot/v2/hook/h");
    let signed = signed(Kind::Feishu, robot, Some("k"), &alert(), 1_700_000_000);
    let body: Value = serde_json::from_str(&signed.body).unwrap();
    assert_eq!(body["timestamp"], "1700000000");
    assert_eq!(body["sign"], BASE64.encode(hmac("1700000000\nk", "")));
}

#[test]
fn a_webhook_is_signed_over_timestamp_and_body() {
    let hook = url("https://hooks.example/");
    let signed = signed(Kind::Webhook, hook, Some("k"), &alert(), 1_700_000_000);
    let digest = hmac("k", &format!("1700000000.{}", signed.body));
    let hex = digest.iter().map(|byte| format!("{byte:02x}"));
    let hex = hex.collect::<String>();
    assert_eq!(signed.headers[SIGNATURE], format!("sha256={hex}"));
    assert_eq!(signed.headers[TIMESTAMP], "1700000000");
}

#[test]
fn without_a_secret_nothing_is_signed() {
    for kind in Kind::ALL {
        let signed = signed(kind, url("https://hooks.example/a"), None, &alert(), 1);
        assert_eq!(signed.url.query(), None);
        assert!(signed.headers.is_empty());
        assert!(!signed.body.contains("sign\""));
    }
}

#[test]
fn robots_that_return_200_with_an_error_code_have_failed() {
    let verdict = |kind, body: &str| verdict(kind, StatusCode::OK, body.as_bytes());
    for (kind, body) in [
        (Kind::Wecom, r#"{"errcode":0,"errmsg":"ok"}"#),
        (Kind::Dingtalk, r#"{"errcode":0,"errmsg":"ok"}"#),
        (Kind::Feishu, r#"{"code":0,"data":{},"msg":"success"}"#),
        (
            Kind::Feishu,
            r#"{"StatusCode":0,"StatusMessage":"success"}"#,
        ),
        (Kind::Webhook, "nonsense"),
    ] {
        assert!(verdict(kind, body).ok, "{kind:?} {body}");
    }
    for (kind, body, detail) in [
        (
            Kind::Wecom,
            r#"{"errcode":45009,"errmsg":"limit"}"#,
            "errcode 45009",
        ),
        (
            Kind::Dingtalk,
            r#"{"errcode":310000,"errmsg":"sign"}"#,
            "errcode 310000",
        ),
        (
            Kind::Feishu,
            r#"{"code":19021,"msg":"sign match fail"}"#,
            "code 19021",
        ),
        (Kind::Wecom, "nonsense", "响应无法识别"),
        (Kind::Feishu, "", "响应无法识别"),
    ] {
        let outcome = verdict(kind, body);
        assert!(!outcome.ok, "{kind:?} {body}");
        assert_eq!(outcome.detail, detail);
    }
    assert!(!super::verdict(Kind::Webhook, StatusCode::FOUND, b"").ok);
}
