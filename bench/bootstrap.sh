#!/bin/sh
# The baseline of `apply`: a person who knows exactly what they want, with ssh, tar and kubeadm. The same files, programs
# and images, the same phases of kubeadm; nothing is looked at beforehand, verified, confirmed or remembered.
#
# $1: the build's folder; $2: a folder with, for each node, files/, programs/ and archives/; $3, $4: names of control
# planes and of workers, divided by spaces.
set -eu
build=$1 stage=$2 control_planes=$3 workers=$4
first=${control_planes%% *}

on() {
    ssh -F "$build/ansible/ssh_config" -o ControlMaster=auto -o ControlPersist=60s -o ControlPath="$stage/ssh-%C" "$@"
}

bring() {
    tar --create --numeric-owner --directory "$stage/$1/files" . | on "$1" "tar --extract --directory /"
    tar --create --dereference --mode=0755 --directory "$stage/$1/programs" . |
        on "$1" "tar --extract --directory /"
    tar --create --dereference --directory "$stage/$1/archives" . |
        on "$1" "mkdir -p /run/archives && tar --extract --directory /run/archives"
    # shellcheck disable=SC2016  # the node's shell fills it in
    on "$1" 'set -eu
        sysctl --quiet --load=/etc/sysctl.d/90-kharden.conf
        systemctl daemon-reload
        for unit in kharden-firewall kharden-users containerd haproxy kharden-routes; do
            systemctl enable --quiet "$unit.service"
            systemctl restart "$unit.service"
        done
        systemctl enable --quiet kubelet.service
        systemctl reload ssh.service
        for archive in /run/archives/*; do
            ctr --namespace k8s.io images import "$archive" >/dev/null
        done
        rm -r /run/archives'
}

kubectl() {
    on "$first" kubectl --kubeconfig=/etc/kubernetes/admin.conf "$@"
}

join() {
    token=$(on "$first" kubeadm token create --ttl=15m)
    on "$1" "set -eu
        umask 077; mkdir -p /run/kharden
        cat >/run/kharden/discovery.conf
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            kubeadm join --config=/etc/kharden/kubeadm/join.yaml >/dev/null
        rm /run/kharden/discovery.conf" <<END
apiVersion: v1
kind: Config
clusters: [{name: d, cluster: {server: "https://127.0.0.1:7443", certificate-authority: /etc/haproxy/kubernetes-ca.crt}}]
users: [{name: j, user: {token: "$token"}}]
contexts: [{name: d, context: {cluster: d, user: j}}]
current-context: d
END
    on "$first" kubeadm token delete "${token%%.*}" >/dev/null
}

together() {
    what=$1
    shift
    pids=
    for node in "$@"; do
        "$what" "$node" &
        pids="$pids $!"
    done
    for pid in $pids; do wait "$pid"; done
}

# shellcheck disable=SC2086  # names of nodes, divided by spaces
{
    together bring $control_planes $workers
    on "$first" "env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        kubeadm init --config=/etc/kharden/kubeadm/init.yaml --skip-phases=addon --skip-token-print >/dev/null"
    on "$first" rm -f /etc/kubernetes/super-admin.conf
    kubectl apply --server-side --filename=- <"$build/cluster/namespaces.yaml" >/dev/null
    on "$first" kubeadm init phase addon kube-proxy --config=/etc/kharden/kubeadm/init.yaml >/dev/null
    # Without it the first one's kubelet shows its static pods only a minute later, and a join looks for etcd's.
    test "$control_planes" = "$first" || on "$first" systemctl restart kubelet.service
    for node in ${control_planes#"$first"}; do join "$node"; done
    together join $workers
    on "$first" kubeadm init phase addon coredns --config=/etc/kharden/kubeadm/init.yaml >/dev/null
    count=$(echo $control_planes $workers | wc -w)
    until test "$(kubectl get csr --output=name --field-selector=spec.signerName=kubernetes.io/kubelet-serving | wc -l)" -ge "$count"; do
        sleep 0.5
    done
    # shellcheck disable=SC2016  # the node's shell fills it in
    on "$first" 'export KUBECONFIG=/etc/kubernetes/admin.conf
        kubectl certificate approve $(kubectl get csr --output=name) >/dev/null'
    for manifest in "$build"/cluster/*.yaml; do
        test -s "$manifest" || continue # nothing of that kind
        kubectl apply --server-side --force-conflicts --field-manager=kharden --filename=- <"$manifest" >/dev/null
    done
    kubectl wait --for=condition=Ready nodes --all --timeout=300s >/dev/null
    kubectl --namespace=kube-system rollout status daemonset/kube-proxy --timeout=300s >/dev/null
    kubectl --namespace=kube-system rollout status deployment/coredns --timeout=300s >/dev/null
}
