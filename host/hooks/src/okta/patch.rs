//! A claim patch for one token, in Okta's contract: one operation that fails fails all, and the token is
//! issued unmodified.
//!
//! Invariant: an operation is only written when it succeeds on the request as the operations before it leave
//! it. To know, the shapes of the claims that are touched are kept beside what is written; values are not.
//! Source: token hook responses of Okta's OpenAPI, and its token hook reference.

use std::collections::BTreeMap;

use portcullis_model::json::{Value, array_index, split_pointer};
use portcullis_model::{Document, Target};

use super::shape::{Operations, Shape};
use crate::RenderErrorKind;

/// Operations on one token.
pub(super) struct Patch<'a> {
    target: Target,
    /// `data.identity` or `data.access`; nothing where that token is not issued, and then nothing
    /// changes it.
    token: Option<Value<'a>>,
    /// The claims that are touched, as the operations leave them; nothing where one is gone.
    claims: BTreeMap<String, Option<Shape>>,
    operations: Operations,
    cap: Option<u32>,
}

impl<'a> Patch<'a> {
    /// No operations yet.
    pub(super) fn new(target: Target, token: Option<Value<'a>>) -> Self {
        Self {
            target,
            token,
            claims: BTreeMap::new(),
            operations: Operations::default(),
            cap: None,
        }
    }

    /// Puts a value at a place.
    pub(super) fn set(&mut self, path: &str, value: &str) -> Result<(), RenderErrorKind> {
        if self.token.is_none() {
            return Ok(());
        }
        let document = Document::parse(value.as_bytes()).map_err(|_| RenderErrorKind::Value)?;
        if document.root().is_null() {
            return Err(RenderErrorKind::Value);
        }
        let (claim, inner, in_request) = self.claim(path)?;
        let shape = Shape::of(document.root());
        let Some((last, parents)) = inner.split_last() else {
            // On a claim that only this answer brings, `add` replaces it: Okta lets `replace` on
            // claims of the request only.
            let is_there = claim.replace(shape).is_some();
            let operation = if in_request && is_there { "replace" } else { "add" };
            self.operations.write(operation, path, Some(document.root().raw()));
            return Ok(());
        };
        let operation = match below(claim, parents).ok_or(RenderErrorKind::NoTarget)? {
            Shape::Object(members) => match members.insert(last.clone(), shape) {
                Some(_) if in_request => "replace",
                _ => "add",
            },
            Shape::Array(elements) => {
                let index = if last == "-" { Some(elements.len()) } else { array_index(last) };
                let length = elements.len();
                match index {
                    Some(index) if index == length => {
                        elements.push(shape);
                        "add"
                    }
                    Some(index) if in_request => {
                        *elements.get_mut(index).ok_or(RenderErrorKind::NoTarget)? = shape;
                        "replace"
                    }
                    _ => return Err(RenderErrorKind::NoTarget),
                }
            }
            Shape::Leaf(_) => return Err(RenderErrorKind::NoTarget),
        };
        self.operations.write(operation, path, Some(document.root().raw()));
        Ok(())
    }

    /// Takes away what stands at a place.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), RenderErrorKind> {
        if self.token.is_none() {
            return Ok(());
        }
        let (claim, inner, in_request) = self.claim(path)?;
        if !in_request {
            return Err(RenderErrorKind::NoTarget);
        }
        let gone = match inner.split_last() {
            None => claim.take(),
            Some((last, parents)) => {
                match below(claim, parents).ok_or(RenderErrorKind::NoTarget)? {
                    Shape::Object(members) => members.remove(last),
                    Shape::Array(elements) => array_index(last)
                        .filter(|index| *index < elements.len())
                        .map(|index| elements.remove(index)),
                    Shape::Leaf(_) => None,
                }
            }
        };
        gone.ok_or(RenderErrorKind::NoTarget)?;
        self.operations.write("remove", path, None);
        Ok(())
    }

    /// Lets the token live no longer than that. A token that is not issued does not live longer, and one that
    /// lives no longer needs no operation.
    pub(super) fn cap(&mut self, seconds: u32) -> Result<(), RenderErrorKind> {
        let Some(token) = self.token else {
            return Ok(());
        };
        let present = expiration(token).and_then(Value::as_u64).ok_or(RenderErrorKind::NoTarget)?;
        if u64::from(seconds) >= present {
            return Ok(());
        }
        let (least, most) = LIFETIME;
        if seconds < least {
            return Err(RenderErrorKind::TooShort);
        }
        self.cap = Some(self.cap.unwrap_or(most).min(seconds));
        Ok(())
    }

    /// The command, where there is one: its type and its value.
    pub(super) fn finish(mut self) -> Option<(&'static str, String)> {
        if let Some(seconds) = self.cap {
            self.operations.write("replace", EXPIRATION, Some(&seconds.to_string()));
        }
        let command = match self.target {
            Target::IdToken => "com.okta.identity.patch",
            _ => "com.okta.access.patch",
        };
        Some((command, self.operations.finish()?))
    }

    /// The claim that a path is about, as it is now; the tokens below it; and whether the request has it.
    fn claim(
        &mut self,
        path: &str,
    ) -> Result<(&mut Option<Shape>, Vec<String>, bool), RenderErrorKind> {
        let mut tokens = split_pointer(path)
            .ok_or(RenderErrorKind::Place)?
            .into_iter()
            .map(|token| token.into_owned());
        let (Some("claims"), Some(name)) =
            (tokens.next().as_deref(), tokens.next().filter(|name| !name.is_empty()))
        else {
            return Err(RenderErrorKind::Place);
        };
        if is_reserved(self.target, &name) {
            return Err(RenderErrorKind::Reserved);
        }
        let claims = self.token.and_then(|token| token.get("claims"));
        let claims = claims.filter(|claims| claims.is_object()).ok_or(RenderErrorKind::NoTarget)?;
        let sent = claims.get(&name);
        let claim = self.claims.entry(name).or_insert_with(|| sent.map(Shape::of));
        Ok((claim, tokens.collect(), sent.is_some()))
    }
}

/// The lifetime of a token of a request, seconds.
pub(super) fn expiration(token: Value<'_>) -> Option<Value<'_>> {
    token.pointer(EXPIRATION).filter(|value| !value.is_null())
}

fn below<'s>(claim: &'s mut Option<Shape>, tokens: &[String]) -> Option<&'s mut Shape> {
    claim.as_mut()?.below(tokens)
}

fn is_reserved(target: Target, claim: &str) -> bool {
    let own: &[&str] =
        if target == Target::IdToken { &RESERVED_IN_ID_TOKENS } else { &RESERVED_IN_ACCESS_TOKENS };
    RESERVED.contains(&claim) || own.contains(&claim)
}

/// The least and the most lifetime that Okta lets an answer say, seconds.
pub(super) const LIFETIME: (u32, u32) = (300, 86_400);

/// Where a token's lifetime stands, in requests and in patches.
const EXPIRATION: &str = "/token/lifetime/expiration";

/// Claims that Okta keeps for itself in both tokens. It reserves `cnf` with DPoP only, which a request does
/// not tell.
const RESERVED: [&str; 12] = [
    "acr",
    "auth_time",
    "cid",
    "cnf",
    "exp",
    "groups",
    "iat",
    "iss",
    "jti",
    "sid",
    "token_type",
    "ver",
];

const RESERVED_IN_ID_TOKENS: [&str; 43] = [
    "active",
    "aid",
    "amr",
    "app_id",
    "app_type",
    "at_hash",
    "aud",
    "c_hash",
    "client_id",
    "client_ip",
    "client_req_id",
    "client_type",
    "client_user_agent",
    "device_compliance",
    "device_id",
    "device_known",
    "device_managed",
    "device_name",
    "device_trust",
    "did",
    "dst",
    "group",
    "hotk",
    "idp",
    "idp_iss",
    "mac_key",
    "may_act",
    "nonce",
    "oid",
    "okta_emailVerified",
    "okta_lastUpdated",
    "orig",
    "permissions",
    "purpose",
    "pwd_exp_days",
    "pwd_exp_time",
    "rid",
    "role",
    "scope",
    "scopes",
    "sub",
    "term",
    "user_ip",
];

const RESERVED_IN_ACCESS_TOKENS: [&str; 7] =
    ["as_uri", "authorization_details", "rpt", "rsi", "scp", "uid", "username"];
