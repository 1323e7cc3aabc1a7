#!/usr/bin/env bash
# firewalld with a system bus of its own, in the network namespace that this is started in: firewalld_host.sh ROOT
#
# ROOT is what firewalld_root.sh made; it stays as it is: mounts are private to this process and its children, and the
# root is read-only there but for folders in memory. Everything ends with this process. To ask it something:
#
#   nsenter --mount --pid=/proc/PID/ns/pid_for_children --target PID chroot ROOT firewall-cmd --state
set -euo pipefail
root=${1:?usage: firewalld_host.sh ROOT}

inside='
set -euo pipefail
root=$1
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for folder in run tmp var/log; do mount -t tmpfs tmpfs "$root/$folder"; done
cp -a "$root/etc/firewalld" "$root/tmp/firewalld"
mount --bind "$root/tmp/firewalld" "$root/etc/firewalld"
mkdir "$root/run/dbus"
chroot "$root" dbus-daemon --system --nofork --nopidfile &
for ((i = 0; i < 1000; i++)); do
    [[ -S $root/run/dbus/system_bus_socket ]] && break
    sleep 0.01
done
chroot "$root" firewalld --nofork --nopid --log-target console
'
exec unshare --mount --pid --fork --kill-child --propagation private bash -c "$inside" firewalld_host "$root"
