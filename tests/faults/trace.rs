//! A trace of the host's system calls, by strace: what it asked of the disk and of its sockets, in
//! which order, and what had finished when.
//!
//! Every call that can change a file or a directory is traced, by each of its names: libraries and
//! architectures differ in which they use (`open` or `openat`). strace prints the path behind each
//! descriptor, and all text is hexadecimal, so that a line is taken apart without guessing.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portcullis_tests::{MissingTool, binary};

/// One system call.
pub struct Call {
    /// Its name.
    pub name: String,
    /// The line on which it began.
    pub began: usize,
    /// The line on which it ended; `None` where the process ended first.
    pub ended: Option<usize>,
    /// What it gave back.
    pub result: i64,
    arguments: String,
}

impl Call {
    /// What its descriptor is of: a path, or `socket:[…]`.
    pub fn descriptor(&self) -> String {
        let inside = behind(&self.arguments).map(plain).unwrap_or_default();
        String::from_utf8_lossy(&inside).into_owned()
    }

    /// All its texts, one after the other.
    pub fn texts(&self) -> Vec<Vec<u8>> {
        self.arguments.split('"').skip(1).step_by(2).map(plain).collect()
    }

    /// The paths that it names. A relative one begins at the folder whose descriptor stands before
    /// it, as in `renameat`, or else at the directory that the host was started in.
    pub fn paths(&self, directory: &Path) -> Vec<PathBuf> {
        let mut from = None;
        let mut paths = Vec::new();
        for argument in self.arguments.split(", ") {
            let text = argument.trim().strip_prefix('"').and_then(|rest| rest.split('"').next());
            match text {
                Some(text) => {
                    let folder = from.take().unwrap_or_else(|| directory.to_owned());
                    paths.push(folder.join(path(text)));
                }
                None => from = behind(argument).map(path),
            }
        }
        paths
    }

    /// Its last argument as a number.
    pub fn last_number(&self) -> Option<u64> {
        self.arguments.rsplit(", ").next()?.trim().parse().ok()
    }

    /// Whether its arguments say this in so many words, such as a flag.
    pub fn says(&self, word: &str) -> bool {
        self.arguments.contains(word)
    }
}

/// strace with these arguments, to run a host under.
pub fn strace(arguments: &[&str]) -> Result<Command, MissingTool> {
    let found = Command::new("strace")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        return Err(MissingTool { name: "strace", source: "Debian's `strace`" });
    }
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf"]).args(arguments).arg("--").arg(binary());
    Ok(command)
}

/// A host under strace that writes a trace of everything that [`read`] needs to this file.
pub fn traced(output: &Path) -> Result<Command, MissingTool> {
    strace(&["-y", "-xx", "-s", "8388608", "-e", CALLS, "-o", output.to_str().unwrap()])
}

/// Reads a trace.
pub fn read(output: &Path) -> Vec<Call> {
    let text = fs::read_to_string(output).unwrap();
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (line, content) in text.lines().enumerate() {
        let Some((thread, rest)) = content.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some((_, rest)) = rest.split_once(" resumed>") {
            let Some(call) = unfinished.remove(thread).and_then(|at| calls.get_mut(at)) else {
                continue;
            };
            let Some((more, result)) = rest.rsplit_once(") ") else { continue };
            call.arguments.push_str(more);
            call.result = number(result);
            call.ended = Some(line);
        } else if let Some((name, rest)) = rest.split_once('(') {
            let mut call = Call {
                name: name.to_owned(),
                began: line,
                ended: None,
                result: -1,
                arguments: String::new(),
            };
            if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
                call.arguments = begun.to_owned();
                unfinished.insert(thread, calls.len());
            } else if let Some((arguments, result)) = rest.rsplit_once(") ") {
                call.arguments = arguments.to_owned();
                call.result = number(result);
                call.ended = Some(line);
            }
            calls.push(call);
        }
    }
    assert!(!calls.is_empty(), "an empty trace");
    calls
}

/// The number behind the `=`, as in `= 14` or `= 3<…>`.
fn number(result: &str) -> i64 {
    let behind = result.trim_start_matches(['=', ' ']);
    let number =
        behind.split(|character: char| !character.is_ascii_digit() && character != '-').next();
    number.and_then(|number| number.parse().ok()).unwrap_or(-1)
}

/// The text behind a descriptor, as in `5<…>`.
fn behind(argument: &str) -> Option<&str> {
    let (_, rest) = argument.split_once('<')?;
    rest.split_once('>').map(|(text, _)| text)
}

fn path(text: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(plain(text)))
}

/// `\x2f\x74…` as bytes; what is not written so stays as it is.
fn plain(text: &str) -> Vec<u8> {
    let Some(rest) = text.strip_prefix("\\x") else { return text.as_bytes().to_vec() };
    rest.split("\\x").map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Whatever changes a file or a directory, and whatever sends. `?`: not every architecture has it.
const CALLS: &str = "trace=?open,openat,openat2,?creat,pwrite64,pwritev,pwritev2,write,writev,\
    sendto,sendmsg,?truncate,ftruncate,fallocate,copy_file_range,?rename,?renameat,renameat2,\
    ?link,linkat,?symlink,symlinkat,?unlink,unlinkat,?rmdir,?mkdir,mkdirat,fdatasync,fsync,\
    sync_file_range";

#[test]
fn a_path_begins_at_the_folder_whose_descriptor_stands_before_it() {
    let paths = |arguments: &str| {
        let call = Call {
            name: String::new(),
            began: 0,
            ended: None,
            result: 0,
            arguments: arguments.to_owned(),
        };
        call.paths(Path::new("/cwd"))
    };
    // `/a`, `b`, `/c` and `d` as strace writes them.
    let (a, b, c, d) = (r"\x2f\x61", r"\x62", r"\x2f\x63", r"\x64");
    assert_eq!(paths(&format!(r#""{a}", O_RDONLY"#)), [Path::new("/a")]);
    assert_eq!(paths(&format!(r#"AT_FDCWD<{a}>, "{b}", O_RDONLY"#)), [Path::new("/a/b")]);
    assert_eq!(paths(&format!(r#"5<{a}>, "{c}", O_RDONLY"#)), [Path::new("/c")]);
    assert_eq!(paths(&format!(r#""{b}", "{d}""#)), [Path::new("/cwd/b"), Path::new("/cwd/d")]);
    let both = paths(&format!(r#"5<{a}>, "{b}", 6<{c}>, "{d}", 0"#));
    assert_eq!(both, [Path::new("/a/b"), Path::new("/c/d")]);
}
