//! Reading single values, and collecting what is wrong with them.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::Mistake;

/// Shown instead of values that may hold secrets.
const HIDDEN: &str = "(hidden)";

/// Reads variables; every method returns `None` for one that is unset or wrong.
pub(super) struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            mistakes: Vec::new(),
        }
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, Vec<Mistake>> {
        if self.mistakes.is_empty() {
            Ok(value)
        } else {
            Err(self.mistakes)
        }
    }

    /// Reports the variable. The same mistake is reported once, though two signals may read it.
    pub(super) fn mistake(&mut self, name: &str, problem: &str, fix: &str) {
        let secret = name.ends_with("HEADERS")
            || self
                .text(name)
                .is_some_and(|value| value.contains('@') && holds_url(name));
        let value = if secret {
            HIDDEN.to_owned()
        } else {
            self.text(name).unwrap_or_default()
        };
        let mistake = Mistake {
            name: name.to_owned(),
            value,
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = (self.env)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.choice(name, &[("true", true), ("false", false)])
    }

    /// One of several words, in any case.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.text(name)?;
        let found = choices
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&value));
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.mistake(
                name,
                "not a known value",
                &format!("use {}", words.join(" or ")),
            );
        }
        found.map(|(_, choice)| *choice)
    }

    pub(super) fn number(&mut self, name: &str, least: u64) -> Option<u64> {
        let value = self.text(name)?;
        // Larger numbers than this would overflow when times are added up.
        let number = value
            .parse()
            .ok()
            .filter(|number| (least..=u64::from(u32::MAX)).contains(number));
        if number.is_none() {
            let fix = format!("use a whole number from {least} to {}", u32::MAX);
            self.mistake(name, "not a valid number", &fix);
        }
        number
    }

    /// A time in milliseconds; 0 means no limit (`Some(None)`).
    pub(super) fn milliseconds(&mut self, name: &str) -> Option<Option<Duration>> {
        let number = self.number(name, 0)?;
        Some((number > 0).then(|| Duration::from_millis(number)))
    }

    /// A comma-separated list.
    pub(super) fn list(&mut self, name: &str) -> Option<Vec<String>> {
        let value = self.text(name)?;
        let items = value
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Some(items.map(str::to_owned).collect())
    }

    /// `key=value,key=value` with percent-encoded values (W3C Baggage).
    pub(super) fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(value) = self.text(name) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for member in value
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
        {
            let pair = member.split_once('=').and_then(|(key, value)| {
                Some((percent_decode(key.trim())?, percent_decode(value.trim())?))
            });
            match pair {
                Some((key, value)) if !key.is_empty() => pairs.push((key, value)),
                _ => {
                    let position = pairs.len() + 1;
                    let problem = format!("member {position} is not key=value with %XX escapes");
                    self.mistake(name, &problem, "write key1=value1,key2=value2");
                    break;
                }
            }
        }
        pairs
    }

    pub(super) fn headers(&mut self, name: &str) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (key, value) in self.pairs(name) {
            match (HeaderName::try_from(&key), HeaderValue::try_from(&value)) {
                (Ok(header), _) if header.as_str().ends_with("-bin") => {
                    let problem = format!("{header} would be binary metadata");
                    self.mistake(name, &problem, "use a name that does not end in -bin");
                }
                (Ok(header), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.push((header, value));
                }
                (Err(_), _) => {
                    let problem = format!("{key:?} is not a header name");
                    self.mistake(name, &problem, "use letters, digits and dashes");
                }
                (_, Err(_)) => {
                    let problem = format!("the value of {key} has control characters");
                    self.mistake(name, &problem, "remove them");
                }
            }
        }
        headers
    }

    /// A file that can be opened.
    pub(super) fn file(&mut self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(name)?);
        if let Err(error) = File::open(&path) {
            self.mistake(name, &error.to_string(), "name a PEM file that can be read");
            return None;
        }
        Some(path)
    }
}

/// Whether the value of a variable may be a URL with a password.
fn holds_url(name: &str) -> bool {
    name.ends_with("ENDPOINT") || name.to_ascii_uppercase().ends_with("_PROXY")
}

/// Decodes `%XX` (RFC 3986, section 2.1). `None` if an escape is cut or no UTF-8 results.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || (bytes.next()? as char).to_digit(16);
            let value = digit()? * 16 + digit()?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
