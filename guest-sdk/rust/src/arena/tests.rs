//! The arena against a memory that is only addresses: every block checked against every other.

use proptest::prelude::*;

use super::*;

/// Gives pieces up to a limit; `gap` addresses go to somebody else before each.
struct Pretend {
    end: usize,
    limit: usize,
    gap: usize,
    grown: usize,
}

impl Memory for Pretend {
    fn grow(&mut self, bytes: usize) -> Option<Range<usize>> {
        let start = self.end + self.gap;
        let end = start + bytes.next_multiple_of(64 << 10);
        if end > self.limit {
            return None;
        }
        self.end = end;
        self.grown += 1;
        Some(start..end)
    }
}

fn arena(gap: usize) -> Arena<Pretend> {
    Arena::new(Pretend { end: 64 << 10, limit: 64 << 20, gap, grown: 0 })
}

#[test]
fn blocks_follow_each_other_aligned() {
    let mut arena = arena(0);
    assert_eq!(arena.take(3, 1), Some(65_536));
    assert_eq!(arena.take(8, 8), Some(65_544));
    assert_eq!(arena.take(1, 1), Some(65_552));
    assert_eq!(arena.memory.grown, 1);
}

#[test]
fn only_the_last_block_moves_its_end() {
    let mut arena = arena(0);
    let first = arena.take(16, 8).unwrap();
    let last = arena.take(16, 8).unwrap();
    assert!(!arena.resize(first, 16, 32));
    assert!(arena.resize(first, 16, 8));
    assert!(arena.resize(last, 16, 1000));
    assert_eq!(arena.take(1, 1), Some(last + 1000));
    arena.give_back(last + 1000, 1);
    assert_eq!(arena.take(1, 1), Some(last + 1000));
    arena.give_back(first, 8);
    assert_eq!(arena.take(1, 1), Some(last + 1001));
}

#[test]
fn what_is_reserved_is_taken_without_growing() {
    let mut arena = arena(0);
    arena.take(100, 1).unwrap();
    assert!(arena.reserve(512 << 10));
    let grown = arena.memory.grown;
    let first = arena.take(1, 1).unwrap();
    assert_eq!(first % PAGE, 0);
    assert!(arena.take((512 << 10) - 1, 1).is_some());
    assert_eq!(arena.memory.grown, grown);
    // And a call that needs more still gets it.
    assert!(arena.take(512 << 10, 1).is_some());
    assert!(arena.memory.grown > grown);
}

#[test]
fn an_end_of_memory_is_told() {
    let mut arena = arena(0);
    assert_eq!(arena.take(65 << 20, 1), None);
    assert_eq!(arena.take(usize::MAX, 8), None);
    assert!(!arena.reserve(65 << 20));
    assert!(arena.take(1, 1).is_some());
    let mut nothing = Arena::new(Pretend { end: 0, limit: 0, gap: 0, grown: 0 });
    assert_eq!(nothing.take(1, 1), None);
    assert!(!nothing.reserve(1));
}

#[derive(Clone, Debug)]
enum Step {
    Take { size: usize, align: usize },
    Resize { which: usize, new: usize },
    GiveBack { which: usize },
    Reserve { room: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![1..64_usize, 1..400_000_usize];
    let step = prop_oneof![
        4 => (size.clone(), 0..5_u32).prop_map(|(size, power)| Step::Take { size, align: 1 << power }),
        3 => (any::<usize>(), size.clone()).prop_map(|(which, new)| Step::Resize { which, new }),
        2 => any::<usize>().prop_map(|which| Step::GiveBack { which }),
        1 => (0..600_000_usize).prop_map(|room| Step::Reserve { room }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn blocks_never_overlap_and_lie_in_memory(steps in steps(), gap in prop_oneof![Just(0), Just(64 << 10)]) {
        let mut arena = arena(gap);
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for step in steps {
            match step {
                Step::Take { size, align } => {
                    let Some(address) = arena.take(size, align) else { continue };
                    prop_assert_eq!(address % align, 0);
                    blocks.push(address..address + size);
                }
                Step::Resize { which, new } if !blocks.is_empty() => {
                    let which = which % blocks.len();
                    let block = blocks[which].clone();
                    if arena.resize(block.start, block.len(), new) {
                        blocks[which] = block.start..block.start + new;
                    }
                }
                Step::GiveBack { which } if !blocks.is_empty() => {
                    let block = blocks.swap_remove(which % blocks.len());
                    arena.give_back(block.start, block.len());
                }
                Step::Reserve { room } => {
                    if arena.reserve(room) {
                        prop_assert!(arena.free.len() >= room);
                    }
                }
                Step::Resize { .. } | Step::GiveBack { .. } => {}
            }
            prop_assert!(arena.free.end <= arena.memory.end);
            let mut sorted: Vec<_> = blocks.iter().chain([&arena.free]).filter(|piece| !piece.is_empty()).collect();
            sorted.sort_by_key(|piece| piece.start);
            prop_assert!(sorted.windows(2).all(|pair| pair[0].end <= pair[1].start));
            prop_assert!(sorted.iter().all(|piece| piece.start >= 64 << 10 && piece.end <= arena.memory.end));
        }
    }
}
