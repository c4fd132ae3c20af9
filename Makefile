# make figures: every figure, from executed notebooks      make test: style, types, the tests      make lab: JupyterLab
# make app: the live labs as a web page without code
# make replicate: train both colorizers and measure Table 1 from them
# make assets: fetch data/ again and check it               make bench: speed against plain loops; memory
# make course: the problem sets as students get them, from course/source
# make students: what students get, without the key to the problem sets, in build/students.zip
# make docs: README and notebooks as web pages, in build/docs
# make colab: the notebooks in smoke, in an environment with Colab's versions
# make badges: the repository's address, from pyproject.toml, into the notebooks' Colab badges and set-up cells
# make screenshots: photograph the labs of notebooks 04 and 07 in Chromium
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
.PHONY: figures test replicate lab app bench assets screenshots course students docs badges colab
.DELETE_ON_ERROR:

figures: $(VENV)/ready
	$(RUN) tools/run_notebooks.py

test: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 NSTLIB_PROFILE=smoke $(RUN) -m pytest -n 2 --dist loadscope tests notebooks course/solutions --nbval-lax --nbval-current-env
	@echo "all tests passed; figures and notebooks are as they were (the tests write to figures/smoke only)"

replicate: $(VENV)/ready
	$(RUN) tools/replicate.py

lab: $(VENV)/ready
	$(VENV)/bin/jupyter lab --ServerApp.root_dir="$(CURDIR)" $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00_start_here.ipynb

app: $(VENV)/ready
	$(RUN) -m voila app/labs.ipynb --theme=light

bench: $(VENV)/ready
	$(RUN) benchmarks/transfer.py
	$(RUN) benchmarks/colorize.py
	$(RUN) benchmarks/lab.py
	$(RUN) benchmarks/memory.py
	$(RUN) benchmarks/busy.py
	$(RUN) benchmarks/full_size.py

assets: $(VENV)/ready
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[assets]"
	$(RUN) tools/fetch_assets.py

course: export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
course: $(VENV)/ready
	cd course && for set in ps1 ps2 ps3; do nbgrader generate_assignment $$set --create --force || exit 1; done

students:
	mkdir -p build
	git archive --prefix=nstlib/ -o build/students.zip HEAD ':(exclude)course/README.md' ':(exclude)course/source' ':(exclude)course/solutions' ':(exclude)tests'
	@echo "build/students.zip"

docs: $(VENV)/ready
	$(RUN) -m sphinx -W --keep-going -q -b html -c docs . build/docs
	@echo "build/docs/docs/index.html"

colab:
	$(PYTHON) -m venv build/colab
	build/colab/bin/python -m pip install --disable-pip-version-check -c tests/colab.txt -e ".[experiments]" pytest nbval
	NSTLIB_PROFILE=smoke build/colab/bin/python -m pytest notebooks --nbval-lax --nbval-current-env

badges: $(VENV)/ready
	$(RUN) tools/stamp_badges.py

screenshots: $(VENV)/ready
	$(RUN) tools/photograph_labs.py

$(VENV)/ready: pyproject.toml constraints.txt
	@echo "setting up $(VENV): PyTorch comes with its CUDA libraries, about 5 GB; this takes some minutes"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(f"Python 3.10 to 3.13 is needed, this is {v[0]}.{v[1]}; say make PYTHON=python3.12" if not (3, 10) <= v < (3, 14) else 0)'
	@$(PYTHON) -m venv $(VENV) || { echo "no venv: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e ".[experiments,notebooks,test,course,app,docs]"
	@touch $@
