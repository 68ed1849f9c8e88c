"""What differs between Kubernetes minors, as named predicates: nothing else in kharden compares versions.

Each predicate says in words what a release can do, and in which one that began or ended. Whoever adds a minor reads the
differences of its sources (kubeadm, kubelet, kube-apiserver, their features) and adds a predicate for each that
concerns what is rendered; tests/unit/render/test_matrix.py holds every predicate against the programs themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

# Minors whose programs judge what is rendered in tests, and which were bootstrapped in the lab.
SUPPORTED = ("1.35", "1.36", "1.37")


@dataclass(frozen=True, slots=True)
class Contract:
    """What one minor can do.

    Attributes:
        major: 1, so far.
        number: 36 of 1.36.
    """

    major: int
    number: int

    @classmethod
    def of(cls, version: str) -> Contract:
        """The contract of a whole version ("1.36.3") or a minor ("1.36"), supported or not.

        Raises:
            ValueError: that is no version.
        """
        major, number = version.split(".")[:2]
        return cls(int(major), int(number))

    @property
    def minor(self) -> str:
        """As people write it: "1.36"."""
        return f"{self.major}.{self.number}"

    @property
    def supported(self) -> bool:
        """Whether kharden makes clusters of this minor."""
        return self.minor in SUPPORTED

    @property
    def names_key_exchanges(self) -> bool:
        """`--tls-curve-preferences` and the kubelet's `tlsCurvePreferences` exist (new in 1.36, KEP-5707's flags)."""
        return self._since(36)

    @property
    def lists_images_by_name(self) -> bool:
        """The kubelet's preloadedImagesVerificationAllowlist finds `registry/name`, whatever the tag (since 1.36).

        1.35 compares such an entry with the name and the tag together, so that only `registry/*` ever matches.
        """
        return self._since(36)

    def _since(self, number: int) -> bool:
        """Whether this is 1.`number` or a later one."""
        return (self.major, self.number) >= (1, number)
