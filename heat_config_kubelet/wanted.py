"""What pods a deployment wants on this node: its options over the node's defaults, then the checks of `pods.py`."""

from __future__ import annotations

from .errors import PodError
from .options import Options, options_of
from .pods import pods_of
from .settings import Settings
from .values import Deployment, Pod


def wanted_pods(deployment: Deployment, settings: Settings) -> tuple[Pod, ...]:
    """Give the pods of a deployment's config. Raises PodError with the faults of its options and of all its pods."""
    faults: list[str] = []
    options = Options()
    pods: tuple[Pod, ...] = ()
    try:
        options = options_of(deployment.options, settings.defaults)
    except PodError as error:
        faults += error.faults
    try:
        pods = pods_of(
            deployment.config,
            identity=deployment.identity,
            strict=options.strict,
            node_name=settings.node_name,
        )
    except PodError as error:
        faults += error.faults
    if faults:
        raise PodError(tuple(faults))
    return pods
