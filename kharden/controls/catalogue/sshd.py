"""sshd: who gets in, what a session may do, and with which algorithms."""

from __future__ import annotations

from kharden.controls.checks import FileAttributes, SshdNobodyElse, SshdRootLogin, SshdSetting, SshdWithin
from kharden.controls.model import EVERYWHERE, Control

_REMEDY = "look for another file in /etc/ssh/sshd_config.d and for Match blocks, then run `kharden apply`"

CONTROLS = (
    Control(
        "sshd-keys-only",
        "Nobody logs in by ssh but with a key",
        "critical",
        EVERYWHERE,
        (
            SshdSetting("pubkeyauthentication", "yes"),
            SshdSetting("passwordauthentication", "no"),
            SshdSetting("kbdinteractiveauthentication", "no"),
            SshdSetting("gssapiauthentication", "no"),
            SshdSetting("hostbasedauthentication", "no"),
            SshdSetting("ignorerhosts", "yes"),
            SshdSetting("permitemptypasswords", "no"),
            SshdSetting("strictmodes", "yes"),
            SshdSetting("usepam", "yes"),
            SshdNobodyElse(),
        ),
        _REMEDY,
    ),
    Control(
        "sshd-root-login",
        "Root logs in by ssh only where the spec says so",
        "high",
        EVERYWHERE,
        (SshdRootLogin(),),
        _REMEDY,
    ),
    Control(
        "sshd-forwarding-off",
        "Ssh leads no further than to the node, and sessions choose no environment",
        "high",
        EVERYWHERE,
        (
            *(
                SshdSetting(name, "no")
                for name in (
                    "allowtcpforwarding",
                    "allowstreamlocalforwarding",
                    "allowagentforwarding",
                    "x11forwarding",
                    "permittunnel",
                    "gatewayports",
                    "permituserenvironment",
                )
            ),
            SshdSetting("disableforwarding", "yes"),
        ),
        _REMEDY,
    ),
    Control(
        "sshd-limits",
        "Logins are limited and logged, and sessions that are dead end",
        "medium",
        EVERYWHERE,
        (
            SshdSetting("loglevel", "VERBOSE"),
            SshdSetting("logingracetime", "30"),
            SshdSetting("maxauthtries", "4"),
            SshdSetting("maxsessions", "10"),
            SshdSetting("maxstartups", "10:30:60"),
            SshdSetting("clientaliveinterval", "15"),
            SshdSetting("clientalivecountmax", "3"),
        ),
        _REMEDY,
    ),
    Control(
        "sshd-algorithms",
        "Ssh takes strong algorithms only",
        "high",
        EVERYWHERE,
        (
            SshdWithin(
                "kexalgorithms",
                (
                    "mlkem768x25519-sha256",
                    "sntrup761x25519-sha512",
                    "sntrup761x25519-sha512@openssh.com",
                    "curve25519-sha256",
                    "curve25519-sha256@libssh.org",
                    "ecdh-sha2-nistp256",
                    "ecdh-sha2-nistp384",
                    "ecdh-sha2-nistp521",
                    "diffie-hellman-group16-sha512",
                    "diffie-hellman-group18-sha512",
                ),
            ),
            SshdWithin(
                "ciphers",
                ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr"),
            ),
            SshdWithin("macs", ("hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com")),
        ),
        _REMEDY,
    ),
    Control(
        "sshd-files-mode",
        "The ssh server's settings and private host keys are root's alone",
        "medium",
        EVERYWHERE,
        (FileAttributes(("/etc/ssh/sshd_config.d/00-kharden.conf", "/etc/ssh/ssh_host_*_key"), 0o600),),
    ),
)
