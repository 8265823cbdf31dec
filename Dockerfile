# The image of the controller: `docker build .` or `buildah build .`; with an SSH client for ssh remotes: `--target ssh`.
#
# The same sources give the same binary: the toolchain and the dependencies are pinned, paths are cut off, nothing looks at
# the clock. For the same image as well, pin the bases by digest (build arguments) and set SOURCE_DATE_EPOCH.

# Where it is built. Its glibc must not be newer than that of the images below.
ARG RUST=docker.io/library/rust:1.95.0-slim-bookworm
# Where it runs: glibc, the roots that TLS trusts, the user `nonroot`; no shell, no package manager.
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot
ARG DEBIAN=docker.io/library/debian:bookworm-slim

FROM ${RUST} AS build
WORKDIR /pinion
# The toolchain of the image, whatever rust-toolchain.toml asks for besides (clippy, rustfmt).
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never RUSTFLAGS="--remap-path-prefix=/pinion=."

# The dependencies alone, in a layer that lasts until one of them changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' >src/main.rs \
    && echo >src/lib.rs \
    && cargo build --release --locked --no-default-features \
    && rm -r src

# Pinion, without the AWS stand-in and the demo. What was compiled from the empty sources is older than these are made now.
COPY policies policies
COPY askama.toml ./
COPY src src
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --no-default-features \
    && install -D -m 755 target/release/pinion out/usr/local/bin/pinion

# For repositories by ssh (`ssh`) and by file (`git`).
FROM ${DEBIAN} AS ssh
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
    && groupadd --gid 65532 nonroot \
    && useradd --uid 65532 --gid 65532 --home-dir /home/nonroot --create-home nonroot
COPY --from=build /pinion/out/ /
USER 65532:65532
WORKDIR /home/nonroot
ENTRYPOINT ["/usr/local/bin/pinion"]
CMD ["run"]

# The default. It writes nothing but its mirror of the repository (`cache_dir`), so the root file system may be read-only.
FROM ${RUNTIME} AS default
COPY --from=build /pinion/out/ /
USER 65532:65532
WORKDIR /home/nonroot
ENTRYPOINT ["/usr/local/bin/pinion"]
CMD ["run"]
