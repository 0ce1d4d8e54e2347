//! The modules of each crate depend on one another in one direction only.
//!
//! A module here is a file or folder directly below a crate's `src`. No crate of the host has a
//! cycle among them. The server states more: `host/server/src/lib.rs` lists its folders so that
//! each uses only those above it. Unit tests may use anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::checkout;

#[test]
fn each_folder_of_the_server_uses_only_those_above_it() {
    let source = checkout().join("host/server/src");
    let library = fs::read_to_string(source.join("lib.rs")).unwrap();
    let order: Vec<_> = library
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert!(order.len() > 20, "{order:?}");
    let place = |folder: &str| {
        let place = order.iter().position(|known| *known == folder);
        place.unwrap_or_else(|| panic!("`{folder}` is not listed in lib.rs"))
    };
    let mut wrong = Vec::new();
    let mut used = 0;
    for Use { of, by, file } in Crate::read(&source).uses() {
        used += 1;
        if place(&of) > place(&by) {
            wrong.push(format!("{file} uses `{of}`, which is below `{by}`"));
        }
    }
    assert!(used > 300, "only {used} uses were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_crate_of_the_host_has_modules_that_use_each_other_in_a_cycle() {
    let mut wrong = Vec::new();
    let (mut crates, mut used) = (0, 0);
    for entry in fs::read_dir(checkout().join("host")).unwrap() {
        let folder = entry.unwrap().path();
        let source = folder.join("src");
        if !source.is_dir() {
            continue;
        }
        crates += 1;
        let uses = Crate::read(&source).uses();
        used += uses.len();
        wrong.extend(cycle(&uses).map(|cycle| format!("{}: {cycle}", folder.display())));
    }
    assert!(crates > 10, "only {crates} crates were found");
    assert!(used > 500, "only {used} uses were found");
    assert!(wrong.is_empty(), "modules use each other in a cycle:\n{}", wrong.join("\n"));
}

#[test]
fn a_cycle_is_found_however_a_module_names_the_other() {
    let library = "mod alpha;\nmod beta;\nmod gamma;\n\npub use alpha::{One, Two};\n";
    let alpha = "use crate::beta::Three;\n";
    let found = |beta: &str| {
        let files =
            [("lib.rs", library), ("alpha.rs", alpha), ("beta/mod.rs", ""), ("gamma.rs", "")];
        let files = files.into_iter().chain([("beta/inner.rs", beta)]);
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        cycle(&Crate { files: files.collect() }.uses())
    };
    for beta in [
        "use crate::alpha::One;",
        "use crate::{gamma, alpha::One};",
        "use crate::{\n    gamma::{self, Four},\n    alpha::{One, Two},\n};",
        "use crate::Two;",
        "use super::super::alpha;",
        "fn f() { crate::alpha::f() }",
    ] {
        let expected = "alpha → beta (alpha.rs), beta → alpha (beta/inner.rs)";
        assert_eq!(found(beta).as_deref(), Some(expected), "{beta}");
    }
    for beta in [
        "use super::alpha;",
        "use crate::gamma::alpha;",
        "use crate::gamma; // not crate::alpha",
        "/// See [`crate::alpha`].",
        "#[cfg(test)]\nmod tests {\n    use crate::alpha::One;\n}",
    ] {
        assert_eq!(found(beta), None, "{beta}");
    }
}

/// The source files of a crate, but those of tests: each path below `src`, and its text.
struct Crate {
    files: Vec<(String, String)>,
}

/// A module uses another one.
struct Use {
    of: String,
    by: String,
    /// The file that does, below `src`.
    file: String,
}

impl Crate {
    fn read(source: &Path) -> Self {
        let read = |file: PathBuf| {
            let relative = file.strip_prefix(source).unwrap().to_str().unwrap().to_owned();
            (relative, fs::read_to_string(&file).unwrap())
        };
        Self { files: sources(source).into_iter().map(read).collect() }
    }

    /// Every use of another module, file by file.
    ///
    /// # Panics
    ///
    /// A module takes a name from `lib.rs` that is not re-exported there: `lib.rs` uses all
    /// modules, so that they would depend on each other.
    fn uses(&self) -> Vec<Use> {
        let modules: BTreeSet<_> = self.files.iter().map(|(file, _)| module(file)).collect();
        let exports = self.exports();
        let mut uses = Vec::new();
        for (file, text) in &self.files {
            let by = module(file);
            if is_root(by) {
                continue;
            }
            let code = code(text);
            for (name, is_absolute) in names(&code, depth(file)) {
                let of = match exports.get(&name) {
                    _ if modules.contains(name.as_str()) => &name,
                    Some(of) => of,
                    // A module in the same file may be called so.
                    None if !is_absolute => continue,
                    None => panic!("{file} uses `{name}` of lib.rs: move that into a module"),
                };
                if of != by {
                    uses.push(Use { of: of.clone(), by: by.to_owned(), file: file.clone() });
                }
            }
        }
        uses
    }

    /// The names that `lib.rs` re-exports, each with its module.
    fn exports(&self) -> BTreeMap<String, String> {
        let library = self.files.iter().find(|(file, _)| is_root(file.trim_end_matches(".rs")));
        let code = code(library.map_or("", |(_, text)| text));
        let mut exports = BTreeMap::new();
        for statement in code.split("pub use ").skip(1) {
            let statement = statement.split(';').next().unwrap_or_default();
            let Some((module, names)) = statement.split_once("::") else { continue };
            for name in words(names) {
                exports.insert(name.to_owned(), module.to_owned());
            }
        }
        exports
    }
}

/// A cycle of modules with the file that makes each step, if there is one.
fn cycle(uses: &[Use]) -> Option<String> {
    let mut steps: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for Use { of, by, file } in uses {
        steps.entry(by).or_default().entry(of).or_insert(file);
    }
    // The way from each module back to itself, the shortest first.
    let ways = steps.keys().filter_map(|start| way_back(&steps, start));
    let way = ways.min_by_key(Vec::len)?;
    let step = |pair: &[&str]| format!("{} → {} ({})", pair[0], pair[1], steps[pair[0]][pair[1]]);
    Some(way.windows(2).map(step).collect::<Vec<_>>().join(", "))
}

/// The shortest way from a module over others to itself.
fn way_back<'a>(
    steps: &BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>,
    start: &'a str,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in &ways {
            for next in steps.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
                let way = [way.as_slice(), &[*next]].concat();
                if *next == start {
                    return Some(way);
                }
                if seen.insert(*next) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

/// The names directly below the crate that code mentions, and whether by a path from the crate.
/// `depth` is how many modules the code is in.
fn names(code: &str, depth: usize) -> Vec<(String, bool)> {
    let above = "super::".repeat(depth);
    let mut found = Vec::new();
    for (prefix, is_absolute) in [("crate::", true), (above.as_str(), false)] {
        for path in code.split(prefix).skip(1) {
            found.extend(first_names(path).into_iter().map(|name| (name, is_absolute)));
        }
    }
    found
}

/// The first name of a path, or of each path in a pair of braces.
fn first_names(path: &str) -> Vec<String> {
    let first = |path: &str| words(path).next().map(str::to_owned);
    let Some(list) = path.strip_prefix('{') else { return first(path).into_iter().collect() };
    let mut paths = vec![String::new()];
    let mut level = 0;
    for letter in list.chars() {
        match letter {
            '}' if level == 0 => break,
            ',' if level == 0 => paths.push(String::new()),
            _ => {
                level += i32::from(letter == '{') - i32::from(letter == '}');
                paths.last_mut().unwrap().push(letter);
            }
        }
    }
    paths.iter().filter_map(|path| first(path)).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

/// The code of a file without its unit tests and comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let line = |line: &str| match line.trim_start().starts_with("//") {
        true => String::new(),
        false => line.split(" // ").next().unwrap_or_default().to_owned() + "\n",
    };
    code.lines().map(line).collect()
}

/// The module directly below the crate that a file belongs to.
fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

/// How many modules a file is in, itself included.
fn depth(file: &str) -> usize {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').count()
}

/// Whether that is the crate's root, which uses every module.
fn is_root(module: &str) -> bool {
    matches!(module, "lib" | "main")
}

/// Every source file below a folder but files of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
        .into_iter()
        .filter(|path| !path.ends_with("tests"))
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .filter(|path| !path.to_string_lossy().ends_with("tests.rs"))
        .collect()
}
