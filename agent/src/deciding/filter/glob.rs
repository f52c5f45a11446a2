//! Globs over short strings: `*` is any run of characters (slashes too), `?` is any
//! one character, `\` takes the next character as it is.

/// A compiled pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Char(char),
    One,
    Any,
}

impl Glob {
    /// Compiles a pattern. Every string is one, but for a lone `\` at the end.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn parse(pattern: &str) -> Result<Self, &'static str> {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' if tokens.last() == Some(&Token::Any) => {}
                '*' => tokens.push(Token::Any),
                '?' => tokens.push(Token::One),
                '\\' => match chars.next() {
                    Some(c) => tokens.push(Token::Char(c)),
                    None => return Err("a pattern cannot end with a backslash"),
                },
                c => tokens.push(Token::Char(c)),
            }
        }
        let text = pattern.to_owned();
        Ok(Self { text, tokens })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The only text that matches, if there is only one.
    #[must_use]
    pub fn literal(&self) -> Option<String> {
        let letter = |token: &Token| match token {
            Token::Char(c) => Some(*c),
            Token::One | Token::Any => None,
        };
        self.tokens.iter().map(letter).collect()
    }

    /// Bytes of the shortest text that matches.
    #[must_use]
    pub fn min_len(&self) -> usize {
        let len = |token: &Token| match token {
            Token::Char(c) => c.len_utf8(),
            Token::One => 1,
            Token::Any => 0,
        };
        self.tokens.iter().map(len).sum()
    }

    /// Whether a text that begins with this character may match.
    #[must_use]
    pub fn may_begin_with(&self, first: char) -> bool {
        match self.tokens.first() {
            Some(Token::Char(c)) => *c == first,
            Some(Token::One | Token::Any) => true,
            None => false,
        }
    }

    /// Whether the whole of `text` matches. Takes at most
    /// `text.len() * pattern.len()` steps and allocates nothing.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut at = 0;
        // Where to go on after a mismatch: behind the last `*`, which then takes one
        // character more than before.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let token = self.tokens.get(at);
            if token == Some(&Token::Any) {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            let next = rest.next();
            let fits = match (token, next) {
                (None, None) => return true,
                (Some(Token::Char(wanted)), Some(c)) => *wanted == c,
                (Some(Token::One), Some(_)) => true,
                _ => false,
            };
            if fits {
                at += 1;
                continue;
            }
            let Some((behind, from)) = &mut retry else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            at = *behind;
            rest = from.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("/users/*", "/users/7", true),
            ("/users/*", "/users/7/orders", true),
            ("/users/*", "/users", false),
            ("/users/?", "/users/7", true),
            ("/users/?", "/users/77", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*/health*", "/v1/healthz", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("**", "anything", true),
            (r"/a\*", "/a*", true),
            (r"/a\*", "/ab", false),
            ("/é?", "/éü", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
        assert!(Glob::parse(r"/a\").is_err());
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = "*a".repeat(50) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }

    /// The obvious definition, exponential and therefore only for short inputs.
    fn model(tokens: &[Token], text: &[char]) -> bool {
        match (tokens.first(), text.first()) {
            (None, None) => true,
            (Some(Token::Any), _) => {
                model(&tokens[1..], text) || (!text.is_empty() && model(tokens, &text[1..]))
            }
            (Some(Token::One), Some(_)) => model(&tokens[1..], &text[1..]),
            (Some(Token::Char(wanted)), Some(c)) => wanted == c && model(&tokens[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,7}", text in "[ab]{0,9}") {
            let glob = Glob::parse(&pattern).unwrap();
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(glob.matches(&text), model(&glob.tokens, &chars));
        }
    }
}
