//! Property tests of the comparison.

use proptest::prelude::*;

use super::*;

/// A word as an admin writes it. It has a letter or a Chinese character.
fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z赌博毒品枪支]{1,12}"
}

/// The word with spaces and punctuation between its characters, in another case and width.
fn disguised(word: &str) -> impl Strategy<Value = String> + use<> {
    let chars: Vec<char> = word.chars().collect();
    let length = chars.len();
    let between = proptest::collection::vec("[ \\-_.,!·　，。！★\u{200b}]{0,4}", length);
    let forms = proptest::collection::vec(0..3_u8, length);
    (between, forms).prop_map(move |(between, forms)| {
        let parts = chars.iter().zip(&between).zip(&forms);
        let mut hidden = String::new();
        for ((c, between), form) in parts {
            hidden.push(match form {
                1 => c.to_ascii_uppercase(),
                2 if c.is_ascii_alphabetic() => {
                    char::from_u32(u32::from(*c) + 0xFEE0).unwrap_or(*c)
                }
                _ => *c,
            });
            hidden.push_str(between);
        }
        hidden
    })
}

fn list(word: &str) -> List {
    List::new(vec![(7, word.to_owned())])
}

proptest! {
    #![proptest_config(crate::properties::cases(256))]

    #[test]
    fn normalisation_is_idempotent(text in ".{0,64}") {
        let normal = normalise(&text);
        prop_assert_eq!(normalise(&normal), normal);
    }

    #[test]
    fn a_text_with_the_word_is_found_in_any_disguise(
        (word, hidden) in word().prop_flat_map(|word| (Just(word.clone()), disguised(&word))),
        before in ".{0,20}",
        after in "[a-z0-9。 ]{0,20}",
    ) {
        let text = format!("{before} {hidden}{after}");
        // A combining character at the end of `before` cannot change the word, because a space
        // follows. It remains part of the text.
        prop_assert_eq!(list(&word).find(&normalise(&text)), Some(7));
    }

    #[test]
    fn a_word_is_found_wherever_checkpoints_split_the_text(
        (word, hidden) in word().prop_flat_map(|word| (Just(word.clone()), disguised(&word))),
        before in "[a-zA-Z0-9天地人。， ]{0,200}",
        after in "[0-9天地人。， ]{0,200}",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text: Vec<char> = format!("{before}{hidden}{after}").chars().collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.sort_unstable();
        cuts.push(text.len());
        let (list, mut tail, mut from) = (list(&word), Tail::default(), 0);
        let found = cuts.into_iter().any(|to| {
            let part: String = text[from..to].iter().collect();
            from = to;
            list.find(&tail.extend(&part)).is_some()
        });
        prop_assert!(found);
    }

    #[test]
    fn parts_of_a_text_are_normalised_like_the_whole(
        first in "[a-zA-Zé\u{301}\u{327}ᄀ-ᇿㄱ-ㅣ가-힣 .]{0,32}",
        second in "[a-zA-Zé\u{301}\u{327}ᄀ-ᇿㄱ-ㅣ가-힣 .]{0,32}",
    ) {
        let mut tail = Tail::default();
        tail.extend(&first);
        let whole = normalise(&format!("{first}{second}"));
        prop_assert!(whole.ends_with(&tail.extend(&second)));
    }

    #[test]
    fn the_longest_word_is_found_across_a_checkpoint(cut in 0..=MAX_WORD, before in "[b-z]{0,100}") {
        let word = "a".repeat(MAX_WORD);
        let mut tail = Tail::default();
        tail.extend(&before);
        let list = list(&word);
        let found = [&word[..cut], &word[cut..]].map(|part| list.find(&tail.extend(part)));
        prop_assert!(found.contains(&Some(7)));
    }
}
