//! Declares enums whose variants are fixed words of the database or the API.

use super::error::Error;

/// Declares an enum in which each variant has a word.
///
/// ```ignore
/// words! {
///     /// State of a reply.
///     pub enum State {
///         Streaming = "streaming",
///         /// Stopped by the reader; the text so far is kept.
///         Stopped = "stopped",
///     }
/// }
/// ```
///
/// The enum gets these items, with its own visibility:
/// - `ALL`: all variants, in the order of declaration;
/// - `name(self)`: the word;
/// - `parse(&str) -> Option<Self>`: the variant of a word that a client sent;
/// - `from_sql(&str, &str) -> Result<Self>`: the variant of a word that the table or function
///   named by the second argument returned. An unknown word is an internal error.
///
/// It derives `Clone`, `Copy`, `Debug`, `PartialEq` and `Eq`. The docs of a variant end with its
/// word.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $(
                $(#[$variant_meta])*
                #[doc = ""]
                #[doc = concat!("`", $word, "`")]
                $variant,
            )+
        }

        impl $name {
            /// All variants, in the order of declaration.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word.
            $vis const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The variant of a word, if there is one.
            $vis fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The variant of a word that `source`, a table or a function, returned.
            ///
            /// # Errors
            /// [`Error::Internal`](crate::platform::error::Error::Internal) for an unknown word.
            $vis fn from_sql(word: &str, source: &str) -> $crate::platform::error::Result<Self> {
                Self::parse(word).ok_or_else(|| $crate::platform::words::unknown(word, source))
            }
        }

        // Most enums do not use all items. This avoids `dead_code` warnings.
        const _: () = {
            let _ = ($name::ALL, $name::name, $name::parse, $name::from_sql);
        };
    };
}

pub(crate) use words;

/// The error for a word that this version does not know.
pub(crate) fn unknown(word: &str, source: &str) -> Error {
    Error::internal(format!("unknown word {word:?} of {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        enum Fruit {
            Apple = "apple",
            StarFruit = "star-fruit",
        }
    }

    #[test]
    fn each_variant_is_parsed_from_its_own_word_only() {
        for fruit in Fruit::ALL {
            assert_eq!(Fruit::parse(fruit.name()), Some(fruit));
        }
        assert_eq!(
            Fruit::ALL.map(Fruit::name),
            ["apple", "star-fruit"],
            "in the order of declaration"
        );
        for word in ["", "Apple", "apple ", "StarFruit"] {
            assert_eq!(Fruit::parse(word), None, "{word:?}");
        }
    }

    #[test]
    fn unknown_word_of_sql_is_an_internal_error_that_names_word_and_source() {
        assert_eq!(
            Fruit::from_sql("star-fruit", "biz.fruits").unwrap(),
            Fruit::StarFruit
        );
        let error = Fruit::from_sql("pear", "biz.fruits").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"internal error: unknown word "pear" of biz.fruits"#
        );
        assert!(matches!(error, Error::Internal(_, None)));
    }
}
