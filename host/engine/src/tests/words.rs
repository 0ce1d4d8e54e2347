//! Every word of a call reaches the plugin, and every word of a decision comes back: a guest that hands back
//! what it got.

use portcullis_model::{
    Attribute, Change, Credential, Effect, EntityView, Grant, GrantKind, Lifetime, Millis,
    OriginView, PrincipalKind, PrincipalView, Redacted, Severity, Statement, Target, Text, View,
};
use proptest::prelude::*;

use super::guests::{PLENTY, engine, evaluating, prepared};
use crate::{Engine, Plugin};

/// `evaluate` that makes a decision of the call's own parts, by their offsets in the canonical ABI: what is
/// proposed becomes the changes, and the entities and strings become findings.
fn echo() -> Vec<u8> {
    // For each finding: where its code (text), its arguments (attributes) and its field (optional text) come
    // from.
    let subject = ["(local.get $call)", "(i32.const 72)", "(i32.const 92)", "(i32.const 80)"];
    let actor = [
        "(i32.load offset=108 (local.get $call))",
        "(i32.const 4)",
        "(i32.const 24)",
        "(i32.const 12)",
    ];
    let action = ["(local.get $call)", "(i32.const 120)", "(i32.const 140)", "(i32.const 128)"];
    let resource = ["(local.get $call)", "(i32.const 152)", "(i32.const 172)", "(i32.const 160)"];
    let platform = ["(local.get $call)", "(i32.const 28)", "(i32.const 92)", "(i32.const 36)"];
    let event = ["(local.get $call)", "(i32.const 0)", "(i32.const 92)", "(i32.const 8)"];
    let tenant = ["(local.get $call)", "(i32.const 20)", "(i32.const 92)", "(i32.const 268)"];
    let payload = ["(local.get $call)", "(i32.const 288)", "(i32.const 92)", "(i32.const 200)"];
    let device = ["(local.get $call)", "(i32.const 20)", "(i32.const 92)", "(i32.const 244)"];
    let session = ["(local.get $call)", "(i32.const 20)", "(i32.const 92)", "(i32.const 256)"];
    let agent = ["(local.get $call)", "(i32.const 20)", "(i32.const 92)", "(i32.const 232)"];
    let country = ["(local.get $call)", "(i32.const 20)", "(i32.const 92)", "(i32.const 212)"];
    let all = [
        subject, actor, action, resource, platform, event, tenant, payload, device, session, agent,
        country,
    ];
    let findings: String = all
        .iter()
        .enumerate()
        .map(|(n, [base, code, arguments, field])| {
            let at = 2_048 + 32 * n;
            format!(
                "(memory.copy (i32.const {at}) (i32.add {base} {code}) (i32.const 8))
                 (i32.store8 (i32.const {effect}) (i32.load8_u (i32.add (local.get $call) (i32.const 68))))
                 (memory.copy (i32.const {arguments_at}) (i32.add {base} {arguments}) (i32.const 8))
                 (memory.copy (i32.const {field_at}) (i32.add {base} {field}) (i32.const 12))",
                effect = at + 8,
                arguments_at = at + 12,
                field_at = at + 20,
            )
        })
        .collect();
    // The risk is made of numbers: what came in every one of them, folded.
    let numbers = "(i32.store8 (i32.const 1044) (i32.const 1)) (i32.store8 (i32.const 1045) (i32.and (i32.const 255)
        (i32.add (i32.add (i32.wrap_i64 (i64.load offset=48 (local.get $call))) (i32.wrap_i64 (i64.load offset=56 (local.get $call))))
        (i32.add (i32.load offset=228 (local.get $call))
        (i32.add (i32.load offset=12 (i32.load offset=188 (local.get $call)))
                 (i32.load8_u (i32.load offset=180 (local.get $call))))))))";
    evaluating(
        &format!(
            "{findings} {numbers}
             (i32.store (i32.const 1028) (i32.const 2048)) (i32.store (i32.const 1032) (i32.const {}))
             (memory.copy (i32.const 1036) (i32.add (local.get $call) (i32.const 280)) (i32.const 8))
             i32.const 1024",
            all.len()
        ),
        "",
    )
}

struct Echo {
    _engine: Engine,
    plugin: Plugin,
}

thread_local! {
    static ECHO: Echo = {
        let engine = engine();
        let plugin = prepared(&engine, &echo());
        Echo { _engine: engine, plugin }
    };
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,12}"]
}

// The model's words have no `Debug`, so proptest shows them redacted.
fn attributes() -> impl Strategy<Value = Redacted<Vec<Attribute>>> {
    prop::collection::vec((texts(), texts()), 0..4).prop_map(|attributes| {
        Redacted::new(
            attributes
                .into_iter()
                .map(|(name, value)| Attribute { name: name.into(), value: value.into() })
                .collect(),
        )
    })
}

fn targets() -> impl Strategy<Value = Target> {
    prop::sample::select(vec![
        Target::IdToken,
        Target::AccessToken,
        Target::Assertion,
        Target::User,
        Target::AppUser,
        Target::Request,
        Target::Response,
    ])
}

fn grants() -> impl Strategy<Value = Grant> {
    let kinds = vec![
        GrantKind::Entitlement,
        GrantKind::Group,
        GrantKind::Role,
        GrantKind::Scope,
        GrantKind::App,
        GrantKind::Claim,
    ];
    (prop::sample::select(kinds), texts()).prop_map(|(kind, id)| Grant { kind, id })
}

fn changes() -> impl Strategy<Value = Redacted<Change>> {
    let credentials = vec![
        Credential::Verified,
        Credential::Unverified,
        Credential::Migrate,
        Credential::Update,
        Credential::Retry,
        Credential::Block,
    ];
    let parts = (
        0..12,
        targets(),
        any::<(u32, bool)>(),
        grants(),
        prop::sample::select(credentials),
        prop::collection::vec(texts(), 0..3),
        (texts(), texts(), texts()),
    );
    parts.prop_map(
        |(case, target, (seconds, obligatory), grant, credential, list, (name, code, payload))| {
            Redacted::new(match case {
                0 => Change::Set { target, path: name, value: payload },
                1 => Change::Remove { target, path: name },
                2 => Change::CapLifetime { target, seconds },
                3 => Change::AddGrant(grant),
                4 => Change::DropGrant(grant),
                5 => Change::LinkUser(name),
                6 => Change::CreateUser,
                7 => Change::Credential(credential),
                8 => Change::AutoApprove,
                9 => Change::RequireApprovers(list),
                10 => Change::Statement(Statement { name, code, payload, obligatory }),
                _ => Change::Waive(list),
            })
        },
    )
}

proptest! {
    #[test]
    fn nothing_is_lost_or_mixed_up_on_the_way(
        text in prop::collection::vec(texts(), 12),
        optional in prop::collection::vec(prop::option::of(texts()), 12),
        subjects in attributes(), actors in attributes(), actions in attributes(), resources in attributes(),
        entitlements in prop::collection::vec(texts(), 0..5),
        kind in 0_usize..5,
        requested in grants(),
        proposed in prop::collection::vec(changes(), 0..8),
        numbers in any::<(u64, u64, u32, u32)>(),
    ) {
        let kinds = [
            (PrincipalKind::Person, Effect::Abstain),
            (PrincipalKind::Service, Effect::Allow),
            (PrincipalKind::Agent, Effect::StepUp),
            (PrincipalKind::Device, Effect::Review),
            (PrincipalKind::Other, Effect::Deny),
        ];
        let [subjects, actors, actions, resources] =
            [&subjects, &actors, &actions, &resources].map(|attributes| attributes.expose().as_slice());
        let proposed: Vec<Change> = proposed.iter().map(|change| change.expose().clone()).collect();
        let entitlements: Vec<Text> = entitlements.into_iter().map(Text::from).collect();
        let field = |n: usize| optional[n].as_deref();
        let (received, seed, asn, most) = numbers;
        let requested = [requested];
        let lifetimes = [Lifetime { target: Target::AccessToken, seconds: 1, least: 2, most }];
        let view = View {
            id: &text[0],
            correlation: field(0),
            tenant: &text[1],
            hook: &text[2],
            phase: field(1),
            received: Millis(received),
            seed,
            subject: Some(PrincipalView {
                kind: kinds[kind].0,
                type_name: &text[3],
                id: field(2),
                attributes: subjects.iter().collect(),
                entitlements: &entitlements,
            }),
            actors: vec![PrincipalView {
                kind: PrincipalKind::Agent,
                type_name: &text[4],
                id: field(3),
                attributes: actors.iter().collect(),
                entitlements: &entitlements,
            }],
            action: Some(EntityView { type_name: &text[5], id: field(4), attributes: actions.iter().collect() }),
            resource: Some(EntityView { type_name: &text[6], id: field(5), attributes: resources.iter().collect() }),
            requested: &requested,
            lifetimes: &lifetimes,
            origin: Some(OriginView {
                ip: field(6),
                country: field(7),
                asn: Some(asn),
                user_agent: field(8),
                device: field(9),
                session: field(10),
            }),
            purpose: field(11),
            proposed: &proposed,
            payload: text[7].as_str().into(),
        };
        let decision = ECHO.with(|echo| echo.plugin.evaluate(&view, PLENTY).outcome.ok().unwrap());

        let expected: [(&str, &[Attribute], Option<&str>); 12] = [
            (&text[3], subjects, field(2)),
            (&text[4], actors, field(3)),
            (&text[5], actions, field(4)),
            (&text[6], resources, field(5)),
            (&text[2], subjects, field(1)),
            (&text[0], subjects, field(0)),
            (&text[1], subjects, field(11)),
            (&text[7], subjects, field(6)),
            (&text[1], subjects, field(9)),
            (&text[1], subjects, field(10)),
            (&text[1], subjects, field(8)),
            (&text[1], subjects, field(7)),
        ];
        prop_assert_eq!(decision.findings.len(), expected.len());
        for (n, (finding, (code, arguments, field))) in decision.findings.iter().zip(expected).enumerate() {
            prop_assert_eq!(&finding.code, code, "code {}", n);
            prop_assert!(finding.arguments == arguments, "arguments {}", n);
            prop_assert_eq!(finding.field.as_deref(), field, "field {}", n);
            prop_assert_eq!((finding.effect, finding.severity), (kinds[kind].1, Severity::Info));
        }
        prop_assert!(decision.changes == proposed);
        let sum = (received as u32).wrapping_add(seed as u32).wrapping_add(asn).wrapping_add(most);
        prop_assert_eq!(decision.risk, Some(sum.wrapping_add(requested[0].kind as u32) as u8));
    }
}
