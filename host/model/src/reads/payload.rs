//! The body, cut down to the pointers that a manifest reads.
//!
//! Invariant: what is written is text that a pointer leads to, and the objects and arrays around it; never a
//! member or an element beside it, and never a secret inside it, which has to be named itself. Nothing is walked
//! that no pointer leads to.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::{Kind, Value, array_index, quote, split_pointer};

/// The pointers of one hook kind, as a tree of reference tokens.
#[derive(Default)]
pub(super) struct Wanted {
    /// Everything from here on.
    whole: bool,
    below: BTreeMap<String, Wanted>,
}

impl Wanted {
    /// Adds a pointer, which must be well-formed.
    pub(super) fn admit(&mut self, pointer: &str) {
        let tokens = split_pointer(pointer).unwrap_or_default();
        let end = tokens
            .iter()
            .fold(self, |wanted, token| wanted.below.entry(token.to_string()).or_default());
        end.whole = true;
    }

    /// Whether everything that the pointer leads to is wanted.
    pub(super) fn covers(&self, pointer: &str) -> bool {
        let tokens = split_pointer(pointer).unwrap_or_default();
        let mut reached = vec![self];
        for token in tokens {
            if reached.iter().any(|wanted| wanted.whole) {
                return true;
            }
            reached = below(&reached, &token, array_index(&token).is_some());
        }
        reached.iter().any(|wanted| wanted.whole)
    }

    /// JSON text of what is wanted; `null` where nothing of it is there, and in place of secrets that are wanted only with what is
    /// around them. `secrets` are pointers.
    pub(super) fn project<'a>(&self, body: Value<'a>, secrets: &[&str]) -> Cow<'a, str> {
        if self.whole {
            return body.without(&self.unnamed(secrets), "null");
        }
        let mut out = String::new();
        let unnamed = self.unnamed(secrets);
        if write(body, &[self], &unnamed, &mut out) { out.into() } else { "null".into() }
    }

    /// Whether one of the secrets is named.
    pub(super) fn names(&self, secrets: &[&str]) -> bool {
        self.unnamed(secrets).len() < secrets.len()
    }

    /// Those of the secrets that no pointer names itself, or something inside.
    fn unnamed<'s>(&self, secrets: &[&'s str]) -> Vec<&'s str> {
        let named = |secret: &&str| {
            let mut reached = vec![self];
            for token in split_pointer(secret).unwrap_or_default() {
                reached = below(&reached, &token, array_index(&token).is_some());
            }
            !reached.is_empty()
        };
        secrets.iter().copied().filter(|secret| !named(secret)).collect()
    }
}

/// Appends what the trees want of `value`; says whether there was anything. Several trees, because
/// an element can be wanted by its index and by `*`. Written without an `ObjectWriter`, because a
/// member that turns out to be empty is taken back.
fn write(value: Value<'_>, wanted: &[&Wanted], secrets: &[&str], out: &mut String) -> bool {
    if wanted.iter().any(|wanted| wanted.whole) {
        out.push_str(&value.without(secrets, "null"));
        return true;
    }
    let start = out.len();
    let written = match value.kind() {
        Kind::Object => write_object(value, wanted, secrets, out),
        Kind::Array => write_array(value, wanted, secrets, out),
        _ => false,
    };
    if !written {
        out.truncate(start);
    }
    written
}

fn write_object(object: Value<'_>, wanted: &[&Wanted], secrets: &[&str], out: &mut String) -> bool {
    let mut names: Vec<&str> =
        wanted.iter().flat_map(|wanted| wanted.below.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    out.push('{');
    let mut any = false;
    for name in names {
        let Some(member) = object.get(name) else {
            continue;
        };
        let before = out.len();
        if any {
            out.push(',');
        }
        quote(out, name);
        out.push(':');
        if write(member, &below(wanted, name, false), secrets, out) {
            any = true;
        } else {
            out.truncate(before);
        }
    }
    out.push('}');
    any
}

fn write_array(array: Value<'_>, wanted: &[&Wanted], secrets: &[&str], out: &mut String) -> bool {
    let tokens = || wanted.iter().flat_map(|wanted| wanted.below.keys());
    let last = if tokens().any(|token| token == "*") {
        usize::MAX
    } else {
        match tokens().filter_map(|token| array_index(token)).max() {
            Some(last) => last,
            None => return false,
        }
    };
    out.push('[');
    // Behind the last element that wrote something: what follows it is cut off, so that the length says
    // nothing either.
    let mut end = None;
    for (index, element) in array.elements().enumerate().take_while(|(index, _)| *index <= last) {
        if index > 0 {
            out.push(',');
        }
        let inner = below(wanted, &index.to_string(), true);
        if !inner.is_empty() && write(element, &inner, secrets, out) {
            end = Some(out.len());
        } else {
            out.push_str("null");
        }
    }
    if let Some(end) = end {
        out.truncate(end);
        out.push(']');
    }
    end.is_some()
}

/// The trees one token further.
fn below<'w>(wanted: &[&'w Wanted], token: &str, is_element: bool) -> Vec<&'w Wanted> {
    let named = wanted.iter().filter_map(|wanted| wanted.below.get(token));
    let every = wanted
        .iter()
        .filter(|_| is_element && token != "*")
        .filter_map(|wanted| wanted.below.get("*"));
    named.chain(every).collect()
}
