//! Compiled plugins kept on disk, so that a restart and a swap back need no compilation.
//!
//! Invariant: an entry is native code that the host will run, and a snapshot that holds settings, which name people. So it is
//! encrypted and authenticated under a key of the host (AES-256-GCM), with its own name as associated data; the name is a MAC over all that
//! the code depends on (component, settings, memory limit, compiler's configuration, this build). What is wrong, cut, swapped or
//! another host's does not open, and is made again. What is not here is no loss: nothing else depends on the cache.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac, rand};
use portcullis_files::{
    Durability, MAX_ENTRIES, create_private_folder, open_regular, remove_temporary_files,
    write_atomic_with,
};
use portcullis_model::Digest;

use crate::clock::wall_now;
use crate::codec::{self, MAX_ANSWER_BYTES};
use crate::prepare::CompiledPlugin;

/// A folder of compiled plugins.
pub struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    is_enabled: bool,
    entries: LessSafeKey,
    names: hmac::Key,
}

/// What an entry is made of.
pub(crate) struct CacheKey<'a> {
    pub(crate) component: Digest,
    pub(crate) settings: Digest,
    pub(crate) memory_bytes: u64,
    /// The compiler's configuration and version.
    pub(crate) compiler: Digest,
    /// The build of this program.
    pub(crate) build: &'a [u8],
}

/// What the cache has under a name.
pub(crate) enum CachedPlugin {
    Absent,
    Compiled(CompiledPlugin),
    /// Something that is not ours, and what is wrong with it.
    Corrupt(&'static str),
}

impl Cache {
    /// The cache in `folder`, of at most `max_bytes` (nothing is kept at 0), under keys derived
    /// from one of the host's. One that does not `keep` only looks up: for those who are not the
    /// host.
    ///
    /// # Errors
    ///
    /// Where the keys cannot be derived.
    pub fn new(
        folder: PathBuf,
        max_bytes: u64,
        keep: bool,
        key: &[u8; 32],
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key);
        let names = hmac::Key::from(derived.expand(&[NAMES], hmac::HMAC_SHA256)?);
        let entries = LessSafeKey::new(UnboundKey::from(derived.expand(&[ENTRIES], &AES_256_GCM)?));
        Ok(Self { folder, max_bytes, is_enabled: keep && max_bytes > 0, entries, names })
    }

    /// The name of an entry: it tells nothing to those who do not have the key.
    pub(crate) fn name(&self, of: &CacheKey<'_>) -> String {
        let mut mac = hmac::Context::with_key(&self.names);
        for part in [&of.component.0, &of.settings.0, &of.compiler.0] {
            mac.update(part);
        }
        mac.update(&of.memory_bytes.to_be_bytes());
        // The last, and the only one of no fixed length.
        mac.update(of.build);
        portcullis_model::hex(mac.sign().as_ref())
    }

    /// What is kept under this name.
    pub(crate) fn open(&self, name: &str) -> CachedPlugin {
        let mut bytes = Vec::new();
        let file = match open_regular(&self.path(name)) {
            Ok(opened) => opened.file,
            Err(error) if error.is_missing() => return CachedPlugin::Absent,
            Err(_) => return CachedPlugin::Corrupt("it cannot be read"),
        };
        if (&file).take(MAX_ANSWER_BYTES).read_to_end(&mut bytes).is_err() {
            return CachedPlugin::Corrupt("it cannot be read");
        }
        let Some(([version], nonce)) =
            bytes.split_first_chunk::<HEAD>().and_then(|(head, _)| head.split_first_chunk())
        else {
            return CachedPlugin::Corrupt("it is incomplete");
        };
        let Ok(nonce) = <[u8; NONCE_LEN]>::try_from(nonce) else {
            return CachedPlugin::Corrupt("it is incomplete");
        };
        if *version != VERSION {
            return CachedPlugin::Corrupt("it has another format");
        }
        let mut body = bytes.split_off(HEAD);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let Ok(length) =
            self.entries.open_in_place(nonce, associated(name), &mut body).map(|text| text.len())
        else {
            return CachedPlugin::Corrupt("it was altered, or is another entry or another host's");
        };
        body.truncate(length);
        // Only for the order of removal.
        drop(file.set_modified(wall_now()));
        codec::read_made(body)
            .map_or(CachedPlugin::Corrupt("it has another format"), CachedPlugin::Compiled)
    }

    /// Keeps it under this name, whole or not at all, and removes what was not used for longest where there is too much.
    pub(crate) fn store(&self, name: &str, made: &CompiledPlugin) -> io::Result<()> {
        if !self.is_enabled {
            return Ok(());
        }
        let failed = |_| io::Error::other("cryptography");
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(failed)?;
        let mut body = codec::write_made(made);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.entries
            .seal_in_place_append_tag(nonce_used, associated(name), &mut body)
            .map_err(failed)?;
        if u64::try_from(HEAD + body.len()).map_or(true, |bytes| bytes > self.max_bytes) {
            return Err(io::Error::other("it is larger than the whole cache is allowed to be"));
        }
        create_private_folder(&self.folder)?;
        // An entry that a power loss cut short does not open, and is made again.
        let pieces = [&[VERSION], &nonce[..], &body];
        write_atomic_with(&self.path(name), &pieces, 0o600, Durability::Cached)?;
        self.evict(name)
    }

    /// Removes an entry that is of no use.
    pub(crate) fn remove(&self, name: &str) {
        if self.is_enabled {
            drop(fs::remove_file(self.path(name)));
        }
    }

    /// Removes entries, those first that were not used for longest, until the rest is no more than may be.
    fn evict(&self, newest: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        // Left by a host that was ended while it wrote: there is one writer, and it is here.
        remove_temporary_files(&self.folder)?;
        #[expect(clippy::disallowed_methods, reason = "the cache's own folder, bounded")]
        let entries_there = fs::read_dir(&self.folder)?;
        for entry in entries_there.take(MAX_ENTRIES).flatten() {
            let (path, Ok(facts)) = (entry.path(), entry.metadata()) else { continue };
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let spared = path == self.path(newest);
                entries.push((
                    spared,
                    facts.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    facts.len(),
                    path,
                ));
            }
        }
        entries.sort();
        let mut bytes: u64 = entries.iter().map(|(_, _, bytes, _)| bytes).sum();
        for (_, _, length, path) in entries {
            if bytes <= self.max_bytes {
                break;
            }
            fs::remove_file(&path)?;
            bytes -= length;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(Path::new(name).with_extension(EXTENSION))
    }
}

fn associated(name: &str) -> Aad<Vec<u8>> {
    Aad::from([LABEL, name.as_bytes()].concat())
}

const NAMES: &[u8] = b"portcullis plugin cache names v1";
const ENTRIES: &[u8] = b"portcullis plugin cache entries v1";
const LABEL: &[u8] = b"portcullis plugin cache v1\n";
const EXTENSION: &str = "plugin";
const VERSION: u8 = 1;
/// Version and nonce.
const HEAD: usize = 1 + NONCE_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn cache(folder: &Path, most: u64, key: u8) -> Cache {
        Cache::new(folder.join("made"), most, true, &[key; 32]).unwrap()
    }

    fn made(byte: u8) -> CompiledPlugin {
        let notes = vec!["noted by NAME-OF-A-PERSON".to_owned()];
        CompiledPlugin {
            code: [b"settings of NAME-OF-A-PERSON".as_slice(), &[byte; 5_000]].concat(),
            snapshot: Digest([byte; 32]),
            snapshot_bytes: 9,
            notes,
        }
    }

    fn spoilt(kept: CachedPlugin) -> bool {
        matches!(kept, CachedPlugin::Corrupt(_))
    }

    #[test]
    fn a_name_stands_for_everything_the_code_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (cache(folder.path(), 1, 1), cache(folder.path(), 1, 2));
        let digest = |byte| Digest([byte; 32]);
        let of = |component, settings, memory_bytes, compiler, build| {
            one.name(&CacheKey {
                component: digest(component),
                settings: digest(settings),
                memory_bytes,
                compiler: digest(compiler),
                build,
            })
        };
        let base = of(1, 2, 3, 4, b"5");
        assert_eq!(base, of(1, 2, 3, 4, b"5"));
        let others = [
            of(9, 2, 3, 4, b"5"),
            of(1, 9, 3, 4, b"5"),
            of(1, 2, 9, 4, b"5"),
            of(1, 2, 3, 9, b"5"),
            of(1, 2, 3, 4, b"9"),
            of(2, 1, 3, 4, b"5"),
        ];
        for name in &others {
            assert_ne!(name, &base);
        }
        let same = CacheKey {
            component: digest(1),
            settings: digest(2),
            memory_bytes: 3,
            compiler: digest(4),
            build: b"5",
        };
        assert_ne!(other.name(&same), base, "another host's key");
    }

    #[test]
    fn only_what_this_host_kept_under_that_name_opens() {
        let folder = tempfile::tempdir().unwrap();
        let ours = cache(folder.path(), 1 << 20, 1);
        assert!(matches!(ours.open("aa"), CachedPlugin::Absent));
        ours.store("aa", &made(1)).unwrap();
        ours.store("bb", &made(2)).unwrap();
        let CachedPlugin::Compiled(back) = ours.open("aa") else { panic!("it must open") };
        assert_eq!(back, made(1));

        let path = ours.path("aa");
        let good = fs::read(&path).unwrap();
        assert!(!good.windows(14).any(|it| it == b"NAME-OF-A-PERS"), "nothing of it can be read");
        for at in [0, 1, HEAD - 1, HEAD, HEAD + 8, good.len() / 2, good.len() - 1] {
            let mut altered = good.clone();
            altered[at] ^= 1;
            fs::write(&path, altered).unwrap();
            assert!(spoilt(ours.open("aa")), "altered at {at}");
        }
        for cut in [0, 1, HEAD, HEAD + 15, good.len() - 1] {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(spoilt(ours.open("aa")), "cut at {cut}");
        }
        fs::copy(ours.path("bb"), &path).unwrap();
        assert!(spoilt(ours.open("aa")), "another entry in its place");
        let foreign = cache(&folder.path().join("foreign"), 1 << 20, 2);
        foreign.store("aa", &made(1)).unwrap();
        fs::copy(foreign.path("aa"), &path).unwrap();
        assert!(spoilt(ours.open("aa")), "another host's");
        ours.store("aa", &made(3)).unwrap();
        assert!(
            matches!(ours.open("aa"), CachedPlugin::Compiled(back) if back == made(3)),
            "it is replaced"
        );
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 17_000, 1);
        let aged = |name: &str, seconds| {
            let file = fs::File::options().write(true).open(cache.path(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        for (name, age) in [("aa", 30), ("bb", 20), ("cc", 10)] {
            cache.store(name, &made(1)).unwrap();
            aged(name, age);
        }
        assert!(matches!(cache.open("aa"), CachedPlugin::Compiled(_)), "used now");
        fs::write(cache.folder.join(".left.0123456789abcdef.tmp"), "half").unwrap();
        cache.store("dd", &made(1)).unwrap();
        let kept = ["aa", "bb", "cc", "dd"].map(|name| cache.path(name).exists());
        assert_eq!(kept, [true, false, true, true]);
        assert!(!cache.folder.join(".left.0123456789abcdef.tmp").exists());
        let small = self::cache(&folder.path().join("small"), 100, 1);
        assert!(small.store("aa", &made(1)).is_err(), "larger than all of it");
    }

    #[test]
    fn one_that_only_looks_up_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let looking = Cache::new(folder.path().join("made"), 1 << 20, false, &[1; 32]).unwrap();
        looking.store("aa", &made(1)).unwrap();
        assert!(!folder.path().join("made").exists());
    }
}
