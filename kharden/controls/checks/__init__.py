"""The kinds of checks: what is looked at and what it must be, as values. `kharden.observe.examine` knows how."""

from kharden.controls.checks.behaviour import (
    AuditLevel,
    DefaultServiceAccounts,
    EncryptedAtRest,
    ForeignNodeRefused,
    KubeletSetting,
    KubeletSettingWithin,
    MetadataUnreached,
    NamespacesRestricted,
    ObjectsAbsent,
    PodAdmission,
    Probe,
    Reach,
    SecretsNotAudited,
)
from kharden.controls.checks.gates import (
    AlphaFeaturesOff,
    FeatureGateOn,
    FeatureGates,
    KubeletAlphaFeaturesOff,
    KubeletFeatureGates,
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
    FirewallRules,
    FolderContents,
    InstalledPrograms,
    InterfaceSetting,
    JournalBounded,
    JournalKept,
    JournalSetting,
    Listener,
    ListeningSockets,
    PackagedPrograms,
    ProcessOwner,
    RunningPrograms,
    ServiceTables,
    SysctlValue,
    UnitState,
)
from kharden.controls.checks.objects import (
    BoundsEnforced,
    NamespaceLevels,
    NamespaceObjects,
    NodeMarks,
    PoliciesEnforced,
)
from kharden.controls.checks.ssh import SshdNobodyElse, SshdRootLogin, SshdSetting, SshdWithin
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
    | FeatureGates
    | KubeletFeatureGates
    | FeatureGateOn
    | AlphaFeaturesOff
    | KubeletAlphaFeaturesOff
    | ProcessOwner
    | RunningPrograms
    | InstalledPrograms
    | PackagedPrograms
    | ListeningSockets
    | JournalBounded
    | JournalKept
    | JournalSetting
    | SysctlValue
    | InterfaceSetting
    | UnitState
    | SshdSetting
    | SshdWithin
    | SshdNobodyElse
    | SshdRootLogin
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
    | AuditLevel
    | NamespacesRestricted
    | DefaultServiceAccounts
    | ObjectsAbsent
    | FirewallRules
    | ServiceTables
    | Reach
    | MetadataUnreached
    | NodeMarks
    | NamespaceLevels
    | NamespaceObjects
    | BoundsEnforced
    | PoliciesEnforced
)

__all__ = [
    "AlphaFeaturesOff",
    "ArgumentAbsent",
    "ArgumentAtLeast",
    "ArgumentContains",
    "ArgumentEquals",
    "ArgumentLacks",
    "ArgumentWithin",
    "AuditLevel",
    "BoundsEnforced",
    "CertificateFile",
    "Check",
    "DefaultServiceAccounts",
    "DistinctAuthorities",
    "EncryptedAtRest",
    "FeatureGateOn",
    "FeatureGates",
    "FileAttributes",
    "FilesAbsent",
    "FirewallRules",
    "FolderContents",
    "ForeignNodeRefused",
    "InstalledPrograms",
    "InterfaceSetting",
    "JournalBounded",
    "JournalKept",
    "JournalSetting",
    "KubeconfigFile",
    "KubeletAlphaFeaturesOff",
    "KubeletFeatureGates",
    "KubeletSetting",
    "KubeletSettingWithin",
    "Listener",
    "ListeningSockets",
    "MetadataUnreached",
    "NamespaceLevels",
    "NamespaceObjects",
    "NamespacesRestricted",
    "NodeMarks",
    "ObjectsAbsent",
    "PackagedPrograms",
    "PodAdmission",
    "PoliciesEnforced",
    "Probe",
    "ProcessOwner",
    "Reach",
    "RunningPrograms",
    "SecretsNotAudited",
    "ServiceTables",
    "SshdNobodyElse",
    "SshdRootLogin",
    "SshdSetting",
    "SshdWithin",
    "SysctlValue",
    "TlsListener",
    "TrustFile",
    "UnitState",
]
