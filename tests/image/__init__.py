"""Tests of built images, with and without a boot on a virtual machine behind real Heat."""
