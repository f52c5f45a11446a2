//! Proxies on the way to a gateway, from the variables that all programs share.

use std::net::IpAddr;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

/// A variable, in the case in which it is set, and its value; both are empty without one.
pub type Variable = (&'static str, String);

/// Proxies to use. Their URLs may hold passwords; `Debug` shows none.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// `HTTP_PROXY`: for endpoints without TLS.
    pub http: Variable,
    /// `HTTPS_PROXY`: for endpoints with TLS.
    pub https: Variable,
    /// `ALL_PROXY`: for those that have none of their own.
    pub all: Variable,
    /// `NO_PROXY`: names, domains, addresses and networks to reach without a proxy,
    /// separated by commas.
    pub no: Variable,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("no", &self.no.1)
            .finish_non_exhaustive()
    }
}

/// A proxy to go through.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// Where it is; without credentials.
    pub(crate) address: Uri,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Proxies {
    /// The variable that decides for an endpoint. None does for this host itself, which is
    /// another one as seen from a proxy.
    fn variable(&self, endpoint: &Uri) -> Option<&Variable> {
        if is_local(endpoint.host()?) {
            return None;
        }
        let own = match endpoint.scheme_str() {
            Some("https") => &self.https,
            _ => &self.http,
        };
        let chosen = [own, &self.all].into_iter().find(|it| !it.1.is_empty())?;
        let exempt = Matcher::builder().all("http://any").no(self.no.1.as_str());
        exempt.build().intercept(endpoint).map(|_| chosen)
    }

    /// Whether the endpoint can be reached in the way that the variables want.
    ///
    /// # Errors
    /// The name of a variable that holds no URL of a proxy.
    pub fn check(&self, endpoint: &Uri) -> Result<(), &'static str> {
        match self.variable(endpoint) {
            Some((name, value)) if parse(value).is_none() => Err(name),
            _ => Ok(()),
        }
    }

    /// The proxy for an endpoint.
    pub(crate) fn to(&self, endpoint: &Uri) -> Option<Proxy> {
        parse(&self.variable(endpoint)?.1)
    }
}

/// Only proxies that are spoken to without TLS: what goes through them has its own.
fn parse(value: &str) -> Option<Proxy> {
    let matcher = Matcher::builder().all(value).build();
    let found = matcher.intercept(&Uri::from_static("http://any"))?;
    (found.uri().scheme_str() == Some("http")).then(|| Proxy {
        address: found.uri().clone(),
        authorization: found.basic_auth().cloned(),
    })
}

fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Proxies {
        Proxies {
            http: ("HTTP_PROXY", "http://plain:3128".into()),
            https: ("https_proxy", "user:pass%21@tls:3128".into()),
            all: ("ALL_PROXY", "http://all:3128".into()),
            no: ("", "inside.example, .corp,192.0.2.7,10.0.0.0/8".into()),
        }
    }

    fn host(proxies: &Proxies, endpoint: &'static str) -> Option<String> {
        let found = proxies.to(&Uri::from_static(endpoint))?;
        found.address.host().map(str::to_owned)
    }

    #[test]
    fn each_kind_of_endpoint_has_its_proxy() {
        let all = Proxies {
            all: proxies().all,
            ..Proxies::default()
        };
        for (proxies, endpoint, expected) in [
            (proxies(), "http://gw:4318/v1/traces", Some("plain")),
            (proxies(), "https://gw", Some("tls")),
            (all.clone(), "http://gw", Some("all")),
            (all, "https://gw", Some("all")),
            (Proxies::default(), "http://gw", None),
        ] {
            assert_eq!(host(&proxies, endpoint).as_deref(), expected, "{endpoint}");
        }
        let found = proxies().to(&Uri::from_static("https://gw")).unwrap();
        // user:pass!
        assert_eq!(found.authorization.unwrap(), "Basic dXNlcjpwYXNzIQ==");
        assert!(!found.address.to_string().contains("pass"));
    }

    #[test]
    fn some_are_reached_without() {
        for endpoint in [
            "http://inside.example:4318",
            "http://gw.inside.example",
            "http://a.corp",
            "http://192.0.2.7:4318",
            "https://10.1.2.3",
            "http://localhost:4318",
            "http://127.0.0.2",
            "http://[::1]:4317",
        ] {
            assert_eq!(host(&proxies(), endpoint), None, "{endpoint}");
        }
        for endpoint in [
            "http://notinside.example",
            "http://192.0.2.8",
            "http://[::2]",
        ] {
            assert!(host(&proxies(), endpoint).is_some(), "{endpoint}");
        }
        let none = Proxies {
            no: ("NO_PROXY", "*".into()),
            ..proxies()
        };
        assert_eq!(host(&none, "http://gw"), None);
    }

    #[test]
    fn proxies_that_cannot_be_used() {
        let check = |value: &str, endpoint| {
            let proxies = Proxies {
                all: ("ALL_PROXY", value.into()),
                ..Proxies::default()
            };
            proxies.check(&Uri::from_static(endpoint))
        };
        for value in ["", "http://proxy:3128", "proxy:3128", "http://u:p@proxy"] {
            assert_eq!(check(value, "http://gw"), Ok(()), "{value}");
        }
        for value in ["socks5://proxy", "https://proxy", "http://", "a b"] {
            assert_eq!(check(value, "http://gw"), Err("ALL_PROXY"), "{value}");
            // Nobody asks for it.
            assert_eq!(check(value, "http://localhost"), Ok(()), "{value}");
        }
        assert!(!format!("{:?}", proxies()).contains("pass"));
    }
}
