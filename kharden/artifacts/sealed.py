"""Which lock this kharden was made with: a changed one, or an older one, is refused.

The lock is data beside the code. Whoever could change both could change anything, so this is no defence against them:
it finds a lock that came from another version, a merge that went wrong, and a change that nobody reviewed.
`python -m kharden.artifacts.pin seal` writes this file after lock.json was changed.
"""

SERIAL = 7
SHA256 = "24d760660e1d5056f05496782ff0598bfb2bf84e06d44acaf38e14cd32ed990f"
