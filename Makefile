# make test    everything that proves the project, with what it needs installed first (CI runs this)
# make audit   licences, sources and bans of the dependency tree
# make fuzz    the fuzz targets, SECONDS each (600 unless given: make fuzz SECONDS=60)
# make bench   what an admission costs, and the server's start and memory
#
# Each group of `make test` prints the seconds it took beside its budget, for a new machine with two cores.

.PHONY: test audit fuzz bench
.DELETE_ON_ERROR:

test:
	@tests/run

audit:
	@tests/tools/install deny
	@"$$(tests/tools/install path deny)/bin/cargo-deny" check bans licenses sources

SECONDS ?= 600
fuzz:
	@tests/fuzz $(SECONDS)

bench:
	cargo bench
