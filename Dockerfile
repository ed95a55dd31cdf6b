# What the image is. docker build makes it on a base; packaging/image reads the
# last stage here and makes the same without base or engine.
#
# Any base will do, even scratch: the binary is static, brings root
# certificates for where there are none, and needs no shell.
#
#   docker build --build-arg BASE_IMAGE=scratch .
#
# Run it with a read-only root; only the volume is written to:
#
#   docker run --read-only -v state:/var/lib/m365_defender_exporter -p 10058:10058 IMAGE --demo
ARG BUILD_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG TARGETOS
ARG TARGETARCH
ARG GOPROXY
ARG VERSION=dev
ARG REVISION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The flags are those of the Makefile, so that the binary is the same.
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/prometheus/common/version.Version=${VERSION} -X github.com/prometheus/common/version.Revision=${REVISION}" \
    -o /out/m365_defender_exporter . && mkdir /out/state

FROM ${BASE_IMAGE}
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="m365_defender_exporter" \
      org.opencontainers.image.description="Prometheus exporter for Microsoft 365 Defender incidents" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --chmod=0444 LICENSE /LICENSE
COPY --from=build --chmod=0555 /out/m365_defender_exporter /bin/m365_defender_exporter
# State is written to the working directory. A new volume takes its owner from
# here, and a base without a shell cannot make a directory; its parents are
# root's.
WORKDIR /var/lib
COPY --from=build --chown=65532:65532 --chmod=0700 /out/state /var/lib/m365_defender_exporter
WORKDIR /var/lib/m365_defender_exporter
VOLUME /var/lib/m365_defender_exporter
USER 65532:65532
EXPOSE 10058
ENTRYPOINT ["/bin/m365_defender_exporter"]
CMD []
