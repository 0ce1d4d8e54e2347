//! Why a caller is not proven.
//!
//! Invariant: one code a reason, few enough to be counted one by one. On the wire they all look the same: a stranger learns nothing from
//! them, the operator reads them in `hook.rejected`.

/// Why a caller is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthError {
    /// The header that would prove it is missing, or is there twice.
    NoCredential,
    /// A secret or password that is none of those listed.
    WrongSecret,
    /// No client certificate was offered.
    NoCertificate,
    /// A client certificate that leads to none of the trusted authorities, or is past its time.
    CertificateUntrusted,
    /// A good client certificate of somebody else.
    CertificateName,
    /// Longer than [`Token::MAX_BYTES`](crate::Token::MAX_BYTES).
    TokenTooLong,
    /// No JWS in compact form (RFC 7515), or one whose header or claims are not what RFC 7519 says.
    TokenMalformed,
    /// A `typ` of another sort of token, or a `crit` header.
    TokenType,
    /// `alg` is `none`, an HMAC or unknown, or the key is for another one.
    TokenAlgorithm,
    /// `iss` is not the expected one.
    TokenIssuer,
    /// `tid` is not the expected one.
    TokenTenant,
    /// `aud` is for somebody else.
    TokenAudience,
    /// `azp`, `appid`, `cid` or whichever claim names the client: it is not one of those listed.
    TokenClient,
    /// `exp` has passed.
    TokenExpired,
    /// `nbf` or `iat` is still to come.
    TokenEarly,
    /// The issuer publishes no key of that `kid`.
    TokenKey,
    /// The signature does not hold.
    TokenSignature,
    /// The issuer's keys could not be had, or are older than is trusted: the host's trouble, not the caller's.
    KeysUnavailable,
    /// The token's tenant is not the one that the body names.
    TenantDiffers,
}

impl AuthError {
    /// Every reason, for tables.
    pub const ALL: [Self; 19] = [
        Self::NoCredential,
        Self::WrongSecret,
        Self::NoCertificate,
        Self::CertificateUntrusted,
        Self::CertificateName,
        Self::TokenTooLong,
        Self::TokenMalformed,
        Self::TokenType,
        Self::TokenAlgorithm,
        Self::TokenIssuer,
        Self::TokenTenant,
        Self::TokenAudience,
        Self::TokenClient,
        Self::TokenExpired,
        Self::TokenEarly,
        Self::TokenKey,
        Self::TokenSignature,
        Self::KeysUnavailable,
        Self::TenantDiffers,
    ];

    /// The code in records and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCredential => "no-credential",
            Self::WrongSecret => "wrong-secret",
            Self::NoCertificate => "no-certificate",
            Self::CertificateUntrusted => "certificate-untrusted",
            Self::CertificateName => "certificate-name",
            Self::TokenTooLong => "token-too-long",
            Self::TokenMalformed => "token-malformed",
            Self::TokenType => "token-type",
            Self::TokenAlgorithm => "token-algorithm",
            Self::TokenIssuer => "token-issuer",
            Self::TokenTenant => "token-tenant",
            Self::TokenAudience => "token-audience",
            Self::TokenClient => "token-client",
            Self::TokenExpired => "token-expired",
            Self::TokenEarly => "token-early",
            Self::TokenKey => "token-key",
            Self::TokenSignature => "token-signature",
            Self::KeysUnavailable => "keys-unavailable",
            Self::TenantDiffers => "tenant-differs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_words_of_their_own() {
        let codes: std::collections::BTreeSet<_> =
            AuthError::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), AuthError::ALL.len());
        assert!(
            codes
                .iter()
                .all(|code| code.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()))
        );
    }
}
