#!/usr/bin/env bash
# clang-tidy over src/. Usage: [TIDY_SECONDS=N] tools/tidy.sh [BUILD_FOLDER] [FILE...]; the folder must be built (default: build/dev).
# Stamps of clean files live in $XDG_CACHE_HOME/ghostip-tidy, so that a file that has not changed is not checked again.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

folder=${1:-build/dev}
shift || true
[[ $folder != build/dev || -f build/dev/compile_commands.json ]] || configure_and_build dev
exec python3 tools/tidy.py --jobs "$JOBS" ${TIDY_SECONDS:+--seconds "$TIDY_SECONDS"} "$folder" "$@"
