//! Where the primary is, as the Sentinels say.

use super::{
    redis_address::{Endpoint, Login, RedisAddress},
    registry_error::RegistryError,
    vote::majority,
};

/// Asks all Sentinels where the primary is and believes most of them.
///
/// # Errors
/// When none answers, or none knows the primary.
pub(super) async fn primary(address: &RedisAddress, master: &str) -> Result<Endpoint, RegistryError> {
    majority(address.seeds().map(|sentinel| ask(address, sentinel, master)), Endpoint::eq).await
}

async fn ask(address: &RedisAddress, sentinel: Endpoint, master: &str) -> Result<Endpoint, RegistryError> {
    let mut question = redis::cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(master);
    let answer = match address.ask(&sentinel, Login::Sentinel, &question).await {
        // Many installations protect the data and leave the Sentinels open; those refuse any credentials.
        Err(RegistryError::AuthFailed(why)) => {
            address.ask(&sentinel, Login::SentinelOpen, &question).await.map_err(|error| match error {
                RegistryError::AuthFailed(_) => RegistryError::AuthFailed(why),
                other => other,
            })
        }
        answer => answer,
    };
    let answer: Option<(String, u16)> = answer.map_err(|error| named(error, &sentinel))?;
    let (host, port) = answer.ok_or_else(|| {
        RegistryError::Other(format!(
            "the sentinel at {sentinel} watches no primary named {master:?}; correct the name"
        ))
    })?;
    Ok(Endpoint { host, port })
}

/// Errors speak of Redis; this one is a Sentinel.
fn named(error: RegistryError, sentinel: &Endpoint) -> RegistryError {
    match error {
        RegistryError::AuthFailed(why) => RegistryError::AuthFailed(format!("sentinel {sentinel}: {why}")),
        RegistryError::Unreachable(why) => RegistryError::Unreachable(format!("sentinel {sentinel}: {why}")),
        other => other,
    }
}
