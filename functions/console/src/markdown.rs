//! Answers of apps as HTML.

use pulldown_cmark::{Options, Parser, html::push_html};

/// Renders Markdown. The result never has scripts, styles, images or forms.
pub(crate) fn render(text: &str) -> String {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let mut html = String::new();
    push_html(&mut html, parser);
    ammonia::Builder::default()
        .rm_tags(["img"])
        .link_rel(Some("noopener noreferrer nofollow"))
        .clean(&html)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_answer_has_no_effect() {
        let html = render(
            "**好** <script>alert(1)</script> <img src=x onerror=alert(1)> [a](javascript:alert(1)) \
             <style>*{}</style> <form action=//evil><input></form> <b onclick=x>b</b>",
        );
        assert!(
            html.contains("<strong>好</strong>") && html.contains("<b>b</b>"),
            "{html}"
        );
        for gone in ["script", "img", "style", "form", "onclick", "javascript"] {
            assert!(!html.contains(gone), "{gone}: {html}");
        }
    }
}
