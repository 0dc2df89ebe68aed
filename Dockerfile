# The image of leanspec-node. Stages: builder, test, development and node. node is the last one, so "docker build ." builds
# it. BuildKit and Docker's older builder both work.

# VERSION and REVISION appear in "leanspec-node version" and in the image's labels. "make image" sets them, because .git is
# not sent to the builder. The same commit and the same two arguments give the same binary, byte for byte.
ARG VERSION=unknown
ARG REVISION=unknown

# The Go toolchain runs on the building machine and cross-compiles. The older builder does not set BUILDPLATFORM; "linux"
# alone means the building machine.
FROM --platform=${BUILDPLATFORM:-linux} golang:1.26-bookworm AS builder
WORKDIR /src

# Settings of Go, for builds that need other ones.
ARG GOPROXY GOFLAGS

# The modules change rarely, so they have their own layer.
COPY go.mod go.sum ./
RUN go mod download

COPY . .

# BuildKit sets TARGETOS and TARGETARCH; empty values mean the building machine. /app/data is for the genesis and the keys,
# /data for the node's data. All users may write to both, so a container that runs with --user can write to its volume.
ARG TARGETOS TARGETARCH VERSION REVISION
RUN make image-binary OUT=/out/usr/local/bin/leanspec-node \
        GOOS="$TARGETOS" GOARCH="$TARGETARCH" VERSION="$VERSION" REVISION="$REVISION" && \
    mkdir -p /out/app/data /out/data && chmod 1777 /out/app/data /out/data && \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt

# ---- test: docker run leanspec-node:test
FROM builder AS test
CMD ["sh", "-c", "make check && go test -short ./..."]

# ---- development: docker run -it -v "$PWD:/src" leanspec-node:dev
FROM builder AS development

# ---- node: the binary and the certificates for checkpoint sync over HTTPS
FROM scratch AS node
ARG VERSION REVISION
LABEL org.opencontainers.image.title="leanspec-node" \
      org.opencontainers.image.description="A Lean Ethereum consensus node" \
      org.opencontainers.image.source="https://github.com/leanEthereum/leanspec-node" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# One step, because the older builder can lose a layer between two of them.
COPY --from=builder /out /

# The user of the Python image, so its folders work here. It is a number because Kubernetes must see that it is not root.
USER 1000:1000
WORKDIR /app

# The signing records need a writable place even if the folder of the keys is read-only. Other containers and published
# ports reach the node only if it serves all interfaces of its container.
ENV LEANSPEC_LOG_FORMAT=json \
    LEANSPEC_HTTP_ADDRESS=0.0.0.0 \
    LEANSPEC_DATA_DIR=/data
VOLUME /data

# 9001: QUIC. 9000: the same, for networks that use the Python image's port. 5052: API. 8008: metrics and health.
EXPOSE 9000/udp 9001/udp 5052 8008

HEALTHCHECK --interval=10s --timeout=5s --start-period=1m \
    CMD ["/usr/local/bin/leanspec-node", "health"]

ENTRYPOINT ["/usr/local/bin/leanspec-node"]
CMD ["--help"]
