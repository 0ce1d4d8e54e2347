//! The texts that people get where a table's rule denies a call.
//!
//! Invariant: each code of a table's denial has a text in each language. Decides nothing.

/// The texts that people get where a table's rule denies a call, by code and language.
pub fn text_for(code: &str, language: &str) -> Option<(&'static str, &'static str)> {
    let german = language.split('-').next().is_some_and(|tag| tag.eq_ignore_ascii_case("de"));
    let (english, german_text) = match code {
        "TABLE_NO_MATCH" => (
            "You cannot do this now, because the hospital's records lack an entry that is needed for \
             it. Please ask the help desk.",
            "Das ist derzeit nicht möglich, weil in den Unterlagen des Hauses ein Eintrag fehlt, der \
             dafür nötig ist. Bitte wenden Sie sich an den Helpdesk.",
        ),
        "TABLE_SEVERAL_MATCHES" => (
            "You cannot do this now, because the hospital's records have several entries where one is \
             needed. Please ask the help desk.",
            "Das ist derzeit nicht möglich, weil in den Unterlagen des Hauses mehrere Einträge \
             stehen, wo einer nötig ist. Bitte wenden Sie sich an den Helpdesk.",
        ),
        "TABLE_STALE" | "TABLE_NOT_LOADED" | "TABLE_TOO_LARGE" => (
            "You cannot do this now, because the hospital's records that decide about it are not \
             available or out of date. Please ask the help desk.",
            "Das ist derzeit nicht möglich, weil die Unterlagen des Hauses, die darüber entscheiden, \
             nicht verfügbar oder veraltet sind. Bitte wenden Sie sich an den Helpdesk.",
        ),
        _ => return None,
    };
    Some(if german { ("de", german_text) } else { ("en", english) })
}
