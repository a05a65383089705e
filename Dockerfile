# The image: one static program, and nothing else.
#
#   docker build --tag registry.example/spark-webhook:0.1.0 .
#
# Where there is Rust but no registry, `make image` makes only the last stage, from a program that it has built by the same `make image-binary`.

FROM docker.io/library/rust:1.95.0-bookworm AS program
WORKDIR /source
COPY . .
RUN make image-binary && cp target/image/*/release/spark-webhook /

FROM scratch
COPY --from=program /spark-webhook /spark-webhook
# By number: the kubelet cannot tell of a name that it is not root.
USER 65532:65532
ENTRYPOINT ["/spark-webhook"]
