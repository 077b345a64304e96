# The short names people type. `make help` lists them; each says what it does and works from a clean clone.

PYTHON ?= python3
PEERS  ?=

VENV := .venv
BIN  := $(VENV)/bin

.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# What a machine needs beside Python. Whoever is root on Debian or Ubuntu gets it installed; the newest
# distributions have dropped JDK 17, so the first of these that apt knows is taken.
JDKS     := openjdk-17-jdk-headless openjdk-21-jdk-headless openjdk-25-jdk-headless
PACKAGES := bubblewrap libseccomp2 ca-certificates

# What makes machines on Debian.
HOSTS_PACKAGES := vagrant vagrant-lxc lxc mmdebstrap dnsmasq-base nftables iproute2 openssh-client git

# What makes and emulates a machine with a kernel of its own.
MACHINE_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs

APT := DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0

##@ Use it

.PHONY: up
up: $(VENV)/.runtime system ## start a cluster on this machine and run an example; PEERS=7 for more peers
	@$(BIN)/javacluster up $(if $(PEERS),--peers $(PEERS)) --example examples/Hello.java

.PHONY: down
down: ## stop the cluster
	@if [ -x $(BIN)/javacluster ]; then $(BIN)/javacluster down; else echo 'nothing to stop'; fi

.PHONY: bench
bench: $(VENV)/.runtime system ## measure plain java, our engine, a cluster, and a leader killed 20 times
	@$(BIN)/javacluster bench --output docs/benchmarks

.PHONY: soak
soak: $(VENV)/.runtime system ## 10,000 mixed jobs, a tenth of them hostile, on one node: does anything grow?
	@$(BIN)/javacluster soak

.PHONY: drill
drill: $(VENV)/.runtime system ## load a cluster of its own, strike it for MINUTES by SEED, account for every request
	@$(BIN)/javacluster drill --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

##@ Work on it

.PHONY: test
test: $(VENV)/.development system ## every test that needs neither root nor other hosts
	$(BIN)/pytest

.PHONY: sim
sim: $(VENV)/.development ## whole clusters under simulated faults, an invariant each event; SEEDS=20000 for more
	@$(BIN)/python -m tests.simulation sweep --compiled build/simulation --seeds $(or $(SEEDS),2000)
	@$(BIN)/python -m tests.simulation gossip --compiled build/simulation

.PHONY: namespaces
namespaces: $(VENV)/.development system ## real nodes cut off, stopped and killed in network namespaces, all of it (root, 6 min)
	@if [ "$$(id -u)" != 0 ]; then echo 'namespaces needs root: it makes network namespaces' >&2; exit 69; fi
	@for need in ip:iproute2 nft:nftables faketime:faketime; do if ! command -v "$${need%%:*}" >/dev/null; then \
	  if ! command -v apt-get >/dev/null; then echo "missing: $${need##*:}" >&2; exit 69; fi; \
	  $(APT) update; $(APT) install -y --no-install-recommends "$${need##*:}"; fi; done
	$(BIN)/pytest -m 'exhaustive or not exhaustive' tests/integration/test_protocol_in_namespaces.py

.PHONY: fuzz
fuzz: $(VENV)/.fuzz ## look for bytes that break a parser's promise, SECONDS for each (30)
	@$(BIN)/python -m tests.fuzz run --seconds $(or $(SECONDS),30)

.PHONY: test-hosts
test-hosts: $(VENV)/.hosts ## Vagrant, Ansible and testinfra on machines with systemd, made and destroyed (root, Debian)
	@if [ "$$(id -u)" != 0 ]; then echo 'test-hosts needs root: it makes machines and a bridge' >&2; exit 69; fi
	@if ! command -v apt-get >/dev/null; then echo 'test-hosts makes its machines on Debian only' >&2; exit 69; fi
	@if ! dpkg-query -W $(HOSTS_PACKAGES) >/dev/null 2>&1; then echo 'installing $(HOSTS_PACKAGES)'; \
	  $(APT) update; $(APT) install -y --no-install-recommends $(HOSTS_PACKAGES); fi
	@tests/hosts/run

.PHONY: hostile
hostile: $(VENV)/.development system ## hostile programs, the whole catalogue; ROWS=exhaustive for what `make test` leaves out
	$(BIN)/pytest -m '$(or $(ROWS),exhaustive or not exhaustive)' tests/hostile

.PHONY: hostile-cgroup2
hostile-cgroup2: $(VENV)/.development ## its resource part under a Debian kernel with cgroup v2, emulated (root, Debian; 30 min)
	@if [ "$$(id -u)" != 0 ]; then echo 'hostile-cgroup2 needs root: it makes a disk with Debian on it' >&2; exit 69; fi
	@if ! command -v apt-get >/dev/null; then echo 'hostile-cgroup2 makes its machine on Debian only' >&2; exit 69; fi
	@if ! dpkg-query -W $(MACHINE_PACKAGES) >/dev/null 2>&1; then echo 'installing $(MACHINE_PACKAGES)'; \
	  $(APT) update; $(APT) install -y --no-install-recommends $(MACHINE_PACKAGES); fi
	@tests/hostile/machine/run

.PHONY: lint
lint: $(VENV)/.development ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .

.PHONY: docs
docs: $(VENV)/.development ## the documentation as a site, in build/site
	$(BIN)/zensical build --strict --clean
	@echo 'open build/site/index.html'

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { print "\n" substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@

.PHONY: system
system:
	@major=$$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p' || true); \
	if [ "$${major:-0}" -ge 17 ] && command -v bwrap >/dev/null; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	  echo 'missing: a JDK (17 or newer) or bubblewrap. Install both from your distribution.' >&2; exit 69; \
	fi; \
	if [ "$$(id -u)" = 0 ]; then echo 'installing a JDK and bubblewrap'; $(APT) update; fi; \
	jdk=$$(for name in $(JDKS); do if apt-cache show "$$name" >/dev/null 2>&1; then echo "$$name"; break; fi; done); \
	if [ "$$(id -u)" = 0 ]; then $(APT) install -y --no-install-recommends "$$jdk" $(PACKAGES); exit 0; fi; \
	echo 'missing: a JDK (17 or newer) or bubblewrap. Install both with:' >&2; \
	echo "  sudo apt-get install -y --no-install-recommends $${jdk:-$(firstword $(JDKS))} $(PACKAGES)" >&2; exit 69

$(BIN)/python:
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo 'missing: Python 3.11 or newer; name it with `make PYTHON=/path/to/python3 ...`' >&2; exit 69; fi
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo 'installing python3-venv'; $(APT) update; $(APT) install -y --no-install-recommends python3-venv; \
	  else \
	    echo 'missing: the venv module. Install it with:' >&2; \
	    echo '  sudo apt-get install -y python3-venv' >&2; exit 69; \
	  fi; \
	fi
	@echo 'making a virtual environment in $(VENV)'
	@$(PYTHON) -m venv $(VENV)

PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --constraint constraints.txt

$(VENV)/.runtime: $(BIN)/python pyproject.toml setup.py constraints.txt
	@echo 'installing javacluster and what it needs into $(VENV)'
	@$(PIP) pip
	@$(PIP) --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	@echo 'installing the tools for tests and checks into $(VENV)'
	@$(PIP) --group dev
	@touch $@

$(VENV)/.fuzz: $(VENV)/.development
	@echo 'installing atheris into $(VENV)'
	@$(PIP) --group fuzz
	@touch $@

$(VENV)/.hosts: $(VENV)/.development
	@echo 'installing Ansible and testinfra into $(VENV)'
	@$(PIP) --group hosts
	@touch $@
