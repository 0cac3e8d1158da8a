//! Texts in both languages of the document.

/// A language of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Language {
    English,
    Chinese,
}

/// A text in both languages.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "codes of the languages")]
pub struct Text {
    pub en: String,
    pub zh: String,
}

impl Text {
    /// The text in a language.
    pub fn get(&self, language: Language) -> String {
        match language {
            Language::English => self.en.clone(),
            Language::Chinese => self.zh.clone(),
        }
    }
}

/// A text from its two forms.
pub fn text(en: &str, zh: &str) -> Text {
    Text {
        en: en.to_owned(),
        zh: zh.to_owned(),
    }
}

/// The same text in both languages.
pub fn same(text: impl Into<String>) -> Text {
    let text = text.into();
    Text {
        en: text.clone(),
        zh: text,
    }
}

/// A number with three significant digits, and commas between thousands.
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the exponent of a number is small"
    )]
    let exponent = value.abs().log10().floor() as i32;
    let unit = 10_f64.powi(exponent - 2);
    let rounded = (value / unit).round() * unit;
    let decimals = usize::try_from(2 - exponent).unwrap_or(0);
    let plain = format!("{rounded:.decimals$}");
    let plain = if plain.contains('.') {
        plain.trim_end_matches('0').trim_end_matches('.')
    } else {
        &plain
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() {
        grouped
    } else {
        format!("{grouped}.{fraction}")
    }
}
