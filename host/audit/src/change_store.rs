//! The store to which records bring changes: what the log does for it, and what it promises.
//!
//! Invariant: the changes of a record are in its frame of the write-ahead log and nowhere else of
//! the log, so they are durable with the record, never before it and never without it. A frame is
//! kept until the store says that it holds its changes durably. The log does not know what the
//! changes mean.

use std::io;

/// A store whose changes travel in the frames of records.
pub trait ChangeStore: Send + Sync {
    /// Returns the place before which the store holds all changes durably. The log keeps the frames
    /// from it on.
    fn stored(&self) -> u64;

    /// Takes the changes of a durable record. The log calls it while it is opened, for each record
    /// from [`stored`](Self::stored) on that has changes, in the order of their places.
    fn recover(&self, index: u64, changes: &[u8]);

    /// Stores what was recovered, durably. All records before `end` were seen. `missing`: the
    /// records from that place on, up to another, whose frames are not there any more, so that
    /// their changes are lost, if they had any.
    ///
    /// # Errors
    /// The disk refused: then the log is not opened, and nothing is lost.
    fn recovered(&self, end: u64, missing: Option<(u64, u64)>) -> io::Result<()>;

    /// Gives up the changes of the records from `end` on: they were lost with a stop of the log,
    /// which gives their places anew after this returns.
    fn abandon_from(&self, end: u64);
}
