"""Where the product's own data lies: the same in a checkout and in an installed wheel.

In a wheel, templates/, playbooks/, tests/state/ and tools/ are package data below kharden/_data; in a checkout they
lie at its top, where people look for them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from kharden.errors import MissingError


def folder(name: str) -> Path:
    """The folder `name` ("templates", "playbooks", "tests/state", "tools") of the product.

    Raises:
        MissingError: the installation is damaged.
    """
    package = Path(str(resources.files("kharden")))
    for base in (package / "_data", package.parent):
        if (base / name).is_dir():
            return base / name
    raise MissingError(f"{package}: the product's folder {name} is missing", remedy="install kharden again")
