#!/usr/bin/env bash
# Installs what building and testing need on Debian 12. When all is there it only asks dpkg, which takes no time.
# Arguments are more packages. GHOSTIP_SKIP_SETUP=1 trusts the machine as it is, for example on another distribution.
set -euo pipefail

packages=(
    # to build
    git make g++ cmake ninja-build ccache pkg-config
    libmnl-dev libnftnl-dev libyaml-dev libsimdjson-dev libfmt-dev libmicrohttpd-dev libcli11-dev
    libprotozero-dev zlib1g-dev libcurl4-openssl-dev libseccomp-dev libcap-ng-dev
    # to test
    libssl-dev librapidcheck-dev libgtest-dev libgmock-dev libbenchmark-dev python3
    nftables iptables iproute2 debootstrap ca-certificates
    qemu-system-x86 busybox-static xz-utils
    user-mode-linux ipvsadm ipset
    # the second compiler: sanitized fuzzing, tidy, format
    clang-14 clang-tidy-14 clang-format-14 libclang-rt-14-dev
    "$@"
)

[[ ${GHOSTIP_SKIP_SETUP:-} == 1 ]] && exit 0

if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is not a Debian system. Install the equivalents of: ${packages[*]}" >&2
    echo "setup: then set GHOSTIP_SKIP_SETUP=1." >&2
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    # dpkg-query fails for a package that it has never heard of.
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]} == 0)) && exit 0

if ((EUID != 0)); then
    echo "setup: missing packages; as root: apt-get install ${missing[*]}" >&2
    exit 1
fi

echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o Acquire::Retries=3 update
apt-get -qq -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}" >/dev/null
