//! The records of its answer that one call has given the log so far: kept outside of the call, for
//! the case that the call panics.
//!
//! Invariant: an answer is counted once. Whatever a call gave the log before it panicked, the
//! answer that leaves in the end is either one that nothing was said of yet (then it is counted as
//! a refusal), or it supersedes every record that says otherwise, or it was counted already.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use portcullis_audit::Sequence;

/// The account of one call; it is shared by the call and by who answers where the call cannot.
#[derive(Clone, Debug, Default)]
pub struct Account(Rc<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// The records that tell of an answer, and that nothing supersedes.
    records: RefCell<Vec<Sequence>>,
    known: Cell<Known>,
}

/// The knowledge of an answer without a record that tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    /// It was counted as a refusal, in the metrics too.
    Rejected,
    /// The hook owes the log a word about it.
    Corrected,
}

/// The records still to be made of the answer that leaves in place of a call that panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outstanding {
    /// Everything: the log has nothing of the call, and the answer is a refusal.
    Rejection,
    /// These records tell of an answer that did not leave.
    Superseded(Vec<Sequence>),
    /// The log knows, or will; the metrics do not.
    MetricsOnly,
    /// Nothing.
    Nothing,
}

impl Account {
    /// The log has a record that tells of an answer.
    pub fn recorded(&self, record: Sequence) {
        self.0.records.borrow_mut().push(record);
    }

    /// The record was lost with a stop of the log.
    pub fn lost(&self, record: Option<Sequence>) {
        self.0.records.borrow_mut().retain(|known| Some(*known) != record);
    }

    /// The hook owes the log that another answer leaves than this record tells, or one without a
    /// record.
    pub fn corrected(&self, record: Option<Sequence>) {
        self.lost(record);
        self.0.known.set(Known::Corrected);
    }

    /// The answer was counted as a refusal.
    pub fn rejected(&self) {
        self.0.known.set(Known::Rejected);
    }

    /// Returns the records still to be made now that the call has panicked, and empties the
    /// account.
    pub fn outstanding(&self) -> Outstanding {
        let records = std::mem::take(&mut *self.0.records.borrow_mut());
        match (records.is_empty(), self.0.known.get()) {
            (false, _) => Outstanding::Superseded(records),
            (true, Known::Nothing) => Outstanding::Rejection,
            (true, Known::Corrected) => Outstanding::MetricsOnly,
            (true, Known::Rejected) => Outstanding::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_audit::{Entry, Log, Options, SealKey, Sealer};
    use portcullis_keys::{SecretKey, SymmetricKey};

    use super::*;

    /// Places of a log of its own.
    fn places(count: usize) -> Vec<Sequence> {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Sealer::new(SealKey::new(SymmetricKey::from_bytes([9; 32])));
        let signer = Arc::new(SecretKey::from_seed("log.example/2026", &[7; 32]).unwrap());
        let clock = Arc::new(|| 1_790_000_000_000.into());
        let options = Options::new(folder.path().into(), "t".to_owned(), signer, sealer, clock);
        let (log, _) = Log::open(Options { segment_bytes: 2 << 20, ..options }).unwrap();
        let entry = || Entry { kind: "hook.decision", fields: String::new(), sealed: None };
        (0..count).map(|_| log.append(entry()).unwrap().sequence()).collect()
    }

    /// Returns the rest of an account when its call panics after these steps.
    fn panicked(steps: impl FnOnce(&Account) + 'static) -> Outstanding {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let account = Account::default();
        let own = account.clone();
        let call = async move {
            steps(&own);
            std::panic::resume_unwind(Box::new("no message"));
        };
        let tasks = tokio::task::LocalSet::new();
        let ended = tasks.block_on(&runtime, tasks.spawn_local(call));
        assert!(ended.is_err_and(|error| error.is_panic()));
        let outstanding = account.outstanding();
        if let Outstanding::Superseded(_) = &outstanding {
            assert!(!matches!(account.outstanding(), Outstanding::Superseded(_)), "told once");
        }
        outstanding
    }

    #[test]
    fn an_answer_in_place_of_a_call_that_panicked_is_counted_once() {
        let all = places(3);
        let [one, two, three] = all[..] else { panic!("three places") };
        assert_eq!(panicked(|_| {}), Outstanding::Rejection);
        assert_eq!(panicked(|account| account.rejected()), Outstanding::Nothing);
        // A decision, and the parts of a batch.
        assert_eq!(
            panicked(move |account| account.recorded(one)),
            Outstanding::Superseded(vec![one])
        );
        let batch = move |account: &Account| {
            account.recorded(one);
            account.rejected();
            account.recorded(two);
            account.recorded(three);
            account.corrected(Some(two));
        };
        assert_eq!(panicked(batch), Outstanding::Superseded(vec![one, three]));
        // A record that was late is superseded already, and one that was lost needs no word.
        let late = move |account: &Account| {
            account.recorded(one);
            account.corrected(Some(one));
        };
        assert_eq!(panicked(late), Outstanding::MetricsOnly);
        assert_eq!(panicked(|account| account.corrected(None)), Outstanding::MetricsOnly);
        let lost = move |account: &Account| {
            account.recorded(one);
            account.lost(Some(one));
        };
        assert_eq!(panicked(lost), Outstanding::Rejection);
    }
}
