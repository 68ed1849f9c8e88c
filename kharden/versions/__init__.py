"""Kubernetes minors: which are supported, and how they differ (docs/adr/0009-versions-below-everything.md)."""
