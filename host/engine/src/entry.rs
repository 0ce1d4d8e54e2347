//! The way into a plugin: a fresh instance, and its `evaluate`.
//!
//! Invariant: an [`Entry`] exists only for a component whose exports wasmtime has compared with the contract. That is once a plugin,
//! not once a call, where it took a tenth of the time.

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, TypedFunc};
use wasmtime::{Result, Store};

use crate::bindings::plain::PluginPre;
use crate::bindings::portcullis::policy::types::{Call, Decision};
use crate::store_state::StoreState;

/// What instances are made of.
pub(crate) struct Entry {
    instances: InstancePre<StoreState>,
    evaluate: ComponentExportIndex,
}

/// The contract's `evaluate`.
pub(crate) type Evaluate<'a> = TypedFunc<(Call<'a>,), (std::result::Result<Decision, String>,)>;

impl Entry {
    /// Makes one instance in `store` and compares its exports with the contract.
    pub(crate) fn check(
        component: &Component,
        instances: InstancePre<StoreState>,
        mut store: Store<StoreState>,
    ) -> Result<Self> {
        let evaluate = component.get_export_index(None, EVALUATE);
        let evaluate =
            evaluate.ok_or_else(|| wasmtime::Error::msg("it does not export `evaluate`"))?;
        // Errs where an export is missing or has another type.
        PluginPre::new(instances.clone())?.instantiate(&mut store)?;
        Ok(Self { instances, evaluate })
    }

    /// The `evaluate` of a fresh instance.
    #[expect(unsafe_code, reason = "wasmtime has no safe way to use what it has checked once")]
    pub(crate) fn enter<'a>(&self, store: &mut Store<StoreState>) -> Result<Evaluate<'a>> {
        let instance = self.instances.instantiate(&mut *store)?;
        let function = instance.get_func(&mut *store, self.evaluate);
        let function =
            function.ok_or_else(|| wasmtime::Error::msg("it does not export `evaluate`"))?;
        // SAFETY: the function must have the type that `Evaluate` says. It is the export `evaluate` of the component that
        // `self.instances` makes; an export's type is its component's and the same in every instance; and `check`, the only way to an
        // `Entry`, had wasmtime compare it with that of `bindings`, whose `call_evaluate` takes and gives what `Evaluate` does.
        Ok(unsafe { Evaluate::new_unchecked(function) })
    }
}

/// Its name in `wit/policy.wit`.
const EVALUATE: &str = "evaluate";
