//! Requests of the agent itself that the kernel programs cannot tell.
//!
//! They know the far ends of the agent's connections by address, and a Unix socket's other end
//! has none. What it sends there would be traced at the gateway, and each batch be one request
//! more to report.

use crate::delivery::export::PRODUCT;
use crate::model::exchange::{Endpoint, Exchange, Side};

/// Whether a gateway answered an agent, this one or another, over a Unix socket.
#[inline]
pub(super) fn is_export(exchange: &Exchange<'_>) -> bool {
    exchange.side == Side::Server
        && matches!(exchange.conn.local, Endpoint::Unix(_))
        && exchange
            .user_agent
            .is_some_and(|agent| agent.starts_with(PRODUCT))
}
