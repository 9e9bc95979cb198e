# Images of the hub and the operator: static programs, and nothing else. The programs are built
# before, outside (cargo build --release), so that what is tested is what is shipped:
#
#   docker build --target hub      --tag wsc-hub:dev      .
#   docker build --target operator --tag wsc-operator:dev .
#
# On another machine than x86-64 add --build-arg BINARIES=target/$(rustc --print host-tuple)/release.

FROM scratch AS hub
ARG BINARIES=target/x86_64-unknown-linux-gnu/release
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="wsc-hub" \
      org.opencontainers.image.description="WebSocket hub: sends to users, groups or everyone across many nodes" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY ${BINARIES}/wsc-hub /wsc-hub
# Numeric, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["/wsc-hub"]

FROM scratch AS operator
ARG BINARIES=target/x86_64-unknown-linux-gnu/release
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="wsc-operator" \
      org.opencontainers.image.description="Kubernetes operator that runs WebSocket hubs from the resource WscCluster" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# The plugin of kubectl goes along, of the same release: docker create, then docker cp ID:/kubectl-wsc .
COPY ${BINARIES}/wsc-operator ${BINARIES}/kubectl-wsc /
USER 65532:65532
ENTRYPOINT ["/wsc-operator"]
