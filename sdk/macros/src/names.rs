//! How serde renames a field or a variant.
//!
//! Touches: nothing.
//! Change here: when serde learns another `rename_all`.

/// A rule of `#[serde(rename_all = "...")]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    pub fn named(rule: &str) -> Option<Case> {
        Some(match rule {
            "lowercase" => Case::Lower,
            "UPPERCASE" => Case::Upper,
            "PascalCase" => Case::Pascal,
            "camelCase" => Case::Camel,
            "snake_case" => Case::Snake,
            "SCREAMING_SNAKE_CASE" => Case::ScreamingSnake,
            "kebab-case" => Case::Kebab,
            "SCREAMING-KEBAB-CASE" => Case::ScreamingKebab,
            _ => return None,
        })
    }

    /// A field is written in snake case.
    pub fn of_field(self, name: &str) -> String {
        match self {
            Case::Lower | Case::Snake => name.to_owned(),
            Case::Upper | Case::ScreamingSnake => name.to_ascii_uppercase(),
            Case::Pascal => pascal(name),
            Case::Camel => uncapitalised(&pascal(name)),
            Case::Kebab => name.replace('_', "-"),
            Case::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// A variant is written in Pascal case.
    pub fn of_variant(self, name: &str) -> String {
        match self {
            Case::Pascal => name.to_owned(),
            Case::Lower => name.to_ascii_lowercase(),
            Case::Upper => name.to_ascii_uppercase(),
            Case::Camel => uncapitalised(name),
            Case::Snake => snake(name),
            Case::ScreamingSnake => snake(name).to_ascii_uppercase(),
            Case::Kebab => snake(name).replace('_', "-"),
            Case::ScreamingKebab => snake(name).to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn pascal(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words
        .map(|word| word[..1].to_ascii_uppercase() + &word[1..])
        .collect()
}

fn uncapitalised(name: &str) -> String {
    name[..1].to_ascii_lowercase() + &name[1..]
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_changed_as_serde_changes_them() {
        for (rule, field, variant) in [
            ("lowercase", "max_probes", "veryhigh"),
            ("UPPERCASE", "MAX_PROBES", "VERYHIGH"),
            ("PascalCase", "MaxProbes", "VeryHigh"),
            ("camelCase", "maxProbes", "veryHigh"),
            ("snake_case", "max_probes", "very_high"),
            ("SCREAMING_SNAKE_CASE", "MAX_PROBES", "VERY_HIGH"),
            ("kebab-case", "max-probes", "very-high"),
            ("SCREAMING-KEBAB-CASE", "MAX-PROBES", "VERY-HIGH"),
        ] {
            let case = Case::named(rule).expect("serde's own word");
            assert_eq!(case.of_field("max_probes"), field, "{rule}");
            assert_eq!(case.of_variant("VeryHigh"), variant, "{rule}");
        }
        assert_eq!(Case::named("Title Case"), None);
    }
}
