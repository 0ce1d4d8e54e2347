//! A deployment that judges sign-ins by their risk, and the events of Okta's System Log that it
//! learns from.
//!
//! Invariant: bodies have the shape that Okta documents (`okta.event` deliveries and LogEvents);
//! the plugin's settings are its defaults, but for the names of tables.

use std::fs;

use serde_json::{Value, json};

use crate::payload::event;
use crate::{Answer, Binding, Host, TestDeployment};

/// The rows of the tables that `sign-in-risk` reads, as CSV without the header.
#[derive(Clone, Debug, Default)]
pub struct RiskTables {
    /// `network,asn,country,latitude,longitude`.
    pub networks: String,
    /// `network,kind`: the hospital's own.
    pub known_networks: String,
    /// `device,kind`: shared workstations and badge-tap devices.
    pub workstations: String,
    /// `person,from,until`: RFC 3339.
    pub shifts: String,
}

/// The origin of a sign-in, as a LogEvent describes it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The address.
    pub ip: String,
    /// The user agent.
    pub agent: String,
    /// The platform's id of the device, where it knows the device.
    pub device: Option<String>,
    /// The number of the network (autonomous system).
    pub asn: u32,
    /// The country as Okta spells it.
    pub country: String,
    /// Latitude and longitude in degrees.
    pub place: (f64, f64),
}

/// An event of the System Log.
#[derive(Clone, Debug)]
pub struct SystemEvent<'a> {
    /// The type of the event.
    pub kind: &'a str,
    /// `SUCCESS` or `FAILURE`.
    pub result: &'a str,
    /// The id of the person; `unknown` where Okta does not know the name.
    pub person: &'a str,
    /// The session, where there is one.
    pub session: Option<&'a str>,
    /// RFC 3339.
    pub published: &'a str,
}

impl SystemEvent<'_> {
    /// The LogEvent.
    pub fn body(&self, from: &Origin) -> Value {
        let (latitude, longitude) = from.place;
        json!({
            "uuid": event(), "published": self.published, "eventType": self.kind, "version": "0", "severity": "INFO",
            "legacyEventType": null, "displayMessage": self.kind,
            "actor": {"id": self.person, "type": "User", "alternateId": format!("{}@ward.test", self.person), "displayName": self.person, "detailEntry": null},
            "client": {
                "userAgent": {"rawUserAgent": from.agent, "os": "", "browser": ""}, "zone": "null", "device": "Computer", "id": null, "ipAddress": from.ip,
                "geographicalContext": {"city": null, "state": null, "country": from.country, "postalCode": null, "geolocation": {"lat": latitude, "lon": longitude}}
            },
            "device": from.device.as_ref().map(|id| json!({"id": id, "name": id})),
            "authenticationContext": {"authenticationStep": 0, "externalSessionId": self.session},
            "outcome": {"result": self.result, "reason": null}, "target": [],
            "transaction": {"type": "WEB", "id": "req7", "detail": {}}, "debugContext": {"debugData": {}},
            "securityContext": {"asNumber": from.asn, "asOrg": null, "isp": null, "domain": null, "isProxy": false},
            "request": {"ipChain": [{"ip": from.ip, "geographicalContext": null, "version": "V4", "source": null}]}
        })
    }
}

/// A delivery of these LogEvents: the body of an `okta.event` call.
pub fn delivery(events: &[Value], at: &str) -> Vec<u8> {
    let body = json!({
        "eventType": "com.okta.event_hook", "eventTypeVersion": "1.0", "cloudEventsVersion": "0.1", "contentType": "application/json",
        "eventId": event(), "eventTime": at, "source": "https://ward.okta.test/api/v1/eventHooks/who1", "data": {"events": events}
    });
    body.to_string().into_bytes()
}

/// Builds a deployment that binds `sign-in-risk` to `okta.token` (hook `token`), `okta.event`
/// (`event`) and `entra.token-issuance-start` (`entra`), with these tables and settings. The
/// settings get the names of the tables.
#[expect(clippy::unwrap_used, reason = "a deployment that cannot be built is a failed test")]
pub fn risk_deployment(tables: &RiskTables, mut settings: Value) -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    deployment.sign_root(|source| source.replace("[\"okta.*\"]", ALL_KINDS));
    // A busy machine that runs the tests is not slow in any other way.
    deployment.sign_plugin("sign-in-risk", |source| {
        assert!(source.contains("time_ms = 250"));
        source.replace("time_ms = 250", "time_ms = 1000")
    });
    deployment.add_hook("event", "okta.event", "");
    deployment.add_hook("entra", "entra.token-issuance-start", "");
    fs::create_dir(deployment.path("release/tables")).unwrap();
    let all = [
        (NETWORKS, "networks", "network,asn,country,latitude,longitude", &tables.networks),
        (KNOWN_NETWORKS, "known-networks", "network,kind", &tables.known_networks),
        (WORKSTATIONS, "shared-workstations", "device,kind", &tables.workstations),
        (SHIFTS, "shifts", "person,from,until", &tables.shifts),
    ];
    for (declaration, name, header, rows) in all {
        let file = format!("{name}.csv");
        deployment.write(&format!("release/tables/{file}"), format!("{header}\n{rows}"));
        let head = format!("name = \"{name}\"\n{TABLE}");
        deployment.declare_table(&format!("{head}{declaration}"), &file, None);
    }
    settings["tables"] = json!({
        "networks": "networks", "known_networks": "known-networks",
        "workstations": "shared-workstations", "shifts": "shifts"
    });
    let on = |hook: &str| Binding::new(hook, "sign-in-risk", settings.clone());
    let stop = [("review", "deny"), ("step-up", "deny")];
    let bindings = [on("token").fallback(&stop), on("event"), on("entra").fallback(&stop)];
    deployment.release(&bindings);
    deployment
}

#[expect(clippy::unwrap_used, reason = "an answer that does not come is a failed test")]
impl Host {
    /// Delivers LogEvents in one call of the hook `event`.
    pub fn deliver(&self, events: &[Value], at: &str) -> Answer {
        self.client().send(&self.request("event", &delivery(events, at))).unwrap()
    }
}

/// Members that all declarations have: the files are made for the tests, and do not age.
const TABLE: &str = r#"format = "csv"
max_age_seconds = 316224000
min_rows = 0
no_match = "treat-as-absent"
several_matches = "use-all"
"#;

const NETWORKS: &str = r#"
[[columns]]
name = "network"
type = "ip-network"

[[columns]]
name = "asn"
type = "integer"

[[columns]]
name = "country"
type = "text"

[[columns]]
name = "latitude"
type = "text"

[[columns]]
name = "longitude"
type = "text"

[key]
columns = ["network"]
kind = "network"
"#;

const KNOWN_NETWORKS: &str = r#"
[[columns]]
name = "network"
type = "ip-network"

[[columns]]
name = "kind"
type = "text"

[key]
columns = ["network"]
kind = "network"
"#;

const WORKSTATIONS: &str = r#"
[[columns]]
name = "device"
type = "text"

[[columns]]
name = "kind"
type = "text"

[key]
columns = ["device"]
"#;

const SHIFTS: &str = r#"
[[columns]]
name = "person"
type = "text"

[[columns]]
name = "from"
type = "instant"

[[columns]]
name = "until"
type = "instant"

[key]
columns = ["person"]
"#;

/// The kinds that the plugin's manifest names.
const ALL_KINDS: &str = r#"["authzen", "entra.*", "okta.*", "ping.*"]"#;
