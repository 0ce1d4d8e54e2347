//! The whole plugin from settings to findings.

use super::*;
