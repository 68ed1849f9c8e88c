"""Which lock this kharden was made with: a changed one, or an older one, is refused.

The lock is data beside the code. Whoever could change both could change anything, so this is no defence against them:
it finds a lock that came from another version, a merge that went wrong, and a change that nobody reviewed.
`python -m kharden.artifacts.pin seal` writes this file after lock.json was changed.
"""

SERIAL = 5
SHA256 = "37dca2b93fa5fe9868c53fa294da5238a51353c761498bc69f3cb48a6487eddd"
