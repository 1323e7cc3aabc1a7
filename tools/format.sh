#!/usr/bin/env bash
# Rewrites the C++ files as .clang-format wants them; with --check it only names those that differ, and fails.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

case ${1:-} in
    "") cpp_files | xargs -0 -r -n 8 -P "$JOBS" clang-format-14 --style=file -i ;;
    --check)
        clang-format-14 --version >/dev/null
        # A file at a time, so that the names of two processes do not mix.
        # shellcheck disable=SC2016
        if ! cpp_files | xargs -0 -r -n 1 -P "$JOBS" bash -c '
            clang-format-14 --style=file --dry-run --Werror "$0" 2>/dev/null || { echo "not formatted: $0" >&2; exit 1; }'
        then
            echo "run 'make format'" >&2
            exit 1
        fi
        ;;
    *) echo "usage: tools/format.sh [--check]" >&2; exit 2 ;;
esac
