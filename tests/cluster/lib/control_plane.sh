# shellcheck shell=bash
# etcd, API server, controllers and scheduler. They run on the host; the API server listens on the
# bridge's address, the others on loopback or nowhere.

control_plane_pki() {
  local ca=$PKI
  pki_ca "$ca" ca
  pki_ca "$ca" front-proxy-ca
  pki_service_account_key "$ca"
  pki_cert "$ca" ca apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:$API_SERVICE_IP,IP:$HOST_IP,IP:127.0.0.1"
  pki_cert "$ca" ca apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet
  pki_cert "$ca" front-proxy-ca front-proxy /CN=front-proxy
  pki_cert "$ca" ca admin /O=system:masters/CN=admin
  pki_cert "$ca" ca controller-manager /CN=system:kube-controller-manager
  pki_cert "$ca" ca scheduler /CN=system:kube-scheduler
  pki_cert "$ca" ca proxy /CN=system:kube-proxy
  pki_kubeconfig "$ADMIN_KUBECONFIG" "$API_URL" "$ca" admin
  pki_kubeconfig "$STATE/controller-manager.kubeconfig" "$API_URL" "$ca" controller-manager
  pki_kubeconfig "$STATE/scheduler.kubeconfig" "$API_URL" "$ca" scheduler
  pki_kubeconfig "$STATE/proxy.kubeconfig" "$API_URL" "$ca" proxy
}

control_plane_up() {
  control_plane_pki
  # State that outlives the cluster is worth nothing here, so etcd need not wait for the disk.
  process_ensure "$RUN/etcd.pid" "$LOGS/etcd.log" "$BIN/etcd" --name wsc-test --data-dir "$STATE/etcd" --unsafe-no-fsync \
    --log-level warn --listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
    --listen-peer-urls "$ETCD_PEER_URL" --initial-advertise-peer-urls "$ETCD_PEER_URL" \
    --initial-cluster "wsc-test=$ETCD_PEER_URL"

  process_ensure "$RUN/apiserver.pid" "$LOGS/apiserver.log" "$BIN/kube-apiserver" \
    --etcd-servers "$ETCD_URL" --advertise-address "$HOST_IP" --bind-address "$HOST_IP" --secure-port 6443 \
    --allow-privileged --service-cluster-ip-range "$SERVICE_NET" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --client-ca-file "$PKI/ca.crt" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
    --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
    --kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$PKI/sa.pub" --service-account-signing-key-file "$PKI/sa.key" \
    --requestheader-client-ca-file "$PKI/front-proxy-ca.crt" --requestheader-allowed-names front-proxy \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$PKI/front-proxy.crt" --proxy-client-key-file "$PKI/front-proxy.key"

  wait_until 60 "API server ready" control_plane_ready_or_dead || true
  process_must_live "$RUN/etcd.pid" etcd "$LOGS/etcd.log"
  process_must_live "$RUN/apiserver.pid" kube-apiserver "$LOGS/apiserver.log"
  kubectl_admin get --raw /readyz >/dev/null || die "the API server is not ready: $API_URL/readyz" "log: $LOGS/apiserver.log"

  # There is one of each, so no election; a lost node shows after 20 s, not 50 s.
  process_ensure "$RUN/controller-manager.pid" "$LOGS/controller-manager.log" "$BIN/kube-controller-manager" \
    --kubeconfig "$STATE/controller-manager.kubeconfig" --secure-port 0 --leader-elect=false \
    --use-service-account-credentials --service-account-private-key-file "$PKI/sa.key" --root-ca-file "$PKI/ca.crt" \
    --cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key" --node-monitor-grace-period 20s

  process_ensure "$RUN/scheduler.pid" "$LOGS/scheduler.log" "$BIN/kube-scheduler" \
    --kubeconfig "$STATE/scheduler.kubeconfig" --secure-port 0 --leader-elect=false
}

kubectl_admin() { "$BIN/kubectl" --kubeconfig "$ADMIN_KUBECONFIG" --cache-dir "$STATE/kubectl" "$@"; }

control_plane_ready_or_dead() {
  ! process_alive "$RUN/etcd.pid" || ! process_alive "$RUN/apiserver.pid" || kubectl_admin get --raw /readyz
}
