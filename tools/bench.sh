#!/usr/bin/env bash
# Builds with the optimiser on, in a folder of its own, and measures. Arguments go to test/bench/run.sh.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# What the relay is measured against; nobody else needs it.
tools/setup.sh haproxy
cmake --preset release -B build/bench -DGHOSTIP_BUILD_TESTS=ON -Wno-dev >/dev/null
cmake --build build/bench -j "$JOBS"
exec test/bench/run.sh build/bench "$@"
