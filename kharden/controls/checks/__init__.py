"""The kinds of checks: what is looked at and what it must be, as values. `kharden.observe.examine` knows how."""

from kharden.controls.checks.behaviour import (
    DefaultServiceAccounts,
    EncryptedAtRest,
    ForeignNodeRefused,
    KubeletSetting,
    KubeletSettingWithin,
    ObjectsAbsent,
    PodAdmission,
    Probe,
    SecretsNotAudited,
)
from kharden.controls.checks.node import (
    ArgumentAbsent,
    ArgumentAtLeast,
    ArgumentContains,
    ArgumentEquals,
    ArgumentLacks,
    ArgumentWithin,
    FileAttributes,
    FilesAbsent,
    FolderContents,
    InstalledPrograms,
    Listener,
    ListeningSockets,
    ProcessOwner,
    RunningPrograms,
    SysctlValue,
    UnitState,
)
from kharden.controls.checks.trust import (
    CertificateFile,
    DistinctAuthorities,
    KubeconfigFile,
    TlsListener,
    TrustFile,
)

Check = (
    FileAttributes
    | FilesAbsent
    | FolderContents
    | ArgumentEquals
    | ArgumentAbsent
    | ArgumentContains
    | ArgumentLacks
    | ArgumentWithin
    | ArgumentAtLeast
    | ProcessOwner
    | RunningPrograms
    | InstalledPrograms
    | ListeningSockets
    | SysctlValue
    | UnitState
    | CertificateFile
    | KubeconfigFile
    | TrustFile
    | DistinctAuthorities
    | TlsListener
    | Probe
    | ForeignNodeRefused
    | KubeletSetting
    | KubeletSettingWithin
    | PodAdmission
    | EncryptedAtRest
    | SecretsNotAudited
    | DefaultServiceAccounts
    | ObjectsAbsent
)

__all__ = [
    "ArgumentAbsent",
    "ArgumentAtLeast",
    "ArgumentContains",
    "ArgumentEquals",
    "ArgumentLacks",
    "ArgumentWithin",
    "CertificateFile",
    "Check",
    "DefaultServiceAccounts",
    "DistinctAuthorities",
    "EncryptedAtRest",
    "FileAttributes",
    "FilesAbsent",
    "FolderContents",
    "ForeignNodeRefused",
    "InstalledPrograms",
    "KubeconfigFile",
    "KubeletSetting",
    "KubeletSettingWithin",
    "Listener",
    "ListeningSockets",
    "ObjectsAbsent",
    "PodAdmission",
    "Probe",
    "ProcessOwner",
    "RunningPrograms",
    "SecretsNotAudited",
    "SysctlValue",
    "TlsListener",
    "TrustFile",
    "UnitState",
]
