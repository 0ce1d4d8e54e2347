//! What a plugin author needs to write a Portcullis plugin in Rust.
//!
//! A plugin is a type that implements [`Plugin`], made into a component by [`plugin!`]:
//!
//! ```
//! use portcullis_guest::{Call, Decision, Effect, Finding, Plugin};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     department: String,
//! }
//!
//! struct OnlyOneDepartment(Settings);
//!
//! impl Plugin for OnlyOneDepartment {
//!     type Settings = Settings;
//!
//!     fn configure(settings: Settings) -> Result<Self, Vec<String>> {
//!         Ok(Self(settings))
//!     }
//!
//!     fn evaluate(&self, call: &Call) -> Result<Decision, String> {
//!         let department = call.subject.as_ref().and_then(|subject| subject.text("department"));
//!         if department.as_deref() == Some(self.0.department.as_str()) {
//!             return Ok(Decision::default());
//!         }
//!         Ok(Decision::default().finding(Finding::new("OTHER_DEPARTMENT", Effect::Deny)))
//!     }
//! }
//!
//! portcullis_guest::plugin!(OnlyOneDepartment);
//! ```
//!
//! Invariant: a plugin built with this crate imports nothing but what the contract (`wit/policy.wit`) offers, and a
//! call of it never grows its memory as long as it stays within its [room](plugin!).
//!
//! Where the manifest requests it, a plugin may take notes ([`journal`]), look up rows
//! ([`mod@reference`]) and remember ([`memory`]). [`calendar`] has dates, time zones, shifts and
//! holidays.
//!
//! What it does not do: it has no clock, no randomness and no I/O. [`Call::received`] and [`Call::seed`] are the only
//! ones a plugin has.

#[cfg(any(test, target_arch = "wasm32"))]
mod arena;
#[doc(hidden)]
pub mod bindings;
#[cfg(feature = "calendar")]
pub mod calendar;
#[doc(hidden)]
pub mod export;
pub mod journal;
mod json_values;
pub mod memory;
pub mod reference;
pub mod search;
mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::portcullis::policy::types::{
    Attribute, Call, Cap, Change, Credential, Decision, Edit, Effect, Entity, Finding, Grant,
    GrantKind, Lifetime, Origin, Place, Principal, PrincipalKind, Severity, Statement, Target,
};
pub use bindings::search::exports::portcullis::policy::search::{Found, Page};
pub use json_values::{strings, text};
pub use search::{Search, SearchTarget};
pub use settings::{Problems, unique};

/// A policy: settings in, decisions out.
///
/// Both functions must be pure: the same settings and the same call give the same decision, always.
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The settings, as JSON describes them. Derive `Deserialize` and add `deny_unknown_fields`, so that a misspelt
    /// setting is refused instead of ignored.
    type Settings: serde::de::DeserializeOwned;

    /// Makes the plugin ready: once, when a release is activated, before the host takes its snapshot. Whatever is
    /// prepared here costs nothing at call time.
    ///
    /// # Errors
    /// One sentence for each thing that is wrong with the settings, led by its path; [`Problems`] collects them. The
    /// operator reads them, and the release is not activated.
    fn configure(settings: Self::Settings) -> Result<Self, Vec<String>>;

    /// Decides one call, in an instance of its own that is thrown away afterwards.
    ///
    /// # Errors
    /// Only when no decision can be made: it is the plugin's failure, and the hook gives its safe answer. The text goes
    /// to the sealed part of the record. A refusal is not an error but a finding with [`Effect::Deny`].
    fn evaluate(&self, call: &Call) -> Result<Decision, String>;
}

/// Makes a [`Plugin`] the component's exports.
///
/// `plugin!(MyPlugin)` reserves 512 KiB for each call; `plugin!(MyPlugin, room = 2 << 20)` another number of bytes.
/// `plugin!(MyPlugin, search)` is for one that can [`Search`] too, and takes `room` as well.
/// The room holds everything that a call allocates, its arguments included. A call that needs more gets it as long as the
/// manifest's memory limit allows, but pays for growing the memory.
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        $crate::plugin!($plugin, room = $crate::export::DEFAULT_ARENA_BYTES);
    };
    ($plugin:ty, search) => {
        $crate::plugin!($plugin, search, room = $crate::export::DEFAULT_ARENA_BYTES);
    };
    ($plugin:ty, search, room = $room:expr) => {
        #[doc(hidden)]
        const _: () = {
            static CONFIGURED: $crate::export::Configured<$plugin> =
                $crate::export::Configured::new($room);

            struct Exports;

            impl $crate::bindings::search::Guest for Exports {
                fn configure(settings: String) -> Result<(), Vec<String>> {
                    CONFIGURED.configure(&settings)
                }

                fn evaluate(call: $crate::Call) -> Result<$crate::Decision, String> {
                    CONFIGURED.evaluate(call)
                }
            }

            impl $crate::bindings::search::exports::portcullis::policy::search::Guest for Exports {
                fn find(call: $crate::Call, page: $crate::Page) -> Result<$crate::Found, String> {
                    CONFIGURED.find(call, page)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::search::export!(Exports with_types_in $crate::bindings::search);
        };
    };
    ($plugin:ty, room = $room:expr) => {
        #[doc(hidden)]
        const _: () = {
            static CONFIGURED: $crate::export::Configured<$plugin> =
                $crate::export::Configured::new($room);

            struct Exports;

            impl $crate::bindings::Guest for Exports {
                fn configure(settings: String) -> Result<(), Vec<String>> {
                    CONFIGURED.configure(&settings)
                }

                fn evaluate(call: $crate::Call) -> Result<$crate::Decision, String> {
                    CONFIGURED.evaluate(call)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::export!(Exports with_types_in $crate::bindings);
        };
    };
}
