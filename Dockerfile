# The image of the controller: `docker build .` or `buildah build .`; with an SSH client for ssh remotes: `--target ssh`.
#
# The same sources give the same binary: the toolchain and the dependencies are pinned, paths are cut off, nothing looks at
# the clock. For the same image as well, pin the bases by digest (build arguments), and set SOURCE_DATE_EPOCH with
# `--output type=image,rewrite-timestamp=true` (Docker) or `--timestamp 0` (Buildah), which dates the files in it, too.

# Cargo's profile. `make test` builds with `ci`, which is quick; `make release-check` checks what is delivered.
ARG PROFILE=release
# The version of cargo-auditable, which puts the list of crates into the program, for scanners; empty for none.
ARG AUDITABLE=0.7.7
# Where it is built. The default image has this one's glibc; that of the one below must not be older.
ARG RUST=docker.io/library/rust:1.95.0-slim-bookworm
ARG DEBIAN=docker.io/library/debian:bookworm-slim

FROM ${RUST} AS dependencies
ARG PROFILE
ARG AUDITABLE
WORKDIR /pinion
# The toolchain of the image, whatever rust-toolchain.toml asks for besides (clippy, rustfmt). A tenth of the binary would be tables
# for unwinding, which a program that aborts never does, and relocations, which can be packed from glibc 2.36 on.
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never \
    RUSTFLAGS="--remap-path-prefix=/pinion=. -Cforce-unwind-tables=no -Clink-arg=-Wl,-z,pack-relative-relocs"
# Named as a target, so that these flags are for the program alone and not for what runs while it is built.
RUN rustc -vV | sed -n 's/^host: //p' >/target

RUN [ -z "$AUDITABLE" ] || env -u RUSTFLAGS cargo install --quiet --locked --root /usr/local "cargo-auditable@$AUDITABLE"

# The dependencies alone, in a layer that lasts until one of them changes.
COPY Cargo.toml Cargo.lock ./
COPY crates/aws/Cargo.toml crates/aws/
COPY crates/clock/Cargo.toml crates/clock/
COPY crates/core/Cargo.toml crates/core/
COPY crates/git/Cargo.toml crates/git/
COPY crates/sim/Cargo.toml crates/sim/
RUN mkdir src crates/aws/src crates/clock/src crates/core/src crates/git/src crates/sim/src \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs crates/aws/src/lib.rs crates/clock/src/lib.rs crates/core/src/lib.rs crates/git/src/lib.rs crates/sim/src/lib.rs \
    && cargo ${AUDITABLE:+auditable} build --profile "$PROFILE" --locked --no-default-features --target "$(cat /target)" \
    && rm -r src crates/*/src

FROM dependencies AS build
ARG PROFILE
ARG AUDITABLE
# Pinion, without the simulator and the demo. What was compiled from the empty sources is older than these are made now.
COPY policies policies
COPY askama.toml ./
COPY crates crates
COPY src src
RUN touch src/main.rs src/lib.rs crates/*/src/lib.rs \
    && cargo ${AUDITABLE:+auditable} build --profile "$PROFILE" --locked --no-default-features --target "$(cat /target)" \
    && install -D -m 755 "target/$(cat /target)/$PROFILE/pinion" out/usr/local/bin/pinion

# All that it needs to run, of the Debian here: glibc, the roots that TLS trusts, a user; and which packages that is from, in the
# form in which scanners look for it.
RUN mkdir -p out/etc/ssl/certs out/var/lib/dpkg/status.d home/nonroot \
    && install -d -m 1777 out/tmp \
    && ldd out/usr/local/bin/pinion | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory=out \
    && cp /etc/ssl/certs/ca-certificates.crt out/etc/ssl/certs/ \
    && cp /usr/lib/os-release out/etc/ \
    && echo 'hosts: files dns' >out/etc/nsswitch.conf \
    && echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >out/etc/passwd \
    && echo 'nonroot:x:65532:' >out/etc/group \
    && for package in libc6 libgcc-s1 ca-certificates; do \
        dpkg-query --status "$package" >"out/var/lib/dpkg/status.d/$package" || exit 1; \
    done

# For repositories by ssh (`ssh`) and by file (`git`).
FROM ${DEBIAN} AS ssh
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
    && groupadd --gid 65532 nonroot \
    && useradd --uid 65532 --gid 65532 --home-dir /home/nonroot --create-home nonroot
COPY --from=build /pinion/out/usr/local/bin/ /usr/local/bin/
USER 65532:65532
WORKDIR /home/nonroot
ENTRYPOINT ["/usr/local/bin/pinion"]
CMD ["run"]

# The default: no shell, no package manager. It writes nothing but its mirror of the repository and its history (`cache_dir`), so the
# root file system may be read-only.
FROM scratch AS default
COPY --from=build /pinion/out/ /
COPY --from=build --chown=65532:65532 /pinion/home/ /home/
ENV PATH=/usr/local/bin HOME=/home/nonroot
USER 65532:65532
WORKDIR /home/nonroot
ENTRYPOINT ["/usr/local/bin/pinion"]
CMD ["run"]
