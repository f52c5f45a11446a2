//! Routes that the user knows: `/users/{id}`, `/static/*`, for all services or for one.

/// Most patterns.
pub const MAX_PATTERNS: usize = 512;
/// Longest pattern, bytes.
pub const MAX_LENGTH: usize = 256;

/// A route pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// The service it is for; for all if none is named.
    pub service: Option<String>,
    /// As it was written.
    pub text: String,
    parts: Vec<Part>,
    /// Whether anything may follow.
    open: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Word(String),
    Variable,
}

impl Pattern {
    /// Reads `/path/{variable}/*`, or `service=/path/{variable}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(given: &str) -> Result<Self, String> {
        let (service, text) = match given.split_once('=') {
            Some((service, text)) if !service.contains('/') => (Some(service.trim()), text.trim()),
            _ => (None, given),
        };
        if service.is_some_and(str::is_empty) || !text.starts_with('/') {
            return Err(format!(
                "'{given}' is not a route: /path/{{variable}}, or service=/path/{{variable}}"
            ));
        }
        if text.len() > MAX_LENGTH {
            return Err(format!("a route is at most {MAX_LENGTH} bytes long"));
        }
        let mut parts = Vec::new();
        let mut open = false;
        for segment in segments(text) {
            if open {
                return Err(format!("'{given}': nothing can follow a '*'"));
            }
            let variable = segment.starts_with('{') && segment.ends_with('}');
            match segment {
                "*" => open = true,
                _ if variable => parts.push(Part::Variable),
                _ if segment.contains(['{', '}', '*']) => {
                    return Err(format!(
                        "'{given}': a segment is a word, a {{variable}}, or a '*' at the end"
                    ));
                }
                word => parts.push(Part::Word(word.to_owned())),
            }
        }
        Ok(Self {
            service: service.map(str::to_owned),
            text: text.to_owned(),
            parts,
            open,
        })
    }

    /// Whether a path is of this route.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut rest = segments(path);
        let fits = self.parts.iter().all(|part| match (part, rest.next()) {
            (Part::Word(word), Some(segment)) => word == segment,
            (Part::Variable, Some(_)) => true,
            (_, None) => false,
        });
        fits && (self.open || rest.next().is_none())
    }

    fn first(&self) -> Option<&str> {
        match self.parts.first() {
            Some(Part::Word(word)) => Some(word),
            _ => None,
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// The patterns that apply to one service, in the order in which they were given.
#[derive(Debug, Default)]
pub struct Patterns {
    /// With a number for each.
    entries: Vec<(u32, Pattern)>,
}

impl Patterns {
    /// Those of `all` that are for the service. `ids` is where their numbers come from.
    #[must_use]
    pub fn of(service: &str, all: &[Pattern], ids: &mut u32) -> Self {
        let entries = all
            .iter()
            .filter(|pattern| pattern.service.as_deref().is_none_or(|own| own == service))
            .map(|pattern| {
                let id = *ids;
                *ids = ids.wrapping_add(1);
                (id, pattern.clone())
            })
            .collect();
        Self { entries }
    }

    /// The first pattern that a path matches, with its number.
    #[inline]
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(u32, &str)> {
        if self.entries.is_empty() {
            return None;
        }
        let first = segments(path).next();
        self.entries
            .iter()
            .find(|(_, pattern)| {
                pattern.first().is_none_or(|word| Some(word) == first) && pattern.matches(path)
            })
            .map(|(id, pattern)| (*id, pattern.text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_patterns() {
        for (pattern, path, fits) in [
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/7/", true),
            ("/users/{id}", "/users", false),
            ("/users/{id}", "/users/7/orders", false),
            ("/static/*", "/static/a/b.js", true),
            ("/static/*", "/static", true),
            ("/static/*", "/statics/a", false),
            ("/", "/", true),
            ("/", "/a", false),
            ("/*", "/a", true),
            ("/{a}/b", "/x/b", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(path),
                fits,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn mistakes() {
        for bad in [
            "users/{id}",
            "",
            "=/a",
            "/a/*/b",
            "/a{id}",
            "/a/b*",
            "shop=a",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        assert!(Pattern::parse(&format!("/{}", "a".repeat(MAX_LENGTH))).is_err());
    }

    #[test]
    fn the_first_that_fits_and_is_for_the_service() {
        let all: Vec<Pattern> = ["shop=/items/{id}", "/items/special", "/items/{name}"]
            .iter()
            .map(|text| Pattern::parse(text).unwrap())
            .collect();
        let mut ids = 10;
        let shop = Patterns::of("shop", &all, &mut ids);
        let other = Patterns::of("other", &all, &mut ids);
        assert_eq!(shop.find("/items/special"), Some((10, "/items/{id}")));
        assert_eq!(other.find("/items/special"), Some((13, "/items/special")));
        assert_eq!(other.find("/items/x"), Some((14, "/items/{name}")));
        assert_eq!(other.find("/x"), None);
        assert_eq!(ids, 15);
    }
}
