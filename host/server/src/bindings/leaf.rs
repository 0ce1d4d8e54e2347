//! One binding's result as records show it to everybody: by digest and code, nothing out of a body.
//!
//! Invariant: what is written is a part of a JSON object; names and codes are quoted.

use std::fmt::Write as _;

use portcullis_model::json::quote;

use crate::bindings::evaluate::BindingResult;
use crate::observe::budget::micros;

impl BindingResult {
    /// Who was asked, by digest, and what they found, by code.
    pub fn write_leaf(&self, leaf: &mut String) {
        write_to(
            leaf,
            format_args!(
                r#"{{{},"elapsed_us":{},"#,
                self.binding.record_prefix(),
                micros(self.spent)
            ),
        );
        if let Some(why) = self.cohort {
            write_to(leaf, format_args!(r#""cohort":{},"#, why.json()));
        }
        match &self.outcome {
            Ok(decision) => {
                write_to(
                    leaf,
                    format_args!(r#""verdict":"{}","codes":["#, decision.verdict().name()),
                );
                let mut codes: Vec<_> =
                    decision.findings.iter().map(|finding| finding.code.as_str()).collect();
                codes.sort_unstable();
                codes.dedup();
                write_list(leaf, codes.into_iter().take(MAX_CODES), quote);
                if !self.waived.is_empty() {
                    leaf.push_str(r#"],"waived":["#);
                    let mut codes: Vec<_> =
                        self.waived.iter().map(|finding| finding.code.as_str()).collect();
                    codes.sort_unstable();
                    codes.dedup();
                    write_list(leaf, codes.into_iter().take(MAX_CODES), quote);
                }
                leaf.push_str(r#"],"changes":["#);
                let mut kinds: Vec<_> =
                    decision.changes.iter().map(|change| change.kind().to_string()).collect();
                kinds.sort_unstable();
                kinds.dedup();
                write_list(leaf, kinds.iter(), |leaf, kind| quote(leaf, kind));
                leaf.push_str(r#"],"risk":"#);
                match decision.risk {
                    Some(risk) => write_to(leaf, format_args!("{risk}")),
                    None => leaf.push_str("null"),
                }
            }
            Err(fault) => write_to(leaf, format_args!(r#""fault":"{}""#, fault.code)),
        }
        leaf.push('}');
    }
}

pub fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

pub fn write_list<T>(
    out: &mut String,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    for (position, item) in items.enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(out, item);
    }
}

/// Codes of one plugin in a leaf; all of them are in the sealed part.
const MAX_CODES: usize = 8;
