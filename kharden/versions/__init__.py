"""Kubernetes minors: which are supported, and how they differ (docs/adr/0008-versions-below-everything.md)."""
