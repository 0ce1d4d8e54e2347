//! A configuration file that changed: read, checked whole and prepared beside what is active, then
//! exchanged as one.
//!
//! Invariant: a new configuration becomes active whole, recorded and together with a generation
//! made for its hooks, or changes nothing. Calls in flight finish on what they began with. What a
//! running host cannot change is named as needing a restart.

use crate::release::activate::record_and_swap;
use crate::release::last_good::{keep_release, note_unenforced};
use crate::release::prepare::{prepare, read_release};
use std::sync::{Arc, PoisonError};

use portcullis_audit::Entry;
use portcullis_model::json::build_members;
use portcullis_model::{Cause, Digest};
use thiserror::Error;

use crate::admin::Admin;
use crate::auth::Authenticator;
use crate::bindings::generation::{Bindings, Generation};
use crate::config::{Config, ReleasePaths};
use crate::error::{ConfigError, StartError};
use crate::fs::file_worker::POLL_LIMIT;
use crate::http::sockets::bind_admin;
use crate::loading::{Completeness, HookIdentity, ReleaseError, ReleaseFiles, current_set_digest};
use crate::state::active::ActiveConfig;
use crate::state::frontend::Frontend;
use crate::state::host::{Hook, Host, NotActivated};

/// Why a changed configuration is not active.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It changes what only a restart can change.
    #[error("{} cannot change while the host serves", settings.join(", "))]
    Restart {
        /// Which settings.
        settings: Vec<String>,
    },
    /// A file that it names, or the admin port, cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The active release binds plugins to a hook that would be gone.
    #[error(
        "the active release binds plugins to the hook `{hook}`, which the file no longer has with \
         that kind"
    )]
    Bound {
        /// The hook.
        hook: String,
    },
    /// The file system of the file, or of a file that it names, does not answer.
    #[error("the file system of the configuration, or of a file that it names, does not respond")]
    Stalled,
    /// It was prepared, but not activated.
    #[error(transparent)]
    NotActivated(#[from] NotActivated),
}

impl ReloadError {
    /// The stable code in records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config-wrong",
            Self::Restart { .. } => "config-needs-restart",
            Self::Start(_) => "config-unusable",
            Self::Stalled => "config-stalled",
            Self::Bound { .. } => "config-hook-bound",
            Self::NotActivated(NotActivated::Superseded) => "config-superseded",
            Self::NotActivated(NotActivated::Record(_)) => "config-not-recorded",
        }
    }

    /// Returns the hint: what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(_) => {
                Some("correct the file; `portcullis check` lists all problems".to_owned())
            }
            Self::Restart { .. } => Some("undo the change, or restart the host".to_owned()),
            Self::Start(error) => error.hint(),
            Self::Stalled => Some("check the network file system, then send SIGHUP".to_owned()),
            Self::Bound { .. } => {
                Some("first sign a release set without these bindings".to_owned())
            }
            Self::NotActivated(NotActivated::Superseded) => None,
            Self::NotActivated(NotActivated::Record(_)) => {
                Some("check the disk of audit.directory".to_owned())
            }
        }
    }

    /// The record of it.
    pub fn entry(&self) -> Entry {
        let fields = build_members(|fields| {
            fields.text("code", self.code());
        });
        // The sentence can hold what an operator wrote.
        Entry { kind: "config.refused", fields, sealed: Some(self.to_string().into_bytes()) }
    }
}

/// Activates the file's configuration if it is another than the active one; says whether it
/// did. Where it needs a release prepared, `wanted` is asked time and again, as [`prepare`] asks.
/// Blocks on the log; runs on housekeeping's thread, which alone exchanges what is active.
pub fn reload(
    host: &Arc<Host>,
    admin: &mut Option<Admin>,
    wanted: impl FnMut(&ReleasePaths, Option<Digest>) -> bool,
) -> Result<bool, ReloadError> {
    let before = host.active_config.load_full();
    let file = before.config.file.clone();
    let config = host.files.configuration.run(POLL_LIMIT, move || Config::load(&file));
    let config = config.ok_or(ReloadError::Stalled)??;
    if config.digest == before.config.digest {
        return Ok(false);
    }
    let settings = host.config.needs_restart(&config);
    if !settings.is_empty() {
        return Err(ReloadError::Restart { settings });
    }
    // Reads the secrets that it names.
    let (its_host, its_before, mut config) = (Arc::clone(host), Arc::clone(&before), config);
    let read = move || hooks(&its_host, &its_before, &mut config).map(|hooks| (hooks, config));
    let read = host.files.configuration.run(POLL_LIMIT, read);
    let (hooks, config) = read.ok_or(ReloadError::Stalled)??;
    let next = generation(host, &before, &config, wanted)?;
    let moved = rebind_admin(host, &before, &config)?;

    let number = match &next {
        NextGeneration::New(generation) => generation.number,
        NextGeneration::Moved(generation) => generation.number,
        NextGeneration::Nothing => 0,
    };
    let entry = active_entry(&config, number);
    let (digest, count, config) = (config.digest, hooks.len(), Arc::new(config));
    let put = |generation| ActiveConfig::new(Arc::clone(&config), hooks.clone(), generation);
    match next {
        NextGeneration::New(generation) => {
            let put = |generation| put(Some(generation));
            record_and_swap(host, *generation, Some(entry), &config, put)?;
        }
        NextGeneration::Moved(generation) => {
            host.recorder.append_durable(entry).map_err(NotActivated::from)?;
            for warning in generation.warnings(&config.hooks) {
                tracing::warn!(generation = number, event = "release.warning", "{warning}");
            }
            host.active_config.store(Arc::new(put(Some(Arc::new(*generation)))));
            note_unenforced(host);
        }
        NextGeneration::Nothing => {
            host.recorder.append_durable(entry).map_err(NotActivated::from)?;
            host.active_config.store(Arc::new(put(None)));
        }
    }
    host.limits.admission.set_limit(config.listen.max_in_flight);
    if let Some(moved) = moved
        && let Some(previous) = std::mem::replace(admin, moved)
    {
        previous.stop();
    }
    tracing::info!(
        %digest,
        hooks = count,
        generation = number,
        event = "config.active",
        "the configuration is active"
    );
    Ok(true)
}

/// The generation for the new hooks.
enum NextGeneration {
    /// The release in the folders, which is newer and valid.
    New(Box<Generation>),
    /// The active one, each binding where its hook is now.
    Moved(Box<Generation>),
    /// There is none active.
    Nothing,
}

/// The hooks of the new configuration. One of which the file says the same stays itself, so that its remembered events stay known.
fn hooks(
    host: &Host,
    before: &ActiveConfig,
    config: &mut Config,
) -> Result<Vec<Arc<Hook>>, StartError> {
    let mut ring = host.callers.key_ring.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hooks = Vec::with_capacity(config.hooks.len());
    for (number, config) in config.hooks.iter_mut().enumerate() {
        let same = before.hooks.iter().find(|hook| {
            hook.config.name == config.name && hook.config.fingerprint == config.fingerprint
        });
        let (caller, decryption) = match same {
            Some(same) => {
                config.settings.decryptor = same.config.settings.decryptor.clone();
                (Arc::clone(&same.authenticator), same.decryption.clone())
            }
            None => {
                let caller =
                    Arc::new(Authenticator::load(&config.name, &config.callers, &mut ring)?);
                (caller, Hook::decryption(config)?)
            }
        };
        let mut hook = Hook::new(number, config.clone(), caller, decryption, &host.hook_states);
        if let Some(same) = same {
            hook.serial = same.serial;
        }
        hooks.push(Arc::new(hook));
    }
    // Further issuers' keys are asked for before anybody calls.
    let keys = ring.all();
    keys.iter().filter(|keys| keys.age_ms().is_none()).for_each(|keys| keys.refresh_if_due(true));
    host.callers.keys.store(Arc::new(keys));
    Ok(hooks)
}

/// What is to decide: the active generation, or, where the new hooks are not those that it needs,
/// what the folders hold.
fn generation(
    host: &Host,
    before: &ActiveConfig,
    config: &Config,
    mut wanted: impl FnMut(&ReleasePaths, Option<Digest>) -> bool,
) -> Result<NextGeneration, ReloadError> {
    let Some(current) = &before.generation else {
        // Housekeeping looks at the release next, with the new hooks.
        return Ok(NextGeneration::Nothing);
    };
    // Bindings that were left out of the last good release may be had with these hooks.
    let whole = current.is_whole();
    let moved = rebind(current, before, config);
    // A hook on which nothing enforces is open only where the set in the folders is the active one:
    // another one, which may be refused, could be about to bind it.
    let open = current.unenforced_places(before.hooks.iter().map(|hook| &hook.config));
    let opens = moved.as_ref().is_ok_and(|moved| !opens_nothing(moved, config, &open));
    if whole && moved.is_ok() && (!opens || is_in_folders(host, current, config)) {
        return or_rebound(moved);
    }
    let stopped = |moved: Result<Generation, String>| {
        or_rebound(moved.map(|mut moved| {
            moved.stop_unenforced(&config.hooks, &open);
            moved
        }))
    };
    // A release that is to come with these hooks: both become active, or neither.
    let found = read_release(host, &config.release, || wanted(&config.release, None)).ok();
    let found = found.filter(|found| !whole || found.set_digest() != current.set);
    let (paths, hooks) = (&config.release, &config.hooks);
    let ready = |found: ReleaseFiles| {
        let wanted = || wanted(paths, Some(found.set_digest()));
        let generation = prepare(host, &found, hooks, Completeness::Everything, wanted)?;
        keep_release(host, &found, &generation.release);
        Ok(generation)
    };
    match found.map(ready) {
        Some(Ok(generation)) => Ok(NextGeneration::New(Box::new(generation))),
        Some(Err(ReleaseError::Superseded)) => Err(NotActivated::Superseded.into()),
        Some(Err(error)) => {
            tracing::warn!(
                code = error.code(),
                %error,
                hint = error.hint(),
                event = "release.refused",
                "the configuration is active, but its release was refused"
            );
            stopped(moved)
        }
        None => stopped(moved),
    }
}

/// Whether nothing enforces only on hooks that are open already.
fn opens_nothing(moved: &Generation, config: &Config, open: &[HookIdentity]) -> bool {
    moved.unenforced_places(&config.hooks).iter().all(|place| open.contains(place))
}

/// Whether the folders hold the active set, and it was accepted from there.
fn is_in_folders(host: &Host, current: &Generation, config: &Config) -> bool {
    let paths = config.release.clone();
    let there = host.files.release.run(POLL_LIMIT, move || current_set_digest(&paths)).flatten();
    !current.is_last_good() && there == Some(current.set)
}

fn or_rebound(moved: Result<Generation, String>) -> Result<NextGeneration, ReloadError> {
    let bound = |hook| ReloadError::Bound { hook };
    moved.map(|moved| NextGeneration::Moved(Box::new(moved))).map_err(bound)
}

/// A generation for other hooks: the same bindings, each where its hook is now. The hook that is missing, where one is.
fn rebind(
    current: &Generation,
    before: &ActiveConfig,
    config: &Config,
) -> Result<Generation, String> {
    let mut hooks: Vec<Bindings> = config.hooks.iter().map(|_| Bindings::default()).collect();
    for (hook, bindings) in before.hooks.iter().zip(&current.hooks) {
        // Where nothing is bound, or what is to be bound was left out and is looked at below.
        let left_out = bindings.iter().next().is_none()
            && bindings.stopped().is_some_and(|it| it.cause == Cause::PluginUnavailable);
        if bindings.is_unbound() || left_out {
            continue;
        }
        let mut places = config.hooks.iter().zip(&mut hooks);
        let place =
            places.find(|(it, _)| it.name == hook.config.name && it.kind == hook.config.kind);
        let Some((_, place)) = place else { return Err(hook.config.name.clone()) };
        *place = bindings.without_unenforced_stop();
    }
    // Bindings of the last good release on a hook that was missing until now: nothing is decided
    // there without it.
    for left in current.left_out.iter().filter(|left| left.enforces) {
        let mut places = config.hooks.iter().zip(&mut hooks);
        if let Some((_, place)) = places.find(|(it, _)| it.name == left.hook) {
            place.stop(&left.plugin, Cause::PluginUnavailable);
        }
    }
    Ok(current.rebound_to(hooks))
}

/// The admin listener at its new place, or its end; nothing where it stays.
fn rebind_admin(
    host: &Arc<Host>,
    before: &ActiveConfig,
    config: &Config,
) -> Result<Option<Option<Admin>>, StartError> {
    let place = |config: &Config| config.admin.enabled.then_some(config.admin.address);
    match (place(&before.config), place(config)) {
        (was, is) if was == is => Ok(None),
        (_, None) => Ok(Some(None)),
        (_, Some(address)) => {
            let socket = bind_admin(address)?;
            let admin = Admin::start(&Arc::new(Frontend::of(host)), socket)?;
            tracing::info!(
                address = %admin.address(),
                event = "admin.moves",
                "the host moves the admin listener to another address"
            );
            Ok(Some(Some(admin)))
        }
    }
}

/// The record of a configuration that became active after the start.
fn active_entry(config: &Config, number: u64) -> Entry {
    let fields = build_members(|fields| {
        fields.display("config", config.digest).number("generation", number);
        // So many fit a leaf; all of them are in the file with that digest.
        fields.texts("hooks", config.hooks.iter().take(MOST_NAMED).map(|hook| &hook.name));
        fields.number("hook_count", config.hooks.len());
    });
    Entry { kind: "config.active", fields, sealed: None }
}

/// Hooks that the record names.
const MOST_NAMED: usize = 32;
