//! The memory of plugins.
