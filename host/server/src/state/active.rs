//! The active configuration: its hooks, and the generation that decides on them.
//!
//! Invariant: both are exchanged as one, so that a hook's place always names its own bindings; a
//! call keeps to the end what was active when it began. What outlives a configuration (debts,
//! counts) belongs to the hook's name: see [`HookState`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_hooks::OnFailure;

use crate::bindings::generation::Generation;
use crate::break_glass::{Place, Places};
use crate::config::Config;
use crate::observe::metrics::HookMetrics;
use crate::records::corrections::Corrections;
use crate::records::schema_drift::SchemaDrift;
use crate::state::host::Hook;
use crate::state::path::normalize;

/// The hooks of one configuration, and what decides on them.
pub struct ActiveConfig {
    /// The configuration. Of it, only what [`Config::needs_restart`] does not name can differ from the one that the host started with.
    pub config: Arc<Config>,
    /// The hooks, in the order of the configuration.
    pub hooks: Vec<Arc<Hook>>,
    /// The generation that decides; made for these hooks.
    pub generation: Option<Arc<Generation>>,
    /// Path → hook's place, and which of its kind's routes the path is.
    routes: Arc<HashMap<String, (usize, &'static str)>>,
    /// The same by the paths' normal form.
    spellings: Arc<HashMap<String, (usize, &'static str)>>,
}

/// Where a request path leads.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// To a hook, by one of its kind's routes.
    Hook(&'a Arc<Hook>, &'static str),
    /// Nowhere, but it is another spelling of a path that leads there.
    NonCanonical(&'a Arc<Hook>, &'static str),
    /// Nowhere.
    NotFound,
}

/// What belongs to a hook's name for as long as the process lives, whatever becomes of its configuration.
#[derive(Clone, Default)]
pub struct HookState {
    /// What it owes the log.
    pub corrections: Arc<Corrections>,
    /// The active break-glass document here, or the last one.
    pub break_glass: Place,
    /// What it was sent that is not known.
    pub drift: Arc<SchemaDrift>,
    /// What it did.
    pub metrics: Arc<HookMetrics>,
}

impl HookState {
    fn of(name: &str) -> Self {
        Self { corrections: Arc::new(Corrections::of(name)), ..Self::default() }
    }
}

/// Hook's name → what lasts of it. Grows only by names that an operator configures.
#[derive(Default)]
pub struct HookStates {
    known: Mutex<BTreeMap<String, HookState>>,
}

impl ActiveConfig {
    /// Puts hooks together with what decides on them.
    pub fn new(
        config: Arc<Config>,
        hooks: Vec<Arc<Hook>>,
        generation: Option<Arc<Generation>>,
    ) -> Self {
        let routes = hooks.iter().flat_map(|hook| {
            let routes = hook.config.kind.routes(&hook.config.settings.path).into_iter();
            routes.map(|(path, route)| (path, (hook.number, route)))
        });
        let routes: HashMap<_, _> = routes.collect();
        // Where two paths have one normal form, the hook that its platform's calls depend on more.
        let mut paths: Vec<_> = routes.iter().collect();
        paths.sort_by_key(|(path, (number, _))| {
            let open = hooks.get(*number).is_none_or(|it| it.config.on_failure == OnFailure::Open);
            (!open, *path)
        });
        let spellings = paths.into_iter().map(|(path, place)| (normalize(path), *place)).collect();
        let (routes, spellings) = (Arc::new(routes), Arc::new(spellings));
        Self { config, routes, spellings, hooks, generation }
    }

    /// The same hooks under another generation.
    pub fn with_generation(&self, generation: Option<Arc<Generation>>) -> Self {
        let (config, routes) = (Arc::clone(&self.config), Arc::clone(&self.routes));
        let spellings = Arc::clone(&self.spellings);
        Self { config, hooks: self.hooks.clone(), generation, routes, spellings }
    }

    /// Where a request path leads.
    pub fn target(&self, path: &str) -> Target<'_> {
        let hook = |place: Option<&(usize, &'static str)>| {
            let (number, route) = *place?;
            Some((self.hooks.get(number)?, route))
        };
        if let Some((hook, route)) = hook(self.routes.get(path)) {
            return Target::Hook(hook, route);
        }
        match hook(self.spellings.get(&normalize(path))) {
            Some((hook, route)) => Target::NonCanonical(hook, route),
            None => Target::NotFound,
        }
    }
}

impl HookStates {
    /// What lasts of a hook of this name.
    pub fn state(&self, name: &str) -> HookState {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.to_owned()).or_insert_with(|| HookState::of(name)).clone()
    }

    /// What lasts of every hook there ever was, so that debts are paid although their hook is gone.
    pub fn all(&self) -> Vec<HookState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Places for HookStates {
    fn place(&self, hook: &str) -> Place {
        self.state(hook).break_glass
    }
}
