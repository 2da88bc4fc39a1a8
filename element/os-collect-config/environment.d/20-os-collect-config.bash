# Where the agent is in the image: os-collect-config, os-apply-config and what runs beside them.
export DIB_OS_COLLECT_CONFIG_VENV=${DIB_OS_COLLECT_CONFIG_VENV:-/opt/heat-config-kubelet}
