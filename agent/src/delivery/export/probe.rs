//! A test export.

use std::time::Duration;

use super::exporter::gateway;
use super::retry::Outcome;
use crate::config::otel::OtlpSettings;

/// Sends a request without spans, which a gateway has to accept (OTLP, "Full Success"), with
/// everything that requests with spans have: headers, tokens, compression, TLS, proxy.
///
/// Blocks for at most `limit`. Returns what the gateway said against it.
///
/// # Errors
/// What keeps it from being sent or accepted.
pub fn probe(settings: &OtlpSettings, limit: Duration) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let transport = {
        // Timers of connections need it.
        let _entered = runtime.enter();
        gateway(settings).map_err(|error| error.to_string())?
    };
    let answer = runtime.block_on(async {
        let sent = transport.probe();
        tokio::time::timeout(limit, sent).await
    });
    match answer {
        Ok(Outcome::Delivered { .. } | Outcome::Unread { .. }) => Ok(()),
        Ok(
            Outcome::Retry { cause, .. }
            | Outcome::TooLarge { cause, .. }
            | Outcome::Refused { cause }
            | Outcome::Unauthorized { cause },
        ) => Err(cause),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}
