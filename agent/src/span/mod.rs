//! What makes an exchange a span: its ids and its context.

pub mod context;
pub mod ids;
