"""X.509 seen from outside: what a certificate says, whether things belong together, which requests are right.

It knows nothing of the generator: what observes a live node uses it as well.
"""
