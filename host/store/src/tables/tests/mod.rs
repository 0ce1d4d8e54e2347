//! Tests of reference tables.
