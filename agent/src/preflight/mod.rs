//! What this kernel and these privileges allow, before anything is loaded.

pub mod btf;
