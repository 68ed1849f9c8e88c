# SPDX-License-Identifier: Apache-2.0
"""The error that a module hands back to Ansible as one line."""

from __future__ import annotations


class NodeError(Exception):
    """Something on this node is in the way: what, where and what to do, in one line without any secret.

    Args:
        message: The line.
        details: Further facts for the module's result, under the names they have there.
    """

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
