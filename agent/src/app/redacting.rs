//! Query strings on their way to sinks that know only all or nothing.

use crate::config::query::QueryPolicy;
use crate::model::exchange::{Exchange, Sink};

/// Hands exchanges on with what may be shown of their queries, and nothing else.
#[derive(Debug)]
pub(super) struct Redacting<S> {
    /// The sink.
    pub(super) sink: S,
    policy: QueryPolicy,
    /// Where queries are put together.
    query: String,
}

impl<S> Redacting<S> {
    pub(super) const fn new(sink: S, policy: QueryPolicy) -> Self {
        Self {
            sink,
            policy,
            query: String::new(),
        }
    }
}

impl<S: Sink> Sink for Redacting<S> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        match (&self.policy, exchange.query) {
            (QueryPolicy::Show, _) | (_, None) => self.sink.exchange(exchange),
            (QueryPolicy::Hide, Some(_)) => self.sink.exchange(&Exchange {
                query: None,
                ..exchange.clone()
            }),
            (QueryPolicy::Names(_), Some(query)) => {
                self.query.clear();
                self.policy
                    .each_part(query, |part| self.query.push_str(part));
                self.sink.exchange(&Exchange {
                    query: Some(&self.query),
                    ..exchange.clone()
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{nginx, ok, server_conn};

    #[derive(Default)]
    struct Queries(Vec<Option<String>>);

    impl Sink for Queries {
        fn exchange(&mut self, exchange: &Exchange<'_>) {
            self.0.push(exchange.query.map(str::to_owned));
        }
    }

    #[test]
    fn only_what_is_allowed_passes() {
        let (nginx, conn) = (nginx(), server_conn());
        let exchange = ok(&nginx, &conn);
        for (policy, expected) in [
            (QueryPolicy::Hide, None),
            (QueryPolicy::Show, Some("token=secret&page=2")),
            (
                QueryPolicy::Names(vec!["page".into()]),
                Some("token=REDACTED&page=2"),
            ),
        ] {
            let mut redacting = Redacting::new(Queries::default(), policy);
            redacting.exchange(&exchange);
            assert_eq!(redacting.sink.0, [expected.map(str::to_owned)]);
        }
    }
}
