//! The keys that a configuration names, and whether the trust root lists those of the logs.
//!
//! Invariant: each key has one purpose. Damage to the host's own state is no matter of the
//! configuration.

use std::path::Path;

use portcullis_keys::SymmetricKey;

use crate::config::Config;
use crate::error::StartError;
use crate::start_problems::{PSEUDONYM_KEY, SEALING_KEY, SIGNING_KEY, StartProblems, key_file};
use crate::state_mac::StateMac;
use crate::trust::persisted::{LoadedState, PersistedState};
use crate::trust::roots::{ArrivedRoots, Roots, kept_folder};
use crate::trust::state::LogLocation;
use crate::trust::state_copy::STATE_FILE;

/// The key of sealed parts and the key of pseudonyms.
pub(super) fn symmetric_keys(
    config: &Config,
    problems: &mut StartProblems,
) -> Option<(SymmetricKey, SymmetricKey)> {
    let mut read = |what, path: &Path| {
        let key = SymmetricKey::read(path);
        problems.keep(key.map_err(|error| key_file(what, path, &error)))
    };
    let sealing = read(SEALING_KEY, &config.audit.sealing_key);
    let naming = read(PSEUDONYM_KEY, &config.audit.pseudonym_key);
    let (sealing, naming) = (sealing?, naming?);
    if sealing.expose() == naming.expose() {
        let path = config.audit.pseudonym_key.clone();
        let why = "it is also the sealing key".to_owned();
        let hint = Some("generate another key: each key has one purpose".to_owned());
        problems.add(StartError::File { what: PSEUDONYM_KEY, path, why, hint });
        return None;
    }
    Some((sealing, naming))
}

/// Whether the trust root that this host would follow reads, and lists the log's keys. What cannot
/// be read of the host's own files, or is damaged or gone there, is no matter of the configuration.
pub(super) fn trust_root_of(
    config: &Config,
    sealing: &SymmetricKey,
    places: &[LogLocation],
) -> Result<(), StartError> {
    let Ok(mac) = StateMac::new(sealing) else { return Ok(()) };
    let remembered = PersistedState::read(&config.trust.state.join(STATE_FILE), &mac);
    let (history, is_known) = match remembered {
        Ok(LoadedState::State(memory)) => (memory.history, true),
        Ok(LoadedState::Absent) => (Default::default(), false),
        Ok(LoadedState::Corrupt(_)) | Err(_) => return Ok(()),
    };
    let arrived = ArrivedRoots::read(&config.trust.roots, 0);
    let roots = match Roots::load(&config.trust, &history, &arrived, true) {
        Ok((roots, _)) => roots,
        // The host has kept a copy of that trust root, and the copy is damaged or gone.
        Err(StartError::RootLost { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let listed = lists_keys(roots.newest(), places, config);
    // A host that has served and has forgotten it may have forgotten the trust root that lists
    // them.
    let has_served = || {
        let logs = places.iter().any(|place| place.directory.exists());
        logs || kept_folder(&config.trust).exists()
    };
    if listed.is_err() && !is_known && has_served() { Ok(()) } else { listed }
}

/// Whether the trust root lists the keys of these logs.
pub(super) fn lists_keys(
    root: &portcullis_trust::TrustRoot,
    places: &[LogLocation],
    config: &Config,
) -> Result<(), StartError> {
    let mut problems = StartProblems::default();
    let next = config.audit.next.as_ref().map(|next| &next.signing_key);
    let files = [&config.audit.signing_key].into_iter().chain(next);
    for (place, path) in places.iter().zip(files) {
        if !root.log.contains(place.signer.public()) {
            let keyid = place.signer.public().keyid();
            let why = format!("the trust root does not list the key `{keyid}` under roles.log");
            let hint = Some(SIGNING_HINT.to_owned());
            problems.add(StartError::File { what: SIGNING_KEY, path: path.clone(), why, hint });
        }
    }
    problems.result()
}

/// The hint where a log and its key do not belong together.
pub(super) const SIGNING_HINT: &str = "use the key that began this log, or begin a new log whose key and \
                            origin have the same name, listed under `[log]` of the trust root";
