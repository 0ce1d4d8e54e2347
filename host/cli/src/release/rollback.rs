//! `portcullis release rollback`: back to a release that was in place before, in one command.
//!
//! Invariant: it permits nothing by itself. Hosts go back by a downgrade that the release role has signed, for this one set, for a while;
//! who has no key is told what is missing, and nothing was changed.

use std::path::PathBuf;

use clap::Args;
use portcullis_server::Clock;
use portcullis_trust::{Downgrade, Refusal, TrustRoot, sign};
use serde_json::json;

use super::difference::Difference;
use super::package::Package;
use super::publish::{Judge, follow};
use super::replicas::Replicas;
use super::shelf::{Lying, Place, Shelf};
use super::{Grounds, downgrade_payload, may_sign, missing};
use crate::files;
use crate::outcome::{Done, Failed, Format};

/// Go back to a release that was in place before.
#[derive(Args)]
pub struct Rollback {
    #[command(flatten)]
    place: Place,
    /// With `--to`: the trust root's envelope, and those that followed, in order.
    #[arg(long = "root", conflicts_with = "config", required_unless_present = "config")]
    roots: Vec<PathBuf>,
    /// The archived set to go back to. Default: the highest below the one in place.
    #[arg(long)]
    version: Option<u64>,
    /// A downgrade that was signed elsewhere; without it one is made, which takes the next four and `--key`.
    #[arg(long, conflicts_with_all = ["person", "reason", "ticket", "keys"])]
    downgrade: Option<PathBuf>,
    /// Who asked for it.
    #[arg(long)]
    person: Option<String>,
    /// Why.
    #[arg(long)]
    reason: Option<String>,
    /// Under which ticket.
    #[arg(long)]
    ticket: Option<String>,
    /// How long hosts may take it up, hours; at most 168. The set then stays in force as any other.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// A release key; as many as are at hand.
    #[arg(long = "key")]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    replicas: Replicas,
    /// How long hosts have to take it, seconds.
    #[arg(long, default_value_t = 60)]
    wait: u64,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Rollback {
    /// Does it.
    pub fn run(self) -> Done {
        let (shelf, config) = self.place.open()?;
        let hold = shelf.hold()?;
        let judge = Judge::new(config, &self.roots, &shelf)?;
        let (current, older) = self.choose(&shelf)?;
        let highest = shelf.archived().iter().map(|lying| lying.set.version).max().unwrap_or(0);
        let seen = self
            .replicas
            .ask(&older.set, older.digest)?
            .iter()
            .map(|replica| replica.highest)
            .max()
            .unwrap_or(0);
        // Whoever knew of less could have meant another past.
        let from = judge.history.highest.max(current.set.version).max(highest).max(seen);
        let downgrade = self.paper(&judge.root, &older, from)?;
        let package = Package::gather(older.envelope.clone(), Some(downgrade), &shelf.folders())?;
        let warnings = judge.judge(&shelf, &package)?;
        let difference = Difference::between(Some(&current.set), &package.set);
        let archived = shelf.fill(&hold, &package)?;
        let warned: String =
            warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect();
        self.format.print(
            format!("{}{warned}\npublished to {} with its downgrade", difference.text(), shelf.set().display()),
            json!({
                "version": package.set.version, "set": package.digest.to_string(), "from": from, "difference": difference.json(),
                "warnings": warnings, "published": true, "archived": archived,
            }),
        );
        follow(&self.replicas, &package, self.wait, self.format)
    }

    /// The set in place, and the one to go back to.
    fn choose(&self, shelf: &Shelf) -> Done<(Lying, Lying)> {
        let current = shelf.current().ok_or_else(|| {
            Failed::wrong(format!(
                "there is no release set in `{}` to go back from",
                shelf.set().display()
            ))
        })?;
        let archived = shelf.archived();
        let versions: Vec<_> = archived.iter().map(|lying| lying.set.version.to_string()).collect();
        let fits = |lying: &Lying| match self.version {
            Some(version) => lying.set.version == version && lying.digest != current.digest,
            None => lying.set.version < current.set.version,
        };
        let older = archived.into_iter().find(fits).ok_or_else(|| {
            let what = self.version.map_or_else(
                || format!("below {}", current.set.version),
                |version| version.to_string(),
            );
            let there = if versions.is_empty() {
                "it is empty".to_owned()
            } else {
                format!("it has {}", versions.join(", "))
            };
            Failed::wrong(format!("the archive has no release set {what}: {there}"))
                .hint(Some("sets that `portcullis release publish` replaces are kept there"))
        })?;
        Ok((current, older))
    }

    /// The downgrade: the one that was given, or one made here.
    fn paper(&self, root: &TrustRoot, older: &Lying, from: u64) -> Done<Vec<u8>> {
        let now = Clock::system().now();
        if let Some(file) = &self.downgrade {
            let envelope = files::read(file)?;
            Downgrade::verify(root, &envelope, now)
                .map_err(|refusal| self.wanting(root, older, from, Some(&refusal)))?;
            return Ok(envelope);
        }
        let (Some(person), Some(reason), Some(ticket), false) =
            (&self.person, &self.reason, &self.ticket, self.keys.is_empty())
        else {
            return Err(self.wanting(root, older, from, None));
        };
        let keys = crate::plugin::read_keys(&self.keys)?;
        may_sign(root, &keys, "downgrade")?;
        let grounds = Grounds { person, reason, ticket, hours: self.hours };
        let payload = downgrade_payload(&older.envelope, from, &grounds, now)?;
        let envelope = sign(Downgrade::PAYLOAD_TYPE, &payload, &keys.iter().collect::<Vec<_>>());
        match missing(Downgrade::verify(root, &envelope, now).map(drop))? {
            None => Ok(envelope),
            Some(refusal) => Err(self.wanting(root, older, from, Some(&refusal))),
        }
    }

    /// What is missing before hosts go back.
    fn wanting(
        &self,
        root: &TrustRoot,
        older: &Lying,
        from: u64,
        refusal: Option<&Refusal>,
    ) -> Failed {
        let role = &root.release;
        let names: Vec<_> = role.keys.iter().map(portcullis_keys::PublicKey::keyid).collect();
        let (version, why) = (
            older.set.version,
            refusal.map(|it| format!(" ({it} [{}])", it.code())).unwrap_or_default(),
        );
        let mut sentence = format!(
            "hosts go back from release set {from} to {version} only by a downgrade with the signatures of {} of {}{why}",
            role.threshold,
            names.join(", ")
        );
        let given = [
            ("--person", self.person.is_some()),
            ("--reason", self.reason.is_some()),
            ("--ticket", self.ticket.is_some()),
        ];
        let given = given.into_iter().chain([("--key", !self.keys.is_empty())]);
        let lacking: Vec<_> = given.filter(|(_, there)| !there).map(|(name, _)| name).collect();
        if refusal.is_none() {
            sentence.push_str(&format!("; not given: {}", lacking.join(", ")));
        }
        Failed::wrong(sentence).hint(Some(format!(
            "where a key is: `portcullis release downgrade --to {} --from {from} --person … --reason … --ticket … --root … --key … --output \
             downgrade.json` (`--add-to` for a further one); then here: `portcullis release rollback {} --version {version} --downgrade \
             downgrade.json`",
            older.path.display(),
            self.place.argument()
        )))
    }
}
