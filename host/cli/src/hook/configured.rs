//! A hook of a configuration, as a caller reaches it: its address, and the header that proves the
//! caller.
//!
//! Invariant: secrets are read from the files that the configuration names, and are in no error.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Uri;
use portcullis_server::{Config, CredentialConfig, HookConfig};

use crate::exit::{CliError, CliResult};
use crate::near;

/// Reads a configuration that has a hook of this name.
///
/// # Errors
/// The configuration is wrong, or has no such hook: exit 64.
pub fn load(file: &Path, name: &str) -> CliResult<Config> {
    let config = Config::load(file).map_err(CliError::configuration)?;
    find(&config, file, name)?;
    Ok(config)
}

/// Returns the hook of this name in the configuration of this file.
///
/// # Errors
/// There is none: exit 64.
pub fn find<'c>(config: &'c Config, file: &Path, name: &str) -> CliResult<&'c HookConfig> {
    config.hooks.iter().find(|hook| hook.name == name).ok_or_else(|| {
        let names = || config.hooks.iter().map(|hook| hook.name.as_str());
        let all = format!("the archive has {}", names().collect::<Vec<_>>().join(", "));
        CliError::configuration(format!("`{}` has no hook `{name}`", file.display()))
            .hint(Some(near::hint(name, names(), &all)))
    })
}

/// Returns the address of a hook on the machine of its host.
///
/// # Errors
/// The configuration does not have one: exit 64.
pub fn address(config: &Config, hook: &HookConfig) -> CliResult<Uri> {
    if config.listen.address.port() == 0 {
        return Err(CliError::configuration("listen.address has port 0")
            .hint(Some("give the hook's address with `--url`, as `serve` printed it")));
    }
    let scheme = if config.listen.tls.is_some() { "https" } else { "http" };
    // A kind with several routes is called on its first, a single question.
    let first = hook.kind.routes(&hook.settings.path).into_iter().next();
    let path = first.map_or_else(String::new, |(path, _)| path);
    format!("{scheme}://{}{path}", config.listen.address)
        .parse()
        .map_err(|_| CliError::configuration(format!("`{path}` cannot be part of an address")))
}

/// Returns the header that proves the caller by the first way that the configuration has the secret
/// for. `None`: it has none, as with tokens, which are their issuer's to give.
///
/// # Errors
/// The file of the secret cannot be read: exit 64.
pub fn proof(hook: &HookConfig) -> CliResult<Option<(String, String)>> {
    let credentials = hook.callers.iter().filter_map(|way| way.credential.as_ref());
    credentials.filter_map(proof_of).next().transpose()
}

fn proof_of(credential: &CredentialConfig) -> Option<CliResult<(String, String)>> {
    let read = |files: &[PathBuf]| -> Option<CliResult<String>> {
        let secret = portcullis_keys::read_secret_lines(files.first()?);
        // One a line, while one takes the other's place.
        Some(secret.map(|text| text.first().unwrap_or_default().to_owned()).map_err(CliError::from))
    };
    match credential {
        CredentialConfig::Secret { header, files } => {
            Some(read(files)?.map(|secret| (header.to_string(), secret)))
        }
        CredentialConfig::Basic { user, files } => Some(read(files)?.map(|password| {
            (
                "authorization".to_owned(),
                format!("Basic {}", BASE64.encode(format!("{user}:{password}"))),
            )
        })),
        CredentialConfig::Oauth(_) => None,
    }
}
