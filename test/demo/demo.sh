#!/usr/bin/env bash
# The main job, for real: pods as network namespaces, a Service, requests through an address that no interface carries.
#
# Usage: demo.sh PATH-OF-GHOSTIP. Needs root. All packets stay inside namespaces made here, none of which has a way out.
# Ends by itself, cleans up, and exits non-zero if any step did not hold.
set -euo pipefail

ghostip=$(realpath "${1:?usage: demo.sh PATH-OF-GHOSTIP}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
manifests=$work/manifests
node=ghostip-demo-$$-node
pods=(red green blue)
processes=()

ghost_ip=10.96.0.10
url=http://$ghost_ip/

if [[ -t 1 ]]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' cyan=$'\e[36m' plain=$'\e[0m' pace=1.5
else
    bold='' dim='' green='' cyan='' plain='' pace=0
fi

ns() { echo "ghostip-demo-$$-$1"; }
inside() { ip netns exec "$(ns "$1")" "${@:2}"; }
# In the background, so that $! is the program itself and not a shell around it.
start_inside() { (exec ip netns exec "$(ns "$1")" "${@:2}") & }
stop_process() { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }
step() { sleep "$pace"; printf '\n%s== %s%s\n' "$bold$cyan" "$1" "$plain"; }
held() { printf '%s   ok: %s%s\n' "$green" "$1" "$plain"; }
failed() { printf '   FAILED: %s\n' "$1" >&2; exit 1; }

clean_up() {
    local status=$?
    trap - EXIT INT TERM
    for process in "${processes[@]}"; do stop_process "$process"; done
    for name in node client "${pods[@]}"; do ip netns delete "$(ns "$name")" 2>/dev/null || true; done
    if ((status != 0)) && [[ -s $work/proxy.log ]]; then
        echo "--- the proxy's log:" >&2
        cat "$work/proxy.log" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# A pod namespace with one address, wired to the node.
wire() {
    local name=$1 address=$2
    ip netns add "$(ns "$name")"
    ip -n "$node" link add "to-$name" type veth peer name eth0 netns "$(ns "$name")"
    ip -n "$node" link set "to-$name" up
    ip -n "$node" route add "$address/32" dev "to-$name"
    inside "$name" ip link set lo up
    inside "$name" ip address add "$address/32" dev eth0
    inside "$name" ip link set eth0 up
    inside "$name" ip route add 10.244.1.1/32 dev eth0
    inside "$name" ip route add default via 10.244.1.1
}

declare -A process_of
run_pod() {
    start_inside "$1" python3 "$here/pod.py" "$1" >/dev/null
    process_of[$1]=$!
    processes+=($!)
    for ((try = 0; try < 200; try++)); do
        inside "$1" python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8080), 1)' 2>/dev/null && return
        sleep 0.05
    done
    failed "pod $1 does not listen"
}

# Starts a client in the background and waits until it is asking.
watch_for() {
    start_inside client python3 "$here/client.py" "$url" "$1" "$2" >"$work/seen"
    watcher=$!
    processes+=("$watcher")
    sleep 0.5
}

slice() {  # the EndpointSlice with the endpoints of the given pods
    cat <<YAML
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: default
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
ports:
- {name: http, protocol: TCP, port: 8080}
endpoints:
YAML
    for name in "$@"; do
        echo "- {addresses: [${address_of[$name]}], nodeName: demo-node, conditions: {ready: true}}"
    done
}

# Writes the slice as editors do: whole, under its name at once. Prints the time of it.
publish() {
    slice "$@" >"$work/new-slice"
    mv "$work/new-slice" "$manifests/slice.yaml"
    date +%s.%N
}

milliseconds() { awk -v from="$1" -v to="$2" 'BEGIN { d = (to - from) * 1000; printf "%.1f", d < 0 ? 0 : d }'; }

declare -A address_of=([red]=10.244.1.11 [green]=10.244.1.12 [blue]=10.244.1.13)

step "A node, three pods and a client, each a network namespace"
mkdir "$manifests"
ip netns add "$node"
ip -n "$node" link set lo up
ip -n "$node" address add 10.244.1.1/32 dev lo
ip -n "$node" address add 192.168.0.2/32 dev lo
ip netns exec "$node" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
for name in "${pods[@]}"; do wire "$name" "${address_of[$name]}"; done
wire client 10.244.1.99
# What no rule takes has to go somewhere, or the kernel refuses it before any rule is asked.
ip -n "$node" route add default dev to-client
for name in "${pods[@]}"; do
    run_pod "$name"
    echo "   $name ${address_of[$name]}"
done

step "A Service, and the slice that names its endpoints"
cat >"$manifests/service.yaml" <<YAML
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: $ghost_ip
  ports:
  - {name: http, protocol: TCP, port: 80, targetPort: 8080}
YAML
publish "${pods[@]}" >/dev/null
sed "s/^/   $dim/; s/\$/$plain/" "$manifests/service.yaml" <(echo) "$manifests/slice.yaml"

step "ghostip proxy, on the node"
start_inside node "$ghostip" proxy --manifests "$manifests" --hostname-override demo-node \
    --cluster-cidr 10.244.0.0/16 --healthz-bind-address 127.0.0.1:10256 2>"$work/proxy.log"
proxy=$!
processes+=("$proxy")
for ((try = 0; try < 200; try++)); do
    kill -0 "$proxy" 2>/dev/null || failed "the proxy ended"
    ip netns exec "$node" python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:10256/readyz", timeout=1)' \
        2>/dev/null && break
    sleep 0.05
done
((try < 200)) || failed "/readyz never answered 200"
sed "s/^/   $dim/; s/\$/$plain/" "$work/proxy.log"
held "/readyz answers 200"

step "The ghost: no interface anywhere carries $ghost_ip"
for name in node client "${pods[@]}"; do
    inside "$name" ip -brief address
    if inside "$name" ip -json address | grep -q "\"$ghost_ip\""; then failed "$name has $ghost_ip"; fi
done | sed 's/^/   /'
held "none"

step "30 requests to $url"
inside client python3 "$here/client.py" "$url" 30 >"$work/answers"
sort "$work/answers" | uniq -c | awk '{printf "   %3d answered by %-6s (which saw the client as %s)\n", $1, $2, $3}'
[[ $(cut -d' ' -f1 "$work/answers" | sort -u | wc -l) == 3 ]] || failed "not all three pods answered"
held "all three pods answer"

step "Why: ghostip explain 10.244.1.99 $ghost_ip:80"
"$ghostip" explain --manifests "$manifests" --hostname-override demo-node --cluster-cidr 10.244.0.0/16 \
    10.244.1.99 "$ghost_ip:80" | sed 's/^/   /'

step "Pod green dies: it leaves the slice, then it is gone"
watch_for until-gone green
changed=$(publish red blue)
wait "$watcher" || failed "green never stopped answering"
stop_process "${process_of[green]}"
held "the last new request to green came $(milliseconds "$changed" "$(cat "$work/seen")") ms after the slice had changed"

step "Pod green returns"
run_pod green
watch_for until-back green
changed=$(publish "${pods[@]}")
wait "$watcher" || failed "green never came back"
held "it answered again $(milliseconds "$changed" "$(cat "$work/seen")") ms after the slice had changed"

step "ghostip cleanup"
kill "$proxy" && wait "$proxy" || failed "the proxy did not end well"
ip netns exec "$node" "$ghostip" cleanup
ip netns exec "$node" "$ghostip" cleanup || failed "a second clean-up"
[[ -z $(ip netns exec "$node" nft list tables) ]] || failed "tables are left"
held "no trace is left"
