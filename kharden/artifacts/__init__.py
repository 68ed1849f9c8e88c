"""The programs and images of a cluster: pinned in lock.json, made from source, cached by digest."""
