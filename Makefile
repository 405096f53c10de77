# The commands of GenServe. Each installs what it needs first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= configs/cpu.yaml
# The requirement set: `cpu` includes models and a vector store, `gpu` has CUDA builds.
EXTRA ?= $(if $(findstring gpu,$(notdir $(CONFIG))),gpu,cpu)

UV_VERSION := 0.13.9
VENV := .venv$(if $(filter gpu,$(EXTRA)),-gpu)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed-$(EXTRA)
REQUIREMENTS := configs/requirements/$(EXTRA).txt
# Packages for tests and benchmarks only: the service runs without them.
TESTED := $(VENV)/installed-dev
PROMETHEUS := $(VENV)/prometheus
PYTEST := $(BIN)/python -m pytest --durations=15
UNIT := -n 2 --dist worksteal -m "not long" tests/unit

# A dozen processes import the same libraries. Without stored bytecode each would compile them
# again, and the service would take twice as long to start.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install serve test test-with-service test-without-service test-clients test-unit test-long test-upgrade browser prometheus lint format bench bench-abuse bench-attribution bench-collections bench-cluster bench-gpu bench-images
.PHONY: bench-first-token bench-ingest bench-kill bench-memory bench-model-change bench-ocr bench-page bench-pdf bench-pictures bench-query-rewriting
.PHONY: bench-ranking bench-responses bench-retrieval bench-schemas bench-search bench-streams bench-tokens bench-uploads bench-web-pages eval check soak requirements clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Only create the environment (EXTRA=gpu for CUDA builds)

serve: $(INSTALLED) ## Install, prepare the models, start the service and print what to try
	@$(BIN)/genserve serve $(CONFIG)

test: $(TESTED) browser prometheus ## Install, run all tests but the long proofs, and print how long each part took
	@$(uv_environment); $(part); \
	part "unit" $(PYTEST) $(UNIT); \
	part "integration" $(MAKE) --no-print-directory -j 2 test-with-service test-without-service; \
	summary

test-with-service: # In one process: all use the same service
	@$(PYTEST) -m "service and not long and not clients" tests/integration

test-without-service: # Beside it; its output follows at the end
	@output=$$(mktemp); status=0; \
	$(PYTEST) -n 2 --dist loadfile -m "not service and not long and not clients" tests/integration >$$output 2>&1 || status=$$?; \
	cat $$output; rm $$output; exit $$status

test-long: $(TESTED) ## The long proofs: a cluster of nodes, two replicas of Jobs (12 minutes)
	@$(uv_environment); $(part); \
	part "cluster and replicas" $(PYTEST) -m long tests/unit tests/integration; \
	part "reference" env GENSERVE_TEST_EXAMPLES=25 $(PYTEST) tests/integration/test_reference.py; \
	summary

test-clients: $(TESTED) ## Run real clients, each in an environment of its own, against the service (8 minutes)
	@$(uv_environment); $(part); \
	part "clients" $(PYTEST) tests/integration/test_clients.py tests/integration/test_clients_apart.py tests/integration/test_agents.py; \
	summary

test-upgrade: $(TESTED) ## Version 0.1.0 fills a data folder, and this version answers from it (8 minutes)
	@$(PYTEST) -m long tests/integration/test_upgrade.py

test-unit: $(TESTED) ## Only the tests that need no Ray (three minutes)
	@$(part); part "unit" $(PYTEST) $(UNIT); summary

browser: # Chromium, for the tests of the page
	@for name in chromium chromium-browser google-chrome; do \
	  ! command -v $$name >/dev/null || exit 0; \
	done; \
	echo "==> installing Chromium"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	else \
	  echo "error: the tests of the page need Chromium; install it, or run \`make test-unit\`"; exit 1; \
	fi

prometheus: $(TESTED) # For the tests of the metrics; Debian's package is unpacked, not installed
	@! command -v prometheus >/dev/null || ! command -v promtool >/dev/null || exit 0; \
	test ! -x $(PROMETHEUS)/usr/bin/promtool || exit 0; \
	echo "==> fetching Prometheus"; \
	command -v apt-get >/dev/null || \
	  { echo "error: the tests of the metrics need prometheus and promtool on the PATH"; exit 1; }; \
	mkdir -p $(PROMETHEUS) && cd $(PROMETHEUS) && rm -f *.deb; \
	apt-get download -qq prometheus 2>/dev/null || \
	  { apt-get update -qq && apt-get download -qq prometheus 2>/dev/null; } || \
	  { echo "error: apt-get has no prometheus; install it, or run \`make test-unit\`"; exit 1; }; \
	dpkg -x prometheus_*.deb . && rm -f *.deb

lint: $(TESTED) ## Style, types, import rules, and the shipped configurations
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/genserve check serve_config.yaml configs/*.yaml

format: $(TESTED) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

check: $(INSTALLED) ## Check CONFIG without starting anything
	@$(BIN)/genserve check $(CONFIG)

eval: $(INSTALLED) ## Measure a running service (URL, KEY) on documents with questions (DATA)
	@$(BIN)/genserve eval "$(or $(DATA),$(GENSERVE_EVAL_DATA),../shared/data/xquad-en-dev.json)" \
	  $(if $(URL),--url "$(URL)") $(if $(KEY),--key "$(KEY)") --out .data/evaluation

bench: $(TESTED) ## Measure against bare vLLM and the naive service (some 40 minutes)
	@$(BIN)/python -m tests.bench.serving

bench-tokens: $(TESTED) ## The cost of the graph per token, beside bare vLLM, with a fast engine (45 minutes)
	@$(BIN)/python -m tests.bench.fast_engine

bench-ocr: $(TESTED) ## Read ten scanned pages and look for their facts (2 minutes)
	@$(BIN)/python -m tests.bench.scans

bench-attribution: $(TESTED) ## Whether sentences get the source that supports them, and what it costs (10 minutes)
	@$(BIN)/python -m tests.bench.attribution

bench-collections: $(TESTED) ## Collections of up to 100,000 documents: search, lists, uploads, compaction (12 minutes)
	@$(BIN)/python -m tests.bench.collections

bench-first-token: $(TESTED) ## What a grounded answer waits for before its first token (3 minutes)
	@$(BIN)/python -m tests.bench.first_token

bench-model-change: $(TESTED) ## Change the embedding model of a running service, and back (15 minutes)
	@$(BIN)/python -m tests.bench.model_change

bench-streams: $(TESTED) ## The memory of 1,000 open streams (4 minutes)
	@$(BIN)/python -m tests.bench.idle_streams

bench-memory: $(INSTALLED) ## Measure the resident memory of each deployment (2 minutes)
	@$(BIN)/python -m tests.bench.service memory

bench-kill: $(TESTED) ## Kill replicas and nodes 60 times under load; nothing may be lost (25 minutes)
	@$(BIN)/python -m tests.bench.kills

bench-responses: $(TESTED) ## Store responses while two ingress replicas and Jobs are killed; nothing may be lost (4 minutes)
	@$(BIN)/python -m tests.bench.responses

bench-abuse: $(TESTED) ## One key attacks in twelve ways; what a second key notices (32 minutes)
	@$(BIN)/python -m tests.bench.abuse

soak: $(TESTED) ## Half an hour of mixed load: memory and open files must not grow (32 minutes)
	@$(BIN)/python -m tests.bench.soak

bench-cluster: $(TESTED) ## Deploy, scale, update, drain and lose nodes on a Ray of several (20 minutes)
	@$(BIN)/python -m tests.bench.cluster

bench-uploads: $(TESTED) ## Upload 20 PDFs at once and watch latency and memory (10 minutes)
	@$(BIN)/python -m tests.bench.service uploads

bench-ingest: $(TESTED) ## How fast documents are searchable, alone and beside other keys (6 minutes)
	@$(BIN)/python -m tests.bench.ingest

bench-pdf: $(TESTED) ## Compare readers of PDFs on public documents in /tmp/corpora/pdf (10 minutes)
	@$(BIN)/python -m tests.bench.pdf_readers

bench-images: $(TESTED) ## What image jobs cost a chat, and how fast they are taken (10 minutes)
	@$(BIN)/python -m tests.bench.service images

bench-pictures: $(TESTED) ## Score the pictures of the small model and draw the contact sheet
	@$(BIN)/python -m tests.bench.pictures

bench-page: $(TESTED) browser ## Time the page of a running service (URL, KEY); screenshots into SHOTS
	@$(BIN)/python -m tests.bench.page --url $(or $(URL),http://127.0.0.1:8000) --key "$(KEY)" \
	  $(if $(SHOTS),--shots "$(SHOTS)")

bench-gpu: $(INSTALLED) ## Embedder and pictures on a CUDA card (with EXTRA=gpu; 3 minutes)
	@$(BIN)/python -m tests.bench.gpu

bench-search: $(TESTED) ## Time a search among 20,000 chunks of the embedded store (2 minutes)
	@$(BIN)/python -m tests.bench.search_latency

bench-ranking: $(TESTED) ## How well the retriever ranks, on ten data sets or some (SETS="npl en"), beside four baselines (15 minutes)
	@$(BIN)/python -m tests.bench.ranking $(if $(SETS),--sets $(SETS)) $(if $(VECTORS),--vectors "$(VECTORS)")

bench-schemas: $(TESTED) ## Send 300 schemas, honest and hostile, to the model (6 minutes)
	@$(BIN)/python -m tests.bench.schemas

bench-web-pages: $(TESTED) ## The text of real web pages beside the expected one, in CORPUS (1 minute)
	@$(BIN)/python -m tests.bench.web_pages --corpus "$(CORPUS)"

bench-retrieval: $(TESTED) ## Retrieval beside the naive pipeline, also among distractors (6 minutes)
	@$(BIN)/python -m tests.bench.retrieval

bench-query-rewriting: $(TESTED) ## Whether rewriting and rephrasing by the model helps (4 minutes)
	@$(BIN)/python -m tests.bench.retrieval --rewriting

requirements: $(TESTED) ## Compile the pinned requirement files again
	@set -e; $(uv_environment); \
	compile="$(BIN)/uv pip compile pyproject.toml --upgrade --quiet --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links"; \
	cpu="--extra cpu --override configs/requirements/cpu-overrides.txt"; \
	$$compile $$cpu -o configs/requirements/cpu.txt; \
	$$compile $$cpu -c configs/requirements/cpu.txt --group dev -o $(VENV)/all.txt; \
	grep -vxFf configs/requirements/cpu.txt $(VENV)/all.txt > configs/requirements/dev.txt; \
	$$compile $$cpu -c $(VENV)/all.txt --extra renderer -o $(VENV)/renderer.txt; \
	grep -vxFf configs/requirements/cpu.txt $(VENV)/renderer.txt > configs/requirements/renderer.txt; \
	UV_FIND_LINKS= $$compile --extra gpu -o configs/requirements/gpu.txt

clean: ## Remove the environment (the data stays)
	rm -rf $(VENV)

# `part NAME COMMAND...` runs a part of the tests; `summary` prints the minutes of each.
define part
minutes=; \
summary() { printf '==> minutes:%s\n' "$$minutes"; }; \
part() { \
  name=$$1; shift; began=$$(date +%s); status=0; "$$@" || status=$$?; \
  seconds=$$(( $$(date +%s) - began )); \
  minutes="$$minutes $$name $$(( seconds / 60 )).$$(( seconds % 60 / 6 ));"; \
  [ $$status = 0 ] || { summary; exit $$status; }; \
}
endef

# uv does not read pip's configuration: a package index or folders of wheels set there are
# passed on. PyTorch's CPU build comes from such a folder if it has one, else from PyTorch's own
# index. A folder with a CPU build is left out of the GPU environment, where `2.13.0+cpu` would
# satisfy `==2.13.0` and sort before it.
define uv_environment
setting() { $(BIN)/pip config get "global.$$1" 2>/dev/null || true; }; \
folders="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-$$(setting find-links)}}"; \
index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$(setting index-url)}}"; \
[ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"; \
torch=; [ $(EXTRA) = gpu ] || torch=--torch-backend=cpu; \
export UV_FIND_LINKS=; \
for folder in $$(echo "$$folders" | tr , ' '); do \
  case "$$(ls "$$folder" 2>/dev/null)" in *torch-*+cpu*) \
    [ $(EXTRA) != gpu ] || { echo "==> leaving out $$folder: it has PyTorch for CPUs"; continue; }; \
    torch=;; \
  esac; \
  UV_FIND_LINKS="$$UV_FIND_LINKS$${UV_FIND_LINKS:+,}$$folder"; \
done
endef

$(INSTALLED): $(REQUIREMENTS) pyproject.toml
	@echo "==> creating the Python environment ($(EXTRA))"
	@set -e; $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "error: GenServe needs Python 3.11; name it with make PYTHON=..."; exit 1; }; \
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	$(uv_environment); \
	echo "==> installing the packages (some GB the first time)"; \
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --compile-bytecode $$torch -r $(REQUIREMENTS); \
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .; \
	echo "==> checking the environment"; \
	$(BIN)/python -m serve_app.launch.installation $(EXTRA)
	@touch $@

$(TESTED): $(INSTALLED) configs/requirements/dev.txt
	@echo "==> installing what the tests need"
	@$(uv_environment); \
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --compile-bytecode -r configs/requirements/dev.txt
	@touch $@
