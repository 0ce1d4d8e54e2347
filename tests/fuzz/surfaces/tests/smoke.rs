//! The fuzz targets: that each is built, and their functions over their corpus and some thousand
//! deterministic changes of it. A part of every test run.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test whose own arithmetic is wrong must say so"
)]

// The targets call this crate by the name of the one that cargo-fuzz links them with.
extern crate self as libfuzzer_sys;

mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_surfaces::SURFACES;
use targets::TARGETS;

/// Stands for libFuzzer's: a target is a function here.
#[macro_export]
macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $body:expr) => {
        pub fn target($bytes: &[u8]) {
            $body
        }
    };
}

#[test]
fn every_surface_has_a_fuzz_target_and_every_target_is_built_here() {
    let fuzz = fuzz();
    let files = fs::read_dir(fuzz.join("fuzz_targets")).unwrap().map(|it| it.unwrap().path());
    let files: BTreeSet<_> =
        files.map(|it| it.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let names = |names: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> {
        names.map(str::to_owned).collect()
    };
    assert_eq!(names(&mut SURFACES.iter().map(|(name, _)| *name)), files);
    assert_eq!(names(&mut TARGETS.iter().map(|(name, _)| *name)), files);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let programs = manifest.lines().filter_map(|it| it.strip_prefix("path = \"fuzz_targets/"));
    assert_eq!(names(&mut programs.filter_map(|it| it.strip_suffix(".rs\""))), files);
    for (_, target) in TARGETS {
        target(b"");
    }
}

fn fuzz() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("..")
}

#[test]
fn no_surface_panics_on_its_corpus_or_near_it() {
    for (name, surface) in SURFACES {
        let folder = fuzz().join("corpus").join(name);
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
