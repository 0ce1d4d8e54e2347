//! `portcullis release rollback`: back to a release that was in place before, in one command.
//!
//! Invariant: it permits nothing by itself. Hosts go back by a downgrade that the release role has signed, for this one set, for a while;
//! who has no key is told what is missing, and nothing was changed.

use std::path::PathBuf;

use clap::Args;
use portcullis_keys::PublicKey;
use portcullis_model::escape::escape;
use portcullis_model::{Digest, Millis};
use portcullis_server::Clock;
use portcullis_trust::{
    Activation, Downgrade, Refusal, RefusalCode, TrustHistory, TrustRoot, sign,
};
use serde_json::json;

use super::bundle::Bundle;
use super::diff::ReleaseDiff;
use super::publish::{PublishChecks, follow};
use super::release_dir::{Destination, ReleaseDir, StoredSet};
use super::replicas::{Replica, Replicas};
use super::{Justification, downgrade_payload, may_sign, missing};
use crate::exit::{CliError, CliResult, Format, print};
use crate::files;
use crate::problems::warning;

/// Go back to a release that was in place before.
#[derive(Args)]
pub struct Rollback {
    #[command(flatten)]
    place: Destination,
    /// With `--to`: the trust root's envelope, and those that followed it, in order.
    #[arg(long = "root", conflicts_with = "config", required_unless_present = "config")]
    roots: Vec<PathBuf>,
    /// The version of the archived set to return to. Default: the set that was active before the
    /// present one, without those that a rollback replaced.
    #[arg(long)]
    version: Option<u64>,
    /// Show what would change and who must sign for it, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// A downgrade that was signed elsewhere. Without it the command makes one, from the next four
    /// options and `--key`.
    #[arg(long, conflicts_with_all = ["person", "reason", "ticket", "keys"])]
    downgrade: Option<PathBuf>,
    /// The person who asked for it.
    #[arg(long)]
    person: Option<String>,
    /// The reason for it.
    #[arg(long)]
    reason: Option<String>,
    /// The ticket that it belongs to.
    #[arg(long)]
    ticket: Option<String>,
    /// How long hosts may start to use the older set, in hours; at most 168. A host that has used
    /// it keeps the set as any other.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// A release key. Repeat the option for each key that you have.
    #[arg(long = "key")]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    replicas: Replicas,
    /// How long to wait for hosts to activate the release, in seconds.
    #[arg(long, default_value_t = 60)]
    wait: u64,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Rollback {
    /// Does it.
    pub fn run(self) -> CliResult {
        let (shelf, config) = self.place.open()?;
        let hold = if self.dry_run { None } else { Some(shelf.hold()?) };
        let judge = PublishChecks::new(config, &self.roots, &shelf)?;
        let current = shelf.current().ok_or_else(|| {
            CliError::wrong(format!(
                "`{}` has no release set to return from",
                shelf.set().display()
            ))
        })?;
        let replicas = self.replicas.ask(&current.set, current.digest)?;
        let archived = shelf.archived();
        let highest = archived.iter().map(|lying| lying.set.version).max().unwrap_or(0);
        let seen = replicas.iter().map(|replica| replica.highest).max().unwrap_or(0);
        let older = self.choose(&shelf, &judge, &replicas, &current, archived)?;
        // Whoever knew of less could have meant another past.
        let from = judge.history.highest.max(current.set.version).max(highest).max(seen);
        let difference = ReleaseDiff::between(Some(&current.set), &older.set);
        let passage = self.without_downgrade(&judge, &older, from)?;
        let needed = passage.is_none();
        let how = match passage {
            None => self.how(&judge.root, from, &older),
            Some(Activation::Restart(_)) => IS_ACTIVE.to_owned(),
            Some(_) => IS_NEWER.to_owned(),
        };
        if self.dry_run {
            self.format.print(
                format!("{}\n{how}\nnothing was published", difference.text()),
                json!({
                    "version": older.set.version, "set": older.digest.to_string(), "from": from,
                    "difference": difference.json(), "needs_downgrade": needed, "how": how, "published": false,
                }),
            );
            return Ok(());
        }
        let downgrade =
            if needed { Some(self.permission(&judge.root, &older, from)?) } else { None };
        if self.format == Format::Text {
            print(format!("{}\n{how}", difference.text()));
        }
        let package = Bundle::gather(older.envelope.clone(), downgrade, &shelf.folders())?;
        let warnings = judge.judge(&shelf, &package)?;
        let archived = hold.map(|hold| shelf.publish(&hold, &package)).transpose()?.flatten();
        let warned: String = warnings.iter().map(|text| format!("{}\n", warning(text))).collect();
        self.format.print(
            format!("{warned}published to {}", shelf.set().display()),
            json!({
                "version": package.set.version, "set": package.digest.to_string(), "from": from, "difference": difference.json(),
                "needs_downgrade": needed, "how": how, "warnings": warnings, "published": true, "archived": archived,
            }),
        );
        follow(&self.replicas, &package, self.wait, self.format)
    }

    /// The archived set to go back to: the one that was named, or the one that was active before.
    fn choose(
        &self,
        shelf: &ReleaseDir,
        judge: &PublishChecks,
        replicas: &[Replica],
        current: &StoredSet,
        archived: Vec<StoredSet>,
    ) -> CliResult<StoredSet> {
        let versions: Vec<_> = archived.iter().map(|lying| lying.set.version.to_string()).collect();
        let there = if versions.is_empty() {
            "the archive is empty".to_owned()
        } else {
            format!("the archive has {}", versions.join(", "))
        };
        let lacks = |what: String| {
            CliError::wrong(format!("the archive has no release set {what}: {there}")).hint(Some(
                "`portcullis release publish` archives the sets that it replaces, and nothing \
                 else does. Sign the content of the older set again with a version above every \
                 one so far, and publish that",
            ))
        };
        let version_of = |digest: Digest| {
            let known = judge.history.activations.iter().find(|it| it.set == digest);
            known.map_or_else(|| digest.to_string(), |it| format!("{} ({digest})", it.version))
        };
        let mut archived = archived.into_iter();
        if let Some(version) = self.version {
            let named =
                |lying: &StoredSet| lying.set.version == version && lying.digest != current.digest;
            return archived.find(named).ok_or_else(|| lacks(version.to_string()));
        }
        match before(shelf, judge, replicas, current)? {
            Before::Known(digest) => archived
                .find(|lying| lying.digest == digest)
                .ok_or_else(|| lacks(version_of(digest))),
            Before::Nothing => Err(CliError::wrong(format!(
                "no other release was active before release set {} than those that a rollback \
                 replaced",
                current.set.version
            ))
            .hint(Some("name the version with `--version`"))),
            Before::Unknown => archived
                .find(|lying| lying.set.version < current.set.version)
                .ok_or_else(|| lacks(format!("below {}", current.set.version))),
        }
    }

    /// How hosts take the set by itself; nothing where they take it only by a downgrade. Refuses
    /// one that no downgrade brings back.
    fn without_downgrade(
        &self,
        judge: &PublishChecks,
        older: &StoredSet,
        from: u64,
    ) -> CliResult<Option<Activation>> {
        let now = Clock::system().now();
        let (history, set, digest) = (&judge.history, &older.set, older.digest);
        match history.admit(set, digest, None, now) {
            Ok(passage) => return Ok(Some(passage)),
            Err(refusal) if refusal.kind() == RefusalCode::ReleaseOlder => {}
            Err(refusal) => return Err(refusal.into()),
        }
        // With a downgrade that nobody has signed yet: floors and revocations hold for it too.
        let permission = Downgrade {
            from,
            to: set.version,
            set: digest,
            person: String::new(),
            reason: String::new(),
            ticket: String::new(),
            issued: now,
            expires: Millis(now.0.saturating_add(1)),
        };
        history.admit(set, digest, Some((&permission, digest)), now)?;
        Ok(None)
    }

    /// The people who let hosts go back, in a sentence.
    fn how(&self, root: &TrustRoot, from: u64, older: &StoredSet) -> String {
        let names: Vec<_> = root.release.keys.iter().map(PublicKey::keyid).collect();
        format!(
            "hosts return from release set {from} to {} with a downgrade that {} of {} must \
             sign, within {} hours",
            older.set.version,
            root.release.threshold,
            names.join(", "),
            self.hours
        )
    }

    /// The downgrade: the one that was given, or one made here.
    fn permission(&self, root: &TrustRoot, older: &StoredSet, from: u64) -> CliResult<Vec<u8>> {
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
        let keys = crate::signing::read_keys(&self.keys)?;
        may_sign(root, &keys, "downgrade")?;
        let justification = Justification { person, reason, ticket, hours: self.hours };
        let payload = downgrade_payload(&older.envelope, from, &justification, now)?;
        let envelope = sign(Downgrade::PAYLOAD_TYPE, &payload, &keys.iter().collect::<Vec<_>>());
        match missing(Downgrade::verify(root, &envelope, now).map(drop))? {
            None => Ok(envelope),
            Some(refusal) => Err(self.wanting(root, older, from, Some(&refusal))),
        }
    }

    /// Returns the error that names what is missing for a rollback.
    fn wanting(
        &self,
        root: &TrustRoot,
        older: &StoredSet,
        from: u64,
        refusal: Option<&Refusal>,
    ) -> CliError {
        let role = &root.release;
        let names: Vec<_> = role.keys.iter().map(PublicKey::keyid).collect();
        let (version, why) = (
            older.set.version,
            refusal.map(|it| format!(" ({it} [{}])", it.code())).unwrap_or_default(),
        );
        let mut sentence = format!(
            "hosts return from release set {from} to {version} only with a downgrade that has \
             the signatures of {} of {}{why}",
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
            sentence.push_str(&format!("; these options are missing: {}", lacking.join(", ")));
        }
        CliError::wrong(sentence).hint(Some(format!(
            "on the machine with a key run `portcullis release downgrade --to {} --from {from} \
             --person … --reason … --ticket … --root … --key … --output downgrade.json` (with \
             `--add-to` for each further key); then run here `portcullis release rollback {} \
             --version {version} --downgrade downgrade.json`",
            older.path.display(),
            self.place.argument()
        )))
    }
}

/// The set that was active before the one in place.
enum Before {
    /// This one.
    Known(Digest),
    /// There was none.
    Nothing,
    /// Nothing that is known reaches so far back.
    Unknown,
}

/// What the host of the configuration remembers, or else what the hosts say that were asked, or
/// else what was published into the folders. A set in place that was never active is left for the
/// one that is.
fn before(
    shelf: &ReleaseDir,
    judge: &PublishChecks,
    replicas: &[Replica],
    current: &StoredSet,
) -> CliResult<Before> {
    if judge.history.active.is_some() {
        return Ok(by_history(&judge.history, current));
    }
    let wanted = current.digest.to_string();
    let answers = replicas.iter().filter_map(|replica| {
        let active = replica.active.as_ref()?;
        Some(if *active == wanted { replica.before.clone() } else { Some(active.clone()) })
    });
    let answers: Vec<_> = answers.collect();
    let Some(first) = answers.first() else { return Ok(by_history(&shelf.published(), current)) };
    if answers.iter().any(|answer| answer != first) {
        let all: Vec<_> = replicas
            .iter()
            .map(|replica| {
                let before = replica.before.as_deref().unwrap_or("none");
                format!("{}: {}", replica.host, escape(before))
            })
            .collect();
        let message = format!("hosts had different releases before ({})", all.join(", "));
        return Err(CliError::wrong(message).hint(Some("name the version with `--version`")));
    }
    let Some(digest) = first else { return Ok(Before::Nothing) };
    digest.parse().map(Before::Known).map_err(|_| {
        CliError::wrong("a host names the release before this one, but not by a digest")
    })
}

fn by_history(history: &TrustHistory, current: &StoredSet) -> Before {
    match (history.active, history.before_active()) {
        (Some(active), _) if active.set != current.digest => Before::Known(active.set),
        (_, Some(before)) => Before::Known(before.set),
        // A history that begins with the set in place says nothing of what was before.
        (_, None) if history.activations.len() < 2 => Before::Unknown,
        (_, None) => Before::Nothing,
    }
}

const IS_ACTIVE: &str = "no downgrade is needed, because this release is active on the hosts";
const IS_NEWER: &str = "no downgrade is needed, because this release is newer than every one that \
     was active on the hosts";
