//! Why a call got a safe answer instead of a decision.
//!
//! Invariant: every cause has one code, the same in metrics, logs and records, and names the guilty party.

/// Why there is no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Caller: the secret is missing or wrong.
    Unauthenticated,
    /// Caller: the body is larger than the hook's limit.
    BodyTooLarge,
    /// Caller: the body did not arrive whole, or not in time.
    BodyIncomplete,
    /// Caller: not UTF-8.
    NotUtf8,
    /// Caller: not JSON (RFC 8259).
    NotJson,
    /// Caller: an object has the same member twice.
    DuplicateMember,
    /// Caller: nested too deep.
    TooDeep,
    /// Caller: a member that the contract needs is missing or has the wrong type.
    SchemaMismatch,
    /// Caller: an event type that this hook kind is not for.
    UnknownEvent,
    /// Caller: the same event id came with another body.
    EventIdReused,
    /// Caller: the request is not valid HTTP, such as one without `Host` (RFC 9112 section 3.2).
    BadRequest,
    /// Caller: the request's head is larger, or has more fields, than is read.
    HeadTooLarge,
    /// Caller: the path is the hook's in another spelling, such as one with a trailing slash.
    WrongPath,
    /// Caller: a method that the hook kind does not answer.
    WrongMethod,
    /// Host: too many calls at once.
    Overload,
    /// Host: it is starting; no release is ready yet.
    Starting,
    /// Host: no release set is active.
    NoActiveRelease,
    /// Host: the time ran out.
    BudgetExhausted,
    /// Host: the record could not be made durable.
    NotDurable,
    /// Host: nobody took the message that the platform wants delivered.
    MessageUndelivered,
    /// Host: other calls changed the memory of a plugin each time that the call was evaluated.
    MemoryConflict,
    /// Host: a defect of ours.
    InternalError,
    /// Plugin: it trapped, ran out of its memory, time or stack, or returned an error.
    PluginFault,
    /// Plugin: it is revoked, and was to bind.
    PluginRevoked,
    /// Plugin: it was to bind, and could not be prepared from the last good release.
    PluginUnavailable,
    /// Plugin: it failed too often and is quarantined for a while.
    PluginQuarantined,
    /// Plugin: it said what its manifest does not declare, or what is not well-formed.
    UndeclaredOutput,
    /// Plugin: something that its manifest requires was not in the call.
    RequiredInputMissing,
    /// Plugins: two of them want different values in one place.
    Conflict,
    /// Host: a binding that does not bind was not asked, or not recorded: a lane or the log was
    /// full.
    ObserverSkipped,
    /// Plugin: what it wants would make the platform refuse the whole answer.
    UnsupportedChange,
}

/// Who is to blame for a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// Whoever sent the request.
    Caller,
    /// This host.
    Host,
    /// A plugin.
    Plugin,
}

impl Cause {
    /// Who is to blame.
    pub fn attribution(self) -> Attribution {
        match self {
            Self::Unauthenticated
            | Self::BodyTooLarge
            | Self::BodyIncomplete
            | Self::NotUtf8
            | Self::NotJson
            | Self::DuplicateMember
            | Self::TooDeep
            | Self::SchemaMismatch
            | Self::UnknownEvent
            | Self::EventIdReused
            | Self::BadRequest
            | Self::HeadTooLarge
            | Self::WrongPath
            | Self::WrongMethod => Attribution::Caller,
            Self::Overload
            | Self::Starting
            | Self::NoActiveRelease
            | Self::BudgetExhausted
            | Self::NotDurable
            | Self::MessageUndelivered
            | Self::MemoryConflict
            | Self::InternalError
            | Self::ObserverSkipped => Attribution::Host,
            Self::PluginFault
            | Self::PluginRevoked
            | Self::PluginUnavailable
            | Self::PluginQuarantined
            | Self::UndeclaredOutput
            | Self::RequiredInputMissing
            | Self::Conflict
            | Self::UnsupportedChange => Attribution::Plugin,
        }
    }

    /// Every cause, for tables and counters.
    pub const ALL: [Self; 31] = [
        Self::Unauthenticated,
        Self::BodyTooLarge,
        Self::BodyIncomplete,
        Self::NotUtf8,
        Self::NotJson,
        Self::DuplicateMember,
        Self::TooDeep,
        Self::SchemaMismatch,
        Self::UnknownEvent,
        Self::EventIdReused,
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::WrongPath,
        Self::WrongMethod,
        Self::Overload,
        Self::Starting,
        Self::NoActiveRelease,
        Self::BudgetExhausted,
        Self::NotDurable,
        Self::MessageUndelivered,
        Self::MemoryConflict,
        Self::InternalError,
        Self::PluginFault,
        Self::PluginRevoked,
        Self::PluginUnavailable,
        Self::PluginQuarantined,
        Self::UndeclaredOutput,
        Self::RequiredInputMissing,
        Self::Conflict,
        Self::ObserverSkipped,
        Self::UnsupportedChange,
    ];

    /// The code in metrics, logs and records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyIncomplete => "body-incomplete",
            Self::NotUtf8 => "not-utf8",
            Self::NotJson => "not-json",
            Self::DuplicateMember => "duplicate-member",
            Self::TooDeep => "too-deep",
            Self::SchemaMismatch => "schema-mismatch",
            Self::UnknownEvent => "unknown-event",
            Self::EventIdReused => "event-id-reused",
            Self::BadRequest => "bad-request",
            Self::HeadTooLarge => "head-too-large",
            Self::WrongPath => "wrong-path",
            Self::WrongMethod => "wrong-method",
            Self::Overload => "overload",
            Self::Starting => "starting",
            Self::NoActiveRelease => "no-active-release",
            Self::BudgetExhausted => "budget-exhausted",
            Self::NotDurable => "not-durable",
            Self::MessageUndelivered => "message-undelivered",
            Self::MemoryConflict => "memory-conflict",
            Self::InternalError => "internal-error",
            Self::PluginFault => "plugin-fault",
            Self::PluginRevoked => "plugin-revoked",
            Self::PluginUnavailable => "plugin-unavailable",
            Self::PluginQuarantined => "plugin-quarantined",
            Self::UndeclaredOutput => "undeclared-output",
            Self::RequiredInputMissing => "required-input-missing",
            Self::Conflict => "conflict",
            Self::ObserverSkipped => "observer-skipped",
            Self::UnsupportedChange => "unsupported-change",
        }
    }
}
