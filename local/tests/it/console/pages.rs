//! Every page, for every role and in both languages.

use std::collections::{BTreeSet, VecDeque};

use common::platform::version;
use reqwest::Url;

use super::{QUESTION, busy_parlor, page, shown};
use crate::harness::{
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
    parlor::{COACH, Parlor},
};

const VIEWER: i64 = 1007;

/// The most pages that a test follows.
const MOST: usize = 150;

/// The values of an attribute in a page, decoded.
pub(super) fn values(html: &str, attribute: &str) -> Vec<String> {
    let start = format!(" {attribute}=\"");
    let rest = html.split(&start).skip(1);
    let values = rest.filter_map(|rest| rest.split('"').next());
    values
        .map(|value| value.replace("&amp;", "&").replace("&#38;", "&"))
        .collect()
}

/// Follows all links from the dashboard. Returns the pages by path and query.
async fn follow_links(parlor: &Parlor, user: i64, language: &str) -> Vec<(String, String)> {
    let base = Url::parse(&parlor.address).unwrap();
    let mut waiting = VecDeque::from([base.join("/console").unwrap()]);
    let (mut seen, mut pages) = (BTreeSet::new(), Vec::new());
    while let Some(url) = waiting.pop_front() {
        // One page of each shape: ids and values of filters differ, but not the template.
        let names: BTreeSet<String> = url
            .query_pairs()
            .map(|(name, _)| name.into_owned())
            .collect();
        let shape: String = url
            .path()
            .chars()
            .filter(|letter| !letter.is_ascii_digit())
            .collect();
        if pages.len() == MOST || !seen.insert((shape, names)) {
            continue;
        }
        let place = url.as_str()[parlor.address.len()..].to_owned();
        let request = parlor
            .request_as(user, "GET", &place)
            .header("accept-language", language);
        let response = request.send().await.unwrap();
        let status = response.status();
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{user} {place}: {text}");
        if kind.starts_with("text/html") {
            for link in values(&text, "href")
                .into_iter()
                .filter(|link| !link.starts_with(['#']))
            {
                if link.starts_with("data:") {
                    continue;
                }
                assert!(
                    !link.starts_with('/') && !link.contains("://"),
                    "{place}: {link} is not relative"
                );
                let target = url.join(&link).unwrap();
                assert!(target.path().starts_with("/console"), "{place}: {link}");
                waiting.push_back(target);
            }
            pages.push((place, text));
        }
    }
    pages
}

#[tokio::test]
async fn every_link_works_for_each_role_in_both_languages() {
    let parlor = busy_parlor().await;
    for user in [SITE_ADMIN, VIEWER, OTHER_SITE_ADMIN, PLATFORM_ADMIN] {
        for language in ["en", "zh-CN"] {
            let pages = follow_links(&parlor, user, language).await;
            assert!(pages.len() > 15, "{user}: {}", pages.len());
            for (place, html) in pages {
                let what = format!("{user} {language} {place}");
                assert!(
                    html.contains(&format!("<html lang=\"{language}\">")),
                    "{what}"
                );
                assert_eq!(html.matches("<h1").count(), 1, "{what}");
                assert!(html.len() < 100_000, "{what}: {} bytes", html.len());
                assert!(
                    !html.contains(" style=\"") && !html.contains(" onclick"),
                    "{what}"
                );
                let is_hidden = [VIEWER, OTHER_SITE_ADMIN].contains(&user);
                assert!(
                    !(is_hidden && html.contains(QUESTION)),
                    "{what} shows a question"
                );
                if user == OTHER_SITE_ADMIN {
                    for of_site_1 in ["星空台球", "阿杰", "10001"] {
                        assert!(!html.contains(of_site_1), "{what} shows {of_site_1}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn the_footer_of_the_desk_has_the_version() {
    let parlor = Parlor::start().await;
    let text = shown(&parlor, SITE_ADMIN, "/console").await;
    let expected = format!("Parlor console {}", version::text());
    let footer = text.split_once("<footer>").unwrap().1;
    assert!(footer.contains(&expected), "{footer}");
}

#[tokio::test]
async fn pages_of_the_desk_are_closed_to_others() {
    let parlor = busy_parlor().await;
    let home = parlor
        .request_as(COACH, "GET", "/console")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            home.status().as_u16(),
            home.headers()["location"].to_str().unwrap()
        ),
        (303, "console/chat")
    );
    let run: i64 = sqlx::query_scalar("select min(id) from biz.ai_run_logs")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    let run = format!("/console/runs/{run}");
    for (user, place, status) in [
        (COACH, "/console/runs", 403),
        (COACH, &*run, 403),
        (OTHER_SITE_ADMIN, &*run, 404),
        (OTHER_SITE_ADMIN, "/console/runs?site_id=1", 403),
        (PLATFORM_ADMIN, "/console/runs?site_id=99", 404),
        (SITE_ADMIN, "/console/runs?app_type=none", 422),
        (SITE_ADMIN, "/console/runs?page=0", 422),
        (SITE_ADMIN, "/console/runs/x", 422),
        (SITE_ADMIN, "/console/nothing", 404),
        (SITE_ADMIN, &*run, 200),
    ] {
        let (found, html) = page(&parlor, user, place).await;
        assert_eq!(found, status, "{user} {place}: {html}");
        assert!(
            html.starts_with("<!doctype html>"),
            "{user} {place}: {html}"
        );
    }
    let reads: i64 =
        sqlx::query_scalar("select count(*) from biz.ai_admin_audit where action = 'run.read'")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(reads, 1, "the site admin has read one prompt");
}
