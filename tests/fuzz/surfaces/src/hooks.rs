//! Bodies of hook calls, and every answer to them.

use portcullis_hooks::{Frame, HookKind, Incoming, OnFailure, Outcome, Reference, parse, render, safe_answer};
use portcullis_model::{Cause, Change, Document, Effect, Millis, Reads, Target};

/// The body of an `okta.token` call, answered in every way: each answer is one that Okta reads.
pub fn token(bytes: &[u8]) {
    body(HookKind::OktaToken, bytes);
}

/// The body of an `okta.user-import` call, likewise.
pub fn import(bytes: &[u8]) {
    body(HookKind::OktaUserImport, bytes);
}

fn body(kind: HookKind, bytes: &[u8]) {
    let frame = Frame { tenant: "t".to_owned(), received: Millis(1), seed: 2, entitlements: Vec::new() };
    let parsed = parse(kind, bytes, &frame);
    let incoming = parsed.as_ref().ok();
    for on_failure in
        [OnFailure::Closed, OnFailure::Open, OnFailure::Restricted { applications: vec!["0oaportal".into()] }]
    {
        for cause in Cause::ALL {
            let answer = safe_answer(kind, &on_failure, cause, incoming);
            assert!(answer.body().is_empty() || Document::parse(answer.body()).is_ok());
            if kind == HookKind::OktaToken && on_failure == OnFailure::Closed {
                let stops = Document::parse(answer.body()).is_ok_and(|body| body.pointer("/error").is_some());
                assert!(answer.status == 200 && stops, "a closed token hook stops");
            }
        }
    }
    let Some(incoming) = incoming else { return };
    cut_down(incoming);
    let changes = [
        Change::Set { target: Target::AccessToken, path: "/claims/x".into(), value: "\"y\"".into() },
        Change::CapLifetime { target: Target::AccessToken, seconds: 600 },
        Change::Set { target: Target::User, path: "/accessEnd".into(), value: "\"2026-12-31\"".into() },
    ];
    for changes in changes.chunks(1).chain([&[][..]]) {
        for verdict in Effect::ALL {
            if let Ok(answer) = render(kind, incoming, &Outcome { verdict, changes, text: Some("no \"way\"\n") }) {
                assert!(Document::parse(answer.body()).is_ok());
                let reference = Reference { log: "log.example/2026", index: 7, leaf: "bGVhZg==" };
                let wire = Document::parse(&answer.with_reference(&reference));
                assert!(wire.is_ok_and(|wire| wire.pointer("/debugContext/record").is_some()));
            }
        }
    }
}

/// What a plugin sees: of the call what its manifest reads and of the body JSON again, with nothing that is not in the body.
fn cut_down(incoming: &Incoming) {
    let reads = READS.map(str::to_owned);
    let Ok(reads) = Reads::compile(&reads, &[]) else { unreadable() };
    let Ok(view) = reads.view(&incoming.call) else { unreadable() };
    let Ok(seen) = Document::parse(view.payload.as_bytes()) else { unreadable() };
    for pointer in ["/data/context", "/data/action"] {
        let there = incoming.call.payload.pointer(pointer).map(|value| value.raw());
        if let Some(value) = seen.pointer(pointer) {
            assert_eq!(Some(value.raw()), there);
        }
    }
}

#[expect(clippy::panic, reason = "a finding")]
fn unreadable() -> ! {
    panic!("what is read of a call is not there, or is no JSON");
}

const READS: [&str; 8] = [
    "subject.id",
    "subject.attributes.*",
    "subject.entitlements",
    "requested",
    "okta.token:/data/context",
    "okta.token:/data/access/scopes",
    "okta.user-import:/data/action",
    "okta.user-import:/data/context/matches/*/id",
];
