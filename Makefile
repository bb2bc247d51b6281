# Weft: everything a person does here. `make help` lists it.
SHELL := /bin/bash
GO ?= go
# The same flags for all that is built, or everything is built twice. What tests
# build has them too.
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -trimpath)
BIN := bin/weft
# Debian packages that labs and tests need, and the programs by which they are
# missed. Nothing is installed when all programs are there.
LAB_PROGRAMS := ovs-vswitchd ovs-vsctl vtep-ctl vtysh /usr/lib/frr/bgpd ping ip jq nft
LAB_PACKAGES := openvswitch-switch openvswitch-vtep frr iputils-ping iproute2 jq nftables procps
TEST_PROGRAMS := $(LAB_PROGRAMS) gcc gobgpd tshark tcpdump ethtool lldpd udhcpc dhcpcd rdisc6 qemu-system-x86_64 busybox modprobe
TEST_PACKAGES := $(LAB_PACKAGES) gcc libc6-dev gobgpd tshark tcpdump ethtool lldpd udhcpc dhcpcd-base ndisc6 qemu-system-x86 busybox-static kmod
# Packages with tests that need root and real daemons.
LAB_TESTS = $(shell grep -rl --include='*_test.go' '^//go:build lab' . | xargs -n1 dirname | sort -u)
# Packages with tests that need a kernel of Debian's.
VM_TESTS = $(shell grep -rl --include='*_test.go' '^//go:build vm' . | xargs -n1 dirname | sort -u)

# A line for each test when it ends; -least 2s for none of short ones. The status is
# that of go test, and 1 when a test was skipped.
REPORT = $(GO) run ./lab/report

.DEFAULT_GOAL := help
.PHONY: help build image install-deps install-test-deps demo test test-unit test-lab test-vm test-edges test-tenants test-fabric test-steering lint fuzz bench bench-lab bench-churn bench-moves bench-failures bench-scale bench-plot bench-evpn bench-steering bench-check oracle properties generate clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/weft
	$(GO) build -o $(BIN) ./cmd/weft

IMAGE = weft-node:latest
DOCKER = docker
image: ## build the container image of an exported lab's nodes: IMAGE=weft-node:latest DOCKER=docker (or podman)
	@$(DOCKER) info >/dev/null 2>&1 || { echo "$(DOCKER) is missing here, or its daemon does not run: https://docs.docker.com/engine/install/"; exit 1; }
	CGO_ENABLED=0 $(GO) build -o bin/image/weft ./cmd/weft
	$(DOCKER) build -t $(IMAGE) -f lab/image/Dockerfile bin/image

# $(call install,PROGRAMS,PACKAGES)
define install
@missing=; for p in $(1); do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
if [ -n "$$missing" ]; then echo "installing Debian packages (missing:$$missing)"; \
  [ "$$(id -u)" = 0 ] || { echo "run this as root, or first: apt-get install -y $(2)"; exit 1; }; \
  export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -y -q --no-install-recommends $(2); fi
endef

install-deps: ## install the Debian packages that labs need (root)
	$(call install,$(LAB_PROGRAMS),$(LAB_PACKAGES))

install-test-deps: ## install those that the tests need (root)
	$(call install,$(TEST_PROGRAMS),$(TEST_PACKAGES))

demo: install-deps build ## bring a fabric up, put tenants on it, check every packet, take it down (root)
	./lab/demo.sh $(BIN)

test: install-test-deps lint test-unit bench-check test-lab test-vm ## every test, real fabrics included (root)

test-unit: ## unit tests with the race detector (needs gcc); no root needed
	$(REPORT) -least 5s $(GO) test -json -race -timeout 10m ./...

test-lab: install-test-deps build ## tests with real FRR and Open vSwitch in network namespaces (root)
	$(REPORT) $(GO) test -json -tags lab -p 1 -count 1 -timeout 45m $(LAB_TESTS)

test-vm: install-test-deps build ## tests that need VRFs, in a virtual machine with Debian's kernel, which is fetched once (root)
	$(GO) build -o bin/vm ./lab/vm
	$(REPORT) $(GO) test -json -tags vm -p 1 -count 1 -timeout 20m -exec '$(CURDIR)/bin/vm -memory 4096 -timeout 15m' $(VM_TESTS)

# A part of test-lab.
test-edges: install-test-deps build ## every kind of edge in one network, with packets: vSwitches, hardware VTEPs, EVPN leaves, moving VMs (root)
	$(GO) test -tags lab -count 1 -timeout 15m -v -run 'Edges|Moving|Encapsulation|VTEP|Agents' ./lab
	$(GO) test -tags lab -p 1 -count 1 -timeout 10m ./southbound/vtep ./southbound/evpn

# Another part of test-lab.
test-tenants: install-test-deps build ## what tenants ask for beside networks and ports: routers, leases, advertisements, limits, with real clients and packets (root)
	$(GO) test -tags lab -count 1 -timeout 15m -v -run Tenants ./lab
	$(GO) test -tags lab -p 1 -count 1 -timeout 10m -run 'Requests|Rogue|Limits|Meter|Tenants|Routers|Routing|Routes|Translation' ./southbound/vswitch ./southbound/openflow

# Another part of test-lab.
test-fabric: install-test-deps build ## the fabric itself: shapes and protocols, all their paths in the kernels, what failures cost, and the exported lab, with packets (root)
	$(GO) test -tags lab -count 1 -timeout 25m -v -run 'TestFabric|TestContainerlabFiles' ./lab
	$(GO) test -tags lab -count 1 -timeout 10m ./southbound/frr

# Parts of test-unit and test-lab.
test-steering: install-test-deps build ## traffic steering: weights beside the linear program, policies, failures, five minutes of virtual time; the load of a real fabric (root)
	$(GO) test -count 1 -v ./fabric/congestion ./fabric/demand ./fabric/load ./fabric/steering -rapid.checks=2000
	$(GO) test -count 1 -run TestScripts/steer ./cmd/weft
	$(GO) test -tags lab -count 1 -timeout 15m -v -run TestSteering ./lab
	$(GO) test -tags lab -count 1 -timeout 5m -run TestInjection ./southbound/evpn

lint: ## gofmt, go vet and staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	$(GO) vet -tags lab,vm ./...
	$(GO) tool staticcheck -tags lab,vm ./...

generate: ## make generated code again (models of the OVSDB schema)
	$(GO) generate ./...

fuzz: ## fuzz every decoder for 20 s each
	@for p in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' $$p | awk '{print $$2}' | sort -u); do \
	    echo "== $$p $$f"; $(GO) test -run xxx -fuzz "^$$f$$" -fuzztime 20s $$p || exit 1; done; done

bench-lab: install-deps build ## a fabric of 28 nodes and 64 VMs up, programmed and checked: the time of each phase (root)
	./lab/bench.sh $(BIN)

bench-churn: install-deps ## 10,000 cycles of deletion and creation in a real fabric (root)
	$(GO) test -tags lab -run xxx -bench Churn -benchtime 10000x -timeout 20m -v ./lab/

bench-moves: install-deps ## a VM that moves 100 times between hypervisors, and to and from an EVPN leaf: the gaps (root)
	$(GO) test -tags lab -run xxx -bench Moves -benchtime 50x -timeout 20m -v ./lab/

bench-failures: install-deps build ## every link, switch and daemon of three fabrics fails in turn: tables and pictures in OUT=bin/failures SHAPES="two_tiers pods isis" KINDS=links,crashes (root)
	./lab/failures.sh $(BIN) $(or $(OUT),bin/failures) $(KINDS)

bench: ## the benchmarks of the Go packages
	$(GO) test -run xxx -bench . -benchmem ./...

bench-ovn: build ## the same work by Weft and by OVN, in one run: HV=10 NETS=10 PORTS=1 (root)
	$(call install,ovn-nbctl ovn-northd ovn-controller ovs-vswitchd,ovn-central ovn-host openvswitch-switch)
	$(GO) test -tags bench -count 1 -v -timeout 30m -run BesideOVN ./lab/bench -args -weft $(CURDIR)/$(BIN) \
	  -hypervisors $(or $(HV),10) -networks $(or $(NETS),10) -ports $(or $(PORTS),1)

SCALE_POINTS = $(if $(filter full,$(SCALE)),100:10000$(,)1000:10000$(,)1000:100000$(,)9800:1000000:intent,$(or $(EDGES),200):$(or $(ENDPOINTS),10000))
, := ,
bench-scale: build ## one controller, many simulated edges: EDGES=200 ENDPOINTS=10000 SECONDS_AT_RATE=10 PHASES=single,rates TENANTS=10 REAL=20 OUT=folder, or SCALE=full for all points (root)
	$(call install,ovs-vswitchd ovs-ofctl,openvswitch-switch)
	$(GO) test -tags bench -count 1 -v -timeout 4h -run Scale ./lab/bench -args -weft $(CURDIR)/$(BIN) \
	  -points $(SCALE_POINTS) -seconds $(or $(SECONDS_AT_RATE),$(if $(filter full,$(SCALE)),60,10)) $(if $(PHASES),-phases $(PHASES)) $(if $(TENANTS),-tenants $(TENANTS)) $(if $(REAL),-real $(REAL)) $(if $(OUT),-out $(abspath $(OUT)))

bench-evpn: ## our BGP route reflector beside FRR, gobgpd and BIRD: PEERS=5 ROUTES=1000,20000 (of each) ONE_MAC=1000,20000 DAEMONS=weft,frr,gobgpd,bird LIMIT=45s PROFILE=folder (root)
	$(call install,/usr/lib/frr/bgpd gobgpd bird ip,frr gobgpd bird2 iproute2)
	$(GO) test -tags bench -count 1 -v -timeout 4h -run '^TestEVPN$$' ./lab/bench -args -evpn-peers $(or $(PEERS),5) \
	  $(if $(ROUTES),-evpn-routes $(ROUTES)) $(if $(ONE_MAC),-evpn-one-mac $(ONE_MAC)) $(if $(DAEMONS),-evpn-daemons $(DAEMONS)) \
	  $(if $(LIMIT),-evpn-limit $(LIMIT)) $(if $(PROFILE),-evpn-profile $(abspath $(PROFILE)))

bench-steering: ## the best weights beside the linear program at 64 leaves; time and memory at 1,000 leaves
	$(GO) test -run xxx -bench . -benchtime 5x ./fabric/steering

# Packages with counts that are held to committed figures.
BUDGETS = $(shell grep -rl --include='*_test.go' '^//go:build budget' . | xargs -n1 dirname | sort -u)

bench-check: ## allocations, rows, flow-mods, bytes and writes beside the committed figures; a rise fails (UPDATE=1 writes them anew)
	$(GO) vet -tags budget $(BUDGETS)
	WEFT_BUDGET_UPDATE=$(UPDATE) $(GO) test -tags budget -count 1 -timeout 5m -run '^TestBudget$$' $(BUDGETS)

# Packages with property tests.
PROPERTIES = $(shell grep -rl --include='*_test.go' '"pgregory.net/rapid"' . | xargs -n1 dirname | sort -u)

CHECKS = 1000
properties: ## every property test with many draws: CHECKS=1000 (test-unit has 100 of each, 30 of those that write to etcd)
	$(GO) test -count 1 -timeout 60m $(PROPERTIES) -rapid.checks=$(CHECKS)

ORACLE_OPS = 100000
oracle: ## 100,000 random operations: the model that took each equals one that is told the end (ORACLE_OPS=N)
	WEFT_ORACLE_OPS=$(ORACLE_OPS) $(GO) test -count 1 -timeout 20m -v -run '^TestOracle$$' ./overlay
	$(GO) test -count 1 -timeout 20m -run 'FromScratch' ./overlay -rapid.checks=$$(($(ORACLE_OPS)/30))

bench-plot: ## draw docs/scale.svg from what bench-scale wrote (OUT=) into docs/figures
	$(GO) test -tags bench -count 1 -run TestPlot ./lab/bench -args -figures $(CURDIR)/docs/figures -svg $(CURDIR)/docs/scale.svg

clean: ## remove what was built, and the kernel that was fetched for test-vm
	$(GO) run ./lab/vm -clean
	rm -rf bin
