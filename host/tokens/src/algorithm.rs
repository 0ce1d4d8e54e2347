//! The signature algorithms of RFC 7518 section 3.1 and RFC 8037 that a platform may use: asymmetric ones only.
//!
//! Invariant: there is no value for `none` and none for an HMAC, so that no token can ask for them (RFC 8725 section 3.1).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    VerificationAlgorithm,
};

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: what Okta and Entra use.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// The same with SHA-384.
    Ps384,
    /// The same with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519, under its old name `EdDSA` or its own (RFC 9864).
    Ed25519,
}

impl Algorithm {
    /// The algorithm that an `alg` names.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" | "Ed25519" => Self::Ed25519,
            _ => return None,
        })
    }

    /// Those an RSA key can serve.
    pub(crate) const RSA: [(Self, &'static RsaParameters); 6] = [
        (Self::Rs256, &RSA_PKCS1_2048_8192_SHA256),
        (Self::Rs384, &RSA_PKCS1_2048_8192_SHA384),
        (Self::Rs512, &RSA_PKCS1_2048_8192_SHA512),
        (Self::Ps256, &RSA_PSS_2048_8192_SHA256),
        (Self::Ps384, &RSA_PSS_2048_8192_SHA384),
        (Self::Ps512, &RSA_PSS_2048_8192_SHA512),
    ];

    /// What a curve is for, and how many bytes a coordinate has: RFC 7518 section 3.4 ties each curve to one algorithm.
    pub(crate) fn of_curve(
        name: &str,
    ) -> Option<(Self, &'static dyn VerificationAlgorithm, usize)> {
        Some(match name {
            "P-256" => (Self::Es256, &ECDSA_P256_SHA256_FIXED, 32),
            "P-384" => (Self::Es384, &ECDSA_P384_SHA384_FIXED, 48),
            "P-521" => (Self::Es512, &ECDSA_P521_SHA512_FIXED, 66),
            "Ed25519" => (Self::Ed25519, &ED25519, 32),
            _ => return None,
        })
    }
}
