# `make` lists what there is. Everything below is a short front for cargo or
# for a script in .ci or tests/vm; all but build and run install what they lack
# (.ci/setup).

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=

help:
	@echo 'make build         compile bustd: target/release/bustd'
	@echo 'make run           build it and start the guard in this terminal (ARGS=--dry-run)'
	@echo 'make test          format, lints, tests and documentation'
	@echo 'make static        one small static file: target/static/bustd'
	@echo 'make check-static  its size, memory and other promises'
	@echo 'make fuzz          ten million damaged files, and damaged trees'
	@echo 'make bench         measurements, beside earlyoom where there is one'
	@echo 'make demo          a virtual machine running out of memory, and saved'
	@echo 'make vm            scenes of memory running out, judged (SCENARIO= GUARD= MEM= REPEAT=)'
	@echo 'make matrix        all scenes, five times, with bustd, earlyoom and no guard'
	@echo 'make install       what was built, with manual and completions, below DESTDIR and PREFIX'
	@echo 'make uninstall     what make install put there, away again'
	@echo 'make setup         install what all of these need'
	@echo 'make clean         remove what was built'
	@echo
	@echo 'CARGO=cargo        the cargo to run'
	@echo 'TARGET=aarch64-unknown-linux-musl   static: another kind of machine'
	@echo 'LINKER=aarch64-linux-musl-gcc       static: the C compiler linking for it'
	@echo 'SETUP=no           install nothing that is missing'
	@echo 'PREFIX=/usr/local DESTDIR=          install: where to'

setup:
	.ci/setup

build:
	$(CARGO) build --release --locked

run: build
	target/release/bustd -n -V $(ARGS)

test:
	.ci/setup test
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --doc
	$(CARGO) test --locked --tests
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps

static:
	.ci/static

check-static: static
	.ci/setup check
	.ci/check-static target/static/bustd

# Ten million damaged files for the parsers, a few minutes; what is not a parser's
# runs as long as in `make test`.
fuzz:
	.ci/setup test
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

# About an hour on two processors; interrupted, it goes on with RESUME=yes.
# Fails only where it could not be played: a table is to show what was missed.
matrix: static
	.ci/setup vm bench
	@GUARD='earlyoom none bustd' REPEAT=$(or $(REPEAT),5) JOBS=$(or $(JOBS),2) tests/vm/lab || [ $$? -eq 1 ]
	@tests/vm/lab table

# What was built before is installed, the static file for preference, so that
# `sudo make install` compiles nothing as root: the program, its manual and the
# shells' completions.
MAN = share/man/man8/bustd.8
COMPLETIONS = share/bash-completion/completions/bustd share/zsh/site-functions/_bustd \
	share/fish/vendor_completions.d/bustd.fish

install:
	@if [ -x target/static/bustd ]; then from=target/static; \
	elif [ -x target/release/bustd ]; then from=target/release; \
	else echo 'run make static or make build first' >&2; exit 1; fi; \
	set -ex; \
	install -D -m 755 $$from/bustd '$(DESTDIR)$(PREFIX)/sbin/bustd'; \
	for file in $(MAN) $(COMPLETIONS); do \
		install -D -m 644 $$from/$$file "$(DESTDIR)$(PREFIX)/$$file"; \
	done

uninstall:
	cd '$(DESTDIR)$(PREFIX)' && rm -f sbin/bustd $(MAN) $(COMPLETIONS)

clean:
	$(CARGO) clean

.PHONY: help setup build run test static check-static fuzz bench demo vm matrix install uninstall clean
