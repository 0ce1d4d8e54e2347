//! The signals, their codes, and what each contributes to a judgement.
//!
//! Invariant: a contribution names a kind of signal and numbers, and no address, device or user
//! agent: those are in the call, which the record's sealed part has. A country and a speed are
//! told, because the help desk needs them.

use portcullis_guest::{Attribute, Severity};

/// A signal, in the order in which findings stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    PushBombing,
    BruteForce,
    LockedOut,
    Spraying,
    Stuffing,
    Threat,
    SuccessAfterAttack,
    ImpossibleTravel,
    Velocity,
    Platform,
    Proxy,
    Unlikely,
    NewDevice,
    NewNetwork,
    NewCountry,
    UnusualHour,
    Model,
}

/// Signals whose points have a cap together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Novelty,
    Attacks,
    /// No cap but its own.
    Alone,
}

/// A signal's part of a judgement.
#[derive(Clone, Debug)]
pub(crate) struct Contribution {
    pub signal: Signal,
    pub points: u8,
    pub arguments: Vec<Attribute>,
}

impl Signal {
    /// The finding's code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::PushBombing => "RISK_PUSH_BOMBING",
            Self::BruteForce => "RISK_BRUTE_FORCE",
            Self::LockedOut => "RISK_LOCKED_OUT",
            Self::Spraying => "RISK_PASSWORD_SPRAYING",
            Self::Stuffing => "RISK_CREDENTIAL_STUFFING",
            Self::Threat => "RISK_THREAT_ADDRESS",
            Self::SuccessAfterAttack => "RISK_SUCCESS_AFTER_ATTACK",
            Self::ImpossibleTravel => "RISK_IMPOSSIBLE_TRAVEL",
            Self::Velocity => "RISK_VELOCITY",
            Self::Platform => "RISK_PLATFORM",
            Self::Proxy => "RISK_PROXY",
            Self::Unlikely => "RISK_UNLIKELY",
            Self::NewDevice => "RISK_NEW_DEVICE",
            Self::NewNetwork => "RISK_NEW_NETWORK",
            Self::NewCountry => "RISK_NEW_COUNTRY",
            Self::UnusualHour => "RISK_UNUSUAL_HOUR",
            Self::Model => "RISK_MODEL",
        }
    }

    /// The signals that it shares a cap with.
    pub(crate) fn group(self) -> Group {
        match self {
            Self::NewDevice | Self::NewNetwork | Self::NewCountry | Self::UnusualHour => {
                Group::Novelty
            }
            Self::PushBombing
            | Self::BruteForce
            | Self::LockedOut
            | Self::Spraying
            | Self::Stuffing
            | Self::Threat
            | Self::SuccessAfterAttack => Group::Attacks,
            _ => Group::Alone,
        }
    }
}

impl Contribution {
    /// A contribution without arguments.
    pub(crate) fn new(signal: Signal, points: u8) -> Self {
        Self { signal, points, arguments: Vec::new() }
    }

    /// With a number.
    pub(crate) fn number(mut self, name: &str, value: i32) -> Self {
        self.arguments.push(Attribute::number(name, value));
        self
    }

    /// With a text.
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.arguments.push(Attribute::text(name, value));
        self
    }

    /// Its severity by itself.
    pub(crate) fn severity(&self) -> Severity {
        match self.points {
            0..=14 => Severity::Low,
            15..=29 => Severity::Medium,
            _ => Severity::High,
        }
    }
}
