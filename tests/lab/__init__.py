"""A node of our own on this machine: kubelet, containerd, os-collect-config and a receiver of signals.

Everything lives in a folder, with ports, sockets and control groups of its own;
nothing of the machine's is touched and `Node.stop` leaves nothing behind.
The tests, `tools/demo` and `tools/bench` stand on it; none of it is in the package.
"""
