//! Payloads as Okta sends them, with our own people in them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// A new event id.
pub fn event() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("event-{since}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A sign-in: the body of an `okta.token` call.
#[derive(Clone)]
pub struct SignIn {
    /// The body, to be changed at will.
    pub body: Value,
}

/// An import: the body of an `okta.user-import` call.
#[derive(Clone)]
pub struct Import {
    /// The body, to be changed at will.
    pub body: Value,
}

impl SignIn {
    /// Somebody with these groups signs in.
    pub fn with_groups(groups: &[&str]) -> Self {
        let claims = json!({
            "ver": 1, "jti": "AT.t1", "iss": "https://ward.okta.test/oauth2/ehr", "aud": "api://ehr", "cid": "0oaportal", "uid": "00utest",
            "sub": "noor.haddad@ward.test", "userType": "employee", "facility": "north", "groups": groups,
        });
        let body = json!({
            "source": "https://ward.okta.test/oauth2/ehr/v1/authorize", "eventId": event(), "eventTime": "2026-11-20T07:00:00.000Z",
            "eventType": "com.okta.oauth2.tokens.transform", "eventTypeVersion": "1.0", "contentType": "application/json", "cloudEventVersion": "0.1",
            "data": {
                "context": {
                    "request": {"id": "req1", "method": "POST", "url": {"value": "https://ward.okta.test/oauth2/ehr/v1/token"}, "ipAddress": "192.0.2.7"},
                    "protocol": {
                        "type": "OAUTH2.0", "issuer": {"uri": "https://ward.okta.test/oauth2/ehr"},
                        "request": {"scope": "openid", "response_type": "code", "client_id": "0oaportal", "grant_type": "authorization_code"},
                        "client": {"id": "0oaportal", "name": "Portal", "type": "PUBLIC"}
                    },
                    "session": {"id": "102s", "userId": "00utest", "login": "noor.haddad@ward.test", "status": "ACTIVE", "amr": ["PASSWORD"]},
                    "user": {"id": "00utest", "profile": {"login": "noor.haddad@ward.test", "firstName": "Noor", "lastName": "Haddad", "locale": "en"}},
                    "policy": {"id": "00p", "rule": {"id": "0pr"}}
                },
                "identity": {"claims": {"sub": "00utest", "name": "Noor Haddad", "aud": "0oaportal"}, "token": {"lifetime": {"expiration": 3600}}},
                "access": {"claims": claims, "token": {"lifetime": {"expiration": 3600}}, "scopes": {"openid": {"id": "scp1", "action": "GRANT"}}}
            }
        });
        Self { body }
    }

    /// Sets a claim of the access token.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body["data"]["access"]["claims"][name] = value.into();
        self
    }

    /// Leaves out a claim of the access token.
    #[must_use]
    pub fn without_claim(mut self, name: &str) -> Self {
        if let Some(claims) = self.body["data"]["access"]["claims"].as_object_mut() {
            claims.remove(name);
        }
        self
    }

    /// From this client.
    #[must_use]
    pub fn client(mut self, id: &str) -> Self {
        self.body["data"]["context"]["protocol"]["client"]["id"] = id.into();
        self
    }

    /// The same as another event.
    #[must_use]
    pub fn renewed(&self) -> Self {
        self.clone().event(&event())
    }

    /// Sets a member of the person's profile.
    #[must_use]
    pub fn profile(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body["data"]["context"]["user"]["profile"][name] = value.into();
        self
    }

    /// Sets the platform's event id.
    #[must_use]
    pub fn event(mut self, id: &str) -> Self {
        self.body["eventId"] = id.into();
        self
    }

    /// The bytes that go over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        self.body.to_string().into_bytes()
    }
}

impl Import {
    /// Somebody with these groups is imported.
    pub fn with_groups(groups: &[&str]) -> Self {
        let body = json!({
            "source": "cal1", "eventId": event(), "eventTime": "2026-11-20T05:00:00.000Z", "eventType": "com.okta.import.transform",
            "eventTypeVersion": "1.0", "contentType": "application/json", "cloudEventVersion": "0.1",
            "data": {
                "context": {
                    "conflicts": [], "matches": [], "policy": ["EMAIL"], "job": {"id": "ij1", "type": "import:users"},
                    "application": {"name": "hr", "id": "0oahr", "label": "HR", "status": "ACTIVE"}
                },
                "action": {"result": "CREATE_USER"},
                "appUser": {"profile": {"firstName": "Ines", "lastName": "Moreau", "userType": "employee", "secondEmail": null, "groups": groups}},
                "user": {"profile": {"login": "ines.moreau@ward.test", "firstName": "Ines", "lastName": "Moreau", "accessEnd": null}}
            }
        });
        Self { body }
    }

    /// Sets a member of the application's profile.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body["data"]["appUser"]["profile"][name] = value.into();
        self
    }

    /// The bytes that go over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        self.body.to_string().into_bytes()
    }
}
