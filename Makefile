# `make` lists what there is. Everything below is a short front for cargo or
# for a script in .ci or tests/vm; all but build and run install what they lack
# (.ci/setup).

CARGO ?= cargo

help:
	@echo 'make build         compile bustd: target/release/bustd'
	@echo 'make run           build it and start the guard in this terminal (ARGS=--dry-run)'
	@echo 'make test          format, lints, tests and documentation'
	@echo 'make static        one small static file, packed: target/static/bustd'
	@echo 'make check-static  its size, memory and other promises'
	@echo 'make machines      builds and tests for seven kinds of machine, and a table (TESTS= BOOT=)'
	@echo 'make machines-table   builds for them, and writes the tables that tell of it'
	@echo 'make fuzz          ten million inputs for the parsers, and damaged trees'
	@echo 'make bench         measurements, beside earlyoom where there is one'
	@echo 'make demo          a virtual machine running out of memory, and saved'
	@echo 'make vm            scenes of memory running out, judged (SCENARIO= GUARD= MEM= REPEAT=)'
	@echo 'make soak          five hundred kills one after the other, and what the guard takes (KILLS=)'
	@echo 'make matrix        all scenes, five times, with bustd, earlyoom, oomd and no guard'
	@echo 'make kernels       some scenes with every kernel that Debian offers (SUITES=)'
	@echo 'make install       what was built, with manual, completions and a service'
	@echo 'make uninstall     what make install put there, away again'
	@echo 'make deb           a Debian package of what was built: target/dist'
	@echo 'make dist          source tarball, static files and their sums: target/dist (MACHINES=)'
	@echo 'make reproducible  a release made twice, in two places, must be the same'
	@echo 'make services      each service file started by its init; packages and hooks tried'
	@echo 'make setup         install what all of these need'
	@echo 'make clean         remove what was built'
	@echo
	@echo 'CARGO=cargo        the cargo to run'
	@echo 'TARGET=aarch64-unknown-linux-musl   static: another kind of machine'
	@echo 'LINKER=aarch64-linux-musl-gcc       static: the C compiler linking for it'
	@echo 'PACK=no            static: a file that does not unpack itself when it starts'
	@echo 'FEATURES=init      static: without rules; with nothing behind =, without COMMAND too'
	@echo 'SETUP=no           install nothing that is missing'
	@echo 'PREFIX=/usr/local DESTDIR= SBINDIR= MANDIR= SYSCONFDIR= UNITDIR=   install: where to'
	@echo 'INIT=systemd|openrc|runit|s6|procd|inittab|none           install: for whom'

setup:
	.ci/setup

build:
	$(CARGO) build --release --locked

run: build
	target/release/bustd -n -V $(ARGS)

test:
	.ci/setup test
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --doc
	$(CARGO) test --locked --tests
	$(CARGO) run --quiet --locked --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz/once \
		--no-default-features --features rules,init -- tests/fuzz/corpus
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps

static:
	.ci/static

check-static: static
	.ci/setup check
	.ci/check-static target/static/bustd
	BUSTD_PLAIN='$(CURDIR)/target/static/bustd.plain' \
		$(CARGO) clippy --release --locked --features loader --bin loader -- -D warnings
	BUSTD_STATIC='$(CURDIR)/target/static/bustd' $(CARGO) test --locked --test packing -- started decodes_the_static_file

# MACHINES=ARCHITECTURES; TESTS=no builds only; BOOT=yes boots two of them in the lab.
machines:
	.ci/machines $(MACHINES)

# The tables of README.md and docs/machines.md, with bytes and memory as they are now.
machines-table:
	TESTS=no .ci/machines $(MACHINES)
	.ci/machines write

# Ten million inputs guided by what they reach, and as many files damaged at random,
# some minutes each; what is not a parser's runs as long as in `make test`.
# See docs/fuzzing.md.
fuzz:
	.ci/setup fuzz
	tests/fuzz/run 3600 10000000
	FUZZ_FACTOR=2500 $(CARGO) test --locked --release --test properties -- parsers_survive
	$(CARGO) test --locked --release --test fuzz_trees

bench: static
	.ci/setup bench
	$(CARGO) bench --locked

demo: static
	.ci/setup demo
	tests/vm/demo

# SCENARIO=short, or names out of tests/vm/scenes; GUARD="bustd earlyoom none";
# MEM=MiB; REPEAT=runs; JOBS=machines at a time; BUSTD_ARGS=options.
vm: static
	.ci/setup vm
	@tests/vm/lab

# KILLS=500; a quarter of an hour.
soak: static
	.ci/setup vm
	@tests/vm/soak

# PEERS=how often with the others. Hours; interrupted, it goes on with RESUME=yes.
# Fails only where it could not be played: a table is to show what was missed.
matrix: static
	.ci/setup vm bench
	@GUARD='earlyoom none' REPEAT=$(or $(PEERS),$(REPEAT),5) JOBS=$(or $(JOBS),1) tests/vm/lab || [ $$? -eq 1 ]
	@GUARD=oomd REPEAT=$(or $(PEERS),$(REPEAT),5) JOBS=$(or $(JOBS),1) tests/vm/lab || [ $$? -eq 1 ]
	@GUARD=bustd REPEAT=$(or $(REPEAT),5) JOBS=$(or $(JOBS),1) tests/vm/lab || [ $$? -eq 1 ]
	@tests/vm/lab table

# SUITES=Debian suites.
kernels: static
	.ci/setup vm
	@tests/vm/kernels $(SUITES)

# What was built before is installed, the static file for preference, so that
# `sudo make install` compiles nothing as root. See contrib/install.
export PREFIX DESTDIR SBINDIR MANDIR SYSCONFDIR UNITDIR INIT FROM

install:
	@contrib/install

uninstall:
	@contrib/install uninstall

# A Debian package of what was built, and what a release consists of: target/dist.
deb:
	@contrib/packages/deb

# MACHINES=ARCHITECTURES, as for machines.
dist:
	@contrib/packages/dist $(MACHINES)

# Each service file started by its init, and packages and hooks tried.
services: static
	.ci/setup services
	tests/services/run
	tests/services/packages

# A release made twice in two places, compared byte for byte; some minutes.
reproducible:
	@tests/services/dist $(MACHINES)

clean:
	$(CARGO) clean

.PHONY: help setup build run test static machines machines-table check-static fuzz bench demo vm kernels soak matrix install uninstall deb dist reproducible services clean
