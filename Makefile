# On a fresh Debian or Ubuntu: `make demo` and `make test`. They build everything they need.
SHELL := /bin/bash
ENGINE_PYTHON ?= python3
QGIS_PYTHON ?= /usr/bin/python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
ENGINE := .venv/engine
QGIS := .venv/qgis
QT6 := .venv/qt6
PAGE := .venv/page
PLUGINS := $(CURDIR)/.venv/plugins
PROFILE := $(CURDIR)/.venv/profile
VERSION := $(shell sed -n 's/^version=//p' metadata.txt)
PACKAGED := metadata.txt __init__.py plugin.py worker.py protocol cli ui engine training resources \
            docs/user-guide.md docs/images docs/models docs/performance.md docs/scale.md LICENSE README.md CHANGELOG.md .bandit

export QGIS_PLUGINPATH := $(PLUGINS)
export QGIS_CUSTOM_CONFIG_PATH := $(PROFILE)
export ORTHOMASK_PYTHON := $(CURDIR)/$(ENGINE)/bin/python

.PHONY: setup demo test test-engine test-training fuzz test-qgis lint translations format qgis package bench screenshots lock clean
.DEFAULT_GOAL := setup

setup: $(ENGINE)/.ready $(QGIS)/.ready

# QGIS, from the distribution, if it is missing.
.venv/.qgis-installed:
	@mkdir -p .venv
	@$(QGIS_PYTHON) -c "import qgis.core, venv, ensurepip" 2>/dev/null && command -v qgis_process >/dev/null || { \
	  echo "Installing QGIS from the distribution ..."; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    qgis python3-qgis qgis-providers python3-venv xvfb xauth >/dev/null; }
	@touch $@

# Both environments import this folder as `orthomask`, whatever its name: through a link and a .pth file.
define link
@mkdir -p $(PLUGINS) && ln -sfn ../.. $(PLUGINS)/orthomask
@echo "$(PLUGINS)" > "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/orthomask.pth"
endef

$(ENGINE)/.ready: requirements/engine.lock .venv/.qgis-installed
	@echo "Building the engine's environment ..."
	@$(ENGINE_PYTHON) -m venv $(ENGINE)
	@$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(call link,$(ENGINE))
	@printf '#!%s\nfrom orthomask.cli import main\n\nmain()\n' "$(CURDIR)/$(ENGINE)/bin/python" > $(ENGINE)/bin/orthomask
	@chmod +x $(ENGINE)/bin/orthomask
	@touch $@

$(QGIS)/.ready: requirements/qgis.lock .venv/.qgis-installed
	@echo "Building the environment for tests in QGIS ..."
	@$(QGIS_PYTHON) -m venv --system-site-packages $(QGIS)
	@$(QGIS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(call link,$(QGIS))
	@touch $@

# PyQt6 without QGIS, to check that nothing it lacks is used.
$(QT6)/.ready: requirements/qt6.lock $(ENGINE)/.ready
	@$(ENGINE_PYTHON) -m venv $(QT6)
	@$(QT6)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Gradio, Chromium and what drives it, beside the engine's packages, for tests of the page. Gradio wants an older Pillow.
$(PAGE)/.ready: requirements/page.lock $(ENGINE)/.ready .venv/.chromium-installed
	@echo "Building the environment for tests of the page ..."
	@$(ENGINE_PYTHON) -m venv $(PAGE)
	@$(PAGE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@for python in $(ENGINE) $(PAGE); do $$python/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; done | \
	  { read -r engine; read -r page; printf '%s\n' "$$engine" "$(PLUGINS)" > "$$page/orthomask.pth"; }
	@touch $@

# After QGIS: only one can install at a time.
.venv/.chromium-installed: .venv/.qgis-installed
	@{ command -v chromium && command -v chromedriver; } >/dev/null || { \
	  echo "Installing Chromium from the distribution ..."; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; }
	@touch $@

# The main job on the bundled sample, in real QGIS, in a private profile.
demo: setup
	@$(QGIS)/bin/python docs/demo.py demo-output

test: test-engine test-training test-qgis test-page

# Libraries whose networks can be taken over, for the tests; they use the engine's PyTorch.
.venv/foreign/.ready: requirements/foreign.lock $(ENGINE)/.ready
	@$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/foreign -r $<
	@touch $@

test-engine: setup .venv/foreign/.ready
	$(ENGINE)/bin/python -m pytest --hypothesis-profile=ci tests/engine

test-training: setup .venv/foreign/.ready
	$(ENGINE)/bin/python -m pytest --hypothesis-profile=ci tests/training

# The computing tests, again as on an older CPU: without AVX, and so without bf16.
.PHONY: test-lesser
test-lesser: setup
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(ENGINE)/bin/python -m pytest --hypothesis-profile=ci \
	  tests/engine/compute/test_onednn.py tests/engine/compute/test_precision.py tests/engine/models/test_unet.py tests/engine/test_predict.py

# 2,450 damaged rasters, bundles and messages, and a fault at each change of a file.
fuzz: setup
	OMP_NUM_THREADS=1 $(ENGINE)/bin/python -m pytest --hypothesis-profile=fuzz tests/engine/test_fuzz.py tests/engine/test_faults.py \
	  tests/training/test_truth_faults.py tests/training/test_training_faults.py

test-qgis: setup
	QT_QPA_PLATFORM=offscreen $(QGIS)/bin/python -m pytest tests/ui tests/e2e

# The page that the engine serves, in a real browser.
.PHONY: test-page
test-page: $(PAGE)/.ready
	$(PAGE)/bin/python -m pytest tests/page

# flake8-qgis without QGS105 (iface is passed explicitly, to show who uses it) and QGS2 (it goes by names alone). mypy lacks
# Python 3.9, the oldest that QGIS ships; 3.10 is nearest.
lint: setup $(QT6)/.ready
	$(ENGINE)/bin/ruff check .
	$(ENGINE)/bin/ruff format --check .
	$(ENGINE)/bin/mypy
	$(ENGINE)/bin/mypy --python-version 3.10 -p orthomask.ui -p orthomask.protocol -m orthomask.plugin -m orthomask
	$(ENGINE)/bin/flake8 --select QGS1,QGS4 --extend-ignore QGS105 __init__.py plugin.py ui
	$(ENGINE)/bin/lint-imports
	$(QT6)/bin/python tests/qt6/check.py
	git ls-files -- $(PACKAGED) | grep '\.py$$' | xargs $(ENGINE)/bin/bandit --quiet --ini .bandit
	git ls-files -z -- $(PACKAGED) | xargs -0 $(ENGINE)/bin/detect-secrets-hook

# Texts for translators (.po), and the catalogues compiled from them (.mo). Both are committed, so that a checkout, the
# zip and a wheel have every language without a tool.
TRANSLATIONS := resources/translations
translations: $(ENGINE)/.ready
	$(ENGINE)/bin/pybabel --quiet extract --no-default-keywords -k tr -k tr_n:1,2 -k mark --add-location=file --sort-by-file \
	  --width=120 --project=Orthomask --version=$(VERSION) --output=.venv/orthomask.pot \
	  plugin.py worker.py protocol cli/web engine training ui
	$(ENGINE)/bin/pybabel --quiet update --input-file=.venv/orthomask.pot --output-dir=$(TRANSLATIONS) --domain=orthomask \
	  --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --width=120
	$(ENGINE)/bin/pybabel compile --directory=$(TRANSLATIONS) --domain=orthomask --statistics

format: setup
	$(ENGINE)/bin/ruff check --fix .
	$(ENGINE)/bin/ruff format .

# QGIS desktop with the plugin and the sample, in the private profile.
qgis: setup
	-"$$(command -v qgis_process.bin || command -v qgis_process)" plugins enable orthomask >/dev/null 2>&1
	qgis --nologo --noversioncheck resources/sample/banepa.tif

package: $(ENGINE)/.ready
	@rm -rf dist/orthomask && mkdir -p dist/orthomask
	@git ls-files -z $(PACKAGED) | xargs -0 cp --parents -t dist/orthomask
	@cd dist && rm -f orthomask-*.zip && \
	  ../$(ENGINE)/bin/python -m zipfile -c orthomask-$(VERSION).zip orthomask && ls -l orthomask-$(VERSION).zip

# The zip in a fresh profile of real QGIS: installed, set up without network, upgraded, uninstalled. Minutes, and 3 GB of disk.
.PHONY: test-package
test-package: package .venv/.qgis-installed
	$(ENGINE)/bin/orthomask wheelhouse .venv/wheels --python $$($(QGIS_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	$(QGIS_PYTHON) tests/package/install_zip.py dist/orthomask-$(VERSION).zip .venv/wheels

# Other tools, to benchmark with ours; they use the engine's PyTorch.
.venv/peers/.ready: requirements/peers.lock $(ENGINE)/.ready
	@$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/peers -r $<
	@touch $@

bench: setup .venv/imagenet.safetensors .venv/peers/.ready
	$(ENGINE)/bin/python benchmarks/ceilings.py
	$(ENGINE)/bin/python benchmarks/endtoend.py
	$(ENGINE)/bin/python benchmarks/stages.py
	$(ENGINE)/bin/python benchmarks/polygons.py --gdal $(QGIS_PYTHON)
	$(ENGINE)/bin/python benchmarks/inference.py
	$(ENGINE)/bin/python benchmarks/latency.py
	$(ENGINE)/bin/python benchmarks/growth.py
	$(ENGINE)/bin/python benchmarks/changes.py
	$(ENGINE)/bin/python benchmarks/masks.py --gdal $(QGIS_PYTHON) --rounds 1
	$(ENGINE)/bin/python benchmarks/training.py --data ../shared/data
	$(ENGINE)/bin/python benchmarks/optimizers.py --data ../shared/data
	$(ENGINE)/bin/python benchmarks/finetune.py zanzibar --data ../shared/data

# Benchmarks of a GPU, if there is one.
.PHONY: bench-gpu
bench-gpu: setup
	$(ENGINE)/bin/python benchmarks/gpu.py

screenshots: setup
	xvfb-run -a -s "-screen 0 1600x1000x24" qgis --nologo --noversioncheck --code docs/screenshots.py

# Train the embedded models from ImageNet's weights; each resumes where it stopped.
.venv/imagenet.safetensors: $(ENGINE)/.ready
	$(ENGINE)/bin/python -m orthomask.training.fit.imagenet $@

model-%: setup .venv/imagenet.safetensors
	$(ENGINE)/bin/orthomask train resources/recipes/$*.toml --data ../shared/data --model .venv/imagenet.safetensors \
	  --out .venv/$* --resume

# Re-pin what development and CI install, and what Set up installs: the same versions, for every platform and Python.
lock: $(ENGINE)/.ready
	$(ENGINE_PYTHON) -m venv .venv/lock && .venv/lock/bin/pip install --quiet pip-tools uv
	{ echo 'torch==2.13.0'; $(ENGINE)/bin/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print("\n".join(p["dependencies"] + p["optional-dependencies"]["dev"]))'; } > .venv/lock/engine.in
	for name in engine qgis; do \
	  [ $$name = qgis ] && cp requirements/qgis.in .venv/lock/; \
	  .venv/lock/bin/pip-compile --quiet --upgrade --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	    --no-emit-options --output-file - .venv/lock/$$name.in | sed 's/+cpu$$//' > requirements/$$name.lock; done
	{ echo '-c page.txt'; cat requirements/page.in; } > .venv/lock/page.in
	grep -v '^pillow==' requirements/engine.lock > .venv/lock/page.txt
	.venv/lock/bin/pip-compile --quiet --upgrade --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --no-emit-options --output-file - .venv/lock/page.in | grep -vxFf requirements/engine.lock > requirements/page.lock
	{ echo 'torch==2.13.0'; $(ENGINE)/bin/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))'; } > .venv/lock/users.in
	sed -n "s/^[a-z0-9-]*==.*/& ; python_version >= '3.11'/p" requirements/engine.lock > .venv/lock/tested.txt
	UV_PYTHON_DOWNLOADS=never .venv/lock/bin/uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate \
	  --constraint .venv/lock/tested.txt .venv/lock/users.in > resources/engine/engine.lock

clean:
	rm -rf .venv dist demo-output
