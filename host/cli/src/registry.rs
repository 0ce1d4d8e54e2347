//! Plugins and releases to and from OCI registries: `plugin push|pull` and `release push|pull`.
//!
//! Invariant: what is taken from a registry is held against a trust root where one is given, and always against digests; a pull leaves a
//! folder whole or as it was.

mod plugin;
mod release;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_registry::ImageRef;
use portcullis_server::registry::{Access, Client, PullError, RegistryError};

use crate::exit::{CliError, CliResult};
use crate::serve::start_failed;

pub use plugin::{PullPlugin, PushPlugin};
pub use release::{PullRelease, PushRelease};

/// How the registry is spoken to.
#[derive(Args)]
pub struct Registry {
    /// The user name at the registry, with `--password-file`. Without it the command does not sign
    /// in.
    #[arg(long, requires = "password_file")]
    username: Option<String>,
    /// The file whose first line is the password or access token.
    #[arg(long, requires = "username")]
    password_file: Option<PathBuf>,
    /// The token service of the registry, if it is on another host. The password is sent to it.
    #[arg(long)]
    token_realm: Option<String>,
    /// The file with the certificate authorities to trust instead of the machine's own (PEM).
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Use plain HTTP, to a registry on this machine.
    #[arg(long)]
    plain_http: bool,
    /// Use plain HTTP to a registry on another machine too. Settings, which name people, then cross
    /// the network in the clear.
    #[arg(long, requires = "plain_http")]
    allow_remote_plaintext: bool,
    /// The time for one request and its whole answer, in milliseconds.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    timeout_ms: u64,
}

impl Registry {
    /// A client for this registry.
    fn client(&self, reference: &ImageRef) -> CliResult<Client> {
        let access = Access {
            credential: self.username.clone().zip(self.password_file.clone()),
            token_realm: self.token_realm.clone(),
            ca_file: self.ca.clone(),
            plain_http: self.plain_http,
            allow_remote_plaintext: self.allow_remote_plaintext,
            timeout: Duration::from_millis(self.timeout_ms),
        };
        access.check(&reference.repository.host).map_err(CliError::configuration)?;
        Client::new(access).map_err(start_failed)
    }
}

/// Runs a call to the end.
fn wait<T>(call: impl Future<Output = T>) -> CliResult<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::host)?;
    Ok(runtime.block_on(call))
}

impl From<RegistryError> for CliError {
    fn from(error: RegistryError) -> Self {
        PullError::from(error).into()
    }
}

impl From<PullError> for CliError {
    fn from(error: PullError) -> Self {
        let hint = error.hint();
        match &error {
            PullError::Disk { .. } | PullError::Registry(RegistryError::Password { .. }) => {
                Self::configuration(error).hint(hint)
            }
            _ => {
                Self::wrong(format!("{} [{}]", escape(&error.to_string()), error.code())).hint(hint)
            }
        }
    }
}
