//! Headers and tokens that others write into files, and replace while the agent runs.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use super::watch::Watched;

/// The files are looked at this often at most, unless a gateway refuses what was in them.
const LOOK: Duration = Duration::from_secs(1);

/// Largest file that is read, bytes.
const MAX_FILE: u64 = 64 << 10;

/// Headers that describe the connection or the message: not the user's to set.
const OURS: [&str; 7] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

/// Why a file gives no credentials. Never says what is in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}; name a file that the agent's user can read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// Headers as they were in the files at one time.
pub(crate) type Values = Vec<(HeaderName, HeaderValue)>;

/// `otlp_headers_file` and `otlp_bearer_token_file`, shared by all that send with them.
pub struct Credentials {
    headers: Option<PathBuf>,
    token: Option<PathBuf>,
    state: Mutex<State>,
    remarked: AtomicBool,
}

struct State {
    watched: Watched,
    values: Arc<Values>,
}

/// Without values.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("headers", &self.headers)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// The same files.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        (&self.headers, &self.token) == (&other.headers, &other.token)
    }
}

impl Eq for Credentials {}

impl Credentials {
    /// Reads the files: one of lines `name=value` or `name: value`, and one with a bearer
    /// token and nothing else.
    ///
    /// # Errors
    /// If a file cannot be read or makes no sense.
    pub fn open(headers: Option<PathBuf>, token: Option<PathBuf>) -> Result<Self, CredentialError> {
        let watched = Watched::new(headers.iter().chain(&token).cloned());
        let values = read(headers.as_deref(), token.as_deref())?;
        let values = Arc::new(values);
        Ok(Self {
            headers,
            token,
            state: Mutex::new(State { watched, values }),
            remarked: AtomicBool::new(false),
        })
    }

    /// Warns, once, of files that everybody can read.
    pub(crate) fn remark(&self) {
        if self.remarked.swap(true, Ordering::Relaxed) {
            return;
        }
        for path in self.headers.iter().chain(&self.token) {
            if std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0) {
                tracing::warn!(
                    path = %path.display(),
                    "everybody on this host can read these credentials; chmod o-r the file"
                );
            }
        }
    }

    /// What to send now. What is in the files may be newer by two seconds.
    pub(crate) fn current(&self) -> Arc<Values> {
        let mut state = self.state();
        if state.watched.settled_after(LOOK) {
            self.renew(&mut state);
        }
        Arc::clone(&state.values)
    }

    /// What is in the files now.
    pub(crate) fn refreshed(&self) -> Arc<Values> {
        let mut state = self.state();
        if state.watched.changed() {
            self.renew(&mut state);
        }
        Arc::clone(&state.values)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self, state: &mut State) {
        match read(self.headers.as_deref(), self.token.as_deref()) {
            Ok(values) if values == *state.values => {}
            Ok(values) => {
                state.values = Arc::new(values);
                tracing::info!("new credentials are in use for the gateway");
            }
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(error, "the new credentials are refused, the old ones stay");
            }
        }
    }
}

fn read(headers: Option<&Path>, token: Option<&Path>) -> Result<Values, CredentialError> {
    let mut values = Vec::new();
    if let Some(path) = headers {
        values = lines(&text(path)?).map_err(|problem| content(path, problem))?;
    }
    if let Some(path) = token {
        let value = bearer(&text(path)?).map_err(|problem| content(path, problem))?;
        values.retain(|(name, _)| *name != header::AUTHORIZATION);
        values.push((header::AUTHORIZATION, value));
    }
    Ok(values)
}

fn content(path: &Path, problem: String) -> CredentialError {
    CredentialError::Content {
        path: path.into(),
        problem,
    }
}

fn text(path: &Path) -> Result<String, CredentialError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    read.map_err(|source| CredentialError::Read {
        path: path.into(),
        source,
    })?;
    if text.len() as u64 > MAX_FILE {
        let problem = format!("it is larger than {MAX_FILE} bytes; it is to hold headers only");
        return Err(content(path, problem));
    }
    Ok(text)
}

/// Lines of headers; empty ones and those that begin with # say nothing.
fn lines(text: &str) -> Result<Values, String> {
    let mut values = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once(['=', ':'])
            .ok_or_else(|| format!("line {number} is not name=value or name: value"))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| {
            format!(
                "line {number} has no header name before '=' or ':'; use letters, digits and dashes"
            )
        })?;
        let ours = OURS.contains(&name.as_str()) || name.as_str().starts_with("grpc-");
        if ours || name.as_str().ends_with("-bin") {
            return Err(format!(
                "line {number}: {name} is not to be set, it describes the message; remove the line"
            ));
        }
        let value = secret(value.trim()).ok_or_else(|| {
            format!("line {number}: the value of {name} is empty or has characters that headers cannot have")
        })?;
        values.push((name, value));
    }
    if values.is_empty() {
        return Err("it holds no header; write lines of the form name=value".to_owned());
    }
    Ok(values)
}

fn bearer(text: &str) -> Result<HeaderValue, String> {
    let token = text.trim();
    let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| secret(&format!("Bearer {token}")))
        .flatten()
        .ok_or_else(|| {
            "it is not a token; write the token and nothing else, in one line and without 'Bearer'"
                .to_owned()
        })
}

fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value)
        .ok()
        .filter(|it| !it.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(values: &Values) -> Vec<(&str, &str)> {
        let shown = values
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().unwrap()));
        shown.collect()
    }

    #[test]
    fn lines_of_both_forms() {
        let values = lines("# ours\n\nX-Key: a=b:c \nx-tenant=prod\r\nx-key=2\n").unwrap();
        let expected = [("x-key", "a=b:c"), ("x-tenant", "prod"), ("x-key", "2")];
        assert_eq!(shown(&values), expected);
        assert!(values.iter().all(|(_, value)| value.is_sensitive()));
    }

    #[test]
    fn what_is_wrong_is_told_without_what_is_there() {
        for text in [
            "",
            "# nothing\n",
            "s3cret",
            "x-key=",
            "a b=s3cret",
            "=s3cret",
            "x-key=s3cret\u{7}",
            "Content-Type: s3cret",
            "grpc-timeout: s3cret",
            "x-bin: s3cret",
        ] {
            let problem = lines(text).unwrap_err();
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        for text in ["", " \n", "Bearer s3cret", "s3cret\ns3cret", "s3crét"] {
            let problem = bearer(text).unwrap_err();
            assert!(!problem.contains("s3cr"), "{problem}");
        }
        assert_eq!(bearer("abc.def\n").unwrap(), "Bearer abc.def");
    }

    #[test]
    fn new_files_are_taken_and_bad_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("headers"), "authorization=Basic x\nx-key=1").unwrap();
        std::fs::write(path("token"), "first").unwrap();
        let opened = Credentials::open(Some(path("headers")), Some(path("token"))).unwrap();
        let expected = [("x-key", "1"), ("authorization", "Bearer first")];
        let first = opened.current();
        assert_eq!(shown(&first), expected);
        std::fs::write(path("token"), "second").unwrap();
        assert!(Arc::ptr_eq(&first, &opened.current()), "not looked at yet");
        let second = opened.refreshed();
        assert_eq!(shown(&second)[1], ("authorization", "Bearer second"));
        for bad in ["not a token", ""] {
            std::fs::write(path("token"), bad).unwrap();
            assert!(Arc::ptr_eq(&second, &opened.refreshed()));
        }
        std::fs::remove_file(path("token")).unwrap();
        assert!(Arc::ptr_eq(&second, &opened.refreshed()));
        // The same again is nothing new.
        std::fs::write(path("token"), "second").unwrap();
        assert!(Arc::ptr_eq(&second, &opened.refreshed()));
        assert!(!format!("{opened:?}").contains("second"));
    }

    #[test]
    fn files_that_cannot_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let missing = Credentials::open(None, Some(path.clone())).unwrap_err();
        assert!(missing.to_string().contains("name a file"), "{missing}");
        std::fs::write(&path, vec![b'x'; 65_537]).unwrap();
        let large = Credentials::open(None, Some(path)).unwrap_err();
        assert!(large.to_string().contains("larger than"), "{large}");
    }
}
