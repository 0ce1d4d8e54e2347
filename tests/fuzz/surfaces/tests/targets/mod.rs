//! The fuzz targets themselves, built by the ordinary compiler without libFuzzer.
//!
//! Invariant: every file of `fuzz_targets` is here, so that none rots between two fuzz runs. The
//! crate of those targets is outside the workspace, since cargo-fuzz wants a nightly compiler; a
//! check of it would compile every dependency a second time.

#![allow(
    unused_attributes,
    reason = "each file is the root of a program elsewhere, and says `no_main` there"
)]

#[path = "../../../fuzz_targets/authzen.rs"]
mod authzen;
#[path = "../../../fuzz_targets/bearer.rs"]
mod bearer;
#[path = "../../../fuzz_targets/component.rs"]
mod component;
#[path = "../../../fuzz_targets/entra.rs"]
mod entra;
#[path = "../../../fuzz_targets/envelope.rs"]
mod envelope;
#[path = "../../../fuzz_targets/event.rs"]
mod event;
#[path = "../../../fuzz_targets/generic.rs"]
mod generic;
#[path = "../../../fuzz_targets/import.rs"]
mod import;
#[path = "../../../fuzz_targets/json.rs"]
mod json;
#[path = "../../../fuzz_targets/jwe.rs"]
mod jwe;
#[path = "../../../fuzz_targets/note.rs"]
mod note;
#[path = "../../../fuzz_targets/password.rs"]
mod password;
#[path = "../../../fuzz_targets/pdp.rs"]
mod pdp;
#[path = "../../../fuzz_targets/proof.rs"]
mod proof;
#[path = "../../../fuzz_targets/proxy.rs"]
mod proxy;
#[path = "../../../fuzz_targets/registration.rs"]
mod registration;
#[path = "../../../fuzz_targets/registry.rs"]
mod registry;
#[path = "../../../fuzz_targets/saml.rs"]
mod saml;
#[path = "../../../fuzz_targets/sideband.rs"]
mod sideband;
#[path = "../../../fuzz_targets/source.rs"]
mod source;
#[path = "../../../fuzz_targets/suite.rs"]
mod suite;
#[path = "../../../fuzz_targets/telephony.rs"]
mod telephony;
#[path = "../../../fuzz_targets/token.rs"]
mod token;

/// A target and its name.
type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 23] = [
    ("authzen", authzen::target),
    ("bearer", bearer::target),
    ("component", component::target),
    ("entra", entra::target),
    ("envelope", envelope::target),
    ("event", event::target),
    ("generic", generic::target),
    ("import", import::target),
    ("json", json::target),
    ("jwe", jwe::target),
    ("note", note::target),
    ("password", password::target),
    ("pdp", pdp::target),
    ("proof", proof::target),
    ("proxy", proxy::target),
    ("registration", registration::target),
    ("registry", registry::target),
    ("saml", saml::target),
    ("sideband", sideband::target),
    ("source", source::target),
    ("suite", suite::target),
    ("telephony", telephony::target),
    ("token", token::target),
];
