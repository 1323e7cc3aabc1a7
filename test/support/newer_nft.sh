#!/usr/bin/env bash
# Prints the path of a root folder that holds a newer nft than this machine's: Debian trixie, made once with debootstrap
# from the mirror that this machine's own apt uses. To be used with chroot; nothing of it is installed here.
#
#   GHOSTIP_CACHE   where to keep it (default: ${XDG_CACHE_HOME:-~/.cache}/ghostip)
set -euo pipefail

suite=trixie
cache=${GHOSTIP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ghostip}
root=$cache/$suite

if [[ -x $root/usr/sbin/nft ]]; then
    echo "$root"
    exit 0
fi
mkdir -p "$cache"
# One at a time, and whole or not at all.
exec 9>"$cache/$suite.lock"
flock 9
if [[ -x $root/usr/sbin/nft ]]; then
    echo "$root"
    exit 0
fi
# shellcheck source=/dev/null
codename=$(source /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' "Release: $codename" | head -n 1)
if [[ -z $mirror ]]; then
    echo "newer_nft: apt on this machine names no Debian mirror" >&2
    exit 1
fi
# A mirror knows the newer suite by the same key ring or a newer one; the packages are only run inside the root.
log=$cache/$suite.log
fresh=$cache/$suite.new
rm -rf "$fresh"
if ! debootstrap --variant=minbase --include=nftables "$suite" "$fresh" "$mirror" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
fi
rm -rf "$fresh/var/cache/apt/archives" "$fresh/var/lib/apt/lists" "$fresh/usr/share/doc" "$fresh/usr/share/locale"
mv "$fresh" "$root"
echo "$root"
