//! Disks that are to be mounted and are not yet: what `/etc/fstab` names, held against what is
//! mounted.
//!
//! Invariant: only what is listed is found out; where there is no list, nothing is. Nothing is
//! written. The path of a folder is resolved where the folder's own start touches it as well; no
//! other file system but those of `/etc` and `/proc` is waited for.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use portcullis_files::read_text_bounded;

/// The mount point at or above a folder at which a disk is to be mounted, and none is.
pub fn awaited(folder: &Path) -> Option<PathBuf> {
    let read = |path| read_text_bounded(Path::new(path), MAX_LIST_BYTES).ok();
    let (fstab, mounts) = (read(FSTAB)?, read(MOUNTS)?);
    spellings(folder).iter().find_map(|folder| awaited_by(&fstab, &mounts, folder))
}

/// The whole paths of a folder: as it is written, unless `..` is in it, and without links.
fn spellings(folder: &Path) -> Vec<PathBuf> {
    let Ok(written) = std::path::absolute(folder) else { return Vec::new() };
    let resolved = written.ancestors().find_map(|above| {
        let rest = written.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(rest))
    });
    let is_plain = !written.components().any(|part| part == Component::ParentDir);
    resolved.into_iter().chain(is_plain.then_some(written)).collect()
}

/// The same by the texts of `/etc/fstab` and `/proc/self/mountinfo`. `folder` is a whole path.
fn awaited_by(fstab: &str, mounts: &str, folder: &Path) -> Option<PathBuf> {
    // proc_pid_mountinfo(5): the fifth field is the mount point.
    let mounted: BTreeSet<PathBuf> =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect();
    // fstab(5): the second field is the mount point, and `none` or `swap` where there is none.
    let lines = fstab.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    let points = lines.filter_map(|line| line.split_ascii_whitespace().nth(1)).map(unescaped);
    points
        .filter(|point| point.is_absolute() && folder.starts_with(point))
        .map(|point| point.components().collect::<PathBuf>())
        .find(|point| !mounted.contains(point))
}

/// A path as it is written in both files: blanks, tabs, line ends and backslashes as `\` and three
/// octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut path = text.to_owned();
    for (written, letter) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(written, letter);
    }
    PathBuf::from(path)
}

/// The mounts that a machine is to have.
pub const FSTAB: &str = "/etc/fstab";
/// The mounts that this process sees.
const MOUNTS: &str = "/proc/self/mountinfo";
/// The largest list that is read, bytes: many times one with thousands of mounts.
const MAX_LIST_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const FSTAB: &str = "# /etc/fstab: static file system information.\n\
        UUID=1 / ext4 defaults 0 1\n\
        \tUUID=2\t/srv/audit/\text4\tnoauto 0 2\n\
        # UUID=3 /srv/other ext4 defaults 0 2\n\
        UUID=4 none swap sw 0 0\n\
        /dev/x /with\\040blank xfs defaults 0 0\n";
    const ROOT: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";

    #[test]
    fn links_and_parents_lead_to_the_folder_that_they_mean() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let disk = home.join("disk");
        std::fs::create_dir_all(&disk).unwrap();
        std::fs::create_dir_all(home.join("etc")).unwrap();
        std::os::unix::fs::symlink(&disk, home.join("link")).unwrap();
        let fstab = format!("UUID=1 {} ext4 defaults 0 1\n", disk.display());
        let awaited = |folder: &str| {
            let spellings = spellings(&home.join(folder));
            spellings.iter().find_map(|folder| awaited_by(&fstab, ROOT, folder))
        };
        for folder in ["disk/audit/log", "link/audit", "etc/../disk/audit"] {
            assert_eq!(awaited(folder), Some(disk.clone()), "{folder}");
        }
        assert_eq!(awaited("disk/../etc/audit"), None);
    }

    #[test]
    fn a_disk_that_is_listed_and_not_mounted_is_awaited_by_what_lies_on_it() {
        let awaited = |mounts: &str, folder: &str| awaited_by(FSTAB, mounts, Path::new(folder));
        let audit = Some(PathBuf::from("/srv/audit"));
        assert_eq!(awaited(ROOT, "/srv/audit"), audit);
        assert_eq!(awaited(ROOT, "/srv/audit/portcullis/log"), audit);
        assert_eq!(awaited(ROOT, "/with blank/audit"), Some(PathBuf::from("/with blank")));
        for elsewhere in ["/srv/auditor", "/srv/other", "/var/lib/portcullis/audit", "/none"] {
            assert_eq!(awaited(ROOT, elsewhere), None, "{elsewhere}");
        }
        let mounted = format!(
            "{ROOT}23 22 8:2 / /srv/audit rw - ext4 /dev/sdb1 rw\n\
             24 22 8:3 / /with\\040blank rw - xfs /dev/x rw\n"
        );
        for folder in ["/srv/audit", "/srv/audit/portcullis/log", "/with blank/audit"] {
            assert_eq!(awaited(&mounted, folder), None, "{folder}");
        }
        assert_eq!(awaited_by("", ROOT, Path::new("/srv/audit")), None);
    }
}
