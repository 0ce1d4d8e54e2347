//! Making a release ready, while whoever has it made goes on with what cannot wait for that.
//!
//! Invariant: plugins are made on a thread of their own under no lock, so that what is revoked meanwhile, and a newer trust root, hold at once.
//! What was held against anything else than what holds when it is ready is dropped: it has never been in force, and nothing is said
//! of it. To begin again is for whoever wants it. What is being made and wanted no more is ended, its process with it.

use crate::trust::view::{Against, Trusted};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use portcullis_engine::GivenUp;
use portcullis_model::Digest;

use crate::bindings::generation::Generation;
use crate::config::{Config, HookConfig, ReleasePaths};
use crate::loading::{Demand, Found, ReleaseError, refusal_entry, set_in};
use crate::state::host::{Host, NotInForce};

impl Host {
    /// Reads the release's folders and readies what they hold; `None` if it is what is in force already. `wanted` is asked time and again
    /// whether the set of this digest, from these folders, is wanted still; without a digest while it is being read.
    pub fn load_release(
        &self,
        mut wanted: impl FnMut(&ReleasePaths, Option<Digest>) -> bool,
    ) -> Result<Option<Generation>, ReleaseError> {
        let in_force = self.in_force.load_full();
        let (paths, hooks) = (&in_force.config.release, &in_force.config.hooks);
        let mut found = self.read_release(paths, || wanted(paths, None))?;
        found.report_to(&self.progress);
        let set = found.set_digest();
        self.observe_documents(&found);
        for (file, refusal) in found.rejected_signatures(self.keeper().root()) {
            tracing::warn!(
                event = "trust.signature_ignored", file = %file.display(), code = refusal.code(), error = %refusal,
                "a signature counts for nothing; enough others are needed"
            );
        }
        self.standing.found(&found, &self.keeper().trusted(), self.trusted_now());
        // What had to be left out of the last good release may be had again.
        let whole = |it: &&Arc<Generation>| it.set == set && it.is_whole();
        if let Some(current) = in_force.generation.as_ref().filter(whole) {
            self.recheck(&found, current);
            return Ok(None);
        }
        // It is another set that lies there; what is wrong with it is said of that one.
        self.obstacles.altered(None);
        let generation =
            self.ready(&found, hooks, Demand::Everything, || wanted(paths, Some(set)))?;
        self.keep_release(&found, &generation.release);
        Ok(Some(generation))
    }

    /// Reads release folders on a thread that may hang with them. Asks time and again whether that
    /// is `wanted`.
    ///
    /// # Errors
    /// As [`Found::read`]; [`ReleaseError::Stalled`] where an earlier reading has not returned.
    pub fn read_release(
        &self,
        paths: &ReleasePaths,
        wanted: impl FnMut() -> bool,
    ) -> Result<Found, ReleaseError> {
        let (its_paths, reading) = (paths.clone(), self.reading());
        let read = move || Found::read(&its_paths, &reading);
        let found = self.files.reading.run_while(read, ROUND, wanted);
        found.unwrap_or_else(|| match self.files.reading.stalled_for() {
            Some(limit) => Err(ReleaseError::Stalled { path: paths.set.clone(), limit }),
            None => Err(ReleaseError::Overtaken),
        })
    }

    /// Whether a release in these folders would come into force, for the hooks of this configuration.
    pub fn try_release(
        &self,
        paths: &ReleasePaths,
        config: &Config,
        wanted: impl FnMut() -> bool,
    ) -> Result<(), ReleaseError> {
        let found = Found::read(paths, &self.reading())?;
        self.ready(&found, &config.hooks, Demand::Everything, wanted).map(drop)
    }

    /// Readies what was found for these hooks. Time and again asks whether it is `wanted`, until it is made or ended: whoever asks for it
    /// does there what cannot wait.
    ///
    /// # Errors
    /// What is wrong with it; [`ReleaseError::Overtaken`] where it is wanted no more, or was held against what does not hold any more.
    pub fn ready(
        &self,
        found: &Found,
        hooks: &[HookConfig],
        demand: Demand,
        mut wanted: impl FnMut() -> bool,
    ) -> Result<Generation, ReleaseError> {
        self.observe_documents(found);
        self.may_activate(found)?;
        let (roots, history) = self.keeper().copy();
        let trusted = Trusted { roots: &roots, history: &history };
        let (against, given_up) = (Against::new(&trusted), GivenUp::default());
        let now = self.keeper().time_for_activation();
        let engine = self.engine().unless(&given_up);
        let result = thread::scope(|scope| {
            let (running, ended) = channel::<()>();
            let make = || {
                let _running = running;
                found.activate(&trusted, hooks, &engine, now, demand)
            };
            let making = thread::Builder::new().name("making".to_owned()).spawn_scoped(scope, make);
            let making =
                making.map_err(|error| ReleaseError::NoThread { why: error.to_string() })?;
            while ended.recv_timeout(ROUND) == Err(RecvTimeoutError::Timeout) {
                // Asked also when it is being ended: what cannot wait does not wait for that either.
                if !wanted() || !against.holds(&self.keeper().trusted()) {
                    given_up.say();
                }
            }
            making.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        if given_up.is_said() || !against.holds(&self.keeper().trusted()) {
            return Err(ReleaseError::Overtaken);
        }
        // It took its time.
        self.may_activate(found)?;
        result
    }

    /// Readies the release that the folders hold at the start and puts it in force, or what has overtaken it meanwhile. Ends
    /// without one where it is `wanted` no more.
    pub fn begin(&self, wanted: impl Fn() -> bool) {
        while wanted() {
            // What is wrong with files that arrived meanwhile, housekeeping says.
            drop(self.follow_trust(self.as_found.folders));
            self.progress.step("reading the release's folders");
            let made = self.load_release(|paths, set| {
                // What early calls owe the log need not wait for the release.
                self.settle_debts();
                wanted() && (set.is_none() || set_in(paths) == set)
            });
            let overtaken = match made {
                Ok(None) => false,
                Ok(Some(generation)) => {
                    self.keep_from_folders(&generation);
                    matches!(self.activate(generation), Err(NotInForce::Overtaken))
                }
                Err(ReleaseError::Overtaken) => true,
                Err(error) => {
                    tracing::warn!(code = error.code(), %error, hint = error.hint(), event = "release.refused", "release refused");
                    self.recorder.append(refusal_entry(&error));
                    self.fall_back(&error, || true)
                }
            };
            if !overtaken {
                return;
            }
        }
    }

    /// Puts the last good release in force where nothing decides, after the one in the folders was refused. Says
    /// whether that was overtaken, and is to be begun again.
    pub fn fall_back(&self, refused: &ReleaseError, wanted: impl FnMut() -> bool) -> bool {
        self.obstacles.release(Some(refused.code()));
        self.standing.refused(refused);
        match self.last_good_release(wanted) {
            Ok(Some(generation)) => {
                matches!(self.activate(generation), Err(NotInForce::Overtaken))
            }
            Ok(None) => {
                tracing::error!(code = refused.code(), error = %refused, hint = refused.hint(), event = "release.none", "no release is active; every call gets its safe answer");
                false
            }
            Err(_) => true,
        }
    }

    /// Whether any release may come into force on this machine now.
    fn may_activate(&self, found: &Found) -> Result<(), ReleaseError> {
        if !self.reset_still_holds() {
            return Err(ReleaseError::Swap);
        }
        Ok(self.keeper().may_take(found.set_digest())?)
    }

    /// A set that was signed within the last day agrees with a clock of that time.
    pub fn observe_documents(&self, found: &Found) {
        if let Some(issued) = found.issued(&self.root.load()) {
            self.trusted_time.observe_document(issued);
        }
    }
}

/// How often it is asked whether what is being made is wanted.
const ROUND: Duration = Duration::from_millis(500);
