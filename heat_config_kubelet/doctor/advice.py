"""What mends a deployment that fails or waits, by the reason that the agent gives for it.

The reasons are the agent's own words (`status.py`, `container_faults.py`, `checks.py`) around those of kubelet and
runtime; the first row that fits counts.
"""

from __future__ import annotations

import re

_HOSTS = "/etc/containerd/certs.d/<registry>/hosts.toml"
_ROWS: tuple[tuple[str, str], ...] = (
    (
        r"ErrImageNeverPull",
        "correct the image's name, import it into the runtime (ctr -n k8s.io images import FILE), build the node's "
        "image with it (DIB_CONTAINERD_IMAGES), or take imagePullPolicy: Never out of the template",
    ),
    (r"cannot be pulled.*(x509|certificate)", f"give the runtime the registry's CA: {_HOSTS}"),
    (r"no space left", "make room on the disk: crictl rmi --prune; see heat-config-kubelet doctor disk"),
    (
        r"cannot be pulled.*(denied|unauthori|authoriz|authentication|forbidden|no basic auth)",
        f"correct the image's name, or give the runtime credentials: {_HOSTS}",
    ),
    (
        r"cannot be pulled.*(not found|manifest unknown|name unknown|no match for platform)",
        "correct the image's name or tag in the template",
    ),
    (
        r"cannot be pulled",
        "let this node reach the registry: firewall, DNS, or HTTPS_PROXY in a drop-in of the runtime's unit; try: "
        "crictl pull IMAGE",
    ),
    (r"InvalidImageName|\.image: must be", "correct the image's name in the template"),
    (r"OOMKilled", "give the container a higher resources.limits.memory"),
    (
        r"exec: .*(no such file|not found|permission denied)|StartError",
        "correct the container's command: this image has no such program",
    ),
    (
        r"exited with code",
        "see what it says: heat-config-kubelet logs {name}; then correct its command, environment or image",
    ),
    (r"NodePorts|free ports", "give one of the pods another hostPort"),
    (r"too little|OutOf|Insufficient", "lower resources.requests, remove another pod, or take a larger flavor"),
    (r"Evicted|DiskPressure|MemoryPressure", "make room: see heat-config-kubelet doctor disk load"),
    (r"NodeAffinity|node affinity", "take nodeSelector and affinity out of the pod: there is one node"),
    (
        r"is not ready|has not started yet",
        "see why: heat-config-kubelet logs {name}; then correct the probe or what it asks; where it only needs longer: "
        "options: {{containers_timeout: 300}} in the config",
    ),
    (r"hostPath", "make that path on the node, or give the volume type: DirectoryOrCreate"),
    (r"MountVolume|volume", "see that what the volume names is there and can be mounted on this node"),
    (
        r"is not ours, has that name",
        "remove that manifest from the manifest directory, or give the pod another metadata.name",
    ),
    (r"has a pod of that name", "give one of the pods another metadata.name"),
    (r"options\.", "correct this option in the config"),
    (
        r"^(spec|metadata|kind|apiVersion|config)\b|unknown field|refuses the manifest|is required",
        "correct it in the template; heat-config-kubelet validate FILE tells before anything is deployed",
    ),
    (
        r"Read-only file system|Permission denied|Operation not permitted",
        "make the manifest directory writable: see heat-config-kubelet doctor read-only disk",
    ),
    (r"sandbox|network|cni", "see heat-config-kubelet doctor runtime cni"),
    (r"kubelet", "see heat-config-kubelet doctor kubelet kubelet-api kubelet-config"),
)
_ELSE = "see more: heat-config-kubelet show {name}"


def mend(reason: str, name: str) -> str:
    """Say what mends a deployment, called `name`, that fails or waits for this reason."""
    for pattern, text in _ROWS:
        if re.search(pattern, reason, re.IGNORECASE | re.DOTALL):
            return text.format(name=name)
    return _ELSE.format(name=name)
