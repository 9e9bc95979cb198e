//! Keys of every kind: what is loaded, what is refused, and which token goes with which key.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, spki::EncodePublicKey as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use rsa::{
    pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _},
    pkcs8::LineEnding,
    rand_core::OsRng,
    traits::PublicKeyParts as _,
};
use serde_json::{Value, json};

use super::{Authenticator, KeySet};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

static RSA: LazyLock<rsa::RsaPrivateKey> =
    LazyLock::new(|| rsa::RsaPrivateKey::new(&mut OsRng, 2048).unwrap());
static P256: LazyLock<p256::SecretKey> = LazyLock::new(|| p256::SecretKey::random(&mut OsRng));
static ED25519: LazyLock<ed25519_dalek::SigningKey> =
    LazyLock::new(|| ed25519_dalek::SigningKey::from_bytes(&rand::random()));

fn rsa_pem() -> String {
    RSA.to_public_key().to_public_key_pem(LineEnding::LF).unwrap()
}

fn p256_pem() -> String {
    P256.public_key().to_public_key_pem(LineEnding::LF).unwrap()
}

fn spki_pem(der: &[u8]) -> String {
    use base64::engine::general_purpose::STANDARD;
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

fn ed25519_pem() -> String {
    spki_pem(ED25519.verifying_key().to_public_key_der().unwrap().as_bytes())
}

fn rsa_jwk(kid: &str) -> Value {
    let (n, e) = (B64.encode(RSA.n().to_bytes_be()), B64.encode(RSA.e().to_bytes_be()));
    json!({"kty": "RSA", "kid": kid, "n": n, "e": e})
}

fn p256_jwk(kid: &str) -> Value {
    let point = P256.public_key().to_encoded_point(false);
    let (x, y) = (B64.encode(point.x().unwrap()), B64.encode(point.y().unwrap()));
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y})
}

fn ed25519_jwk(kid: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": B64.encode(ED25519.verifying_key().as_bytes())})
}

fn with(mut jwk: Value, member: &str, value: Value) -> Value {
    jwk[member] = value;
    jwk
}

fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

fn signing_key(algorithm: Algorithm) -> EncodingKey {
    use Algorithm::{ES256, EdDSA, HS256, HS384, HS512};
    match algorithm {
        HS256 | HS384 | HS512 => EncodingKey::from_secret(SECRET),
        ES256 => EncodingKey::from_ec_der(P256.to_pkcs8_der().unwrap().as_bytes()),
        EdDSA => EncodingKey::from_ed_der(ED25519.to_pkcs8_der().unwrap().as_bytes()),
        _ => EncodingKey::from_rsa_der(RSA.to_pkcs1_der().unwrap().as_bytes()),
    }
}

fn sign_with(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
    let header = Header { kid: kid.map(ToOwned::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &json!({"sub": "alice", "exp": 4_000_000_000_u64}), key).unwrap()
}

fn sign(algorithm: Algorithm, kid: Option<&str>) -> String {
    sign_with(algorithm, kid, &signing_key(algorithm))
}

fn keys(files: &[(&str, &str)]) -> Result<KeySet, String> {
    let files = files.iter().map(|(name, content)| (*name, content.trim().as_bytes()));
    KeySet::from_files(files).map_err(|error| error.to_string())
}

fn authenticator(files: &[(&str, &str)]) -> Authenticator {
    Authenticator::with_keys(keys(files).unwrap(), None, None)
}

#[test]
fn each_kind_of_key_takes_its_own_algorithms_and_no_other() {
    use Algorithm::{ES256, EdDSA, HS256, HS384, HS512, PS256, RS256, RS384, RS512};
    let secret = std::str::from_utf8(SECRET).unwrap();
    let pkcs1 = RSA.to_public_key().to_pkcs1_pem(LineEnding::LF).unwrap();
    let crlf = rsa_pem().replace('\n', "\r\n");
    let sets = jwks(&[with(rsa_jwk("k"), "alg", json!("RS256"))]);
    let (p256_set, ed25519_set) =
        (jwks(&[p256_jwk("k")]), jwks(&[with(ed25519_jwk("k"), "use", json!("sig"))]));
    let cases: [(&str, &str, &[Algorithm]); 9] = [
        ("k.key", secret, &[HS256, HS384, HS512]),
        ("k.pem", &rsa_pem(), &[RS256]),
        ("k.pem", &crlf, &[RS256]),
        ("k.pem", &pkcs1, &[RS256]),
        ("k.pem", &p256_pem(), &[ES256]),
        ("k.pem", &ed25519_pem(), &[EdDSA]),
        ("jwks.json", &sets, &[RS256]),
        ("jwks.json", &p256_set, &[ES256]),
        ("jwks.json", &ed25519_set, &[EdDSA]),
    ];
    for (name, content, own) in cases {
        let authenticator = authenticator(&[(name, content)]);
        for algorithm in [HS256, HS384, HS512, RS256, RS384, RS512, PS256, ES256, EdDSA] {
            for kid in [None, Some("k")] {
                let verified = authenticator.verify(&sign(algorithm, kid));
                assert_eq!(verified.is_ok(), own.contains(&algorithm), "{name} {algorithm:?}: {verified:?}");
                if let Err(error) = verified {
                    assert!(error.to_string().contains("(alg)"), "{name} {algorithm:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    // The oldest trick: an HMAC with the public key's text, which everybody knows, for a secret.
    let (der, pem) = (P256.public_key().to_public_key_der().unwrap(), p256_pem());
    let point = P256.public_key().to_encoded_point(false);
    for (file, secrets) in [
        (
            rsa_pem(),
            vec![rsa_pem().into_bytes(), rsa_pem().trim().as_bytes().to_vec(), RSA.n().to_bytes_be()],
        ),
        (pem.clone(), vec![pem.into_bytes(), der.as_bytes().to_vec(), point.as_bytes().to_vec()]),
        (ed25519_pem(), vec![ed25519_pem().into_bytes(), ED25519.verifying_key().to_bytes().to_vec()]),
    ] {
        let authenticator = authenticator(&[("k.pem", &file)]);
        for secret in secrets {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let token = sign_with(algorithm, Some("k"), &EncodingKey::from_secret(&secret));
                let error = authenticator.verify(&token).unwrap_err();
                assert!(error.to_string().contains("(alg)"), "{error}");
            }
        }
        let refused = keys(&[("k.key", &file)]).err().unwrap();
        assert!(refused.contains("k.key: holds a PEM"), "{refused}");
    }
}

#[test]
fn a_token_is_checked_with_the_key_it_names() {
    let secret = std::str::from_utf8(SECRET).unwrap();
    let set = jwks(&[ed25519_jwk("ed"), with(rsa_jwk("rsa"), "alg", json!("RS256"))]);
    let all = authenticator(&[("hmac.key", secret), ("ec.pem", &p256_pem()), ("jwks.json", &set)]);
    let algorithms = [
        ("hmac", Algorithm::HS256),
        ("ec", Algorithm::ES256),
        ("ed", Algorithm::EdDSA),
        ("rsa", Algorithm::RS256),
    ];
    for (kid, own) in algorithms {
        for (_, algorithm) in algorithms {
            assert_eq!(
                all.verify(&sign(algorithm, Some(kid))).is_ok(),
                own == algorithm,
                "{kid} {algorithm:?}"
            );
        }
        let unnamed = all.verify(&sign(own, None)).unwrap_err();
        assert!(unnamed.to_string().contains("must name one (kid)"), "{unnamed}");
        for unknown in ["", "hmac.key", "../hmac", "HMAC", "jwks", "jwks.json"] {
            let error = all.verify(&sign(own, Some(unknown))).unwrap_err();
            assert!(error.to_string().contains("not loaded"), "{unknown}: {error}");
        }
    }
    let other = ed25519_dalek::SigningKey::from_bytes(&rand::random());
    let other = EncodingKey::from_ed_der(other.to_pkcs8_der().unwrap().as_bytes());
    let forged = all.verify(&sign_with(Algorithm::EdDSA, Some("ed"), &other)).unwrap_err();
    assert!(forged.to_string().contains("signature"), "{forged}");

    // A key without a name is for tokens that name none, while it is the only one.
    let mut nameless = p256_jwk("");
    nameless.as_object_mut().unwrap().remove("kid");
    let alone = authenticator(&[("jwks.json", &jwks(&[nameless.clone()]))]);
    assert!(alone.verify(&sign(Algorithm::ES256, None)).is_ok());
    assert!(alone.verify(&sign(Algorithm::ES256, Some("ec"))).is_err());
    let two = authenticator(&[("jwks.json", &jwks(&[nameless])), ("hmac.key", secret)]);
    assert!(two.verify(&sign(Algorithm::ES256, None)).is_err());
    assert!(two.verify(&sign(Algorithm::HS256, Some("hmac"))).is_ok());
}

#[test]
fn keys_of_a_set_that_are_for_something_else_are_skipped_and_said() {
    let foreign = [
        (json!({"kty": "EC", "crv": "P-384", "kid": "f", "x": "AA", "y": "AA"}), "unknown curve \"P-384\""),
        (json!({"kty": "OKP", "crv": "X25519", "kid": "f", "x": "AA"}), "unknown curve \"X25519\""),
        (json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "f"}), "unknown kind \"AKP\""),
        (with(rsa_jwk("f"), "use", json!("enc")), "not for signatures"),
        (with(rsa_jwk("f"), "key_ops", json!(["encrypt"])), "not for verifying"),
        (with(rsa_jwk("f"), "alg", json!("PS256")), "is for \"PS256\", its kind is used for RS256"),
        (with(p256_jwk("f"), "alg", json!("ECDH-ES")), "is for \"ECDH-ES\""),
    ];
    for (jwk, why) in foreign {
        let both = keys(&[("jwks.json", &jwks(&[jwk.clone(), p256_jwk("mine")]))]).unwrap();
        assert_eq!((both.len(), both.skipped().len()), (1, 1), "{jwk}");
        assert!(both.skipped()[0].contains(why), "{:?}", both.skipped());
        let none = keys(&[("jwks.json", &jwks(&[jwk]))]).err().unwrap();
        assert!(none.contains("no key in jwks.json") && none.contains(why), "{none}");
    }
}

#[test]
fn every_key_that_cannot_be_used_is_named_without_its_content() {
    let weak = rsa::RsaPrivateKey::new(&mut OsRng, 1024).unwrap().to_public_key();
    let weak_pem = weak.to_public_key_pem(LineEnding::LF).unwrap();
    let weak_set = jwks(&[with(rsa_jwk("w"), "n", json!(B64.encode(weak.n().to_bytes_be())))]);
    let huge_set = jwks(&[with(rsa_jwk("h"), "n", json!(B64.encode([0xff; 600])))]);
    let private = P256.to_pkcs8_pem(LineEnding::LF).unwrap();
    let certificate = rsa_pem().replace("PUBLIC KEY", "CERTIFICATE");
    let (cut, ed448) = (rsa_pem().replace("\n-----END", "AAAA\n-----END"), {
        let mut der = ED25519.verifying_key().to_public_key_der().unwrap().as_bytes().to_vec();
        der[8] = 113;
        spki_pem(&der)
    });
    let oct = jwks(&[json!({"kty": "oct", "kid": "o", "k": B64.encode(SECRET)})]);
    let (none, hmac) = (
        jwks(&[with(rsa_jwk("n"), "alg", json!("none"))]),
        jwks(&[with(rsa_jwk("n"), "alg", json!("HS256"))]),
    );
    let with_d = jwks(&[with(p256_jwk("d"), "d", json!(B64.encode(P256.to_bytes())))]);
    let no_n = jwks(&[json!({"kty": "RSA", "kid": "r", "e": "AQAB"})]);
    let bad_x = jwks(&[with(p256_jwk("x"), "x", json!("not base64!"))]);
    let off_curve = jwks(&[with(p256_jwk("x"), "x", json!(B64.encode([7; 32])))]);
    let short_x = jwks(&[with(ed25519_jwk("x"), "x", json!(B64.encode([7; 31])))]);
    let weak_ed = jwks(&[with(ed25519_jwk("x"), "x", json!(B64.encode([0; 32])))]);
    let twice = jwks(&[p256_jwk("same"), rsa_jwk("same")]);
    let cases: [(&str, &str, &str); 22] = [
        ("a.key", "too short", "at least 32 bytes, this one has 9"),
        ("a.pem", "x", "not a public key in PEM"),
        ("a.pem", "", "not a public key in PEM"),
        ("a.pem", &cut, "not a"),
        ("a.pem", &weak_pem, "at least 2048 bits, this one has 1024"),
        ("a.pem", &private, "private key"),
        ("a.pem", &certificate, "wanted is a \"PUBLIC KEY\""),
        ("a.pem", &ed448, "a key for 1.3.101.113"),
        ("jwks.json", "{}", "not a JWKS: line 1"),
        ("jwks.json", "not json", "not a JWKS: line 1"),
        ("jwks.json", &weak_set, "at least 2048 bits"),
        ("jwks.json", &huge_set, "at most 4096 bits"),
        ("jwks.json", &oct, "key \"o\" is a secret (kty oct)"),
        ("jwks.json", &none, "alg \"none\""),
        ("jwks.json", &hmac, "alg \"HS256\""),
        ("jwks.json", &with_d, "private key (d)"),
        ("jwks.json", &no_n, "key \"r\" has no n"),
        ("jwks.json", &bad_x, "malformed x"),
        ("jwks.json", &off_curve, "not a point on the curve P-256"),
        ("jwks.json", &short_x, "not a point on the curve Ed25519"),
        ("jwks.json", &weak_ed, "not a point on the curve Ed25519"),
        ("jwks.json", &twice, "another key is named \"same\""),
    ];
    for (name, content, why) in cases {
        let error = keys(&[(name, content)]).err().unwrap_or_else(|| panic!("{name} {content} was taken"));
        assert!(error.contains(why) && error.starts_with(name), "{name}: {error}, expected {why}");
        assert!(!error.contains(&B64.encode(SECRET)) && !error.contains("too short"), "{error}");
    }
    let both = keys(&[("a.key", "short"), ("b.pem", "x"), ("jwks.json", &oct)]).err().unwrap();
    assert!(["a.key: ", "b.pem: ", "jwks.json: "].iter().all(|name| both.contains(name)), "{both}");
    let clash = keys(&[("same.pem", &p256_pem()), ("same.key", std::str::from_utf8(SECRET).unwrap())]);
    assert!(clash.err().unwrap().contains("another key is named \"same\""));
    assert!(keys(&[("readme", "x"), ("other.json", "{}")]).err().unwrap().contains("holds no <kid>.key"));
}

#[test]
fn no_token_whatever_it_is_makes_it_panic() {
    let all = authenticator(&[
        ("hmac.key", std::str::from_utf8(SECRET).unwrap()),
        ("ec.pem", &p256_pem()),
        ("ed.pem", &ed25519_pem()),
        ("rsa.pem", &rsa_pem()),
    ]);
    for (kid, algorithm) in [
        ("hmac", Algorithm::HS256),
        ("ec", Algorithm::ES256),
        ("ed", Algorithm::EdDSA),
        ("rsa", Algorithm::RS256),
    ] {
        let token = sign(algorithm, Some(kid));
        assert!(all.verify(&token).is_ok());
        let signature = token.rfind('.').unwrap();
        for end in (0..token.len()).filter(|end| end % 7 == 0 || *end + 4 > token.len() || *end == signature)
        {
            assert!(all.verify(&token[..end]).is_err(), "cut at {end}");
        }
        for at in (0..token.len()).step_by(5) {
            for byte in ["A", ".", "\u{0}", "ü", "="] {
                let mut broken = token.clone();
                broken.replace_range(at..=at, byte);
                // The last character of a part has bits that say nothing.
                assert!(broken == token || all.verify(&broken).is_err() || at + 1 == token.len(), "{broken}");
            }
        }
        for header in ["", "{}", "[]", "null", r#"{"alg":null}"#, r#"{"alg":"RS256","kid":7}"#, "\u{ff}"] {
            let rest = &token[token.find('.').unwrap()..];
            assert!(all.verify(&format!("{}{rest}", B64.encode(header))).is_err(), "{header}");
        }
        let doubled = format!("{token}.{token}");
        assert!(all.verify(&doubled).is_err() && all.verify(&"....".repeat(500)).is_err());
    }
}
