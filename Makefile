# Two commands do everything, set-up included:
#   make image ROLE=master   builds the image of a role into out/
#   make test                everything that a clean machine must pass
#   make test-ha             what takes hours without KVM: clusters of many machines and more
# The fast loop is `make check`. `make bench` measures, see docs/performance.md.
GO ?= go
ROLE ?= master
# What `make image` builds from, and where to.
CLUSTER ?= build/cluster.yaml
OUT ?= out
VERSION ?= 0.1.0
# Flags of `make bench`: --builds, --boots, --runs N, --json …
BENCH ?=

DIRS := builder cluster cmd console firstboot ignition install lab netboot protocol roles seed storage test
# A change of any of these makes another lock.
LOCKED := $(wildcard roles/*/role.yaml roles/parts/*/part.yaml roles/bases/*.yaml builder/components/*/*.yaml builder/components/*/module.* builder/components/*/main.go)

.PHONY: all build image check test test-ha bench emulator format vet shell static unit host-packages test-packages bench-packages

all: build

# Both programs: the agent is part of every image and must be beside imgbuild.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/...

image: host-packages build $(CLUSTER) $(dir $(CLUSTER))imgbuild.lock
	bin/imgbuild -c $(CLUSTER) role $(ROLE) --out $(OUT)

$(CLUSTER): | build
	mkdir -p $(dir $@)
	bin/imgbuild init --topology single > $@.part && mv $@.part $@

$(dir $(CLUSTER))imgbuild.lock: $(LOCKED) | build $(CLUSTER)
	bin/imgbuild -c $(CLUSTER) lock
	@touch $@

check: format vet static unit

# One package at a time: emulated machines and compilers share the cores.
test: emulator format vet static shell build
	IMGBUILD_TEST_ROOT=1 $(GO) test -count=1 -p 1 -timeout 80m ./...

# All tests with machines, also those that call onlyTestHA.
test-ha: emulator build
	IMGBUILD_TEST_ROOT=1 IMGBUILD_TEST_HA=1 $(GO) test -count=1 -v -timeout 8h ./test

# Alone on the machine, as root. The tables go to standard output.
bench: bench-packages emulator build
	@$(GO) build -o build/bench ./test/bench
	@build/bench $(BENCH)

# A QEMU that can emulate several processors, for the tests and for you.
emulator: test-packages
	test/qemu.sh build/qemu

test test-ha bench: export PATH := $(CURDIR)/build/qemu:$(PATH)

format:
	@test -z "$$(gofmt -l $(wildcard $(DIRS)))" || { gofmt -d $(wildcard $(DIRS)); exit 1; }

vet:
	$(GO) vet ./...

static:
	$(GO) tool staticcheck ./...

unit:
	$(GO) test -count=1 ./...

shell:
	shellcheck --severity=warning ignition/dracut/90imgbuild/*.sh builder/images/bake.sh builder/components/refresh.sh \
		roles/parts/balancer-keepalived/rootfs/usr/lib/imgbuild/haproxy-alive roles/parts/etcd-snapshots/rootfs/usr/lib/imgbuild/etcd-snapshot \
		test/qemu.sh test/bench/mkosi.sh test/bench/roles/master/rootfs/usr/lib/imgbuild/import-images.sh

# What building needs of the host, and what tests and the lab need besides.
# Installed where that is possible, else said in one line.
HOST_PACKAGES := debian-archive-keyring ca-certificates
TEST_PACKAGES := shellcheck mmdebstrap qemu-system-x86 qemu-utils ovmf iproute2 openssl haproxy keepalived systemd openssh-client ipxe nginx-light dnsmasq-base tcpdump curl chromium
BENCH_PACKAGES := mmdebstrap mtools qemu-system-x86 qemu-utils ovmf iproute2

host-packages: PACKAGES := $(HOST_PACKAGES)
test-packages: PACKAGES := $(HOST_PACKAGES) $(TEST_PACKAGES)
bench-packages: PACKAGES := $(HOST_PACKAGES) $(BENCH_PACKAGES)
host-packages test-packages bench-packages:
	@for p in $(PACKAGES); do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	test -z "$$missing" || { \
		test "$$(id -u)" = 0 || { echo "missing packages, install them as root:$$missing" >&2; exit 1; }; \
		{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; } >&2; }
