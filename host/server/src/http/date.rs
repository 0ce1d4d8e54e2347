//! The `Date` of answers, and clocks that have none.
//!
//! Invariant: nothing here panics, whatever the machine's clock shows. An HTTP date has four digits for
//! the year and begins with 1970 in the libraries that this host uses; a clock outside of that is
//! one that cannot tell the date, and answers then have no `Date` (RFC 9110 section 6.6.1). The HTTP
//! library cannot write HTTP/1.1 with such a clock, so that connections are answered by hand.

use std::time::{Duration, UNIX_EPOCH};

use hyper::header::HeaderValue;
use hyper::{StatusCode, header};
use portcullis_model::Millis;

use super::http1_watch::Http1Watch;
use crate::clock::{monotonic_now, since_epoch};
use crate::logging::log_limit::LOG_LIMITS;

/// Whether this machine's clock shows a moment that can be written as an HTTP date.
pub fn clock_has_date() -> bool {
    since_epoch().is_ok_and(has_date)
}

/// A moment as an HTTP date. `None` where it cannot be written as one.
pub fn http_date(now: Millis) -> Option<String> {
    let since = Duration::from_millis(now.0);
    has_date(since).then(|| httpdate::fmt_http_date(UNIX_EPOCH + since))
}

/// Gives an answer its `Date`, where this machine's clock can tell it.
pub fn put_date(headers: &mut header::HeaderMap) {
    let since = since_epoch().ok().filter(|since| has_date(*since));
    let date = since.map(|since| httpdate::fmt_http_date(UNIX_EPOCH + since));
    if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
        headers.insert(header::DATE, date);
    }
}

/// Takes a connection from the HTTP library because the clock has no date.
pub fn give_up_without_date(watch: &Http1Watch) {
    watch.give_up(StatusCode::INTERNAL_SERVER_ERROR);
    if LOG_LIMITS.allows(NO_DATE, "", monotonic_now()) {
        tracing::error!(
            event = NO_DATE,
            "this machine's clock shows a year before 1970 or after 9999: calls over HTTP/1.1 get \
             their safe answers; set the clock"
        );
    }
}

fn has_date(since: Duration) -> bool {
    // A clock before 1970 is read as the beginning of that year.
    !since.is_zero() && since.as_secs() < END_SECONDS
}

/// The end of the year 9999, seconds since 1970.
const END_SECONDS: u64 = 253_402_300_800;
/// The event of a clock that cannot tell the date.
const NO_DATE: &str = "clock.no-date";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_to_the_end_of_the_year_9999_have_a_date() {
        let date = |seconds: u64| http_date(Millis(seconds * 1_000));
        assert_eq!(date(0), None, "a clock before 1970 is read as 0");
        assert_eq!(date(1).unwrap(), "Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(date(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(END_SECONDS - 1).unwrap(), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(date(END_SECONDS), None);
        assert_eq!(http_date(Millis(u64::MAX)), None);
    }
}
