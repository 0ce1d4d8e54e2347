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

    /// Sets the time of the platform's event, seconds since 1970.
    #[must_use]
    pub fn at(mut self, seconds: i64) -> Self {
        self.body["eventTime"] = crate::rfc3339(seconds).into();
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

/// An assertion for the application `0oapacs` is about to leave: the body of an `okta.saml` call. The person has these groups and is what the
/// statements say besides.
pub fn assertion(groups: &[&str], statements: &[(&str, Value)]) -> Value {
    let statement = |values: Vec<Value>| {
        let values = values
            .into_iter()
            .map(|value| json!({"attributes": {"xsi:type": "xs:string"}, "value": value}));
        json!({"attributes": {"NameFormat": "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"}, "attributeValues": values.collect::<Vec<_>>()})
    };
    let mut claims =
        json!({"groups": statement(groups.iter().map(|group| json!(group)).collect())});
    for (name, value) in statements {
        claims[*name] = statement(vec![value.clone()]);
    }
    json!({
        "source": "https://ward.okta.test/app/pacs/exk1/sso/saml", "eventId": event(), "eventTime": "2026-11-20T07:00:00.000Z",
        "eventType": "com.okta.saml.tokens.transform", "eventTypeVersion": "1.0", "contentType": "application/json", "cloudEventVersion": "0.1",
        "data": {
            "context": {
                "request": {"id": "req2", "method": "GET", "url": {"value": "https://ward.okta.test/app/pacs/exk1/sso/saml"}, "ipAddress": "192.0.2.7"},
                "protocol": {"type": "SAML2.0", "issuer": {"id": "0oapacs", "name": "Imaging", "uri": "http://www.okta.com/exk1"}},
                "session": {"id": "102s", "userId": "00utest", "login": "noor.haddad@ward.test", "status": "ACTIVE", "amr": ["PASSWORD"]},
                "user": {"id": "00utest", "profile": {"login": "noor.haddad@ward.test", "firstName": "Noor", "lastName": "Haddad", "locale": "en"}}
            },
            "assertion": {
                "subject": {
                    "nameId": "noor.haddad", "nameFormat": "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified",
                    "confirmation": {"method": "urn:oasis:names:tc:SAML:2.0:cm:bearer", "data": {"recipient": "https://pacs.ward.test/acs"}}
                },
                "authentication": {
                    "sessionIndex": "id1.2", "authnContext": {"authnContextClassRef": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"}
                },
                "conditions": {"audienceRestriction": ["urn:ward:pacs"]}, "claims": claims, "lifetime": {"expiration": 300}
            }
        }
    })
}

/// Somebody registers: the body of an `okta.registration` call of self-service registration.
pub fn registration(profile: Value) -> Value {
    json!({
        "eventId": event(), "eventTime": "2026-11-20T07:00:00.000Z", "eventType": "com.okta.user.pre-registration", "eventTypeVersion": 1,
        "contentType": "application/json", "cloudEventVersion": 0.1, "source": "reg1", "requestType": "self.service.registration",
        "data": {
            "context": {"request": {"id": "req3", "method": "POST", "url": {"value": "/idp/idx/enroll/new"}, "ipAddress": "192.0.2.8"}},
            "userProfile": profile, "action": "ALLOW"
        }
    })
}

/// Somebody completes their profile: the body of an `okta.registration` call of progressive profile.
pub fn progressive(update: Value) -> Value {
    let mut body = registration(Value::Null);
    body["requestType"] = json!("progressive.profile");
    body["data"]["userProfileUpdate"] = update;
    body["data"]["context"]["user"] =
        json!({"id": "00utest", "profile": {"login": "noor.haddad@ward.test", "locale": "en"}});
    body
}

/// Somebody signs in whose password is elsewhere: the body of an `okta.password-import` call.
pub fn password(user_name: &str, password: &str) -> Value {
    json!({
        "eventId": event(), "eventTime": "2026-11-20T07:00:00.000Z", "eventType": "com.okta.user.credential.password.import",
        "eventTypeVersion": "1.0", "contentType": "application/json", "cloudEventVersion": "0.1", "source": "https://ward.okta.test/api/v1/inlineHooks/cal3",
        "data": {
            "context": {
                "request": {"id": "req4", "method": "POST", "url": {"value": "/idp/idx/challenge/answer"}, "ipAddress": "192.0.2.9"},
                "credential": {"username": user_name, "password": password}
            },
            "action": {"credential": "UNVERIFIED"}
        }
    })
}

/// A code is to be sent: the body of an `okta.telephony` call.
pub fn message(number: &str, code: &str) -> Value {
    json!({
        "eventId": event(), "eventTime": "2026-11-20T07:00:00.000Z", "eventType": "com.okta.telephony.provider", "eventTypeVersion": "1.0",
        "contentType": "application/json", "cloudEventVersion": "0.1", "source": "https://ward.okta.test/api/v1/inlineHooks/cal4",
        "requestType": "com.okta.user.telephony.mfa-verification",
        "data": {
            "context": {"request": {"id": "req5", "method": "POST", "url": {"value": "/idp/idx/challenge"}, "ipAddress": "192.0.2.10"}},
            "userProfile": {"firstName": "Noor", "lastName": "Haddad", "login": "noor.haddad@ward.test", "userId": "00utest"},
            "messageProfile": {
                "msgTemplate": format!("Your \"ward\" code is {code}"), "phoneNumber": number, "otpExpires": "2026-11-20T07:05:00.000Z",
                "deliveryChannel": "SMS", "otpCode": code, "locale": "EN-US"
            }
        }
    })
}

/// Things have happened: the body of an `okta.event` call with these types of events.
pub fn batch(types: &[&str]) -> Value {
    let told = |kind: &&str| {
        json!({
            "uuid": event(), "published": "2026-11-20T07:00:00.123Z", "eventType": kind, "version": "0", "severity": "INFO",
            "client": {"userAgent": {"rawUserAgent": "Ward/1"}, "ipAddress": "192.0.2.11", "geographicalContext": null, "id": null},
            "actor": {"id": "00utest", "type": "User", "alternateId": "noor.haddad@ward.test", "displayName": "Noor Haddad", "detailEntry": null},
            "outcome": {"result": "SUCCESS", "reason": null}, "device": null,
            "target": [{"id": "0oachart", "type": "AppInstance", "alternateId": "Chart", "displayName": "Chart"}],
            "transaction": {"type": "WEB", "id": "req6", "detail": {}}, "securityContext": {"asNumber": null}
        })
    };
    json!({
        "eventType": "com.okta.event_hook", "eventTypeVersion": "1.0", "cloudEventsVersion": "0.1", "contentType": "application/json",
        "eventId": event(), "eventTime": "2026-11-20T07:00:01.000Z", "source": "https://ward.okta.test/api/v1/eventHooks/who1",
        "data": {"events": types.iter().map(told).collect::<Vec<_>>()}
    })
}
