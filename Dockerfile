# The three programs of Quorate, for an unprivileged user.
#
#   docker build -t quorate .
#   docker run --rm quorate version

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked \
      -p quorate -p quorate-node -p quorate-coordinator --bins \
 && install -D -t /out target/dist/quorate target/dist/quorate-node target/dist/quorate-coordinator

FROM debian:bookworm-slim
RUN groupadd --gid 65532 quorate \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/quorate \
      --shell /usr/sbin/nologin quorate \
 && install -d -o quorate -g quorate -m 0700 /var/lib/quorate
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
WORKDIR /var/lib/quorate
ENV QUORATE_HOME=/var/lib/quorate/home
VOLUME ["/var/lib/quorate"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/quorate"]
CMD ["--help"]
