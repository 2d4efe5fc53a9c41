# The fast loop is `make check`; everything a clean machine must pass is `make test`.
GO ?= go

.PHONY: check test format vet shell unit host-packages

check: format vet unit

test: host-packages format vet shell
	IMGBUILD_TEST_ROOT=1 $(GO) test -count=1 -timeout 60m ./...

format:
	@test -z "$$(gofmt -l builder cluster cmd ignition)" || { gofmt -d builder cluster cmd ignition; exit 1; }

vet:
	$(GO) vet ./...

unit:
	$(GO) test -count=1 ./...

shell:
	shellcheck --severity=warning ignition/dracut/90imgbuild/*.sh

# Installs what the tests need where that is possible, else says what is missing.
host-packages:
	@for p in debian-archive-keyring shellcheck; do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	test -z "$$missing" || { \
		test "$$(id -u)" = 0 || { echo "missing packages, install them as root:$$missing" >&2; exit 1; }; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; }
