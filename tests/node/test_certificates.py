"""A running kubelet takes renewed certificates by itself."""

from __future__ import annotations

from datetime import timedelta

from lab.node import LabNode

from heat_config_kubelet import kubelet_config, pki


def test_a_renewal_needs_no_restart(node: LabNode) -> None:
    kubelet = node.daemon("kubelet")
    certificates = kubelet_config.own_pki(node.settings)
    before = pki.read_certificate(certificates.server)
    node.pods()
    soon = before.not_after - timedelta(days=1)
    assert pki.renew_if_old(certificates.directory, now=soon) is pki.Renewal.CERTIFICATES
    assert pki.read_certificate(certificates.server).not_after > before.not_after
    node.wait_for(lambda: node.get("/pods"), "the kubelet to take the new certificates", timeout=90)
    assert node.daemon("kubelet") == kubelet
