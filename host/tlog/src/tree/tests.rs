//! Against `ct-merkle`, an implementation of RFC 6962 by another hand.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;

use super::*;

/// All leaves in memory: slow and obviously right.
struct Leaves(Vec<Hash>);

impl Nodes for Leaves {
    type Error = std::convert::Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let width = 1usize << level;
        let start = usize::try_from(index).unwrap() * width;
        Ok(perfect_root(&self.0[start..start + width]).unwrap())
    }
}

fn both(size: u64) -> (Leaves, MemoryBackedTree<Sha256, Vec<u8>>) {
    let mut theirs = MemoryBackedTree::new();
    let entries: Vec<_> = (0..size).map(|i| format!("entry {i}").into_bytes()).collect();
    let ours = Leaves(entries.iter().map(|entry| leaf_hash(entry)).collect());
    entries.into_iter().for_each(|entry| theirs.push(entry));
    (ours, theirs)
}

fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    assert_eq!(frontier.size(), leaves.len() as u64);
    frontier.root()
}

#[test]
fn roots_agree() {
    for size in 0..130 {
        let (ours, theirs) = both(size);
        assert_eq!(root(&ours.0)[..], theirs.root().as_bytes()[..], "{size}");
    }
}

#[test]
fn small_trees_exhaustively() {
    for size in 1..40 {
        let (ours, theirs) = both(size);
        let whole = root(&ours.0);
        for index in 0..size {
            let proof = inclusion_proof(&ours, index, size).unwrap();
            assert_eq!(
                proof.concat(),
                theirs.prove_inclusion(index as usize).as_bytes(),
                "{index} in {size}"
            );
            for at in 0..size {
                let leaf = &ours.0[at as usize];
                assert_eq!(
                    check_inclusion(index, size, leaf, &proof, &whole),
                    at == index,
                    "{at} as {index} in {size}"
                );
            }
            assert!(!check_inclusion(
                index,
                size + 1,
                &ours.0[index as usize],
                &proof,
                &node_hash(&whole, &whole)
            ));
        }
        for old in 1..size {
            let proof = consistency_proof(&ours, old, size).unwrap();
            assert_eq!(
                proof.concat(),
                theirs.prove_consistency((size - old) as usize).as_bytes(),
                "{old} to {size}"
            );
            let old_root = root(&ours.0[..old as usize]);
            for claimed in 0..=size {
                let good = check_consistency(claimed, &old_root, size, &whole, &proof);
                assert_eq!(good, claimed == old, "{old} claimed as {claimed}, to {size}");
            }
            assert!(!check_consistency(old, &whole, size, &whole, &proof));
            assert!(!check_consistency(old, &old_root, size, &old_root, &proof));
        }
    }
}

#[test]
fn what_is_not_in_the_tree_has_no_proof() {
    let (ours, _) = both(5);
    let whole = root(&ours.0);
    assert_eq!(inclusion_proof(&ours, 5, 5).unwrap(), Vec::<Hash>::new());
    assert!(!check_inclusion(5, 5, &ours.0[0], &[], &whole));
    assert!(!check_inclusion(0, 0, &ours.0[0], &[], &ours.0[0]));
    assert!(check_consistency(0, &empty_root(), 5, &whole, &[]));
    assert!(!check_consistency(0, &whole, 5, &whole, &[]));
    assert!(check_consistency(5, &whole, 5, &whole, &[]));
    assert!(!check_consistency(5, &whole, 4, &whole, &[]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn larger_trees(size in 1u64..3000, index in any::<u64>(), old in any::<u64>(), flip in any::<usize>()) {
        let (ours, theirs) = both(size);
        let (index, old, whole) = (index % size, 1 + old % size, root(&ours.0));
        prop_assert!(whole[..] == theirs.root().as_bytes()[..]);
        let mut proof = inclusion_proof(&ours, index, size).unwrap();
        prop_assert!(proof.concat() == theirs.prove_inclusion(index as usize).as_bytes());
        prop_assert!(check_inclusion(index, size, &ours.0[index as usize], &proof, &whole));
        if !proof.is_empty() {
            let at = flip % proof.len();
            proof[at][flip % 32] ^= 1;
            prop_assert!(!check_inclusion(index, size, &ours.0[index as usize], &proof, &whole));
        }
        let mut proof = consistency_proof(&ours, old, size).unwrap();
        let old_root = root(&ours.0[..old as usize]);
        prop_assert!(check_consistency(old, &old_root, size, &whole, &proof));
        if !proof.is_empty() {
            let at = flip % proof.len();
            proof[at][flip % 32] ^= 1;
            prop_assert!(!check_consistency(old, &old_root, size, &whole, &proof));
        }
    }
}
