#!/usr/bin/env bash
# What takes too long for every change: the fuzzers with libFuzzer, the unit tests under the thread sanitizer, and the
# tests labelled `long` (soaks, kills, many random flows).
#
#   GHOSTIP_FUZZ_SECONDS   seconds for each fuzz target (default 600)
#   GHOSTIP_FUZZ_TARGETS   only these, separated by blanks (default: all)
#   GHOSTIP_LONG_SCALE     multiplies the work of tests labelled `long`; handed to them as it is (default 1)
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source tools/steps.sh

export GHOSTIP_FUZZ_SECONDS="${GHOSTIP_FUZZ_SECONDS:-600}"
export GHOSTIP_LONG_SCALE="${GHOSTIP_LONG_SCALE:-1}"

build_dev() { configure_and_build dev; }
build_tsan() { configure_and_build tsan; }
build_fuzz() { configure_and_build fuzz; }

# fuzz TARGET: new inputs stay in build/, findings too; the seeds in the tree are only read.
fuzz() {
    local name seeds found=build/fuzz/found/$1
    name=$(basename "$1")
    mkdir -p "$found/corpus" "$found/crashes"
    seeds=()
    for folder in "test/fuzz/corpus/$name" "test/fuzz/corpus/${name%_fuzz}" "test/fuzz/corpus/${name#fuzz_}"; do
        [[ -d $folder ]] && seeds=("$folder")
    done
    "build/fuzz/bin/$name" -max_total_time="$GHOSTIP_FUZZ_SECONDS" -print_final_stats=1 -rss_limit_mb=4096 \
        -artifact_prefix="$found/crashes/" "$found/corpus" "${seeds[@]}"
}

step "build (fuzz)" build_fuzz
if [[ -z ${GHOSTIP_FUZZ_TARGETS:-} ]]; then
    GHOSTIP_FUZZ_TARGETS=$(cd build/fuzz/bin && find . -maxdepth 1 -type f -executable -name '*fuzz*' -printf '%f ' | sort)
fi
for target in $GHOSTIP_FUZZ_TARGETS; do
    counted_step "fuzz $target for $GHOSTIP_FUZZ_SECONDS s" fuzz "$target"
done

step "build (tsan)" build_tsan
# g++ 12's runtime does not know the address layout of kernels that randomise more bits of it.
ctest_prefix=(setarch "$(uname -m)" --addr-no-randomize)
ctest_step "unit tests under the thread sanitizer" tsan -L '^unit$' -j "$JOBS"
ctest_prefix=()

step "build (dev)" build_dev
ctest_step "long tests" dev -L '^long$'
