# The release that is pinned, as the package of Kubernetes' own repository.
export DIB_KUBELET_SOURCE=repository
