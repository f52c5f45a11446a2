//! Tests of what takes minutes to build.
