# The release that is pinned, from its official place, with crun.
export DIB_CONTAINERD_SOURCE=official
export DIB_CONTAINERD_OCI_RUNTIME=crun
