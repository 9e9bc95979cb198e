//! Which image the hub pods run.

use super::inputs::Inputs;
use crate::api::WscCluster;

/// The image of the hub pods: what the spec chooses, parts it leaves open from the operator's default; without any
/// choice the image that runs already, so that a new default restarts nothing.
pub fn hub(cluster: &WscCluster, inputs: &Inputs) -> String {
    let spec = &cluster.spec.image;
    if !spec.is_chosen() {
        return inputs.held_image.clone().unwrap_or_else(|| inputs.default_hub_image.clone());
    }
    let (default_repository, default_tag) = split(&inputs.default_hub_image);
    let repository = spec.repository.as_deref().unwrap_or(default_repository);
    let tag = match (&spec.tag, &spec.digest) {
        (Some(tag), _) => Some(tag.as_str()),
        (None, Some(_)) => None,
        (None, None) => default_tag,
    };
    let mut image = repository.to_owned();
    if let Some(tag) = tag {
        image.push(':');
        image.push_str(tag);
    }
    if let Some(digest) = &spec.digest {
        image.push('@');
        image.push_str(digest);
    }
    image
}

/// Repository and tag of an image; a colon before the last slash is a registry's port.
fn split(image: &str) -> (&str, Option<&str>) {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::{cluster, inputs};

    #[test]
    fn parts_left_open_come_from_the_default() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let default = "registry.example.com:5000/wsc-hub:0.1.0";
        let rows = [
            (None, None, None, default.to_owned()),
            (None, Some("0.2.0"), None, "registry.example.com:5000/wsc-hub:0.2.0".to_owned()),
            (Some("mine/hub"), None, None, "mine/hub:0.1.0".to_owned()),
            (Some("mine/hub"), Some("x"), None, "mine/hub:x".to_owned()),
            (None, None, Some(&digest), format!("registry.example.com:5000/wsc-hub@{digest}")),
            (Some("mine/hub"), Some("x"), Some(&digest), format!("mine/hub:x@{digest}")),
        ];
        for (repository, tag, digest, expected) in rows {
            let mut cluster = cluster();
            cluster.spec.image.repository = repository.map(str::to_owned);
            cluster.spec.image.tag = tag.map(str::to_owned);
            cluster.spec.image.digest = digest.cloned();
            let inputs = Inputs { default_hub_image: default.to_owned(), ..inputs() };
            assert_eq!(hub(&cluster, &inputs), expected);
        }
    }

    #[test]
    fn the_running_image_is_held_only_while_the_spec_names_none() {
        let inputs = Inputs { held_image: Some("wsc-hub:old".into()), ..inputs() };
        let mut cluster = cluster();
        assert_eq!(hub(&cluster, &inputs), "wsc-hub:old");
        cluster.spec.image.tag = Some("new".into());
        assert_eq!(hub(&cluster, &inputs), "wsc-hub:new");
    }

    #[test]
    fn a_default_without_tag_or_with_digest_is_understood() {
        assert_eq!(split("localhost:5000/hub"), ("localhost:5000/hub", None));
        assert_eq!(split("hub@sha256:abc"), ("hub", None));
        assert_eq!(split("hub:1@sha256:abc"), ("hub", Some("1")));
    }
}
