//! Keys of all kinds as an identity provider holds them.

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, spki::EncodePublicKey as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use rsa::{
    pkcs1::EncodeRsaPrivateKey as _,
    pkcs8::{Document, LineEnding},
    rand_core::OsRng,
    traits::PublicKeyParts as _,
};
use serde_json::{Value, json};

/// A fresh key pair.
pub struct SigningKey {
    algorithm: Algorithm,
    encoding: EncodingKey,
    /// The public key as a `<kid>.pem` file holds it.
    pub pem: String,
    /// The public key as a member of a `jwks.json`, without a `kid`.
    pub jwk: Value,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.algorithm)
    }
}

fn pem(public: &Document) -> Result<String> {
    Ok(public.to_pem("PUBLIC KEY", LineEnding::LF)?)
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    /// RSA of 2048 bits.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn rs256() -> Result<Self> {
        let key = rsa::RsaPrivateKey::new(&mut OsRng, 2048)?;
        let public = key.to_public_key();
        Ok(Self {
            algorithm: Algorithm::RS256,
            encoding: EncodingKey::from_rsa_der(key.to_pkcs1_der()?.as_bytes()),
            pem: pem(&public.to_public_key_der()?)?,
            jwk: json!({"kty": "RSA", "n": text(&public.n().to_bytes_be()), "e": text(&public.e().to_bytes_be())}),
        })
    }

    /// On the curve P-256.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn es256() -> Result<Self> {
        let key = p256::SecretKey::random(&mut OsRng);
        let point = key.public_key().to_encoded_point(false);
        let coordinate =
            |bytes: Option<_>| bytes.map(|bytes: &p256::FieldBytes| text(bytes)).unwrap_or_default();
        Ok(Self {
            algorithm: Algorithm::ES256,
            encoding: EncodingKey::from_ec_der(key.to_pkcs8_der()?.as_bytes()),
            pem: pem(&key.public_key().to_public_key_der()?)?,
            jwk: json!({"kty": "EC", "crv": "P-256", "x": coordinate(point.x()), "y": coordinate(point.y())}),
        })
    }

    /// On the curve Ed25519.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn ed25519() -> Result<Self> {
        let key = ed25519_dalek::SigningKey::from_bytes(&rand::random());
        Ok(Self {
            algorithm: Algorithm::EdDSA,
            encoding: EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes()),
            pem: pem(&key.verifying_key().to_public_key_der()?)?,
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": text(key.verifying_key().as_bytes())}),
        })
    }

    /// The public key in a set, with a `kid`.
    #[must_use]
    pub fn named(&self, kid: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = kid.into();
        jwk
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn sign(&self, kid: Option<&str>, claims: &Value) -> Result<String> {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        Ok(jsonwebtoken::encode(&header, claims, &self.encoding)?)
    }
}

/// A key set as a `jwks.json` holds it.
#[must_use]
pub fn key_set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}
