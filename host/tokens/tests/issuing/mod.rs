//! An issuer for tests: keys made in the test, tokens made by `jsonwebtoken`.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A key of an issuer.
pub struct Maker {
    kid: String,
    jwk: Value,
    algorithms: Vec<Algorithm>,
    key: EncodingKey,
    rsa: Option<RsaKeyPair>,
}

impl Maker {
    pub fn one_of_each() -> Vec<Self> {
        vec![
            Self::rsa(),
            Self::ec("P-256", Algorithm::ES256),
            Self::ec("P-384", Algorithm::ES384),
            Self::ed25519(),
        ]
    }

    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let key = EncodingKey::from_rsa_pem(pem(der.as_ref()).as_bytes()).unwrap();
        let public = pair.public_key();
        let number = |bytes: &[u8]| base64url(bytes);
        let (n, e) = (public.modulus(), public.exponent());
        Self {
            kid: "rsa".into(),
            jwk: json!({"kty": "RSA", "kid": "rsa", "use": "sig", "n": number(n.big_endian_without_leading_zero()), "e": number(e.big_endian_without_leading_zero())}),
            algorithms: vec![
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            key,
            rsa: Some(pair),
        }
    }

    fn ec(curve: &str, algorithm: Algorithm) -> Self {
        let sort = if curve == "P-256" {
            &ECDSA_P256_SHA256_FIXED_SIGNING
        } else {
            &ECDSA_P384_SHA384_FIXED_SIGNING
        };
        let pair = EcdsaKeyPair::generate(sort).unwrap();
        let der = pair.to_pkcs8v1().unwrap();
        let key = EncodingKey::from_ec_pem(pem(der.as_ref()).as_bytes()).unwrap();
        let point = pair.public_key().as_ref()[1..].to_vec();
        let (x, y) = point.split_at(point.len() / 2);
        Self {
            kid: curve.into(),
            jwk: json!({"kty": "EC", "kid": curve, "crv": curve, "x": base64url(x), "y": base64url(y)}),
            algorithms: vec![algorithm],
            key,
            rsa: None,
        }
    }

    fn ed25519() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.as_ref()).unwrap();
        let key = EncodingKey::from_ed_pem(pem(der.as_ref()).as_bytes()).unwrap();
        Self {
            kid: "ed".into(),
            jwk: json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())}),
            algorithms: vec![Algorithm::EdDSA],
            key,
            rsa: None,
        }
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    pub fn algorithms(&self) -> Vec<Algorithm> {
        self.algorithms.clone()
    }

    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// The same without `kid`.
    pub fn sign_unnamed(&self, algorithm: Algorithm, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &self.key).unwrap()
    }

    /// RS256 over a header and claims as they are, whatever they say.
    pub fn sign_raw(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(claims));
        let pair = self.rsa.as_ref().unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", base64url(signature))
    }

    /// The public key in the forms that have been taken for an HMAC secret: DER and PEM, PKCS #1 and SPKI.
    pub fn public_forms(&self) -> Vec<Vec<u8>> {
        let public = self.rsa.as_ref().unwrap().public_key();
        let pkcs1 = public.as_ref().to_vec();
        let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = public.as_der().unwrap();
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
                .into_bytes()
        };
        vec![
            pem("RSA PUBLIC KEY", &pkcs1),
            pem("PUBLIC KEY", spki.as_ref()),
            spki.as_ref().to_vec(),
            pkcs1,
        ]
    }
}

/// A token under a shared secret.
pub fn hmac(secret: &[u8], kid: &str, claims: &Value) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// The same without `kid`.
pub fn hmac_unnamed(secret: &[u8], claims: &Value) -> String {
    let header = Header::new(Algorithm::HS256);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
