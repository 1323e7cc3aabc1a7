#!/usr/bin/env bash
# Builds the release binary. The last line printed is its path.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cmake --preset release -DGHOSTIP_BUILD_TESTS=OFF -Wno-dev >/dev/null
cmake --build --preset release -j "$JOBS" --target ghostip
echo build/release/bin/ghostip
