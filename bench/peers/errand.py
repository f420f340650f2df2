"""Ours without its tape and pace: the harness alone, every delta told by itself."""

from bench.peers.ours import PACKAGES, errand

__all__ = ["PACKAGES", "contestant"]

contestant = errand
