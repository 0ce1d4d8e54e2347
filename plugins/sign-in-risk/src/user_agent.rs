//! The browser, the operating system and the kind of device of a user agent.
//!
//! Invariant: the same text gives the same answer in every build, from a table of this file; a user
//! agent that the table does not know has empty names. Existing crates carry databases of more than
//! a megabyte, which change what a name means from version to version; risk needs stable classes,
//! not the marketing name of a telephone.
//!
//! It does not detect forged user agents: an attacker chooses this text.

/// The parts of a user agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserAgent<'a> {
    /// The browser's name; empty where it is not known.
    pub browser: &'static str,
    /// Its major version.
    pub browser_version: &'a str,
    /// The operating system's name; empty where it is not known.
    pub system: &'static str,
    /// Its version, as the user agent spells it.
    pub system_version: &'a str,
    /// The kind of device.
    pub class: DeviceClass,
}

/// The kind of device. The numbers are stored in histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceClass {
    Unknown = 0,
    Desktop = 1,
    Mobile = 2,
    Tablet = 3,
    Program = 4,
}

impl<'a> UserAgent<'a> {
    /// Reads a user agent (RFC 9110, section 10.1.5, as browsers write it).
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut agent = Self {
            browser: "",
            browser_version: "",
            system: "",
            system_version: "",
            class: DeviceClass::Unknown,
        };
        // Chromium says "Safari" and "Chrome", Edge says all three: the order decides.
        if let Some((name, token)) = BROWSERS.iter().find(|(_, token)| text.contains(token)) {
            agent.browser = name;
            let token = if *name == "Safari" { "Version/" } else { token };
            agent.browser_version = after(text, token, |c| c.is_ascii_digit());
        }
        if let Some((name, token)) = SYSTEMS.iter().find(|(_, token)| text.contains(token)) {
            agent.system = name;
            agent.system_version =
                after(text, token, |c| c.is_ascii_digit() || matches!(c, '.' | '_'))
                    .trim_end_matches(['.', '_']);
        }
        agent.class = class(text, agent.system);
        agent
    }

    /// Such as `Firefox 121`; empty where the browser is not known.
    pub(crate) fn browser_and_version(&self) -> String {
        joined(self.browser, self.browser_version)
    }

    /// Such as `Windows 10.0`; empty where the system is not known.
    pub(crate) fn system_and_version(&self) -> String {
        joined(self.system, self.system_version)
    }
}

fn class(text: &str, system: &str) -> DeviceClass {
    if PROGRAMS.iter().any(|token| text.contains(token)) {
        return DeviceClass::Program;
    }
    match system {
        "iPadOS" => DeviceClass::Tablet,
        "iOS" => DeviceClass::Mobile,
        // Android's telephones say "Mobile", its tablets do not.
        "Android" if text.contains("Mobile") => DeviceClass::Mobile,
        "Android" => DeviceClass::Tablet,
        "" => DeviceClass::Unknown,
        _ => DeviceClass::Desktop,
    }
}

/// The characters that satisfy `wanted`, directly after `token` and perhaps a space.
fn after<'a>(text: &'a str, token: &str, wanted: impl Fn(char) -> bool) -> &'a str {
    let Some((_, rest)) = text.split_once(token) else { return "" };
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    rest.find(|c| !wanted(c)).and_then(|end| rest.get(..end)).unwrap_or(rest)
}

fn joined(name: &str, version: &str) -> String {
    if version.is_empty() { name.to_owned() } else { format!("{name} {version}") }
}

/// Names and the tokens that tell them, the more special before the more general.
const BROWSERS: &[(&str, &str)] = &[
    ("Edge", "Edg/"),
    ("Edge", "EdgA/"),
    ("Edge", "EdgiOS/"),
    ("Opera", "OPR/"),
    ("Samsung Internet", "SamsungBrowser/"),
    ("Firefox", "Firefox/"),
    ("Firefox", "FxiOS/"),
    ("Chrome", "CriOS/"),
    ("Chrome", "Chrome/"),
    ("Safari", "Safari/"),
    ("Internet Explorer", "Trident/"),
    ("curl", "curl/"),
    ("python-requests", "python-requests/"),
    ("Okta Verify", "OktaVerify/"),
];

const SYSTEMS: &[(&str, &str)] = &[
    ("iPadOS", "iPad; CPU OS"),
    ("iOS", "CPU iPhone OS"),
    ("Windows", "Windows NT"),
    ("Android", "Android"),
    ("ChromeOS", "CrOS"),
    ("macOS", "Mac OS X"),
    ("Linux", "Linux"),
];

/// Programs that are no browsers.
const PROGRAMS: &[&str] = &[
    "curl/",
    "python-requests/",
    "Go-http-client/",
    "okhttp/",
    "PostmanRuntime/",
    "HeadlessChrome/",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usual_user_agents_are_told_apart() {
        for (text, browser, system, class) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
                "Chrome 131",
                "Windows 10.0",
                DeviceClass::Desktop,
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.70",
                "Edge 131",
                "Windows 10.0",
                DeviceClass::Desktop,
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
                "Firefox 133",
                "Linux",
                DeviceClass::Desktop,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
                "Safari 18",
                "iOS 18_1",
                DeviceClass::Mobile,
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1",
                "Safari 17",
                "iPadOS 17_7",
                DeviceClass::Tablet,
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
                "Chrome 130",
                "Android 14",
                DeviceClass::Mobile,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
                "Safari 18",
                "macOS 10_15_7",
                DeviceClass::Desktop,
            ),
            ("curl/8.5.0", "curl 8", "", DeviceClass::Program),
            ("Ward terminal/4", "", "", DeviceClass::Unknown),
            ("", "", "", DeviceClass::Unknown),
        ] {
            let agent = UserAgent::parse(text);
            let found = (agent.browser_and_version(), agent.system_and_version(), agent.class);
            assert_eq!(found, (browser.to_owned(), system.to_owned(), class), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), token in 0..BROWSERS.len()) {
            UserAgent::parse(&text);
            UserAgent::parse(&format!("{}{text}", BROWSERS[token].1));
        }
    }
}
