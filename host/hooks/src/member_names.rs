//! Member names that may be shown: names from the wire contracts and words that name no person.
//!
//! Invariant: a member name that a caller chose reaches a log line, a leaf, a metric, an error or a
//! status page only if every word of it is in a fixed vocabulary. Any other name may be a person's.
//! This module does not decide where the name goes instead.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::OnceLock;

use crate::platform_model::known_members;

/// The text in the place of a member name that must not be shown.
pub const UNKNOWN_MEMBER: &str = "[unknown member]";

/// Returns the member name if it may be shown, and [`UNKNOWN_MEMBER`] otherwise.
pub fn shown_member(name: &str) -> &str {
    if is_shown_member(name) { name } else { UNKNOWN_MEMBER }
}

/// Returns a dotted path of member names with each name that must not be shown replaced.
///
/// A name that itself holds a dot is judged in its parts, all of which must be in the vocabulary.
pub fn shown_path(path: &str) -> Cow<'_, str> {
    if path.split('.').all(is_shown_member) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(path.split('.').map(shown_member).collect::<Vec<_>>().join("."))
}

/// Returns whether every word of a member name is in the vocabulary.
///
/// Words begin at capital letters and after `_`, `-`, `$`, `@` and `:`; letters' case means
/// nothing.
pub fn is_shown_member(name: &str) -> bool {
    if name.is_empty() || name.len() > MAX_MEMBER_BYTES || !name.is_ascii() {
        return false;
    }
    let known = vocabulary();
    if known.contains(name.to_ascii_lowercase().as_str()) {
        return true;
    }
    let words = words(name);
    !words.is_empty() && words.iter().all(|word| known.contains(word.as_str()))
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, &letter) in letters.iter().enumerate() {
        if matches!(letter, '_' | '-' | '$' | '@' | ':') {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        let after = letters.get(at + 1);
        // `userID` is `user` and `id`, `IDToken` is `id` and `token`.
        let begins = letter.is_ascii_uppercase()
            && (before.is_some_and(|it| !it.is_ascii_uppercase())
                || after.is_some_and(char::is_ascii_lowercase));
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Every word of the contracts' own members, and [`WORDS`].
fn vocabulary() -> &'static HashSet<String> {
    static VOCABULARY: OnceLock<HashSet<String>> = OnceLock::new();
    VOCABULARY.get_or_init(|| {
        let members = known_members().flat_map(|path| path.split('.'));
        let of_contracts = members.flat_map(|member| {
            let mut all = words(member);
            all.push(member.to_ascii_lowercase());
            all
        });
        of_contracts.chain(WORDS.split_ascii_whitespace().map(str::to_owned)).collect()
    })
}

/// No contract has a longer member name.
const MAX_MEMBER_BYTES: usize = 64;

/// Words of identity platforms and of JSON interfaces in general. None is a usual name of a person.
const WORDS: &str = "
    access account acr action actions active actor actors added additional address addresses after
    agent alias all allow allowed amr api app application applications apps approval approver
    approvers as assertion assertions assigned assignment assignments assurance attempt attribute
    attributes aud audience audiences auth authentication authenticator authorization azp before
    behavior behaviors body browser business by call callback category causes certificate challenge
    change changed changes channel cid cidr city claim claims classification client clients cloud
    code codes comment comments component computer condition conditions config configuration consent
    content context correlation count country created creator credential credentials current custom
    data date debug decision default delegation deleted denied department deny description details
    device devices digest direction display domain domains duration e email emails employee enabled
    encrypted end entitlement entitlements entity entry env environment error errors etag event
    events exp expiration expires expiry extension extensions external factor factors failed family
    features field fields filter filters flags flow format from full function geo geographical given
    grant grants group groups hash header headers href host hostname http https iat id identifier
    identifiers identities identity idp ids index info information initiator input instance internal
    ip iss issued issuer item items job jti key keys kind label labels language last latitude level
    lifetime limit link links list listener locale location locations login longitude mail managed
    manager max member members message messages meta metadata method mfa min mobile mode model
    modified name names nbf network new next nonce notes null number numbers oauth oauth2 object
    objects odata of offset old on openid operation operations option options org organization origin
    os output owner owners package page parameters params parent password path payload permission
    permissions phase phone phones pin platform policies policy postal posture preferred preview
    previous primary principal principals priority privilege privileges process profile profiles
    properties property protocol provider provisioning proxy public purpose query rate reason reasons
    redirect reference refresh region registered registration request requested requester requests
    required resource resources response result results revision risk role roles route rule rules
    saml schema schemas scope scopes score screen search secret secondary security serial server
    service services session sessions settings severity sid signal signals signature signed size
    software source start state status step strength string sub subject subjects subtype success
    summary system tag tags target targets task team template tenant tenants test text threat ticket
    time timestamp timestamps timezone title to token tokens total trace transaction transform trust
    trusted type types ui unique unknown until update updated upn uri url urls usage user username
    users uuid value values verification verified version via workflow zip zone";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_contracts_and_plain_words_are_shown() {
        for name in [
            "eventId",
            "cloudEventVersion",
            "device",
            "new",
            "deviceContext",
            "user_name",
            "userID",
            "IDToken",
            "@odata.type",
            "risk-score",
            "authenticationContext",
            "ipAddress",
        ] {
            assert_eq!(shown_path(name), name);
        }
        assert_eq!(shown_path("data.context.device"), "data.context.device");
    }

    #[test]
    fn any_other_name_may_be_a_persons_and_is_not_shown() {
        for name in [
            "Zebulon-Quartermain",
            "Zebulon",
            "zebulon",
            "noor@ward.test",
            "00u1234567",
            "",
            "Noor Haddad",
            "userZebulon",
            "zebulonId",
            "Ünal",
            "MRN123",
            "id\u{202e}",
            "patient4711",
            "jdoe",
        ] {
            assert_eq!(shown_member(name), UNKNOWN_MEMBER, "{name}");
        }
        assert_eq!(shown_path("data.Zebulon.id"), "data.[unknown member].id");
        assert!(!is_shown_member(&"id".repeat(40)));
    }
}
