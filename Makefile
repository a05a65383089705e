# make help       this list
# make check      format, lints, unit and golden tests, and the library's documentation, in minutes: before each commit
# make test       everything that proves the project, with what it needs installed first (CI runs this)
# make test GROUPS="it chart"  only these groups of it; an unknown group shows their names
# make test-node  Spark jobs that run on a real node of this machine: Debian 12, as root (CI runs this too)
# make test-versions  the cluster and chart tests on the oldest kube-apiserver that is supported, too
# make image      the image as an archive, for docker load or ctr images import: Debian, as root; prints its size
# make image-binary  only the program in it: static, laid out by a profile of admissions; prints its path. On macOS, an ordinary release build
# make release    publishes image, chart, archives and signatures: for the release workflow, which gives REGISTRY and SOURCE
# make audit      licences, sources and bans of the dependency tree
# make oldest-rust  compiles with the oldest Rust that Cargo.toml permits, which must be installed (a hosted job)
# make fuzz       the fuzz targets, SECONDS each (600 unless given: make fuzz SECONDS=60)
# make bench      what an admission costs, and the server's start and memory
# make bench-server  the server under load, beside a floor and an ordinary webhook, for three minutes; fails where a bound is missed
# make bench-cluster  what it adds to the creation of a pod on a real kube-apiserver
# make soak       the long forms of the fault tests: half an hour and more
# make mutants    whether a test fails when the code that decides is changed: an hour, for a change of that code
#
# Each group of `make test` prints the seconds it took beside its budget, for a new machine with two cores.

.PHONY: help check lint test test-node test-versions image image-binary release audit oldest-rust fuzz bench bench-server bench-cluster mutants soak
.DELETE_ON_ERROR:

help:
	@awk '/^#/ { print substr($$0, 3); next } { exit }' Makefile

# With and without the API server's client: the request path needs neither kube nor k8s-openapi.
lint:
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --no-default-features -- -D warnings
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --no-deps --all-features

check: lint
	cargo test --locked --no-default-features --lib
	cargo test --locked --no-default-features --test it golden::

test:
	@tests/run $(GROUPS)

test-node:
	@tests/node/run

test-versions:
	@for tool in oldest spark helm crds prometheus; do tests/tools/install $$tool || exit 1; done
	KUBEBUILDER_ASSETS="$$(tests/tools/install path oldest)" cargo test --locked --test cluster -- \
		--skip neighbours:: --skip policy:: --skip spark::

image: image-binary
	@manifests/image "$(dir $(PROGRAM))" "$(TARGET)/spark-webhook.tar"

TARGET = $(or $(CARGO_TARGET_DIR),target)
# Apart from what tests and fuzz targets build, which would wait for it.
PROGRAMS = $(TARGET)/image
PROGRAM = $(PROGRAMS)/$(shell rustc --version --verbose | sed -n 's/^host: //p')/release/spark-webhook
image-binary:
	@manifests/program "$(PROGRAMS)"

release:
	@manifests/release "$(REGISTRY)" "$(SOURCE)" target/built target/published

audit:
	@tests/tools/install deny
	@"$$(tests/tools/install path deny)/bin/cargo-deny" check bans licenses sources

oldest-rust:
	cargo "+$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)" check --locked --all-features

SECONDS ?= 600
fuzz:
	@tests/fuzz $(SECONDS)

bench:
	cargo bench

bench-server: image-binary
	OURS="$(PROGRAM)" cargo bench --locked --bench server

bench-cluster: image-binary
	@tests/tools/install controlplane
	OURS="$(PROGRAM)" cargo bench --locked --bench cluster

mutants:
	@tests/tools/install mutants
	PROPTEST_CASES=500 "$$(tests/tools/install path mutants)/bin/cargo-mutants" mutants --output target

soak:
	@tests/tools/install controlplane
	SOAK=1 cargo test --locked --release --test faults -- --nocapture --test-threads=1
	SOAK=1 cargo test --locked --release --test it --test cluster -- binary::tls:: managed:: --nocapture --test-threads=1
