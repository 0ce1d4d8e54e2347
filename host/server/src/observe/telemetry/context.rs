//! W3C Trace Context, level 1: `traceparent` and `tracestate`. <https://www.w3.org/TR/trace-context/>
//!
//! Invariant: what is not exactly in form is as if it were not there. It is the caller's text: it goes to the collector and to the sealed part of a
//! record, never to a leaf.

use hyper::HeaderMap;
use portcullis_model::{hex, parse_hex};

/// Where a call belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: [u8; 16],
    /// The caller's span; nothing where the trace begins here.
    pub parent: Option<[u8; 8]>,
    /// Whether the caller records it.
    pub sampled: bool,
    /// What vendors say of it, to be passed on.
    pub state: String,
}

impl Context {
    /// What a request's headers say.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let mut context = Self::parse(value.to_str().ok()?)?;
        let states: Option<Vec<_>> =
            headers.get_all("tracestate").iter().map(|value| value.to_str().ok()).collect();
        context.state = states
            .map(|states| states.join(","))
            .filter(|state| state.len() <= MAX_STATE_BYTES)
            .unwrap_or_default();
        Some(context)
    }

    /// A trace that begins here.
    pub fn random() -> Self {
        Self { trace: random(), parent: None, sampled: false, state: String::new() }
    }

    /// Whether chance has it that this trace is recorded: the same everywhere, since it is the trace's id that decides.
    pub fn is_sampled_at(&self, ratio: f64) -> bool {
        let [.., a, b, c, d, e, f, g, h] = self.trace;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a ratio needs no more than a double's precision"
        )]
        let place =
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1) as f64 / (1_u64 << 63) as f64;
        place < ratio
    }

    /// The trace's id as text.
    pub fn trace_text(&self) -> String {
        hex(&self.trace)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, parent, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = parse_hex::<1>(version)?;
        // A later version may say more; the first one may not, and the last one does not exist.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, parent, [flags]) =
            (parse_hex::<16>(trace)?, parse_hex::<8>(parent)?, parse_hex::<1>(flags)?);
        if trace == [0; 16] || parent == [0; 8] {
            return None;
        }
        Some(Self { trace, parent: Some(parent), sampled: flags & 1 == 1, state: String::new() })
    }
}

/// Random bytes that are not all zero.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The generator was up at the start. Should it fail all the same, ids are the same, which spoils traces and nothing else.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    if let Some(last) = bytes.last_mut() {
        *last |= 1;
    }
    bytes
}

/// The longest `tracestate` that is passed on (3.3.1.1: at least 512 characters).
const MAX_STATE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderMap, HeaderValue};

    fn read(parents: &[&str], states: &[&str]) -> Option<Context> {
        let mut headers = HeaderMap::new();
        for (name, values) in [("traceparent", parents), ("tracestate", states)] {
            for value in values {
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
        }
        Context::read(&headers)
    }

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_in_form_is_read() {
        let context = read(&[GOOD], &["a=1", "b=2"]).unwrap();
        assert_eq!(context.trace_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent.map(|parent| hex(&parent)).as_deref(), Some("00f067aa0ba902b7"));
        assert_eq!((context.sampled, context.state.as_str()), (true, "a=1,b=2"));
        assert!(!read(&[&GOOD.replace("-01", "-00")], &[]).unwrap().sampled);
        assert!(
            read(&[&format!("cc{}-what-comes", GOOD.trim_start_matches("00"))], &[]).is_some(),
            "a later version"
        );
        assert_eq!(
            read(&[GOOD], &[&"x".repeat(513)]).unwrap().state,
            "",
            "too much is not passed on"
        );
    }

    #[test]
    fn what_is_not_is_as_if_it_were_not_there() {
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(read(&[wrong], &[]), None, "{wrong}");
        }
        assert_eq!(read(&[GOOD, GOOD], &[]), None, "two");
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_to_the_letter_or_not_at_all(text in "\\PC*", digits in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?") {
            for text in [text, digits] {
                let Some(context) = Context::parse(&text) else { continue };
                let parent = hex(&context.parent.unwrap_or_default());
                let ids = format!("-{}-{parent}-", context.trace_text());
                proptest::prop_assert_eq!(text.get(2..53), Some(ids.as_str()));
            }
        }
    }

    #[test]
    fn chance_is_fair_and_the_same_for_the_same_trace() {
        let traces: Vec<_> = (0..4_000).map(|_| Context::random()).collect();
        let within = |ratio: f64| traces.iter().filter(|trace| trace.is_sampled_at(ratio)).count();
        assert_eq!((within(0.0), within(1.0)), (0, 4_000));
        assert!((800..1_200).contains(&within(0.25)), "{}", within(0.25));
        assert_eq!(within(0.25), within(0.25));
    }
}
