//! What each Ingress controller wants to read, and what it cannot do.
//!
//! Annotation names and where they are read (Ingress or Service) are those of the controllers' own documentation:
//! doc.traefik.io "Kubernetes Ingress", github.com/haproxytech/kubernetes-ingress documentation/annotations.md,
//! docs.nginx.com "Advanced configuration with Annotations", kubernetes.github.io/ingress-nginx "Annotations".

use std::collections::BTreeMap;

use super::names;
use crate::api::WscCluster;
use crate::api::exposure::{AffinityType, ExposureProfile, ExposureType};

/// Time without traffic after which nginx controllers may close a WebSocket. The hub pings every 25 s, so it only has to
/// be longer than that; an hour also covers clients that only listen while a node is paused.
const NGINX_TIMEOUT_SECONDS: u32 = 3600;

/// What the exposure means for the chosen controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Annotations of the Ingress.
    pub ingress_annotations: BTreeMap<String, String>,
    /// Annotations of the client Service.
    pub service_annotations: BTreeMap<String, String>,
    /// A wish that the controller cannot fulfil for one Ingress, with the setting that can; the rest is still made.
    pub unsupported: Option<String>,
    /// Something the user should know.
    pub warning: Option<String>,
}

/// The profile of a resource.
pub fn of(cluster: &WscCluster) -> Profile {
    let exposure = &cluster.spec.exposure;
    let affinity = exposure.affinity.type_;
    if exposure.type_ == ExposureType::None {
        return Profile {
            unsupported: (affinity == AffinityType::Cookie).then(|| {
                "affinity Cookie needs an Ingress: set exposure.type to Ingress, or affinity.type to ClientIP or None"
                    .to_owned()
            }),
            ..Profile::default()
        };
    }
    if exposure.type_ == ExposureType::Gateway {
        return gateway(affinity, exposure.tls.is_some());
    }
    match exposure.profile {
        ExposureProfile::Generic => generic(affinity),
        ExposureProfile::Traefik => traefik(affinity, &exposure.affinity.cookie_name),
        ExposureProfile::HAProxy => haproxy(affinity, &exposure.affinity.cookie_name),
        ExposureProfile::Nginx => nginx(affinity, &names::client_service(cluster)),
        ExposureProfile::IngressNginx => ingress_nginx(affinity, &exposure.affinity.cookie_name),
    }
}

/// An HTTPRoute says nothing of affinity: `sessionPersistence` is still in the experimental channel of the Gateway API
/// (gateway-api.sigs.k8s.io, GEP-1619), and TLS is a matter of the Gateway's listeners.
fn gateway(affinity: AffinityType, tls: bool) -> Profile {
    let unsupported = if affinity == AffinityType::None {
        tls.then_some(
            "exposure.tls has no place in an HTTPRoute: give the certificate to the listener of the Gateway \
             (spec.listeners[].tls) and remove exposure.tls",
        )
    } else {
        Some(
            "the Gateway API has no stable affinity: set affinity.type to None, or attach a policy of your Gateway's \
             controller to the client Service",
        )
    };
    Profile { unsupported: unsupported.map(str::to_owned), ..Profile::default() }
}

fn generic(affinity: AffinityType) -> Profile {
    Profile {
        unsupported: (affinity != AffinityType::None).then(|| {
            "profile Generic writes no annotations, so affinity is up to the controller: name the controller in \
             exposure.profile, or set affinity.type to None and give the controller's annotations yourself"
                .to_owned()
        }),
        ..Profile::default()
    }
}

/// Traefik does not time out upgraded connections; its sticky cookie is read from the Service.
fn traefik(affinity: AffinityType, cookie: &str) -> Profile {
    let sticky = "traefik.ingress.kubernetes.io/service.sticky.cookie";
    match affinity {
        AffinityType::None => Profile::default(),
        AffinityType::Cookie => Profile {
            service_annotations: annotations([
                (sticky.to_owned(), "true"),
                (format!("{sticky}.name"), cookie),
                (format!("{sticky}.httponly"), "true"),
            ]),
            ..Profile::default()
        },
        AffinityType::ClientIP => Profile {
            unsupported: Some(
                "Traefik cannot balance one Ingress by client address: use affinity Cookie, or an IngressRoute of your \
                 own with strategy hrw"
                    .to_owned(),
            ),
            ..Profile::default()
        },
    }
}

/// haproxytech reads the cookie from the Service and `timeout-tunnel` (1 h unless changed) only from its ConfigMap.
fn haproxy(affinity: AffinityType, cookie: &str) -> Profile {
    let balance = "haproxy.org/load-balance".to_owned();
    match affinity {
        AffinityType::None => {
            Profile { ingress_annotations: annotations([(balance, "leastconn")]), ..Profile::default() }
        }
        AffinityType::Cookie => Profile {
            ingress_annotations: annotations([(balance, "leastconn")]),
            service_annotations: annotations([("haproxy.org/cookie-persistence".to_owned(), cookie)]),
            ..Profile::default()
        },
        AffinityType::ClientIP => {
            Profile { ingress_annotations: annotations([(balance, "source")]), ..Profile::default() }
        }
    }
}

fn nginx(affinity: AffinityType, service: &str) -> Profile {
    let method = if affinity == AffinityType::ClientIP { "ip_hash" } else { "least_conn" };
    let timeout = format!("{NGINX_TIMEOUT_SECONDS}s");
    Profile {
        ingress_annotations: annotations([
            ("nginx.org/websocket-services".to_owned(), service),
            ("nginx.org/lb-method".to_owned(), method),
            ("nginx.org/proxy-read-timeout".to_owned(), &timeout),
            ("nginx.org/proxy-send-timeout".to_owned(), &timeout),
        ]),
        unsupported: (affinity == AffinityType::Cookie).then(|| {
            "the F5 nginx controller has sticky cookies only in its commercial edition (nginx.com/sticky-cookie-services, \
             which you may give in exposure.annotations): use affinity ClientIP or None"
                .to_owned()
        }),
        ..Profile::default()
    }
}

fn ingress_nginx(affinity: AffinityType, cookie: &str) -> Profile {
    let prefix = "nginx.ingress.kubernetes.io";
    let timeout = NGINX_TIMEOUT_SECONDS.to_string();
    let mut ingress_annotations = annotations([
        (format!("{prefix}/proxy-read-timeout"), &timeout),
        (format!("{prefix}/proxy-send-timeout"), &timeout),
    ]);
    match affinity {
        AffinityType::None => {}
        AffinityType::Cookie => ingress_annotations.extend(annotations([
            (format!("{prefix}/affinity"), "cookie"),
            (format!("{prefix}/affinity-mode"), "balanced"),
            (format!("{prefix}/session-cookie-name"), cookie),
        ])),
        AffinityType::ClientIP => {
            ingress_annotations.extend(annotations([(format!("{prefix}/upstream-hash-by"), "$remote_addr")]));
        }
    }
    Profile {
        ingress_annotations,
        warning: Some(
            "profile IngressNginx is for the community nginx controller, which is retired and gets no fixes: move to \
             another controller"
                .to_owned(),
        ),
        ..Profile::default()
    }
}

fn annotations<const N: usize>(pairs: [(String, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::cluster;
    use AffinityType::{ClientIP, Cookie, None as NoAffinity};
    use ExposureProfile::{Generic, HAProxy, IngressNginx, Nginx, Traefik};

    fn profile(profile: ExposureProfile, affinity: AffinityType) -> Profile {
        let mut cluster = cluster();
        cluster.spec.exposure.type_ = ExposureType::Ingress;
        cluster.spec.exposure.profile = profile;
        cluster.spec.exposure.affinity.type_ = affinity;
        of(&cluster)
    }

    /// Profile, affinity, one annotation of the Ingress, one of the Service, supported.
    type Row = (
        ExposureProfile,
        AffinityType,
        Option<(&'static str, &'static str)>,
        Option<(&'static str, &'static str)>,
        bool,
    );

    #[test]
    fn each_controller_gets_what_it_reads_where_it_reads_it() {
        let rows: [Row; 15] = [
            (Generic, NoAffinity, None, None, true),
            (Generic, Cookie, None, None, false),
            (Generic, ClientIP, None, None, false),
            (Traefik, NoAffinity, None, None, true),
            (
                Traefik,
                Cookie,
                None,
                Some(("traefik.ingress.kubernetes.io/service.sticky.cookie.name", "wsc-session")),
                true,
            ),
            (Traefik, ClientIP, None, None, false),
            (HAProxy, NoAffinity, Some(("haproxy.org/load-balance", "leastconn")), None, true),
            (
                HAProxy,
                Cookie,
                Some(("haproxy.org/load-balance", "leastconn")),
                Some(("haproxy.org/cookie-persistence", "wsc-session")),
                true,
            ),
            (HAProxy, ClientIP, Some(("haproxy.org/load-balance", "source")), None, true),
            (Nginx, NoAffinity, Some(("nginx.org/lb-method", "least_conn")), None, true),
            (Nginx, Cookie, Some(("nginx.org/websocket-services", "chat")), None, false),
            (Nginx, ClientIP, Some(("nginx.org/lb-method", "ip_hash")), None, true),
            (
                IngressNginx,
                NoAffinity,
                Some(("nginx.ingress.kubernetes.io/proxy-read-timeout", "3600")),
                None,
                true,
            ),
            (
                IngressNginx,
                Cookie,
                Some(("nginx.ingress.kubernetes.io/session-cookie-name", "wsc-session")),
                None,
                true,
            ),
            (
                IngressNginx,
                ClientIP,
                Some(("nginx.ingress.kubernetes.io/upstream-hash-by", "$remote_addr")),
                None,
                true,
            ),
        ];
        for (kind, affinity, ingress, service, supported) in rows {
            let made = profile(kind, affinity);
            let row = format!("{kind:?} {affinity:?}");
            match ingress {
                Some((key, value)) => {
                    assert_eq!(made.ingress_annotations.get(key).map(String::as_str), Some(value), "{row}");
                }
                None => assert!(made.ingress_annotations.is_empty(), "{row}"),
            }
            match service {
                Some((key, value)) => {
                    assert_eq!(made.service_annotations.get(key).map(String::as_str), Some(value), "{row}");
                }
                None => assert!(made.service_annotations.is_empty(), "{row}"),
            }
            assert_eq!(made.unsupported.is_none(), supported, "{row}");
            assert_eq!(made.warning.is_some(), kind == IngressNginx, "{row}");
        }
    }

    #[test]
    fn a_cookie_without_an_ingress_is_said_to_be_impossible() {
        let mut cluster = cluster();
        assert_eq!(of(&cluster), Profile::default());
        cluster.spec.exposure.affinity.type_ = Cookie;
        assert!(of(&cluster).unsupported.unwrap().contains("needs an Ingress"));
    }
}
