"""Which lock this kharden was made with: a changed one, or an older one, is refused.

The lock is data beside the code. Whoever could change both could change anything, so this is no defence against them:
it finds a lock that came from another version, a merge that went wrong, and a change that nobody reviewed.
`python -m kharden.artifacts.pin seal` writes this file after lock.json was changed.
"""

SERIAL = 2
SHA256 = "7e5c6c413700b2f39db0f80f3e81bd3bd7e86616608c2a7a781e0d458dd9b976"
