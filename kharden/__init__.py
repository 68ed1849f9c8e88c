"""kharden: hardened Kubernetes, from one file to a cluster that proves it."""
