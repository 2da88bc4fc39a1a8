"""Tests with real OpenStack, real os-collect-config and real kubelets (`tests/heatlab`)."""
