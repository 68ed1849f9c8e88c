"""Which lock this kharden was made with: a changed one, or an older one, is refused.

The lock is data beside the code. Whoever could change both could change anything, so this is no defence against them:
it finds a lock that came from another version, a merge that went wrong, and a change that nobody reviewed.
`python -m kharden.artifacts.pin seal` writes this file after lock.json was changed.
"""

SERIAL = 8
SHA256 = "7bca137bd191e5f94997a78710f23f3d8fdd85971e29aa278869a853264c0da0"
