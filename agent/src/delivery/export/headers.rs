//! Headers of requests, and the secrets among them.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::retry::Outcome;
use crate::config::credentials::{Credentials, Values};
use crate::config::otel::OtlpSettings;

/// Values shorter than this are not looked for in messages: they would be found in words.
const SHORTEST_SECRET: usize = 4;

/// Shown instead of a secret.
const HIDDEN: &str = "(hidden)";

/// What every request to a gateway says beside its body.
#[derive(Debug)]
pub(super) struct Headers {
    fixed: HeaderMap,
    /// Secret ones among them.
    secrets: Vec<HeaderValue>,
    credentials: Option<Arc<Credentials>>,
}

/// The headers of one request, and those of them that came out of files.
pub(super) struct Sent {
    pub(super) headers: HeaderMap,
    values: Option<Arc<Values>>,
}

impl Headers {
    /// The user's headers, and then ours: those are not the user's to set.
    pub(super) fn new(
        settings: &OtlpSettings,
        ours: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Self {
        let mut fixed = HeaderMap::new();
        for (name, value) in &settings.headers.0 {
            fixed.append(name, value.clone());
        }
        for (name, value) in ours {
            fixed.insert(name, value);
        }
        let secrets = fixed.values().filter(|value| value.is_sensitive());
        let secrets = secrets.cloned().collect();
        if let Some(credentials) = &settings.credentials {
            credentials.remark();
        }
        Self {
            fixed,
            secrets,
            credentials: settings.credentials.clone(),
        }
    }

    /// The headers of the next request. What is in files stands above what is not.
    pub(super) fn next(&self) -> Sent {
        let mut headers = self.fixed.clone();
        let values = self.credentials.as_ref().map(|it| it.current());
        let read: &[_] = values.as_deref().map_or(&[], Vec::as_slice);
        for (name, _) in read {
            headers.remove(name);
        }
        for (name, value) in read {
            headers.append(name, value.clone());
        }
        Sent { headers, values }
    }

    /// What comes of an answer to a request with these headers. If they were refused, and
    /// there are others by now, it may be sent again. A gateway that quotes what it was
    /// sent does not bring a secret into the log.
    pub(super) fn judge(&self, sent: &Sent, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Delivered { rejected, message } => Outcome::Delivered {
                rejected,
                message: self.hide(sent, message),
            },
            Outcome::Retry { after, cause } => Outcome::Retry {
                after,
                cause: self.hide(sent, cause),
            },
            Outcome::Unread { cause } => Outcome::Unread {
                cause: self.hide(sent, cause),
            },
            Outcome::TooLarge { excess, cause } => Outcome::TooLarge {
                excess,
                cause: self.hide(sent, cause),
            },
            Outcome::Refused { cause } => Outcome::Refused {
                cause: self.hide(sent, cause),
            },
            Outcome::Unauthorized { cause } => {
                let cause = self.hide(sent, cause);
                let now = self.credentials.as_ref().map(|it| it.refreshed());
                let new = match (&now, &sent.values) {
                    (Some(now), Some(used)) => !Arc::ptr_eq(now, used),
                    _ => false,
                };
                if new {
                    Outcome::Retry { after: None, cause }
                } else {
                    Outcome::Unauthorized { cause }
                }
            }
        }
    }

    fn hide(&self, sent: &Sent, mut text: String) -> String {
        let read = sent.values.iter().flat_map(|values| values.iter());
        for value in self.secrets.iter().chain(read.map(|(_, value)| value)) {
            let Ok(value) = value.to_str() else { continue };
            hide(&mut text, value);
            // Without the scheme: a token, or a name and a password.
            if let Some((_, token)) = value.split_once(' ') {
                hide(&mut text, token.trim());
            }
        }
        text
    }
}

/// Hides a secret in a text, also one of which the end is cut off with the text.
fn hide(text: &mut String, secret: &str) {
    if secret.len() < SHORTEST_SECRET {
        return;
    }
    if text.contains(secret) {
        *text = text.replace(secret, HIDDEN);
    }
    let cut = (SHORTEST_SECRET..secret.len()).rev();
    let mut cut = cut.filter_map(|len| secret.get(..len));
    if let Some(beginning) = cut.find(|it| text.ends_with(it)) {
        text.truncate(text.len() - beginning.len());
        text.push_str(HIDDEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_also_when_cut() {
        for (text, expected) in [
            ("no abcdef in it, abcdef!", "no (hidden) in it, (hidden)!"),
            ("it ends in abcd", "it ends in (hidden)"),
            ("it ends in abc", "it ends in abc"),
            ("nothing", "nothing"),
        ] {
            let mut text = text.to_owned();
            hide(&mut text, "abcdef");
            assert_eq!(text, expected);
        }
        let mut text = "a word".to_owned();
        hide(&mut text, "wo");
        assert_eq!(text, "a word");
    }
}
