#!/usr/bin/env bash
# Prints the path of a folder that holds a kernel of Debian's: `vmlinuz`, `lib/modules/` and `version`. The package is
# fetched with apt from the mirror that this machine's own apt uses, and unpacked; nothing is installed, and apt's own
# lists and settings stay as they are.
#
#   fetch_kernel.sh NAME [--fresh]      NAME: 6.1, 6.12 (a row in suites_of); --fresh fetches again, if there is a newer
#
#   GHOSTIP_CACHE   where to keep it (default: ${XDG_CACHE_HOME:-~/.cache}/ghostip)
set -euo pipefail

die() {
    echo "fetch_kernel: $*" >&2
    exit 1
}

# A kernel's name here, and the suites of Debian whose linux-image-amd64 it is. Security updates count where apt on this
# machine knows them; the backports need not be in its sources.
suites_of() {
    case $1 in
        6.1) echo bookworm bookworm-security ;;
        6.12) echo bookworm-backports ;;
        *) return 1 ;;
    esac
}

name=${1:-}
fresh=${2:-}
suites=$(suites_of "$name") || die "no kernel is called '$name'; suites_of in $0 lists them"
[[ $(uname -m) == x86_64 ]] || die "the kernels are for x86_64, this machine is $(uname -m)"

cache=${GHOSTIP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ghostip}/kernels
home=$cache/$name
ready() { [[ $fresh != --fresh && -f $home/vmlinuz && -f $home/version ]]; }
if ready; then
    echo "$home"
    exit 0
fi
mkdir -p "$cache"
# One at a time, and whole or not at all.
exec 9>"$cache/$name.lock"
flock 9
if ready; then
    echo "$home"
    exit 0
fi
work=$cache/$name.new
rm -rf "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial"
trap 'rm -rf "$work"' EXIT
log=$cache/$name.log
: >"$log"

# mirror_of RELEASE: where this machine's apt has it from.
mirror_of() {
    # apt's own placeholders, not the shell's
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' "Release: $1" | head -n 1
}
# shellcheck source=/dev/null
codename=$(source /etc/os-release && echo "${VERSION_CODENAME:-}")
[[ -n $(mirror_of "$codename") ]] || die "apt on this machine names no Debian mirror"
for suite in $suites; do
    case $suite in
        *-security) mirror=$(mirror_of "$codename-security") ;;
        *) mirror=$(mirror_of "$codename") ;;
    esac
    [[ -z $mirror ]] || echo "deb $mirror $suite main"
done >"$work/apt/sources.list"

own_apt() {
    local tool=$1
    shift
    "$tool" -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt" \
        -o Acquire::Retries=3 -o APT::Sandbox::User= "$@"
}

own_apt apt-get -qq -o APT::Update::Error-Mode=any update >>"$log" 2>&1 ||
    die "cannot read the package lists of $suites: $(head -n 1 "$log")"
# The meta package depends on the newest image by name.
package=$(own_apt apt-cache depends linux-image-amd64 2>>"$log" |
    sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1) || true
[[ -n $package ]] || die "$suites hold no linux-image-amd64"
version=${package#linux-image-}
[[ $version == "$name".* ]] || die "$suites hold kernel $version, no $name"
if [[ -f $home/version && $(<"$home/version") == "$version" ]]; then
    echo "$home"
    exit 0
fi
(cd "$work/apt" && own_apt apt-get -qq download "$package") >>"$log" 2>&1 ||
    die "cannot download $package: $(tail -n 1 "$log")"

# Drivers of hardware that no test has are four fifths of it.
dpkg-deb --fsys-tarfile "$work"/apt/linux-image-*.deb | tar -x -C "$work" --wildcards \
    --exclude='*/kernel/sound' --exclude='*/kernel/drivers/net/ethernet' --exclude='*/kernel/drivers/net/wireless' \
    --exclude='*/kernel/drivers/'{gpu,media,scsi,infiniband,usb,iio,staging,hwmon,hid,input,md,mtd,ata,comedi,platform} \
    ./boot './lib/modules/*' >>"$log" 2>&1 || die "cannot unpack $package: $(tail -n 1 "$log")"
mv "$work/boot/vmlinuz-$version" "$work/vmlinuz"
# Some are compressed, some not: here none, so that whoever loads one need not care.
find "$work/lib/modules" -name '*.ko.xz' -exec xz -d {} +
find "$work/lib/modules" -name '*.ko.zst' -exec zstd -q -d --rm {} +
# The list of dependencies is normally made when the package is installed.
busybox depmod -b "$work" "$version" >>"$log" 2>&1 || die "cannot list the modules of $package: $(tail -n 1 "$log")"
echo "$version" >"$work/version"
rm -rf "${work:?}/apt" "${work:?}/boot" "$home"
mv "$work" "$home"
echo "$home"
