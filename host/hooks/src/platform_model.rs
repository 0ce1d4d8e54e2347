//! A hook looked at from outside: a harmless request of each kind, what the platform makes of an answer, and which members its
//! requests are known to have.
//!
//! Invariant: pure, like everything here; a sample names nobody and decides nothing; an answer is read as strictly as the platform
//! reads it, from its documents and not from our adapters. Only names of members are ever given out, never values.

mod decisions;
mod entra;
mod okta;

use portcullis_model::Document;
use portcullis_model::json::{Value, build_text};

use crate::kind::HookKind;

/// The reaction of a platform to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformReaction {
    /// It goes on, with the changes that the answer asks for.
    Proceeds,
    /// It stops, or reports where the kind has nothing that stops.
    Blocks,
    /// It does not take the answer, for this reason, and does what it does then: see
    /// [`HookKind::failure_behaviour`].
    Rejects(&'static str),
}

/// A member that a request has and its kind is not known to have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    /// Its place: known members, joined by dots; empty at the top.
    pub parent: String,
    /// Its name, as the platform wrote it.
    pub name: String,
}

/// Known members, in lists that several kinds share.
type Known = &'static [&'static [&'static str]];

/// A harmless request of that kind, with this id of the event. Nothing where there is none: then it has to be given.
pub fn sample_request(kind: HookKind, id: &str) -> Option<String> {
    let quoted = build_text(id);
    okta::sample(kind, &quoted)
        .or_else(|| entra::sample(kind, &quoted))
        .or_else(|| decisions::sample(kind, &quoted))
}

/// Returns the platform's reaction to an answer.
pub fn react(kind: HookKind, status: u16, body: &[u8]) -> PlatformReaction {
    match kind.name().split('.').next() {
        Some("okta") => okta::taken(kind, status, body),
        Some("entra") => entra::taken(kind, status, body),
        _ => decisions::taken(kind, status, body),
    }
}

/// The members of a request that its kind is not known to have: each once, at most `most`. Nothing for a kind whose members are
/// whatever the caller says.
pub fn unknown_members(kind: HookKind, request: &Document, most: usize) -> Vec<Unknown> {
    let known = known(kind);
    let mut search = Search { known, path: String::new(), found: Vec::new(), most };
    if !known.is_empty() {
        search.visit(request.root());
    }
    search.found
}

/// The members that requests of that kind are known to have; none where they are the caller's
/// choice.
fn known(kind: HookKind) -> Known {
    let lists = [okta::known(kind), entra::known(kind), decisions::known(kind)];
    lists.into_iter().find(|known| !known.is_empty()).unwrap_or_default()
}

/// Whether a call's payload can have something at this JSON Pointer, as far as the members of the
/// kind's requests are known. Elements of a list are passed over, named by their position or as `*`.
pub(crate) fn may_send(kind: HookKind, pointer: &str) -> bool {
    let known = known(kind);
    let mut search = Search { known, path: String::new(), found: Vec::new(), most: 0 };
    for name in pointer.split('/').skip(1) {
        if name == "*" || name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        if !search.path.is_empty() {
            search.path.push('.');
        }
        search.path.push_str(&name.replace("~1", "/").replace("~0", "~"));
        match search.knows(name) {
            (_, true) => {}
            // Whatever stands below is known too.
            (true, false) => return true,
            (false, false) => return known.is_empty(),
        }
    }
    true
}

/// The paths of all members that any kind's requests are known to have.
pub(crate) fn known_members() -> impl Iterator<Item = &'static str> {
    let of_kind = |kind| [okta::known(kind), entra::known(kind), decisions::known(kind)];
    let lists = HookKind::ALL.into_iter().flat_map(of_kind);
    lists.flat_map(|known| known.iter().flat_map(|members| members.iter().copied()))
}

/// An answer that every kind of the platform must be able to read: the status and one JSON object.
pub(crate) fn object(status: u16, body: &[u8]) -> Result<Document, PlatformReaction> {
    if status != 200 {
        return Err(PlatformReaction::Rejects("its status is not 200"));
    }
    let document =
        Document::parse(body).map_err(|_| PlatformReaction::Rejects("its body is not JSON"))?;
    if document.root().is_object() {
        Ok(document)
    } else {
        Err(PlatformReaction::Rejects("its body is not a JSON object"))
    }
}

/// Walks a request beside what is known.
///
/// A known member is a path of names joined by dots: `a.b`. What stands below it is known too if the path ends there and nothing
/// longer begins with it. Elements of a list stand where the list stands. Letters' case means nothing: platforms differ in it.
struct Search {
    known: Known,
    path: String,
    found: Vec<Unknown>,
    most: usize,
}

impl Search {
    fn visit(&mut self, value: Value<'_>) {
        if value.is_array() {
            value.elements().for_each(|element| self.visit(element));
        }
        if !value.is_object() {
            return;
        }
        let length = self.path.len();
        for (name, member) in value.members() {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&name);
            let (itself, below) = self.knows(&name);
            if below {
                self.visit(member);
            } else if !itself && self.found.len() < self.most {
                let parent = self.path.get(..length).unwrap_or_default();
                let unknown = Unknown { parent: parent.to_owned(), name: name.into_owned() };
                if !self.found.contains(&unknown) {
                    self.found.push(unknown);
                }
            }
            self.path.truncate(length);
        }
    }

    /// Whether the present path is known, and whether there is something to know below it.
    fn knows(&self, name: &str) -> (bool, bool) {
        // A dot in a name would pass for a path; Entra's `@odata.type` is a name.
        if name.contains('.') && !name.starts_with('@') {
            return (false, false);
        }
        let mut itself = false;
        for known in self.known.iter().copied().flatten() {
            let begins = known
                .get(..self.path.len())
                .is_some_and(|part| part.eq_ignore_ascii_case(&self.path));
            match known.as_bytes().get(self.path.len()) {
                _ if !begins => {}
                None => itself = true,
                Some(b'.') => return (true, true),
                Some(_) => {}
            }
        }
        (itself, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{IMPORT, TOKEN};
    use crate::{Behaviour, DedupPolicy, HookSettings, OnFailure, ParseContext, Parsed, Request};
    use portcullis_model::{AttributeFilter, Cause, Millis};

    fn found(kind: HookKind, request: &str) -> Vec<String> {
        let request = Document::parse(request.as_bytes()).unwrap();
        unknown_members(kind, &request, 8)
            .into_iter()
            .map(|it| format!("{}/{}", it.parent, it.name))
            .collect()
    }

    #[test]
    fn what_the_platform_is_known_to_send_is_known_and_the_rest_is_named_without_values() {
        // What the tests' requests have beyond the contract, and nothing else.
        assert_eq!(found(HookKind::OktaToken, TOKEN), ["/notInTheContract"]);
        assert_eq!(found(HookKind::OktaUserImport, IMPORT), Vec::<String>::new());
        let request = r#"{"eventId":"e","risk":{"a":1},"data":{"context":{"user":{"profile":{"any.thing":{"x":1}},"device":"d"},
            "session":{"amr":["pwd"],"idp":{"id":"i","kind":"x"}}},"access":{"claims":{"x":1},"scopes":{"openid":{"id":"1"}}}}}"#;
        assert_eq!(
            found(HookKind::OktaToken, request),
            ["/risk", "data.context.user/device", "data.context.session.idp/kind"]
        );
        let many: String = (0..100).map(|n| format!("\"m{n}\":1,")).collect();
        assert_eq!(found(HookKind::OktaToken, &format!("{{{many}\"eventId\":1}}")).len(), 8);
        assert_eq!(
            found(HookKind::OktaToken, r#"{"data.context":1,"data":[{"new":1},{"new":2},3]}"#),
            ["/data.context", "data/new"]
        );
    }

    #[test]
    fn samples_are_read_by_their_own_kind_and_name_the_event() {
        let settings = HookSettings::default();
        let frame = ParseContext {
            tenant: "t",
            received: Millis(1),
            seed: 1,
            settings: &settings,
            wanted: AttributeFilter::all(),
        };
        let mut tried = 0;
        for kind in HookKind::ALL {
            let Some(body) = sample_request(kind, "an-event") else { continue };
            let header = |name: &str| (name == "content-type").then_some("application/json");
            let routes = kind.routes("/");
            let route = routes.first().map_or("", |(_, route)| route);
            let request = Request {
                get: false,
                route,
                header: &header,
                searches: false,
                body: body.as_bytes(),
            };
            let incoming = match crate::read(kind, &request, &frame) {
                Ok(Parsed::Single(incoming)) => incoming,
                Ok(Parsed::Batch(batch)) => {
                    batch.items.into_iter().next().and_then(Result::ok).unwrap()
                }
                _ => panic!("{}: its sample cannot be read", kind.name()),
            };
            assert!(
                incoming.call.id == "an-event" || kind.dedup_policy() == DedupPolicy::Never,
                "{}",
                kind.name()
            );
            assert_eq!(found(kind, &body), Vec::<String>::new(), "{}", kind.name());
            tried += 1;
            // What is our own answer to it, the platform takes.
            let stops =
                crate::safe_answer(kind, &OnFailure::Closed, Cause::PluginFault, Some(&incoming));
            if !kind.is_binding() {
                assert_eq!(
                    react(kind, stops.status, stops.body()),
                    PlatformReaction::Proceeds,
                    "{}",
                    kind.name()
                );
                continue;
            }
            let reactions = kind.failure_behaviour();
            let reaction =
                if stops.status >= 500 { reactions.server_error } else { reactions.client_error };
            match react(kind, stops.status, stops.body()) {
                PlatformReaction::Blocks => {}
                PlatformReaction::Rejects(_) => {
                    assert!(matches!(reaction, Behaviour::FailsClosed(_)), "{}", kind.name())
                }
                PlatformReaction::Proceeds => {
                    panic!("{}: it goes on where it was to stop", kind.name())
                }
            }
            let goes_on =
                crate::safe_answer(kind, &OnFailure::Open, Cause::PluginFault, Some(&incoming));
            // Where its default is a no there is no way to let everybody in.
            let default = if kind == HookKind::OktaPasswordImport {
                PlatformReaction::Blocks
            } else {
                PlatformReaction::Proceeds
            };
            assert_eq!(react(kind, goes_on.status, goes_on.body()), default, "{}", kind.name());
        }
        assert_eq!(tried, 14);
    }

    #[test]
    fn a_decision_point_s_answers_are_read_as_strictly_as_the_one_who_asks_reads_them() {
        use HookKind::{Authzen, PingPdp, PingSideband};
        use PlatformReaction::{Blocks, Proceeds};
        for (kind, body, expected) in [
            (Authzen, r#"{"decision":true,"context":{}}"#, Some(Proceeds)),
            (Authzen, r#"{"decision":false}"#, Some(Blocks)),
            (Authzen, r#"{"decision":"true"}"#, None),
            (Authzen, "{}", None),
            (PingPdp, r#"{"decision":"PERMIT","authorized":true}"#, Some(Proceeds)),
            (PingPdp, r#"{"decision":"NOT_APPLICABLE","authorized":false}"#, Some(Blocks)),
            (PingPdp, r#"{"decision":"DENY","authorized":true}"#, None),
            (PingPdp, r#"{"decision":"permit","authorized":true}"#, None),
            (
                PingSideband,
                r#"{"method":"GET","url":"https://a/","headers":[],"body":""}"#,
                Some(Proceeds),
            ),
            (
                PingSideband,
                r#"{"method":"GET","url":"https://a/","response":{"response_code":"403"}}"#,
                Some(Blocks),
            ),
            (PingSideband, r#"{"response":{"response_code":"no"}}"#, None),
            (PingSideband, r#"{"method":"GET","url":"https://a/","headers":{"a":"b"}}"#, None),
            (PingSideband, "{}", None),
        ] {
            match (react(kind, 200, body.as_bytes()), expected) {
                (PlatformReaction::Rejects(_), None) => {}
                (taken, expected) => assert_eq!(Some(taken), expected, "{} {body}", kind.name()),
            }
            assert!(matches!(react(kind, 500, body.as_bytes()), PlatformReaction::Rejects(_)));
        }
    }

    #[test]
    fn answers_are_read_as_strictly_as_okta_reads_them() {
        use PlatformReaction::{Blocks, Proceeds, Rejects};
        let token = |body: &str| react(HookKind::OktaToken, 200, body.as_bytes());
        let patch = |operation: &str| {
            token(&format!(
                r#"{{"commands":[{{"type":"com.okta.access.patch","value":[{operation}]}}]}}"#
            ))
        };
        assert_eq!(token("{}"), Proceeds);
        assert_eq!(token(r#"{"debugContext":{"record":"a#1"}}"#), Proceeds);
        assert_eq!(token(r#"{"error":{"errorSummary":"no"}}"#), Blocks);
        assert_eq!(patch(r#"{"op":"add","path":"/claims/a","value":1}"#), Proceeds);
        assert_eq!(
            patch(r#"{"op":"replace","path":"/token/lifetime/expiration","value":300}"#),
            Proceeds
        );
        for wrong in [
            r#"{"op":"move","path":"/claims/a","value":1}"#,
            r#"{"op":"add","path":"/claims/","value":1}"#,
            r#"{"op":"add","path":"/scopes/a","value":1}"#,
            r#"{"op":"add","path":"/claims/a"}"#,
            r#"{"op":"remove","path":"/claims/a","value":1}"#,
            r#"{"op":"replace","path":"/token/lifetime/expiration","value":299}"#,
            r#"{"op":"add","path":"/token/lifetime/expiration","value":300}"#,
            "7",
        ] {
            assert!(matches!(patch(wrong), Rejects(_)), "{wrong}: {:?}", patch(wrong));
        }
        for wrong in [
            "",
            "[]",
            "x",
            r#"{"commands":{}}"#,
            r#"{"commands":[{"type":"com.okta.assertion.patch","value":[]}]}"#,
        ] {
            assert!(matches!(token(wrong), Rejects(_)), "{wrong}");
        }
        assert!(matches!(react(HookKind::OktaToken, 204, b""), Rejects(_)));
        assert!(matches!(
            react(
                HookKind::OktaToken,
                200,
                format!("{{\"a\":\"{}\"}}", "x".repeat(260_000)).as_bytes()
            ),
            Rejects(_)
        ));
        let import = |body: &str| react(HookKind::OktaUserImport, 200, body.as_bytes());
        assert_eq!(
            import(
                r#"{"commands":[{"type":"com.okta.action.update","value":{"result":"CREATE_USER"}}]}"#
            ),
            Proceeds
        );
        assert!(matches!(
            import(r#"{"commands":[{"type":"com.okta.action.update","value":[]}]}"#),
            Rejects(_)
        ));
        assert!(matches!(
            import(r#"{"commands":[{"type":"com.okta.access.patch","value":{}}]}"#),
            Rejects(_)
        ));
    }
}
