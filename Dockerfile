# syntax=docker/dockerfile:1
# parlor-server, and nothing but the libraries that it loads. See docs/server.md.
FROM rust:1.94-bookworm AS build
WORKDIR /src
COPY . .
# Shown by --version, /healthz and the log.
ARG COMMIT=
ENV PARLOR_COMMIT=$COMMIT SQLX_OFFLINE=true
# The link argument packs the program's relocations. It needs glibc 2.36, which this image has.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo rustc --release --locked --package server --bin parlor-server \
        -- -C link-arg=-Wl,-z,pack-relative-relocs \
    && deploy/image/assemble target/release/parlor-server /image

FROM scratch
COPY --from=build /image /
USER 65532:65532
# A container has a network of its own, so it must not listen on loopback only.
ENV HOST=0.0.0.0 PORT=9000
EXPOSE 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["/parlor-server", "healthcheck"]
ENTRYPOINT ["/parlor-server"]
