//! Hosts that are asked how far a release has come: their admin listeners' `/status`.
//!
//! Invariant: a host is asked and told nothing; what it does not say, or cannot be asked, is never taken for success.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hyper::{Method, Uri};
use portcullis_model::Digest;
use portcullis_model::escape::escape;
use portcullis_trust::ReleaseSet;
use serde_json::{Value, json};

use crate::clock::monotonic_now;
use crate::exit::{CliError, CliResult};
use crate::hook::connection::{ClientAuth, Endpoint};

/// Which hosts to ask.
#[derive(Args)]
pub struct Replicas {
    /// The admin listener of a host that gets this release, such as `http://127.0.0.1:8601`. Repeat
    /// the option for each host.
    #[arg(long = "host")]
    hosts: Vec<Uri>,
    /// The file with the certificate authorities to trust instead of the machine's own (PEM), for
    /// an admin listener behind TLS.
    #[arg(long)]
    ca: Option<std::path::PathBuf>,
}

/// How a release stands on one host.
pub struct Replica {
    /// Its address.
    pub host: String,
    /// The furthest that all of the release has come.
    pub state: State,
    /// The generation that decides there.
    pub generation: Option<u64>,
    /// The digest of the set that decides there.
    pub active: Option<String>,
    /// The digest of the set that a way back from that one leads to.
    pub before: Option<String>,
    /// The highest version that was ever active there.
    pub highest: u64,
    /// Why it does not go on.
    pub why: Option<String>,
    /// Each plugin: id, version, serial, state, why.
    pub plugins: Vec<(String, String, u64, State, Option<String>)>,
}

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It lies where hosts look; this one has not seen it, or not all of it.
    Published,
    /// The host has it.
    Delivered,
    /// Its signatures are in order; it is being prepared.
    Verified,
    /// It decides.
    Active,
    /// The host does not take it.
    Refused,
    /// The host cannot be asked.
    Unknown,
}

impl State {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Delivered => "delivered",
            Self::Verified => "verified",
            Self::Active => "active",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    fn from_name(name: &str) -> Self {
        let all = [Self::Published, Self::Delivered, Self::Verified, Self::Active, Self::Refused];
        all.into_iter().find(|state| state.name() == name).unwrap_or(Self::Unknown)
    }
}

impl Replicas {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Asks every host once.
    pub fn ask(&self, set: &ReleaseSet, digest: Digest) -> CliResult<Vec<Replica>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CliError::host)?;
        let ask = |host: &Uri| {
            let status = runtime.block_on(async {
                let answered =
                    tokio::time::timeout(PATIENCE, status(host, self.ca.as_deref())).await;
                answered.unwrap_or_else(|_| Err("the host does not answer".to_owned()))
            });
            Replica::of(host, set, digest, status)
        };
        Ok(self.hosts.iter().map(ask).collect())
    }

    /// Asks until every host has it active or refuses it, at most so long.
    pub fn wait(
        &self,
        set: &ReleaseSet,
        digest: Digest,
        most: Duration,
    ) -> CliResult<Vec<Replica>> {
        let until = monotonic_now() + most;
        loop {
            let replicas = self.ask(set, digest)?;
            let settled =
                |replica: &Replica| matches!(replica.state, State::Active | State::Refused);
            if replicas.iter().all(settled) || monotonic_now() >= until {
                return Ok(replicas);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Replica {
    /// Reads a host's status page.
    fn of(host: &Uri, set: &ReleaseSet, digest: Digest, status: Result<Value, String>) -> Self {
        let host = host.to_string().trim_end_matches('/').to_owned();
        let status = match status {
            Ok(status) => status,
            Err(why) => {
                let all = |state| plugins(set, |_| (state, None));
                return Self {
                    host,
                    state: State::Unknown,
                    generation: None,
                    active: None,
                    before: None,
                    highest: 0,
                    why: Some(why),
                    plugins: all(State::Unknown),
                };
            }
        };
        let at = |pointer: &str| status.pointer(pointer);
        let generation = at("/generation/number").and_then(Value::as_u64);
        let highest = at("/release/highest").and_then(Value::as_u64).max(generation).unwrap_or(0);
        let wanted = digest.to_string();
        let is = |pointer: &str| at(pointer).and_then(Value::as_str) == Some(wanted.as_str());
        let seen = is("/release/set");
        let mut state = match at("/release/state").and_then(Value::as_str).filter(|_| seen) {
            Some(state) => State::from_name(state),
            None => State::Published,
        };
        if is("/generation/set") {
            state = State::Active;
        }
        // Files of the active set that were altered are refused at the next start: that is said
        // too.
        let why = at("/release/refused").filter(|_| seen).and_then(reason);
        let text = |pointer: &str| at(pointer).and_then(Value::as_str).map(str::to_owned);
        let (active, before) = (text("/generation/set"), text("/generation/before/set"));
        let list = at("/release/plugins").and_then(Value::as_array).filter(|_| seen);
        let plugin = |id: &str| {
            let one = list.and_then(|list| {
                list.iter().find(|one| one.get("plugin").and_then(Value::as_str) == Some(id))
            });
            let word = one.and_then(|one| one.get("state")).and_then(Value::as_str);
            let own = word.map_or(State::Published, State::from_name);
            let own = if state == State::Active { State::Active } else { own };
            (own, one.and_then(|one| one.get("refused")).and_then(reason))
        };
        Self {
            state,
            generation,
            active,
            before,
            highest,
            why,
            plugins: plugins(set, plugin),
            host,
        }
    }

    /// Text for people.
    pub fn text(&self) -> String {
        let generation = self.generation.map_or_else(
            || "no generation is active".to_owned(),
            |number| format!("generation {number} is active"),
        );
        let mut text = format!("{}: {}; {generation}", self.host, self.state.name());
        if let Some(why) = &self.why {
            text.push_str(&format!("\n  {}", escape(why)));
        }
        for (id, version, serial, state, why) in &self.plugins {
            let (id, version) = (escape(id), escape(version));
            text.push_str(&format!("\n  {id} {version} (serial {serial}): {}", state.name()));
            if let Some(why) = why.as_ref().filter(|why| Some(*why) != self.why.as_ref()) {
                text.push_str(&format!(": {}", escape(why)));
            }
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let plugins = self.plugins.iter().map(|(id, version, serial, state, why)| {
            json!({"plugin": id, "version": version, "serial": serial, "state": state.name(), "why": why})
        });
        let plugins: Vec<_> = plugins.collect();
        json!({
            "host": self.host, "state": self.state.name(), "generation": self.generation, "why": self.why, "plugins": plugins,
        })
    }
}

/// Every plugin of a set with what is said of it.
fn plugins(
    set: &ReleaseSet,
    state: impl Fn(&str) -> (State, Option<String>),
) -> Vec<(String, String, u64, State, Option<String>)> {
    let one = |(id, entry): (&String, &portcullis_trust::PluginEntry)| {
        let (state, why) = state(id);
        (id.clone(), entry.version.clone(), entry.serial, state, why)
    };
    set.plugins.iter().map(one).collect()
}

/// A refusal as the status page has it, in one line.
fn reason(refused: &Value) -> Option<String> {
    let word = |name: &str| refused.get(name).and_then(Value::as_str);
    let hint = word("hint").map(|hint| format!("; {hint}")).unwrap_or_default();
    Some(format!("{} [{}]{hint}", word("sentence")?, word("code")?))
}

/// Returns the answer of a host's admin listener.
async fn status(host: &Uri, ca: Option<&std::path::Path>) -> Result<Value, String> {
    let url: Uri = format!("{}/status", host.to_string().trim_end_matches('/'))
        .parse()
        .map_err(|_| "no address".to_owned())?;
    let unusable = |failed: CliError| failed.to_string();
    let place = Endpoint::new(url, ca, None).map_err(unusable)?;
    let request = place.request(Method::GET, &[], Bytes::new()).map_err(unusable)?;
    let answer = place.connect(ClientAuth::Unauthenticated).await?.send(request).await?;
    if answer.status != 200 {
        return Err(format!("the host answers {} to /status", answer.status));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|_| "the host's answer to /status is not JSON".to_owned())
}

/// How long a host has to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often hosts are asked while they are waited for.
const PAUSE: Duration = Duration::from_millis(250);
