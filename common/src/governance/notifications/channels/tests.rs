use super::*;

fn refusal(kind: Kind, url: &str) -> Option<Reason> {
    match kind.parse_url(url) {
        Ok(_) => None,
        Err(Error::Invalid { reason, .. }) => Some(reason),
        Err(other) => panic!("{url}: {other}"),
    }
}

#[test]
fn robots_are_reached_at_their_official_hosts_only() {
    for (kind, url) in [
        (
            Kind::Wecom,
            "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k",
        ),
        (
            Kind::Dingtalk,
            "https://oapi.dingtalk.com/robot/send?access_token=t",
        ),
        (
            Kind::Feishu,
            "https://open.feishu.cn/open-apis/bot/v2/hook/h",
        ),
        (
            Kind::Feishu,
            "https://open.larksuite.com/open-apis/bot/v2/hook/h",
        ),
        (Kind::Wecom, "https://QYAPI.weixin.qq.com:443/"),
    ] {
        assert_eq!(refusal(kind, url), None, "{url}");
    }
    for url in [
        "https://qyapi.weixin.qq.com.evil.example/",
        "https://evil.example/qyapi.weixin.qq.com",
        "https://weixin.qq.com/",
        "https://oapi.dingtalk.com/",
        "https://qyapi.weixin.qq.com./",
        "https://127.0.0.1/",
    ] {
        assert_eq!(
            refusal(Kind::Wecom, url),
            Some(Reason::NotOfService),
            "{url}"
        );
    }
}

#[test]
fn webhooks_need_https_without_port_and_credentials() {
    for url in [
        "",
        "hooks.example",
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https://hooks.example:8443/",
        "https://user@hooks.example/",
        "https://user:password@hooks.example/",
        "https://qyapi.weixin.qq.com@hooks.example/",
        "https:///",
    ] {
        assert_eq!(refusal(Kind::Webhook, url), Some(Reason::NotHttps), "{url}");
    }
    assert_eq!(refusal(Kind::Webhook, "https://hooks.example/a?b=c"), None);
}

#[test]
fn webhooks_of_literal_addresses_that_are_not_public_are_refused() {
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "10.1",
        "169.254.169.254",
        "100.100.100.200",
        "[::1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "0.0.0.0",
    ] {
        let url = format!("https://{host}/");
        assert_eq!(
            refusal(Kind::Webhook, &url),
            Some(Reason::NotPublic),
            "{url}"
        );
    }
    assert_eq!(refusal(Kind::Webhook, "https://93.184.216.34/"), None);
}

#[test]
fn hint_shows_the_host_and_the_end_of_a_long_address() {
    let long = "https://oapi.dingtalk.com/robot/send?access_token=0123456789abcdef";
    assert_eq!(url_hint(long), "https://oapi.dingtalk.com/…cdef");
    assert_eq!(
        url_hint("https://hooks.example/short"),
        "https://hooks.example/…"
    );
}

#[test]
fn missing_url_and_secret_keep_the_stored_ones_and_null_removes_them() {
    let fields = |url, secret| Fields {
        kind: Some("webhook".into()),
        name: Some(" ops ".into()),
        url,
        secret,
        ..Fields::default()
    };
    let stored = || (Some("https://a.example/".to_owned()), Some("s".to_owned()));
    let parse = |fields| Settings::parse(fields, stored().0, stored().1).unwrap();
    let kept = parse(fields(None, None));
    assert_eq!((kept.url, kept.secret), stored());
    assert_eq!(kept.name, "ops");
    let removed = parse(fields(Some(None), Some(None)));
    assert_eq!((removed.url, removed.secret), (None, None));
    let other = parse(fields(Some(Some("https://b.example/".into())), None));
    assert_eq!(other.url.as_deref(), Some("https://b.example/"));
}

#[test]
fn a_stored_address_is_checked_against_a_new_kind() {
    let fields = Fields {
        kind: Some("feishu".into()),
        name: Some("ops".into()),
        ..Fields::default()
    };
    let settings = Settings::parse(fields, Some("https://a.example/".into()), None);
    assert!(matches!(
        settings,
        Err(Error::Invalid {
            reason: Reason::NotOfService,
            ..
        })
    ));
}
