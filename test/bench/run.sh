#!/usr/bin/env bash
# Everything that is measured, on this machine, in one run. Usage: run.sh BUILD-FOLDER [--quick]. Needs root and nft.
set -euo pipefail
build=${1:?usage: run.sh BUILD-FOLDER [--quick]}
echo "$(nproc) processors, kernel $(uname -r), $(nft --version)"
echo
"$build/bin/bench_sync" "$build/bin/ghostip" "${@:2}"
echo
"$build/bin/bench_codec"
