#!/usr/bin/env bash
# What must hold before a change goes in, a step at a time; the first step that fails ends it. The last line counts
# the tests of all steps. A test that skips itself has not shown anything: it counts as failed.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source tools/steps.sh

# clang-tidy of everything takes as long as all the rest; what was changed last comes first, and it says what is left.
# `make lint` leaves nothing.
export TIDY_SECONDS="${TIDY_SECONDS:-180}"

build_dev() { configure_and_build dev; }
build_asan() { configure_and_build asan; }

step "build (dev)" build_dev
ctest_step "unit tests, fuzz corpora, lint" dev -L '^(unit|fuzz|lint)$' -LE '^long$' -j "$JOBS"
step "build (asan)" build_asan
ctest_step "unit tests and fuzz corpora under sanitizers" asan -L '^(unit|fuzz)$' -LE '^long$' -j "$JOBS"
# One test of packets at a time; beside it a guest, which has one processor.
ctest_step "packets through the kernel; those of Debian 12 and its backports, and one with IPVS" dev \
    -L '^(packets|vm)$' -LE '^long$' -j "$JOBS"
step "build (release)" tools/build.sh
counted_step "demo" test/demo/demo.sh build/release/bin/ghostip
