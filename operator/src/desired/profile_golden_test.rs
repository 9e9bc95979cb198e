//! What every exposure profile writes for every affinity, beside the words of the controller's own documentation, as
//! files that a person has read.
//!
//! `UPDATE_GOLDEN=1 cargo test -p wsc-operator profile_golden` writes the files anew.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::fixture::cluster;
use super::{ingress, profile, services};
use crate::api::exposure::{AffinityType, ExposureProfile, ExposureTlsSpec, ExposureType, HostSpec};

/// Profile, file, where the controller documents what is written.
const CASES: [(ExposureProfile, &str, &[&str]); 5] = [
    (
        ExposureProfile::Generic,
        "generic",
        &[
            "Nothing is written, so there is nothing to document; the Ingress alone is kubernetes.io/docs/concepts/services-networking/ingress/",
        ],
    ),
    (
        ExposureProfile::Traefik,
        "traefik",
        &[
            "doc.traefik.io/traefik/reference/routing-configuration/kubernetes/ingress/",
            "  on Service: traefik.ingress.kubernetes.io/service.sticky.cookie, .name, .httponly",
            "  no annotation for a hash by address, and none that WebSockets need",
        ],
    ),
    (
        ExposureProfile::HAProxy,
        "haproxy",
        &[
            "github.com/haproxytech/kubernetes-ingress/blob/master/documentation/annotations.md",
            "  haproxy.org/load-balance: balance algorithm (leastconn, source), on Ingress, Service or ConfigMap",
            "  haproxy.org/cookie-persistence: name of the cookie, on Service or ConfigMap",
            "  timeout-tunnel: ConfigMap only, default 1h",
        ],
    ),
    (
        ExposureProfile::Nginx,
        "nginx",
        &[
            "docs.nginx.com/nginx-ingress-controller/configuration/ingress-resources/advanced-configuration-with-annotations/",
            "  nginx.org/websocket-services, nginx.org/lb-method (least_conn, ip_hash), nginx.org/proxy-read-timeout, -send-timeout",
            "  nginx.com/sticky-cookie-services: NGINX Plus only",
        ],
    ),
    (
        ExposureProfile::IngressNginx,
        "ingress-nginx",
        &[
            "kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/",
            "  nginx.ingress.kubernetes.io/affinity, affinity-mode, session-cookie-name; upstream-hash-by; proxy-read-timeout, proxy-send-timeout (seconds)",
            "  retired: kubernetes.io/blog/2025/11/11/ingress-nginx-retirement/",
        ],
    ),
];

fn render(kind: ExposureProfile, documentation: &[&str]) -> String {
    let mut text: String = documentation.iter().map(|line| format!("# {line}\n")).collect();
    for affinity in [AffinityType::None, AffinityType::Cookie, AffinityType::ClientIP] {
        let mut cluster = cluster();
        let exposure = &mut cluster.spec.exposure;
        exposure.type_ = ExposureType::Ingress;
        exposure.profile = kind;
        exposure.affinity.type_ = affinity;
        exposure.ingress_class_name = "edge".into();
        exposure.hosts = vec![HostSpec { host: "chat.example.org".into(), paths: vec!["/ws".into()] }];
        exposure.tls = Some(ExposureTlsSpec { secret_name: "chat-tls".into() });
        let (ingress, service) = (ingress::ingress(&cluster), services::client(&cluster));
        let said = profile::of(&cluster);
        let shown: Value = json!({
            "affinity": affinity,
            "unsupported": said.unsupported, "warning": said.warning,
            "ingress": {"annotations": ingress.metadata.annotations, "spec": ingress.spec},
            "service": {"annotations": service.metadata.annotations,
                        "sessionAffinity": service.spec.unwrap().session_affinity},
        });
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(&shown).unwrap());
    }
    text
}

#[test]
fn golden_exposure_profiles() {
    for (kind, file, documentation) in CASES {
        let rendered = render(kind, documentation);
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/desired/golden/profile-{file}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            std::fs::write(&path, &rendered).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; write it with UPDATE_GOLDEN=1", path.display()));
        assert_eq!(rendered, expected, "{}: if that is meant, run with UPDATE_GOLDEN=1", path.display());
    }
}
