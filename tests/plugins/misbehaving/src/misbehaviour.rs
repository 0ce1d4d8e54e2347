//! What there is to do, and doing it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_guest::{
    Attribute, Call, Cap, Change, Credential, Decision, Edit, Effect, Finding, Grant, GrantKind,
    Place, Target, journal,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::reveal::reveal;

/// The settings: one misbehaviour.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Misbehaviour {
    /// Allows.
    Allow,
    /// Finds nothing.
    Abstain,
    /// Denies, and says why.
    Deny {
        /// Fills the message.
        #[serde(default = "because")]
        why: String,
    },
    /// Denies because of a field of a form.
    DenyField {
        /// Which.
        field: String,
    },
    /// Finds a password right where what it sees at that place is that, and wrong otherwise.
    Verify {
        /// JSON Pointer into what it sees of the body.
        pointer: String,
        /// The right one.
        expected: String,
    },
    /// Says all that it can see of the call, as JSON and as hexadecimal digits, wherever it can say something: notes, arguments, a field.
    Blab,
    /// Wants a second factor.
    StepUp,
    /// Wants a person to look.
    Review,
    /// Denies where anything is proposed, allows elsewhere: a guard.
    DenyProposed,
    /// Gives up (`unreachable`).
    Trap,
    /// Never returns.
    LoopForever,
    /// Works for a while, then allows.
    LoopFor {
        /// Steps of some nanoseconds each.
        iterations: u64,
    },
    /// Calls itself until the stack ends.
    Recurse,
    /// Takes memory until there is no more.
    GrowMemory,
    /// Takes notes without end.
    FloodNotes,
    /// Finds more than any limit lets it say.
    HugeOutput,
    /// Returns an error that repeats what it saw.
    Error,
    /// Says an effect that its manifest does not declare.
    UndeclaredEffect,
    /// Finds a code that is not in its catalogue.
    UndeclaredCode,
    /// Wants a change that its manifest does not declare.
    UndeclaredChange,
    /// Wants a declared place set to what is not JSON.
    MalformedValue,
    /// Finds something with an argument that is not JSON.
    MalformedArgument,
    /// States a risk above 100.
    ImpossibleRisk,
    /// Sets a place.
    Set {
        /// Of what.
        #[serde(deserialize_with = "target")]
        target: Target,
        /// Where.
        path: String,
        /// To what.
        value: Value,
    },
    /// Clears a place.
    Remove {
        /// Of what.
        #[serde(deserialize_with = "target")]
        target: Target,
        /// Where.
        path: String,
    },
    /// Caps a lifetime.
    Cap {
        /// Whose.
        #[serde(deserialize_with = "target")]
        target: Target,
        /// To how much.
        seconds: u32,
    },
    /// Wants an entitlement added.
    AddGrant {
        /// Which.
        id: String,
    },
    /// Wants an entitlement dropped.
    DropGrant {
        /// Which.
        id: String,
    },
    /// Says what a password check found.
    Credential {
        /// `verified`, `unverified`, `migrate`, `update`, `retry` or `block`.
        #[serde(deserialize_with = "credential")]
        found: Credential,
    },
    /// Wants nobody asked.
    AutoApprove,
    /// Wants these asked.
    RequireApprovers {
        /// Whom.
        ids: Vec<String>,
    },
    /// Wants findings with these codes set aside.
    Waive {
        /// Of which codes.
        codes: Vec<String>,
    },
    /// Notes all that it can see of the call, as JSON.
    Reveal,
    /// Leaves something in memory and says if it ever finds it again.
    Remember,
    /// Does what is told of the first of the subject's entitlements that is named here; allows where none is.
    ByEntitlement {
        /// Entitlement → misbehaviour.
        misbehaviours: BTreeMap<String, Misbehaviour>,
    },
    /// Does all of these, in order; what they find and want is one decision.
    All {
        /// Which.
        misbehaviours: Vec<Misbehaviour>,
    },
    /// Refuses its settings, so that the release cannot be activated.
    RefuseSettings,
}

impl Misbehaviour {
    /// Does it.
    pub fn carry_out(&self, call: &Call) -> Result<Decision, String> {
        let nothing = Decision::default;
        Ok(match self {
            Self::Allow | Self::RefuseSettings => allow(),
            Self::Abstain => nothing(),
            Self::Deny { why } => deny(why),
            Self::DenyField { field } => nothing().finding(Finding {
                field: Some(field.clone()),
                ..denial(&format!("because of {field}"))
            }),
            Self::Verify { pointer, expected } => {
                let seen: Value = serde_json::from_str(&call.payload).unwrap_or_default();
                let right = seen.pointer(pointer).and_then(Value::as_str) == Some(expected);
                allow().change(Change::Credential(if right {
                    Credential::Verified
                } else {
                    Credential::Unverified
                }))
            }
            Self::Blab => blab(&reveal(call).to_string()),
            Self::StepUp => nothing().finding(Finding::new("MISBEHAVING_STEPS_UP", Effect::StepUp)),
            Self::Review => nothing().finding(Finding::new("MISBEHAVING_REVIEWS", Effect::Review)),
            Self::DenyProposed if call.proposed.is_empty() => allow(),
            Self::DenyProposed => deny("something was proposed"),
            Self::Trap => trap(),
            Self::LoopForever => work(u64::MAX),
            Self::LoopFor { iterations } => work(*iterations),
            Self::Recurse => {
                black_box(descend(0, black_box(u64::MAX)));
                allow()
            }
            Self::GrowMemory => hoard(),
            Self::FloodNotes => flood(),
            Self::HugeOutput => {
                (0..HUGE).fold(nothing(), |decision, _| decision.finding(denial(FILLER)))
            }
            Self::Error => return Err(format!("saw {}", reveal(call))),
            Self::UndeclaredEffect => {
                nothing().finding(Finding::new("MISBEHAVING_ALLOWS", Effect::Abstain))
            }
            Self::UndeclaredCode => {
                nothing().finding(Finding::new("NOT_IN_THE_CATALOGUE", Effect::Allow))
            }
            Self::UndeclaredChange => {
                nothing().change(Change::Set(edit(Target::Response, "/status", "204")))
            }
            Self::MalformedValue => nothing().change(Change::Set(edit(
                Target::AccessToken,
                "/claims/note",
                "{\"half\":",
            ))),
            Self::MalformedArgument => {
                let argument = Attribute { name: "why".to_owned(), value: "not json".to_owned() };
                nothing()
                    .finding(Finding::new("MISBEHAVING_DENIES", Effect::Deny).argument(argument))
            }
            Self::ImpossibleRisk => Decision { risk: Some(101), ..allow() },
            Self::Set { target, path, value } => {
                allow().change(Change::Set(edit(*target, path, &value.to_string())))
            }
            Self::Remove { target, path } => {
                allow().change(Change::Remove(Place { target: *target, path: path.clone() }))
            }
            Self::Cap { target, seconds } => {
                allow().change(Change::CapLifetime(Cap { target: *target, seconds: *seconds }))
            }
            Self::AddGrant { id } => allow().change(Change::AddGrant(entitlement(id))),
            Self::DropGrant { id } => allow().change(Change::DropGrant(entitlement(id))),
            Self::Credential { found } => allow().change(Change::Credential(*found)),
            Self::AutoApprove => allow().change(Change::AutoApprove),
            Self::Waive { codes } => allow().change(Change::Waive(codes.clone())),
            Self::RequireApprovers { ids } => allow().change(Change::RequireApprovers(ids.clone())),
            Self::Reveal => {
                journal::note(&reveal(call).to_string());
                allow()
            }
            Self::Remember => remember(),
            Self::ByEntitlement { misbehaviours } => {
                let held = call.subject.iter().flat_map(|subject| &subject.entitlements);
                match held.filter_map(|held| misbehaviours.get(held)).next() {
                    Some(misbehaviour) => return misbehaviour.carry_out(call),
                    None => allow(),
                }
            }
            Self::All { misbehaviours } => {
                let mut all = nothing();
                for misbehaviour in misbehaviours {
                    let one = misbehaviour.carry_out(call)?;
                    all.findings.extend(one.findings);
                    all.changes.extend(one.changes);
                }
                all
            }
        })
    }
}

fn allow() -> Decision {
    Decision::default().finding(Finding::new("MISBEHAVING_ALLOWS", Effect::Allow))
}

/// Says it in every place there is.
fn blab(what: &str) -> Decision {
    journal::note(what);
    journal::note(&hex(what));
    let said = |code, effect| Finding {
        field: Some(what.to_owned()),
        ..Finding::new(code, effect)
            .argument(Attribute::text("why", what))
            .argument(Attribute::text("hex", &hex(what)))
    };
    Decision::default()
        .finding(said("MISBEHAVING_ALLOWS", Effect::Allow))
        .finding(said("MISBEHAVING_BLABS", Effect::Allow))
}

fn hex(text: &str) -> String {
    text.bytes()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn deny(why: &str) -> Decision {
    Decision::default().finding(denial(why))
}

fn denial(why: &str) -> Finding {
    Finding::new("MISBEHAVING_DENIES", Effect::Deny).argument(Attribute::text("why", why))
}

fn edit(target: Target, path: &str, value: &str) -> Edit {
    Edit { target, path: path.to_owned(), value: value.to_owned() }
}

fn entitlement(id: &str) -> Grant {
    Grant { kind: GrantKind::Entitlement, id: id.to_owned() }
}

#[expect(clippy::panic, reason = "giving up is the misbehaviour")]
fn trap() -> Decision {
    panic!("as told")
}

/// One step depends on the one before, so that no compiler and no processor does several at once.
fn work(iterations: u64) -> Decision {
    let mut state = 1_u64;
    for step in 0..iterations {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
    }
    if state == 0 { deny("never") } else { allow() }
}

/// Recursion that no compiler can make a loop and that keeps nothing in linear memory, so that it is the sandbox's own stack that ends.
#[inline(never)]
fn descend(depth: u64, bottom: u64) -> u64 {
    if depth == bottom {
        return depth;
    }
    descend(depth.wrapping_add(1), bottom).rotate_left(7).wrapping_mul(depth | 1)
}

fn hoard() -> Decision {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; HOARD_STEP]);
        black_box(&hoard);
    }
}

fn flood() -> Decision {
    loop {
        journal::note(FILLER);
    }
}

/// What must be gone before the next call.
fn remember() -> Decision {
    static LEFT: AtomicU32 = AtomicU32::new(0);
    if LEFT.fetch_add(1, Ordering::Relaxed) == 0 {
        return allow();
    }
    Decision::default().finding(Finding::new("MISBEHAVING_REMEMBERS", Effect::Deny))
}

fn target<'de, D: Deserializer<'de>>(reader: D) -> Result<Target, D::Error> {
    let word = String::deserialize(reader)?;
    let known = [
        Target::IdToken,
        Target::AccessToken,
        Target::Assertion,
        Target::User,
        Target::AppUser,
        Target::Request,
        Target::Response,
    ];
    known
        .into_iter()
        .find(|target| target.name() == word)
        .ok_or_else(|| serde::de::Error::custom("no target is called that"))
}

fn credential<'de, D: Deserializer<'de>>(reader: D) -> Result<Credential, D::Error> {
    match String::deserialize(reader)?.as_str() {
        "verified" => Ok(Credential::Verified),
        "unverified" => Ok(Credential::Unverified),
        "migrate" => Ok(Credential::Migrate),
        "update" => Ok(Credential::Update),
        "retry" => Ok(Credential::Retry),
        "block" => Ok(Credential::Block),
        _ => Err(serde::de::Error::custom("no finding is called that")),
    }
}

fn because() -> String {
    "as told".to_owned()
}

/// More findings than the manifest's output limit holds, and fewer than its memory does.
const HUGE: usize = 2_000;
/// Bytes taken at a time.
const HOARD_STEP: usize = 64 << 10;
const FILLER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
