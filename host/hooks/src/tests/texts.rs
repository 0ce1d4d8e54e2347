//! Texts for people: each kind's answer carries them exactly where its adapter says that somebody
//! reads them, and an answer that names one reason of several says so.

use portcullis_model::{Cause, Effect, HelpDeskReference};

use super::mutations::requests;
use super::{post, text};
use crate::adapter::Shown;
use crate::{
    HookKind, HookRequest, HookSettings, OnFailure, Outcome, Parsed, Reason, SafeAnswerInput,
    SideEffect, side_effect, write, write_safe_answer,
};

/// Everything that the platform gets for a denial with two reasons.
fn denied(kind: HookKind, incoming: &HookRequest) -> (u16, String) {
    let fields = [Some("email"), None];
    let reason = |(text, field): (&str, Option<&'static str>)| Reason {
        code: "X",
        text: text.to_owned(),
        field,
    };
    let reasons: Vec<_> = [FIRST, SECOND].into_iter().zip(fields).map(reason).collect();
    let outcome = Outcome {
        verdict: Effect::Deny,
        text: Some(FIRST),
        language: "en",
        reasons: &reasons,
        changes: &[],
        reference: HelpDeskReference::parse(REFERENCE).ok(),
    };
    let answer =
        write(kind, incoming, &outcome).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    let mut sent = text(&answer).to_owned();
    if let Some(SideEffect::Resume(resume)) = side_effect(kind, incoming, &outcome) {
        sent.push_str(&resume.body);
    }
    (answer.status, sent)
}

/// Returns everything that the platform gets for a question without a decision on a closed hook.
fn undecided(kind: HookKind, incoming: &HookRequest) -> (u16, String) {
    let (settings, reference) = (HookSettings::default(), HelpDeskReference::parse(REFERENCE).ok());
    let settings = HookSettings { mapping: incoming.mapping.clone(), ..settings };
    let answer = write_safe_answer(
        kind,
        &SafeAnswerInput {
            settings: &settings,
            on_failure: &OnFailure::Closed,
            cause: Cause::BudgetExhausted,
            detail: "",
            route: "",
            incoming: Some(incoming),
            reference,
        },
    );
    let mut sent = text(&answer).to_owned();
    let outcome = Outcome { verdict: Effect::Deny, reference, ..Outcome::default() };
    if let Some(SideEffect::Resume(resume)) = side_effect(kind, incoming, &outcome) {
        sent.push_str(&resume.body);
    }
    (answer.status, sent)
}

/// The questions that the tests have of a kind.
fn questions(of: HookKind) -> Vec<HookRequest> {
    let mut questions = Vec::new();
    for (kind, route, body, settings) in requests().into_iter().filter(|(kind, ..)| *kind == of) {
        match post(kind, route, &body.to_string(), &settings) {
            Ok(Parsed::Single(incoming)) => questions.push(incoming),
            Ok(Parsed::Batch(batch)) => questions.extend(batch.items.into_iter().flatten()),
            Ok(Parsed::Search(..) | Parsed::Immediate(_)) => {}
            Err(malformed) => panic!("{}: {malformed}", kind.name()),
        }
    }
    assert!(!questions.is_empty(), "{}", of.name());
    questions
}

#[test]
fn a_text_is_sent_where_the_adapter_says_that_somebody_reads_it() {
    for kind in HookKind::ALL {
        let sent: Vec<_> = questions(kind).iter().map(|it| denied(kind, it)).collect();
        let read = !matches!(kind.adapter().shown(), Shown::Nobody(_));
        // Where nobody reads a text, it may still stand in the body of a failing status, which the
        // platform does not open.
        let carries =
            |(status, sent): &(u16, String)| sent.contains(FIRST) && (read || *status < 300);
        let carried = sent.iter().any(carries);
        assert_eq!(carried, read, "{}: {sent:?}", kind.name());
    }
}

#[test]
fn a_denial_for_two_reasons_shows_both_or_says_that_there_is_another() {
    for kind in HookKind::ALL {
        for incoming in questions(kind) {
            let (_, sent) = denied(kind, &incoming);
            let tells_both = sent.contains(SECOND) || sent.contains("There is 1 more reason.");
            assert!(!sent.contains(FIRST) || tells_both, "{}: {sent}", kind.name());
        }
    }
}

#[test]
fn a_denial_and_a_safe_answer_show_the_reference_where_somebody_reads_a_text() {
    for kind in HookKind::ALL {
        for incoming in questions(kind) {
            let (_, denied) = denied(kind, &incoming);
            assert_eq!(denied.contains(REFERENCE), denied.contains(FIRST), "{}", kind.name());
        }
        let read = !matches!(kind.adapter().shown(), Shown::Nobody(_));
        let sent: Vec<_> = questions(kind).iter().map(|it| undecided(kind, it)).collect();
        let shows = |(_, sent): &(u16, String)| sent.contains(REFERENCE);
        assert_eq!(sent.iter().any(shows), read, "{}: {sent:?}", kind.name());
    }
}

const REFERENCE: &str = "K7QF2MXA";
const FIRST: &str = "The first reason.";
const SECOND: &str = "The second reason.";
