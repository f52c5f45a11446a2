//! Envoy as the sidecar of a service: both of its sides, and what it logs.
