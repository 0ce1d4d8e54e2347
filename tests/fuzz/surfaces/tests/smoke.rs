//! The fuzz targets' functions over their corpus and some thousand deterministic changes of it: a part of every test run.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test whose own arithmetic is wrong must say so"
)]

use std::fs;
use std::path::Path;

use portcullis_surfaces::SURFACES;

#[test]
fn no_surface_panics_on_its_corpus_or_near_it() {
    for (name, surface) in SURFACES {
        let folder =
            Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../corpus").join(name);
        let mut seeds: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{name} has no corpus");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for seed in &seeds {
            surface(seed);
            for _ in 0..CHANGES {
                surface(&changed(seed, &seeds, &mut random));
            }
        }
    }
}

/// One to four small changes: a flipped bit, a byte from the alphabet of the formats, a cut, a doubling, a piece of another seed.
fn changed(seed: &[u8], seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = ALPHABET[random.below(ALPHABET.len())],
            2 => bytes.truncate(at),
            3 => {
                let piece = bytes[at.min(bytes.len())..].to_vec();
                bytes.extend(piece.iter().take(64));
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len().max(1)).min(other.len());
                bytes.splice(
                    at.min(bytes.len())..at.min(bytes.len()),
                    other[from..].iter().take(32).copied(),
                );
            }
        }
    }
    bytes
}

/// Xorshift (Marsaglia 2003): the same changes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

const CHANGES: usize = 2_000;
const ALPHABET: &[u8] = b"\"\\{}[]:,0e-.n\0\xff\x80/~#$";
