# make test       everything that proves the project, with what it needs installed first (CI runs this)
# make test-node  Spark jobs that run on a real node of this machine: Debian 12, as root (CI runs this too)
# make audit      licences, sources and bans of the dependency tree
# make fuzz       the fuzz targets, SECONDS each (600 unless given: make fuzz SECONDS=60)
# make bench      what an admission costs, and the server's start and memory
#
# Each group of `make test` prints the seconds it took beside its budget, for a new machine with two cores.

.PHONY: test test-node audit fuzz bench
.DELETE_ON_ERROR:

test:
	@tests/run

test-node:
	@tests/node/run

audit:
	@tests/tools/install deny
	@"$$(tests/tools/install path deny)/bin/cargo-deny" check bans licenses sources

SECONDS ?= 600
fuzz:
	@tests/fuzz $(SECONDS)

bench:
	cargo bench
