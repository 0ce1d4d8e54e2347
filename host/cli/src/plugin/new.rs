//! `portcullis plugin new`: a folder that builds with one command.
//!
//! Invariant: everything that is written comes out of the binary, contract and SDK included, so the plugin is built against what this host speaks.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::exit::{CliError, CliResult, Format};
use crate::files;

/// Begin a plugin.
#[derive(Args)]
pub struct New {
    /// The language of the plugin.
    #[arg(long)]
    language: String,
    /// The name of the plugin and of its folder: lower-case letters, digits and hyphens. The folder
    /// must not exist yet.
    name: String,
    /// The folder in which the new folder is made.
    #[arg(long, default_value = ".")]
    into: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A language, and what comes with it.
pub struct Language {
    /// Its name on the command line, and of its folder in `guest-sdk/`.
    name: &'static str,
    /// The files of a new plugin.
    template: &'static [(&'static str, &'static [u8])],
    /// The files of its SDK.
    sdk: &'static [(&'static str, &'static [u8])],
}

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

impl New {
    /// Does it.
    pub fn run(self) -> CliResult {
        let language =
            LANGUAGES.iter().find(|language| language.name == self.language).ok_or_else(|| {
                let known: Vec<_> = LANGUAGES.iter().map(|language| language.name).collect();
                CliError::configuration(format!("no template exists for `{}`", self.language))
                    .hint(Some(format!("use one of: {}", known.join(", "))))
            })?;
        if !is_name(&self.name) {
            let message = format!("`{}` is not a valid name for a plugin", self.name);
            let hint = "use at most 64 lower-case letters, digits and single hyphens, with a \
                 letter first";
            return Err(CliError::configuration(message).hint(Some(hint)));
        }
        let folder = if self.into == Path::new(".") {
            PathBuf::from(&self.name)
        } else {
            self.into.join(&self.name)
        };
        if folder.exists() {
            let message = format!("`{}` exists already", folder.display());
            return Err(
                CliError::configuration(message).hint(Some("choose another name, or remove it"))
            );
        }
        let mut written = Vec::new();
        for (file, bytes) in language.template {
            put(&folder, file, &self.filled(bytes), &mut written)?;
        }
        put(&folder, "portcullis/wit/policy.wit", CONTRACT, &mut written)?;
        for (file, bytes) in language.sdk {
            put(
                &folder,
                &format!("portcullis/guest-sdk/{}/{file}", language.name),
                bytes,
                &mut written,
            )?;
        }
        if language.name == "rust" {
            // The versions that this host was built and tested with.
            put(&folder, "Cargo.lock", LOCK, &mut written)?;
        }
        let shown = folder.display();
        self.format.print(
            format!(
                "made the plugin {shown} in {}, with {} files\nnext:\n  portcullis plugin build \
                 {shown}\n  portcullis plugin test {shown}",
                language.name,
                written.len()
            ),
            json!({"folder": folder, "language": language.name, "files": written}),
        );
        Ok(())
    }

    /// A file of the template, with the plugin's name in it.
    fn filled(&self, bytes: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
        let snake = self.name.replace('-', "_");
        let text = text.replace("{{name}}", &self.name).replace("{{name_snake}}", &snake);
        // The Rust template is a plugin that works as it stands, so it has a name and a path of its own.
        let text = text.replace("my-plugin", &self.name).replace("my_plugin", &snake);
        text.replace("path = \"..\"", "path = \"portcullis/guest-sdk/rust\"").into_bytes()
    }
}

fn put(folder: &Path, file: &str, bytes: &[u8], written: &mut Vec<String>) -> CliResult {
    let path = folder.join(file);
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(|error| {
        CliError::configuration(format!("cannot make `{}`: {error}", parent.display()))
    })?;
    files::write(&path, bytes)?;
    written.push(file.to_owned());
    Ok(())
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
        && !name.ends_with('-')
        && !name.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_every_language_takes() {
        for good in ["a", "night-shift", "x2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "2x", "Night", "a_b", "a-", "a--b", "-a", "ä", "../x", "a/b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn every_template_is_whole() {
        assert!(LANGUAGES.iter().any(|language| language.name == "rust"));
        for language in LANGUAGES {
            let has = |file: &str| language.template.iter().any(|(name, _)| *name == file);
            for file in
                ["portcullis-plugin.toml", "manifest.toml", "settings.example.json", "suite.toml"]
            {
                assert!(has(file), "the template for {} has no {file}", language.name);
            }
        }
    }
}
