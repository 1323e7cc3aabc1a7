#!/usr/bin/env bash
# The checks that read the source. clang-tidy needs to know each file's includes, which the build finds out.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

configure_and_build dev
exec ctest --preset dev -L '^lint$' --no-tests=error -j "$JOBS" "$@"
