"""A running kubelet takes renewed certificates by itself."""

from __future__ import annotations

import time

from lab.node import LabNode

from heat_config_kubelet import kubelet_config, pki


def test_a_renewal_needs_no_restart(node: LabNode) -> None:
    kubelet = node.daemon("kubelet")
    certificates = kubelet_config.own_pki(node.settings)
    before = pki.read_certificate(certificates.server)
    node.pods()
    certificates.client.unlink()
    assert kubelet_config.keep_certificates(node.settings)
    assert pki.read_certificate(certificates.server).issuer != before.issuer
    began = time.monotonic()
    node.wait_for(lambda: node.get("/pods"), "the kubelet to take the new certificates", timeout=90)
    print(f"taken after {time.monotonic() - began:.1f} s")
    assert node.daemon("kubelet") == kubelet
