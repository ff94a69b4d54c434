# `make` or `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help demo test bench lint fmt plans setup-test clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

demo: ## build, see to a GPU driver, classify sample pictures, go on from texts
	@scripts/demo.sh

test: ## every check, with its own set-up (SUITES="tests tint" for some)
	@scripts/test.sh $(SUITES)

bench: ## time kernels and plans on this machine's adapter, with GB/s, TFLOP/s and shares of what it can do
	cargo bench --workspace

lint: ## rustfmt, clippy, licences
	@scripts/test.sh format clippy licences

fmt: ## format the Rust sources
	cargo fmt --all

plans: ## write the kept plans anew (kernels-tests/plans), for a change that is meant
	UPDATE_PLANS=1 cargo test -p kernels-tests --test plans

setup-test: ## install what the tests need (done by `make test`)
	@scripts/setup-test.sh

clean: ## remove what was built
	cargo clean
	rm -rf kernels-tests/tint/node_modules
