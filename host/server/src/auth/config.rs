//! The settings of `hook.caller`: how the caller of a hook proves itself.
//!
//! Invariant: everything is checked before anything is read or called; what is left out has one documented default, and nothing that is
//! listed is ever widened. Secrets are not here, only the names of their files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderName};
use portcullis_model::Digest;
use portcullis_tokens::Issuer;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::net::outbound::parse_url;

/// One way in which a caller proves itself: all of it must hold.
#[derive(Clone, Debug)]
pub struct CallerConfig {
    /// The credential that the caller sends.
    pub credential: Option<CredentialConfig>,
    /// Which client certificate it has.
    pub certificate: Option<CertificateConfig>,
}

/// The credential that a caller sends in a header.
#[derive(Clone, Debug)]
pub enum CredentialConfig {
    /// A secret: a header's whole value.
    Secret {
        /// Which header.
        header: HeaderName,
        /// Files of one secret a line.
        files: Vec<PathBuf>,
    },
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user.
        user: String,
        /// Files of one password a line.
        files: Vec<PathBuf>,
    },
    /// An OAuth bearer (RFC 6750) that is a signed JWT.
    Oauth(Arc<OauthConfig>),
}

/// The issuer whose bearer tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthConfig {
    /// The claims that a token must have.
    pub issuer: Issuer,
    /// The place of the issuer's keys.
    pub keys: KeysConfig,
}

/// The place of an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeysConfig {
    /// The discovery document, or the keys themselves.
    pub place: KeysLocation,
    /// The issuers that the discovery document may name.
    pub issuers: Vec<String>,
    /// The value of `{tenantid}` in the issuers that keys name.
    pub tenant: Option<Arc<str>>,
    /// How long fetched keys are used while no newer ones can be had, milliseconds.
    pub stale_ms: u64,
}

/// An address, and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeysLocation {
    /// A discovery document, which says where the keys are.
    Discovery(String),
    /// The keys.
    Keys(String),
}

/// Which client certificates are taken: any that has one of these names or keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateConfig {
    /// DNS names among its alternative names.
    pub dns: Vec<String>,
    /// URIs among its alternative names.
    pub uri: Vec<String>,
    /// SHA-256 of its subject public key info.
    pub spki: Vec<Digest>,
}

/// `caller` as it is written: one table, or a list of them.
pub struct CallerSources(Vec<CallerSource>);

/// One table of `caller` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallerSource {
    header: Option<String>,
    secret_file: Option<PathBuf>,
    secret_files: Option<Vec<PathBuf>>,
    basic: Option<BasicSource>,
    oauth: Option<OauthSource>,
    certificate: Option<CertificateSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicSource {
    user: String,
    password_file: Option<PathBuf>,
    password_files: Option<Vec<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OauthSource {
    #[serde(default)]
    profile: Profile,
    issuer: Option<String>,
    tenant: Option<String>,
    authority: Option<String>,
    audiences: Vec<String>,
    clients: Option<Vec<String>>,
    client_claim: Option<String>,
    discovery: Option<String>,
    jwks_uri: Option<String>,
    #[serde(default = "default_skew_s")]
    clock_skew_s: u64,
    #[serde(default = "default_keys_stale_s")]
    jwks_max_stale_s: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Profile {
    #[default]
    Generic,
    Okta,
    Entra,
    EntraExternal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateSource {
    #[serde(default)]
    dns: Vec<String>,
    #[serde(default)]
    uri: Vec<String>,
    #[serde(default)]
    spki: Vec<String>,
}

impl CallerSources {
    /// Checks them for a hook of this kind, if it is known, and adds every problem to `wrong`.
    /// Relative paths are relative to `base`.
    pub fn check(
        self,
        kind: Option<&str>,
        base: &Path,
        wrong: &mut Vec<String>,
    ) -> Vec<CallerConfig> {
        if self.0.is_empty() {
            wrong.push("caller is an empty list, so no caller could be authenticated".to_owned());
        }
        let check = |source: CallerSource| source.check(kind, base, wrong);
        self.0.into_iter().filter_map(check).collect()
    }
}

/// Adds the problem of a check, if it has one, and returns what the check made.
fn keep<T>(wrong: &mut Vec<String>, checked: Result<T, String>) -> Option<T> {
    checked.map_err(|why| wrong.push(why)).ok()
}

impl CallerSource {
    fn check(
        self,
        kind: Option<&str>,
        base: &Path,
        wrong: &mut Vec<String>,
    ) -> Option<CallerConfig> {
        let given = [
            self.secret_file.is_some() || self.secret_files.is_some(),
            self.basic.is_some(),
            self.oauth.is_some(),
        ];
        let given = given.into_iter().filter(|given| *given).count();
        if given > 1 {
            wrong.push(
                "caller has several of secret_file, basic and oauth in one table; to accept \
                 either, write a list: `caller = [{ … }, { … }]`"
                    .to_owned(),
            );
        }
        if given == 0 && self.certificate.is_none() {
            wrong.push(
                "caller has none of secret_file, basic, oauth and certificate, so anybody could \
                 call"
                    .to_owned(),
            );
        }
        let mut credential = None;
        let secret = keep(wrong, files("secret_file", self.secret_file, self.secret_files, base));
        let takes_header = secret.as_ref().is_none_or(Option::is_some);
        let header = self.header.map(|name| {
            if !takes_header {
                return Err("caller.header can only be used with secret_file".to_owned());
            }
            name.to_ascii_lowercase()
                .parse()
                .map_err(|_| format!("caller.header `{name}` is not a header name"))
        });
        let header = keep(wrong, header.transpose());
        if let (Some(Some(files)), Some(header)) = (secret, header) {
            let header = header.unwrap_or(AUTHORIZATION);
            credential = Some(CredentialConfig::Secret { header, files });
        }
        if let Some(basic) = self.basic {
            credential = basic.check(base, wrong);
        }
        if let Some(oauth) = self.oauth {
            let oauth = oauth.check(kind, wrong);
            credential = oauth.map(|oauth| CredentialConfig::Oauth(Arc::new(oauth)));
        }
        let certificate = self.certificate.map(|certificate| certificate.check(wrong));
        Some(CallerConfig { credential, certificate })
    }
}

impl BasicSource {
    fn check(self, base: &Path, wrong: &mut Vec<String>) -> Option<CredentialConfig> {
        // RFC 7617 section 2: a colon would end the name early.
        if self.user.is_empty()
            || self.user.contains(|character: char| character == ':' || character.is_control())
        {
            wrong.push(
                "caller.basic.user is empty, or has a colon or control character in it".to_owned(),
            );
        }
        let files = files("password_file", self.password_file, self.password_files, base);
        let files =
            files.and_then(|files| files.ok_or("caller.basic has no password_file".to_owned()));
        Some(CredentialConfig::Basic { user: self.user, files: keep(wrong, files)? })
    }
}

/// One file, or several: at least one.
fn files(
    name: &str,
    one: Option<PathBuf>,
    several: Option<Vec<PathBuf>>,
    base: &Path,
) -> Result<Option<Vec<PathBuf>>, String> {
    let paths = match (one, several) {
        (None, None) => return Ok(None),
        (Some(path), None) => vec![path],
        (None, Some(paths)) if (1..=MAX_FILES).contains(&paths.len()) => paths,
        (None, Some(paths)) => {
            return Err(format!("{name}s lists {} files, not 1 to {MAX_FILES}", paths.len()));
        }
        (Some(_), Some(_)) => return Err(format!("{name} and {name}s exclude each other")),
    };
    Ok(Some(paths.into_iter().map(|path| base.join(path)).collect()))
}

impl OauthSource {
    fn check(self, kind: Option<&str>, wrong: &mut Vec<String>) -> Option<OauthConfig> {
        let listed = |name: &str, list: &[String]| {
            if list.is_empty() || list.iter().any(String::is_empty) {
                return Err(format!("caller.oauth.{name} is empty, or has an empty entry"));
            }
            Ok(())
        };
        keep(wrong, listed("audiences", &self.audiences));
        if self.clock_skew_s > MAX_SKEW_S {
            wrong.push(format!(
                "caller.oauth.clock_skew_s is {}, not 0 to {MAX_SKEW_S}",
                self.clock_skew_s
            ));
        }
        if !(60..=MAX_STALE_S).contains(&self.jwks_max_stale_s) {
            wrong.push(format!(
                "caller.oauth.jwks_max_stale_s is {}, not 60 to {MAX_STALE_S}",
                self.jwks_max_stale_s
            ));
        }
        let names = self.names(wrong);
        let clients = match (&self.clients, self.profile, kind) {
            (Some(clients), _, _) => Some(clients.clone()),
            (None, Profile::Entra | Profile::EntraExternal, Some(kind)) => {
                keep(wrong, entra_client(kind)).map(|client| vec![client.to_owned()])
            }
            // Whether it must say so depends on the kind.
            (None, Profile::Entra | Profile::EntraExternal, None) => None,
            (None, _, _) => {
                wrong
                    .push("caller.oauth.clients must list the client ids that may call".to_owned());
                None
            }
        };
        if let Some(clients) = &clients {
            keep(wrong, listed("clients", clients));
        }
        let place = self.place(names.as_deref());
        let place = keep(wrong, place)?;
        let (names, place, clients) = (names?, place?, clients?);
        let tenant: Option<Arc<str>> = self.tenant.as_deref().map(Into::into);
        let keys = KeysConfig {
            place,
            issuers: names.iter().map(|(name, _)| name.clone()).collect(),
            tenant: tenant.clone(),
            stale_ms: self.jwks_max_stale_s.saturating_mul(1_000),
        };
        let issuer = Issuer {
            names,
            tenant,
            audiences: self.audiences,
            clients: clients.into_iter().map(Into::into).collect(),
            skew: self.clock_skew_s,
        };
        Some(OauthConfig { issuer, keys })
    }

    /// The accepted values of `iss`, and the claim that then names the client.
    fn names(&self, wrong: &mut Vec<String>) -> Option<Vec<(String, String)>> {
        let unwanted = |name: &str, value: &Option<String>| match value {
            Some(_) => Err(format!("caller.oauth.{name} cannot be used with this profile")),
            None => Ok(()),
        };
        match self.profile {
            Profile::Generic | Profile::Okta => {
                keep(wrong, unwanted("authority", &self.authority));
                let issuer = self.issuer.clone().ok_or("caller.oauth.issuer is missing".to_owned());
                let issuer = issuer.and_then(|issuer| match parse_url(&issuer) {
                    Ok(_) => Ok(issuer),
                    Err(error) => Err(format!("caller.oauth.issuer `{issuer}`: {error}")),
                });
                let usual = if self.profile == Profile::Okta { "cid" } else { "client_id" };
                let claim = self.client_claim.clone().unwrap_or_else(|| usual.to_owned());
                Some(vec![(keep(wrong, issuer)?, claim)])
            }
            Profile::Entra | Profile::EntraExternal => {
                keep(wrong, unwanted("issuer", &self.issuer));
                keep(wrong, unwanted("client_claim", &self.client_claim));
                let tenant = self.tenant.as_deref().unwrap_or_default();
                let is_known = is_guid(tenant);
                if !is_known {
                    wrong.push(
                        "caller.oauth.tenant must be the tenant's id: 36 characters, lower-case hexadecimal and dashes"
                            .to_owned(),
                    );
                }
                let version_2 =
                    |authority: &str| (format!("{authority}/{tenant}/v2.0"), "azp".to_owned());
                // The usual authority is made of the tenant, and would be wrong with it.
                if !is_known && self.authority.is_none() {
                    return None;
                }
                let authority = keep(wrong, self.authority()).filter(|_| is_known)?;
                let version_1 = (format!("https://sts.windows.net/{tenant}/"), "appid".to_owned());
                if self.profile == Profile::Entra {
                    return Some(vec![version_2(&authority), version_1]);
                }
                // Whatever domain a tenant goes by, its tokens may name its id as the host. Which
                // version of token an application gets is a setting of that application
                // (`accessTokenAcceptedVersion`), here as there.
                let mut names = vec![
                    version_2(&authority),
                    version_2(&format!("https://{tenant}.ciamlogin.com")),
                ];
                names.dedup();
                names.push(version_1);
                Some(names)
            }
        }
    }

    /// The address at which an Entra tenant signs people in: without a slash at its end.
    fn authority(&self) -> Result<String, String> {
        let usual = match self.profile {
            Profile::EntraExternal => {
                format!("https://{}.ciamlogin.com", self.tenant.as_deref().unwrap_or_default())
            }
            _ => "https://login.microsoftonline.com".to_owned(),
        };
        let authority = self.authority.clone().unwrap_or(usual);
        let uri = parse_url(&authority)
            .map_err(|error| format!("caller.oauth.authority `{authority}`: {error}"))?;
        if authority.ends_with('/') || uri.path() != "/" {
            return Err(format!(
                "caller.oauth.authority `{authority}` must end with the host's name"
            ));
        }
        Ok(authority)
    }

    /// The place of the keys. `None` if it follows from names that are wrong.
    fn place(&self, names: Option<&[(String, String)]>) -> Result<Option<KeysLocation>, String> {
        let place = match (&self.discovery, &self.jwks_uri) {
            (Some(_), Some(_)) => {
                return Err("caller.oauth.discovery and caller.oauth.jwks_uri exclude each other"
                    .to_owned());
            }
            (Some(address), None) => KeysLocation::Discovery(address.clone()),
            (None, Some(address)) => KeysLocation::Keys(address.clone()),
            (None, None) => {
                let Some(names) = names else { return Ok(None) };
                let issuer =
                    names.first().map(|(name, _)| name.trim_end_matches('/')).unwrap_or_default();
                // OpenID Connect Discovery 1.0 section 4: behind the issuer's whole name.
                KeysLocation::Discovery(format!("{issuer}/.well-known/openid-configuration"))
            }
        };
        let (KeysLocation::Discovery(text) | KeysLocation::Keys(text)) = &place;
        parse_url(text).map_err(|error| format!("caller.oauth: `{text}`: {error}"))?;
        Ok(Some(place))
    }
}

impl CertificateSource {
    fn check(self, wrong: &mut Vec<String>) -> CertificateConfig {
        let digest = |text: &String| {
            text.parse().map_err(|_| {
                format!(
                    "caller.certificate.spki `{text}` is not `sha256:` and 64 hexadecimal digits"
                )
            })
        };
        if self.dns.len() + self.uri.len() + self.spki.len() == 0 {
            wrong.push(
                "caller.certificate has no dns, uri or spki, so every certificate would be accepted"
                    .to_owned(),
            );
        }
        let spki = self.spki.iter().filter_map(|text| keep(wrong, digest(text))).collect();
        for name in self.dns.iter().chain(&self.uri) {
            if name.is_empty() || name.contains('*') {
                wrong.push(format!(
                    "caller.certificate: `{name}` is not a complete name; wildcards are not \
                     supported"
                ));
            }
        }
        CertificateConfig { dns: self.dns, uri: self.uri, spki }
    }
}

impl<'de> Deserialize<'de> for CallerSources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Told apart here, so that an error speaks of the setting that is wrong.
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = CallerSources;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a table, or a list of tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                CallerSource::deserialize(MapAccessDeserializer::new(map))
                    .map(|one| CallerSources(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(CallerSources)
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// As whom Microsoft's services call the hooks of a kind.
fn entra_client(kind: &str) -> Result<&'static str, String> {
    Ok(match kind {
        // learn.microsoft.com/entra/id-governance/privileged-identity-management/privileged-identity-management-custom-extensions
        "entra.pim" => "1c67c054-65c8-4f7f-92a1-eb7ba6e48627",
        // Azure quickstart templates, identitygovernance-entitlementmanagement-extensibility.
        "entra.entitlement" => "810dcf14-1858-4bf2-8134-4c369fa3235b",
        // learn.microsoft.com/entra/id-governance/configure-logic-app-lifecycle-workflows
        "entra.lifecycle" => "ce79fdc4-cd1d-4ea5-8139-e74d7dbe0bb7",
        // learn.microsoft.com/entra/identity-platform/custom-extension-overview
        kind if kind.starts_with("entra.") => "99045fe1-7639-4a75-9d4a-577b6ca3810f",
        _ => {
            return Err(
                "caller.oauth.clients must list the client ids that may call, because this hook \
                 kind has no fixed Microsoft client"
                    .to_owned(),
            );
        }
    })
}

fn is_guid(text: &str) -> bool {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let dash = |place| matches!(place, 8 | 13 | 18 | 23);
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(place, byte)| if dash(place) { byte == b'-' } else { hexadecimal(byte) })
}

/// Files of secrets at once: one in use, one that comes, and room for a mistake.
const MAX_FILES: usize = 4;
/// More would keep tokens alive that have ended.
const MAX_SKEW_S: u64 = 600;
/// A week: an issuer that cannot be reached for longer is not an outage.
const MAX_STALE_S: u64 = 7 * 24 * 3_600;

fn default_skew_s() -> u64 {
    60
}

fn default_keys_stale_s() -> u64 {
    24 * 3_600
}
