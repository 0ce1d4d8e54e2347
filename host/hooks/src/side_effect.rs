//! Errands: what the host has to do for the platform besides answering it.
//!
//! Invariant: a side effect says what is to be done in words of the hook kind, never how: which
//! service delivers a message and with which credentials is the operator's configuration. It can
//! hold a secret (a one-time code), so it has no `Debug` and is never recorded.

/// What is to be done.
pub enum SideEffect {
    /// Before the answer leaves: it says that the message is on its way, so somebody must have taken it.
    Deliver(Message),
    /// After the answer has left: the platform waits for a call of ours.
    Resume(Resume),
}

/// A message with a one-time code for a person.
pub struct Message {
    /// How: `sms`, `voice` or `email`.
    pub channel: &'static str,
    /// The telephone number or address.
    pub to: String,
    /// The code.
    pub code: String,
    /// The platform's own text, where it sends one.
    pub text: Option<String>,
    /// The person's language, as the platform spells it.
    pub locale: Option<String>,
    /// When the code ends, as the platform spells it.
    pub expires: Option<String>,
    /// Known to both sides: the same for a repeated call, so that nobody gets two messages.
    pub key: String,
}

/// A call that the platform waits for.
pub struct Resume {
    /// The path below the platform's interface, such as `/identityGovernance/…/resume`.
    pub path: String,
    /// JSON.
    pub body: String,
}
