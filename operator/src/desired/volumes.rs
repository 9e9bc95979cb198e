//! Secrets as files in the hub pods.
//!
//! Each Secret is mounted whole and without a sub path, so that the kubelet puts new content in place while the pod
//! runs; the hub reads the files again.

use k8s_openapi::api::core::v1::{
    DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, ProjectedVolumeSource,
    SecretProjection, SecretVolumeSource, Volume, VolumeMount, VolumeProjection,
};

use super::labels::REDIS_USER;
use super::names;
use crate::api::WscCluster;
use crate::api::hub::AuthMode;

/// Directory with the keys that verify tokens.
pub const AUTH_KEYS_DIR: &str = "/etc/wsc/auth-keys";
/// Directory with the control API's keys.
pub const API_KEYS_DIR: &str = "/etc/wsc/api-keys";
/// Directory with the Redis user name and password.
pub const REDIS_AUTH_DIR: &str = "/etc/wsc/redis-auth";
/// Directory with the authorities that Redis's certificate must be signed by.
pub const REDIS_CA_DIR: &str = "/etc/wsc/redis-ca";
/// Directory with the certificate the hub shows to Redis.
pub const REDIS_CERT_DIR: &str = "/etc/wsc/redis-cert";

/// The user that a Redis password without a user name belongs to.
pub const DEFAULT_REDIS_USER: &str = "default";

/// Readable by owner and group only; the pods' fsGroup is the group.
const SECRET_FILE_MODE: i32 = 0o440;

/// A Secret and where its files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMount {
    /// Name of the volume.
    pub volume: &'static str,
    /// Name of the Secret.
    pub secret: String,
    /// Directory in the container.
    pub directory: &'static str,
    /// What is shown of it.
    pub content: Content,
}

/// What a mounted Secret shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Every key.
    Whole,
    /// One key.
    Key(&'static str),
    /// Every key, and a file `username` with [`DEFAULT_REDIS_USER`] if the Secret has no such key.
    Credentials,
}

/// The Secrets that the hub pods of a resource read.
pub fn secret_mounts(cluster: &WscCluster) -> Vec<SecretMount> {
    let spec = &cluster.spec;
    let mut mounts = Vec::with_capacity(5);
    let mut add = |volume, secret: String, directory, content| {
        mounts.push(SecretMount { volume, secret, directory, content });
    };
    if spec.hub.auth.mode == AuthMode::Token {
        add("auth-keys", names::effective_auth_secret(cluster), AUTH_KEYS_DIR, Content::Whole);
    }
    add("api-keys", names::effective_api_secret(cluster), API_KEYS_DIR, Content::Whole);
    if spec.redis.managed.is_some() {
        add("redis-auth", names::redis_secret(cluster), REDIS_AUTH_DIR, Content::Key("password"));
    }
    if let Some(external) = &spec.redis.external {
        if let Some(reference) = &external.auth_secret_ref {
            add("redis-auth", reference.name.clone(), REDIS_AUTH_DIR, Content::Credentials);
        }
        if external.tls.enabled {
            if let Some(reference) = &external.tls.ca_secret_ref {
                add("redis-ca", reference.name.clone(), REDIS_CA_DIR, Content::Whole);
            }
            if let Some(reference) = &external.tls.client_cert_secret_ref {
                add("redis-cert", reference.name.clone(), REDIS_CERT_DIR, Content::Whole);
            }
        }
    }
    mounts
}

impl SecretMount {
    /// The volume of the pod.
    pub fn volume(&self) -> Volume {
        let volume = Volume { name: self.volume.to_owned(), ..Volume::default() };
        let items = match self.content {
            Content::Credentials => {
                return Volume { projected: Some(credentials(&self.secret)), ..volume };
            }
            Content::Whole => None,
            Content::Key(key) => {
                Some(vec![KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None }])
            }
        };
        Volume {
            secret: Some(SecretVolumeSource {
                secret_name: Some(self.secret.clone()),
                default_mode: Some(SECRET_FILE_MODE),
                items,
                ..SecretVolumeSource::default()
            }),
            ..volume
        }
    }

    /// The mount of the container.
    pub fn mount(&self) -> VolumeMount {
        VolumeMount {
            name: self.volume.to_owned(),
            mount_path: self.directory.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }
    }
}

/// A later source of a projected volume takes the place of files of an earlier one: first the default user name, taken
/// from the pod's own annotation, then the Secret, which may have a `username`.
fn credentials(secret: &str) -> ProjectedVolumeSource {
    let default_user = DownwardAPIProjection {
        items: Some(vec![DownwardAPIVolumeFile {
            path: "username".to_owned(),
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: format!("metadata.annotations['{REDIS_USER}']"),
            }),
            ..DownwardAPIVolumeFile::default()
        }]),
    };
    let whole = SecretProjection { name: secret.to_owned(), ..SecretProjection::default() };
    ProjectedVolumeSource {
        default_mode: Some(SECRET_FILE_MODE),
        sources: Some(vec![
            VolumeProjection { downward_api: Some(default_user), ..VolumeProjection::default() },
            VolumeProjection { secret: Some(whole), ..VolumeProjection::default() },
        ]),
    }
}
