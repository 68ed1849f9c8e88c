# SPDX-License-Identifier: Apache-2.0
"""What kharden's Ansible modules share. It is sent to nodes with them, so it uses Python's own library only.

This runs on the node's Python (3.11 in Debian 12, 3.13 in Debian 13).
"""
