# The image of leanspec-node. Stages: builder, test, development, and node, which comes last so that it is what
# "docker build ." makes. It builds with BuildKit and with Docker's older builder.

# What it is built from: VERSION and REVISION end up in "leanspec-node version" and in the image's labels. They are
# arguments because .git is not sent to the builder; "make image" sets them. The same commit with the same two
# arguments gives the same binary, byte for byte.
ARG VERSION=unknown
ARG REVISION=unknown

# The Go toolchain runs on the machine that builds, for whatever machine the image is for. The older builder does
# not set BUILDPLATFORM; "linux" alone means that machine.
FROM --platform=${BUILDPLATFORM:-linux} golang:1.26-bookworm AS builder
WORKDIR /src

# Go's own settings, for those who need others.
ARG GOPROXY GOFLAGS

# The modules change rarely; this way they are a layer of their own.
COPY go.mod go.sum ./
RUN go mod download

COPY . .

# TARGETOS and TARGETARCH are set by BuildKit, or empty, which is the machine that builds. /app/data is for the genesis
# and the keys, /data for what the node keeps. Everybody may write there: whoever runs the container with --user, to read
# key files of their own, gets a volume with these permissions.
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

# ---- node: the binary, the certificates for checkpoint sync by https, and nothing else
FROM scratch AS node
ARG VERSION REVISION
LABEL org.opencontainers.image.title="leanspec-node" \
      org.opencontainers.image.description="A Lean Ethereum consensus node" \
      org.opencontainers.image.source="https://github.com/leanEthereum/leanspec-node" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# One step, as the older builder can lose a layer between two of them.
COPY --from=builder /out /

# The user of the Python image, so that folders which were made for that one fit. A number, as Kubernetes wants it
# to see that it is not root.
USER 1000:1000
WORKDIR /app

# The record of what the validators signed needs a place that can be written even where the keys cannot.
ENV LEANSPEC_LOG_FORMAT=json \
    LEANSPEC_DATA_DIR=/data
VOLUME /data

# 9001: QUIC. 9000: the same, for networks that use the Python image's port. 5052: API. 8008: metrics and health.
EXPOSE 9000/udp 9001/udp 5052 8008

HEALTHCHECK --interval=10s --timeout=5s --start-period=1m \
    CMD ["/usr/local/bin/leanspec-node", "health"]

ENTRYPOINT ["/usr/local/bin/leanspec-node"]
CMD ["--help"]
