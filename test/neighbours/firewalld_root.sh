#!/usr/bin/env bash
# Prints the path of a root folder that holds firewalld, made once with debootstrap from the mirror that this machine's
# own apt uses. To be used with chroot: installed on the machine itself, the package would start its service on any host
# with systemd, and close that host's ports.
#
#   GHOSTIP_CACHE   where to keep it (default: ${XDG_CACHE_HOME:-~/.cache}/ghostip)
set -euo pipefail

suite=bookworm # has firewalld 1.3 and nftables 1.0.6
cache=${GHOSTIP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ghostip}
root=$cache/firewalld

if [[ -x $root/usr/sbin/firewalld ]]; then
    echo "$root"
    exit 0
fi
mkdir -p "$cache"
# One at a time, and whole or not at all.
exec 9>"$cache/firewalld.lock"
flock 9
if [[ -x $root/usr/sbin/firewalld ]]; then
    echo "$root"
    exit 0
fi
# shellcheck source=/dev/null
codename=$(source /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' "Release: $codename" | head -n 1)
if [[ -z $mirror ]]; then
    echo "firewalld_root: apt on this machine names no Debian mirror" >&2
    exit 1
fi
# With what the package recommends. polkitd, which firewalld depends on, wants a logind, and debootstrap does not choose
# one by itself; neither is ever started.
log=$cache/firewalld.log
fresh=$cache/firewalld.new
rm -rf "$fresh"
if ! debootstrap --variant=minbase --include=firewalld,dbus-daemon,iptables,ipset,libpam-systemd,netbase,nftables "$suite" "$fresh" "$mirror" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
fi
rm -rf "$fresh/var/cache/apt/archives" "$fresh/var/lib/apt/lists" "$fresh/usr/share/doc" "$fresh/usr/share/locale"
mv "$fresh" "$root"
echo "$root"
