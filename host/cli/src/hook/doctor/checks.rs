//! Judges answers as the platform would, and names what to change.

use std::time::Duration;

use portcullis_hooks::platform_model::{PlatformReaction, react};
use portcullis_hooks::{Behaviour, OnFailure};

use super::super::connection::Answer;
use super::findings::{Findings, millis};
use super::{MARK, Target};

impl Findings {
    /// Okta verifies an event hook once, before it sends any event.
    pub fn preflight(&mut self, answer: &Answer) {
        let said = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
        if answer.status == 200 && said.get("verification").is_some_and(|it| it == MARK) {
            self.ok("route", "the verification challenge is answered".to_owned());
        } else {
            self.error(
                "route",
                format!(
                    "the answer to the verification challenge is {} and does not repeat it",
                    answer.status
                ),
                "compare the address with `hook.path`, and make sure that no proxy removes \
                 headers",
            );
        }
    }

    /// A caller without the right proof must not get further than the hook lets everybody. `what` is
    /// what it had instead.
    pub fn unauthenticated(&mut self, target: &Target, what: &str, answer: &Answer) {
        let open = target.on_failure == Some(OnFailure::Open);
        let hint = "Portcullis itself must answer a call without credentials; make sure that no \
                    proxy answers in its place, and check `hook.on_failure`";
        match react(target.kind, answer.status, &answer.body) {
            PlatformReaction::Blocks => self.ok(
                "unauthenticated",
                format!("{what} is answered with {}, which stops", answer.status),
            ),
            PlatformReaction::Proceeds => {
                self.error(
                    "unauthenticated",
                    format!("{what} gets an answer with which the platform proceeds"),
                    hint,
                );
            }
            PlatformReaction::Rejects(why) => {
                let reactions = target.kind.failure_behaviour();
                let reaction = if answer.status >= 500 {
                    reactions.server_error
                } else {
                    reactions.client_error
                };
                let said = format!(
                    "{what} is answered with {}: {why}; the platform then {reaction}",
                    answer.status
                );
                match reaction {
                    _ if !target.kind.is_binding() => self.ok(
                        "unauthenticated",
                        format!("{what} is answered with {}", answer.status),
                    ),
                    Behaviour::FailsClosed(_) => self.ok("unauthenticated", said),
                    _ if open => self.ok("unauthenticated", format!("{said}; the hook is open")),
                    _ => self.error("unauthenticated", said, hint),
                }
            }
        }
    }

    /// Judges the answer to the platform's own call.
    pub fn preview(&mut self, target: &Target, answer: &Answer, unauthenticated: Option<&Answer>) {
        let text = String::from_utf8_lossy(&answer.body);
        let same = unauthenticated.is_some_and(|unauthenticated| {
            unauthenticated.status == answer.status && unauthenticated.body == answer.body
        });
        if same {
            self.error(
                "caller",
                "the answer to the right secret is the same as to a wrong one".to_owned(),
                "compare the file of the secret with what the platform has, and the header's \
                 name with `hook.caller.header`",
            );
        } else {
            self.ok("caller", "the host accepts it".to_owned());
        }
        match react(target.kind, answer.status, &answer.body) {
            PlatformReaction::Proceeds => {
                self.ok("preview", "the platform accepts the answer and proceeds".to_owned())
            }
            PlatformReaction::Blocks => self.warn(
                "preview",
                format!("the platform accepts the answer and stops: {}", shorten(&text)),
                "if this request should not be stopped, read the call's record: `portcullis \
                 audit show --type hook.decision`",
            ),
            PlatformReaction::Rejects(why) => self.error(
                "preview",
                format!("the platform does not accept the answer ({}): {why}", answer.status),
                "make sure that nothing between host and platform changes answers; if nothing \
                 does, report this with the record",
            ),
        }
        if let Some(reference) =
            serde_json::from_slice::<serde_json::Value>(&answer.body).ok().and_then(|body| {
                body.pointer("/debugContext/record").and_then(|it| it.as_str()).map(str::to_owned)
            })
        {
            self.ok("record", format!("the call's record is {reference}"));
        }
    }

    pub fn latency(&mut self, target: &Target, mut times: Vec<Duration>) {
        times.sort();
        let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) else {
            return;
        };
        let limit = target.kind.platform_limit();
        let said = format!(
            "{:.1} ms in the middle, {:.1} ms at worst of {}; the platform waits {} ms",
            millis(*median),
            millis(*worst),
            times.len(),
            limit.as_millis()
        );
        if *worst >= limit {
            self.error(
                "latency",
                said,
                "read `spent_us` in the calls' records to find the slow stage",
            );
        } else if *worst * 2 >= limit {
            self.warn(
                "latency",
                said,
                "little time is left for a busy hour; read `spent_us` in the calls' records",
            );
        } else {
            self.ok("latency", said);
        }
        if let Some(budget) = target.budget.filter(|budget| *budget + NETWORK > limit) {
            self.warn(
                "budget",
                format!(
                    "budget_ms {} leaves less than {} ms of the platform's limit for the network",
                    budget.as_millis(),
                    NETWORK.as_millis()
                ),
                "lower `hook.budget_ms`",
            );
        }
    }
}

/// The beginning of a text, for one line.
fn shorten(text: &str) -> String {
    let line: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    if line.len() < text.len() { format!("{line}…") } else { line }
}

/// The time that is left for the network between platform and host.
const NETWORK: Duration = Duration::from_millis(500);
/// Characters of an answer that are shown.
const MAX_SHOWN_CHARS: usize = 200;
