"""Which lock this kharden was made with: a changed one, or an older one, is refused.

The lock is data beside the code. Whoever could change both could change anything, so this is no defence against them:
it finds a lock that came from another version, a merge that went wrong, and a change that nobody reviewed.
`python -m kharden.artifacts.pin seal` writes this file after lock.json was changed.
"""

SERIAL = 6
SHA256 = "ecc039b547739f46f98a0f83fd16fca3959aee27f8925efe1869a7faba2da7ad"
