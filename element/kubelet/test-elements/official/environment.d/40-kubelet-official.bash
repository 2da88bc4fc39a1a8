# The release that is pinned, from its official place.
export DIB_KUBELET_SOURCE=official
