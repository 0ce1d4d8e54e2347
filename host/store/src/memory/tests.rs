//! Tests of memory as a whole.
