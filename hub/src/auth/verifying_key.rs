//! One key that verifies tokens. Its kind decides about the algorithm; a token cannot choose another.

use ed25519_dalek::VerifyingKey as Ed25519Key;
use jsonwebtoken::{Algorithm, DecodingKey};
use p256::{elliptic_curve::sec1::ToEncodedPoint as _, pkcs8::DecodePublicKey as _};
use rsa::{
    BigUint, RsaPublicKey,
    pkcs1::DecodeRsaPublicKey as _,
    pkcs8::{Document, SubjectPublicKeyInfoRef},
    traits::PublicKeyParts as _,
};

/// Shortest secret, in bytes: the hash's size of HS256 (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;
/// Shortest modulus, in bits (RFC 7518 section 3.3).
const SHORTEST_MODULUS: usize = 2048;
const NO_PUBLIC_KEY: &str = "is not a public key in PEM";
/// Names of public key algorithms in a SubjectPublicKeyInfo: RFC 8017, RFC 5480, RFC 8410.
const RSA: &str = "1.2.840.113549.1.1.1";
const ELLIPTIC_CURVE: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";

/// One key that verifies tokens.
pub(super) struct VerifyingKey {
    /// What the signature is checked with.
    pub(super) decoding: DecodingKey,
    /// The algorithms it is for.
    pub(super) algorithms: &'static [Algorithm],
}

impl VerifyingKey {
    /// A secret for HMAC. All three hashes are taken: the secret is the same, and so is what it protects.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn from_secret(secret: &[u8]) -> Result<Self, String> {
        if secret.starts_with(b"-----BEGIN") {
            return Err("holds a PEM, which is no secret: name a public key <kid>.pem".to_owned());
        }
        if secret.len() < SHORTEST_SECRET {
            return Err(format!(
                "a secret has at least {SHORTEST_SECRET} bytes, this one has {}",
                secret.len()
            ));
        }
        let algorithms = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        Ok(Self { decoding: DecodingKey::from_secret(secret), algorithms })
    }

    /// A public key in PEM: a SubjectPublicKeyInfo (`PUBLIC KEY`), or `RSA PUBLIC KEY` as PKCS #1.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let document = std::str::from_utf8(pem).ok().and_then(|text| Document::from_pem(text).ok());
        let (label, document) = document.ok_or(NO_PUBLIC_KEY)?;
        let der = document.as_bytes();
        match label {
            "RSA PUBLIC KEY" => return Self::from_rsa(&RsaPublicKey::from_pkcs1_der(der).map_err(bad_rsa)?),
            "PUBLIC KEY" => {}
            label if label.contains("PRIVATE") => {
                return Err("holds a private key: the hub only verifies, give it the public one".to_owned());
            }
            label => return Err(format!("holds a {label:?}, wanted is a \"PUBLIC KEY\"")),
        }
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| NO_PUBLIC_KEY)?;
        match info.algorithm.oid.to_string().as_str() {
            RSA => {
                let bits = info.subject_public_key.as_bytes().unwrap_or_default();
                Self::from_rsa(&RsaPublicKey::from_pkcs1_der(bits).map_err(bad_rsa)?)
            }
            ELLIPTIC_CURVE => {
                let key = p256::PublicKey::from_public_key_der(der);
                key.map(|key| Self::from_p256(&key))
                    .map_err(|_| "is not a point on the curve P-256".to_owned())
            }
            ED25519 => Self::from_ed25519(info.subject_public_key.as_bytes().unwrap_or_default()),
            oid => Err(format!("is a key for {oid}, wanted is RSA, P-256 or Ed25519")),
        }
    }

    /// Modulus and exponent of an RSA key, big endian.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_rsa_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        // Longer ones are refused below; the bound keeps the arithmetic short.
        if modulus.len().max(exponent.len()) > RsaPublicKey::MAX_SIZE / 4 {
            return Err(format!("a modulus has at most {} bits", RsaPublicKey::MAX_SIZE));
        }
        let (n, e) = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
        Self::from_rsa(&RsaPublicKey::new(n, e).map_err(bad_rsa)?)
    }

    fn from_rsa(key: &RsaPublicKey) -> Result<Self, String> {
        let bits = key.n().bits();
        if bits < SHORTEST_MODULUS {
            return Err(format!("a modulus has at least {SHORTEST_MODULUS} bits, this one has {bits}"));
        }
        let decoding = DecodingKey::from_rsa_raw_components(&key.n().to_bytes_be(), &key.e().to_bytes_be());
        Ok(Self { decoding, algorithms: &[Algorithm::RS256] })
    }

    /// The coordinates of a point on P-256, 32 bytes each.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_p256_coordinates(x: &[u8], y: &[u8]) -> Result<Self, String> {
        let point = [&[4], x, y].concat();
        let key = p256::PublicKey::from_sec1_bytes(&point).ok().filter(|_| (x.len(), y.len()) == (32, 32));
        key.map(|key| Self::from_p256(&key)).ok_or_else(|| "is not a point on the curve P-256".to_owned())
    }

    fn from_p256(key: &p256::PublicKey) -> Self {
        let decoding = DecodingKey::from_ec_der(key.to_encoded_point(false).as_bytes());
        Self { decoding, algorithms: &[Algorithm::ES256] }
    }

    /// The 32 bytes of an Ed25519 key.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_ed25519(bytes: &[u8]) -> Result<Self, String> {
        let key = bytes.try_into().ok().and_then(|bytes| Ed25519Key::from_bytes(bytes).ok());
        // Under a weak key a signature can hold for any message.
        let key = key.filter(|key| !key.is_weak()).ok_or("is not a point on the curve Ed25519")?;
        Ok(Self { decoding: DecodingKey::from_ed_der(key.as_bytes()), algorithms: &[Algorithm::EdDSA] })
    }
}

fn bad_rsa(error: impl std::fmt::Display) -> String {
    format!("is not an RSA public key of at most {} bits: {error}", RsaPublicKey::MAX_SIZE)
}
