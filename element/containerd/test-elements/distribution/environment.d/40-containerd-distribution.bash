# The distribution's packages, with runc, and registries that are asked otherwise.
export DIB_CONTAINERD_SOURCE=distribution
export DIB_CONTAINERD_OCI_RUNTIME=runc
export DIB_CONTAINERD_POD_SUBNET=10.99.0.0/16
export DIB_CONTAINERD_REGISTRIES=$TMP_HOOKS_PATH/containerd-distribution
