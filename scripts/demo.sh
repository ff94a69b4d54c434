#!/bin/sh
# The demo, from a fresh machine with a Rust toolchain: builds, sees to a GPU driver (Mesa's
# software one where there is none), classifies real pictures, goes on from two texts with the
# models in the repository, and has a draft learn a domain that it has never seen.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v cargo >/dev/null 2>&1 || {
    echo "demo: no cargo on the PATH; install Rust from https://rustup.rs" >&2
    exit 1
}
need_linker
# Mesa complains on every start without it.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi
cascadia() { cargo run --release --quiet -- "$@"; }

echo "demo: building (a few minutes the first time)"
cargo build --release --bin cascadia

if ! cascadia devices >/dev/null 2>&1; then
    install_packages "no GPU adapter found" mesa-vulkan-drivers libvulkan1
    cascadia devices >/dev/null || {
        echo "demo: still no adapter after installing Mesa's Vulkan driver" >&2
        exit 1
    }
fi

echo
echo "demo: scans of handwritten digits, and what the model reads"
cascadia classify assets/digits/samples
echo
# Both texts are held out from what the models learnt (assets/language/prompts.json).
echo "demo: a language model answers; a smaller one drafts, which changes the speed and not the words"
question='Question: Will is reading a book of 142 pages. He reads 34 pages a day for 2 days, and then 37 pages a day. How many more days does he need to finish the book?
Answer:'
printf '%s' "$question"
cascadia generate --prompt "$question"
echo
query='CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, net_worth REAL, age INTEGER, genre TEXT);
CREATE TABLE movie (movie_id INTEGER PRIMARY KEY, title TEXT, genre TEXT, year INTEGER, singer_id INTEGER REFERENCES singer(singer_id));
-- List the year of movies whose genre is action.
'
printf '%s' "$query"
cascadia generate --prompt "$query"
echo
echo "demo: EfficientViT-M0 at batch 1 on this adapter, the end of \`cascadia plan m0 --batch 1\`"
plan=$(cascadia plan m0 --batch 1)
printf '%s\n' "$plan" | tail -n 12
echo
# A draft that was trained on programs alone (assets/language/README.md) serves questions on tables.
echo "demo: a draft that has only seen Rust and Python meets SQL, and learns while it serves (a minute or two in software)"
results=$(mktemp -d)
told=$(cascadia osd --quick --draft assets/language/code_draft --stream sql --arm static,online-1 --requests 24 \
    --draft-len 3 --positions all --lr 3e-3 --update-steps 8 --output "$results")
rm -rf "$results"
printf '%s\n' "$told" | tail -n 1
