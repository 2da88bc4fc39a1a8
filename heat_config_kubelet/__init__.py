"""An in-guest Heat agent for Kubernetes pods: `group: kubelet` deployments become static pods.

docs/architecture.md tells the way of the data and which module is which step.
"""

__version__ = "0.1.0"
