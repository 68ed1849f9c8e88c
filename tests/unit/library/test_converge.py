from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from playbooks.module_utils.kharden import firewall, way_back

from .conftest import LIBRARY, MODULE_UTILS, USER, run_module, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Node

CANARY = "canary-7f3a-do-not-show"


def test_it_places_files_folders_and_links_and_then_changes_nothing(node: Node) -> None:
    entries = (
        node.folder("/etc/kharden", "0700"),
        node.file("/etc/kharden/a.conf", "a\n", mode="0640", restarts=["containerd.service"]),
        node.symlink("/etc/link", "kharden/a.conf"),
    )
    first = node.converge(*entries)
    assert first.status == 0
    assert first.values["changed"] is True
    assert first.values["restarts"] == ["containerd.service"]
    assert first.actions == {
        str(node.path("/etc")): "create",
        str(node.path("/etc/kharden")): "create",
        str(node.path("/etc/kharden/a.conf")): "create",
        str(node.path("/etc/link")): "create",
    }
    assert node.path("/etc/kharden/a.conf").read_text() == "a\n"
    assert stat.S_IMODE(node.path("/etc/kharden/a.conf").stat().st_mode) == 0o640
    assert stat.S_IMODE(node.path("/etc/kharden").stat().st_mode) == 0o700
    assert str(node.path("/etc/link").readlink()) == "kharden/a.conf"
    assert stat.S_IMODE(node.record.stat().st_mode) == 0o600
    assert stat.S_IMODE(node.state.stat().st_mode) == 0o700

    before = snapshot(node.root), snapshot(node.state)
    second = node.converge(*entries)
    assert second.values["changed"] is False
    assert second.values["changes"] == []
    assert (snapshot(node.root), snapshot(node.state)) == before


def test_check_mode_writes_nothing_and_says_what_the_run_then_does(node: Node) -> None:
    node.put("/etc/a.conf", "by hand\n")
    entries = (node.file("/etc/a.conf", "planned\n", restarts=["sysctl"]), node.file("/etc/new/b.conf", "b\n"))
    before = snapshot(node.root.parent)
    plan = node.converge(*entries, check=True)
    assert snapshot(node.root.parent) == before
    assert plan.values["changed"] is True
    done = node.converge(*entries)
    assert [plan.values[key] for key in ("changes", "restarts")] == [
        done.values[key] for key in ("changes", "restarts")
    ]


def test_what_decides_who_gets_in_waits_for_its_turn(node: Node) -> None:
    rules, other = node.file("/rules", "old", restarts=["ssh.service"]), node.file("/other", "old")
    assert node.converge(rules, other).status == 0
    node.pending.unlink()  # as services does that has restarted it
    rules, other = node.file("/rules", "new", restarts=["ssh.service"]), node.file("/other", "new")
    hold = [rules["path"]]
    seen = node.converge(rules, other, check=True, hold=hold)
    assert set(seen.actions) == {rules["path"], other["path"]}
    assert seen.values["held"] == []
    held = node.converge(rules, other, hold=hold)
    assert held.actions == {other["path"]: "update"}
    assert (held.values["held"], held.values["restarts"]) == (hold, [])
    assert node.path("/rules").read_text() == "old"
    placed = node.converge(rules, other)
    assert placed.actions == {rules["path"]: "update"}
    assert (placed.values["held"], placed.values["restarts"]) == ([], ["ssh.service"])
    node.path("/rules").write_text("by hand")
    assert node.converge(rules, other, hold=hold).values["held"] == hold
    # It is known as what was placed last: nobody else's file is removed.
    assert node.converge(other).values["left"] == hold


def test_what_is_gone_and_no_longer_listed_is_not_waited_for(node: Node) -> None:
    rules, other = node.file("/rules", "text"), node.file("/other", "text")
    assert node.converge(rules, other).status == 0
    node.path("/rules").unlink()
    assert node.converge(other, hold=[rules["path"]]).values["held"] == []
    assert set(json.loads(node.record.read_text())["placed"]) == {other["path"]}


def test_what_waits_are_the_files_with_a_way_back() -> None:
    text = (LIBRARY.parent / "phases/group_vars/all.yml").read_text(encoding="utf-8")
    assert set(yaml.safe_load(text)["kharden_way_in"]) == {firewall.RULES, way_back.SETTINGS}


def _drift_content(path: Path) -> None:
    path.write_text("by hand\n")


def _drift_same_size(path: Path) -> None:
    path.write_text("x\n")


def _drift_gone(path: Path) -> None:
    path.unlink()


def _drift_link(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("a\n")
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize(
    ("drift", "action"),
    [(_drift_content, "update"), (_drift_same_size, "update"), (_drift_gone, "create"), (_drift_link, "replace")],
)
def test_content_changed_by_hand_is_put_right_and_restarts(node: Node, drift: object, action: str) -> None:
    entry = node.file("/etc/a.conf", "a\n", restarts=["haproxy.service"])
    node.converge(entry)
    node.pending.unlink()  # as if it had restarted
    assert callable(drift)
    drift(node.path("/etc/a.conf"))
    result = node.converge(entry)
    assert result.actions == {entry["path"]: action}
    assert result.values["restarts"] == ["haproxy.service"]
    assert not node.path("/etc/a.conf").is_symlink()
    assert node.path("/etc/a.conf").read_text() == "a\n"


def test_a_symlink_in_a_files_place_is_replaced_and_never_followed(node: Node) -> None:
    outside = node.root.parent / "outside"
    outside.write_text("not ours\n")
    node.path("/etc").mkdir()
    node.path("/etc/a.conf").symlink_to(outside)
    assert node.converge(node.file("/etc/a.conf", "a\n")).actions[str(node.path("/etc/a.conf"))] == "replace"
    assert outside.read_text() == "not ours\n"


def test_a_mode_changed_by_hand_is_put_right_in_place_and_restarts_nothing(node: Node) -> None:
    entries = (node.folder("/etc", "0755"), node.file("/etc/a.conf", "a\n", restarts=["haproxy.service"]))
    node.converge(*entries)
    node.pending.unlink()
    inode = node.path("/etc/a.conf").stat().st_ino
    node.path("/etc/a.conf").chmod(0o666)
    node.path("/etc").chmod(0o777)
    result = node.converge(*entries)
    assert set(result.actions.values()) == {"attributes"}
    assert result.values["changes"][1]["before"]["mode"] == "0666"
    assert result.values["changes"][1]["after"]["mode"] == "0600"
    assert result.values["restarts"] == []
    assert stat.S_IMODE(node.path("/etc/a.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE(node.path("/etc").stat().st_mode) == 0o755
    assert node.path("/etc/a.conf").stat().st_ino == inode


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_an_owner_changed_by_hand_is_put_right(node: Node) -> None:
    entries = (node.file("/etc/a.conf", "a\n"), node.symlink("/etc/link", "a.conf"))
    node.converge(*entries)
    for name in ("a.conf", "link"):
        os.chown(node.path(f"/etc/{name}"), 65534, 65534, follow_symlinks=False)
    result = node.converge(*entries)
    assert set(result.actions.values()) == {"attributes"}
    assert {node.path(f"/etc/{name}").lstat().st_uid for name in ("a.conf", "link")} == {0}


@pytest.mark.parametrize(
    ("kind", "made"), [("file", "directory"), ("directory", "file"), ("directory", "symlink"), ("file", "fifo")]
)
def test_another_kind_that_may_hold_something_is_refused(node: Node, kind: str, made: str) -> None:
    path = node.path("/etc/thing")
    path.parent.mkdir()
    if made == "directory":
        path.mkdir()
    elif made == "fifo":
        os.mkfifo(path)
    elif made == "symlink":
        (node.root / "data").mkdir()
        path.symlink_to(node.root / "data")
    else:
        path.write_text("kept\n")
    entry = node.folder("/etc/thing") if kind == "directory" else node.file("/etc/thing", "a\n")
    before = snapshot(node.root)
    result = node.converge(entry, node.file("/etc/b", "b"))
    assert result.status == 1
    assert "move it away" in result.values["msg"]
    assert str(path) in result.values["problems"][0]
    assert snapshot(node.root) == before


def test_a_parent_that_is_a_symlink_is_refused(node: Node) -> None:
    outside = node.root.parent / "outside"
    outside.mkdir()
    node.path("/etc").symlink_to(outside)
    result = node.converge(node.file("/etc/a.conf", "a\n"), node.file("/etc/deeper/b.conf", "b\n"))
    assert result.status == 1
    assert "symbolic link" in result.values["msg"]
    assert list(outside.iterdir()) == []


def test_every_problem_is_told_at_once(node: Node) -> None:
    result = node.converge(
        node.file("/a", "a", owner="nobody-of-that-name"),
        node.entry("/b", kind="file", mode="0600", sha256="0" * 64),
        node.entry("/c", kind="file", mode="0600", sha256="1" * 64),
    )
    assert len(result.values["problems"]) == 3
    assert [item["sha256"] for item in result.values["missing"]] == ["0" * 64, "1" * 64]


def test_a_plan_needs_neither_accounts_nor_staged_content(node: Node) -> None:
    entries = (
        node.file("/a", "a", owner="nobody-of-that-name"),
        node.entry("/b", kind="file", mode="0600", sha256="0" * 64),
    )
    result = node.converge(*entries, check=True)
    assert result.status == 0
    assert set(result.actions.values()) == {"create"}
    assert result.values["missing"] == [{"path": entries[1]["path"], "sha256": "0" * 64}]


def test_what_is_no_longer_listed_is_removed_and_restarts_its_readers(node: Node) -> None:
    kept = node.file("/etc/kept", "k")
    node.put("/old/by-hand", "h")
    node.converge(
        kept,
        node.file("/etc/x/gone", "g", restarts=["haproxy.service"]),
        node.symlink("/etc/link", "kept"),
        node.folder("/made"),
        node.folder("/old"),
    )
    node.pending.unlink()
    result = node.converge(kept)
    removed = {str(node.path(path)) for path in ("/etc/x", "/etc/x/gone", "/etc/link", "/made")}
    assert result.actions == dict.fromkeys(removed, "remove")
    assert not any(os.path.lexists(path) for path in removed)
    assert result.values["restarts"] == ["haproxy.service"]
    assert node.path("/old/by-hand").read_text() == "h"
    assert node.converge(kept).values["changed"] is False


def test_a_folder_that_was_there_before_is_never_removed(node: Node) -> None:
    node.path("/etc").mkdir()
    node.converge(node.folder("/etc", "0700"))
    assert node.converge().values["changed"] is False
    assert node.path("/etc").is_dir()


def test_a_made_folder_with_something_in_it_stays(node: Node) -> None:
    node.converge(node.file("/made/a", "a"))
    node.put("/made/by-hand", "h")
    assert node.converge().actions == {str(node.path("/made/a")): "remove"}
    assert node.path("/made/by-hand").exists()


def test_what_somebody_else_changed_since_is_left_and_named_once(node: Node) -> None:
    node.converge(node.file("/etc/a.conf", "a\n"))
    node.put("/etc/a.conf", "mine now\n")
    result = node.converge()
    assert result.values["changed"] is False
    assert result.values["left"] == [str(node.path("/etc/a.conf"))]
    assert "was changed since" in json.dumps(result.values["notes"])
    assert node.path("/etc/a.conf").read_text() == "mine now\n"
    assert node.converge().values["left"] == []


def test_content_comes_from_the_staging_folder_or_from_another_path(node: Node) -> None:
    content = bytes(range(256)) * 1000
    digest = node.stage(content)
    staged = node.entry("/usr/bin/one", kind="file", mode="0755", sha256=digest, size=len(content))
    node.converge(staged)
    assert node.path("/usr/bin/one").read_bytes() == content
    (node.staging / digest).unlink()
    copied = node.converge(staged, staged | {"path": str(node.path("/usr/bin/two"))})
    assert copied.status == 0
    assert node.path("/usr/bin/two").read_bytes() == content
    assert copied.values["changes"][0]["diff"] == f"(nothing) -> sha256:{digest}"


def test_missing_content_is_named_and_nothing_is_changed(node: Node) -> None:
    before = snapshot(node.root)
    result = node.converge(
        node.file("/etc/a", "a"), node.entry("/usr/bin/one", kind="file", mode="0755", sha256="ab" * 32)
    )
    assert result.status == 1
    assert str(node.path("/usr/bin/one")) in result.values["msg"]
    assert "ab" * 32 in result.values["msg"]
    assert snapshot(node.root) == before
    assert not node.pending.exists()


def test_staged_content_with_another_digest_changes_nothing_and_is_thrown_away(node: Node) -> None:
    wanted = hashlib.sha256(b"genuine").hexdigest()
    node.stage(b"forged!", name=wanted)
    before = snapshot(node.root)
    result = node.converge(
        node.file("/etc/x/a", "a"), node.entry("/usr/bin/one", kind="file", mode="0755", sha256=wanted)
    )
    assert result.status == 1
    assert "digest" in result.values["msg"]
    assert {path: seen[:2] for path, seen in snapshot(node.root).items()} == {
        path: seen[:2] for path, seen in before.items()
    }
    assert not (node.staging / wanted).exists()
    assert not node.pending.exists()


def test_a_full_disk_leaves_the_old_files_whole(node: Node) -> None:
    entry = node.file("/etc/a.conf", "old\n")
    node.converge(entry)
    big = node.stage(b"b" * 300_000)
    arguments = node.arguments(
        node.file("/etc/a.conf", "new\n"), node.entry("/usr/bin/one", kind="file", mode="0755", sha256=big)
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    result = run_module("converge", arguments, before=limit)
    assert result.status == 1
    assert "can't write" in result.values["msg"]
    assert "Traceback" not in result.printed
    assert node.path("/etc/a.conf").read_text() == "old\n"
    assert node.leftovers() == []
    assert node.converge(entry).values["changed"] is False


def _script(node: Node, text: str) -> str:
    return str(node.put("/../check", f"#!{sys.executable}\n{text}\n", 0o700).resolve())


def test_a_file_that_its_reader_refuses_does_not_replace_the_old_one(node: Node) -> None:
    node.put("/etc/sshd_config", "old\n")
    check = _script(
        node, "import sys, pathlib\nsys.exit('line 1: bad' if 'bad' in pathlib.Path(sys.argv[1]).read_text() else 0)"
    )
    refused = node.converge(node.file("/etc/sshd_config", "bad\n", validate=[check, "%s"]))
    assert refused.status == 1
    assert "line 1: bad" in refused.values["msg"]
    assert node.path("/etc/sshd_config").read_text() == "old\n"
    assert node.leftovers() == []
    node.converge(node.file("/etc/sshd_config", "good\n", validate=[check, "%s"]))
    assert node.path("/etc/sshd_config").read_text() == "good\n"


def test_a_run_that_was_killed_is_mended_and_loses_no_restart(node: Node) -> None:
    kill = _script(node, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    first = node.file("/etc/a.conf", "a\n", restarts=["containerd.service"])
    last = node.file("/etc/b.conf", "b\n", restarts=["static-pod/kube-apiserver"])
    killed = node.converge(first, last | {"validate": [kill, "%s"]})
    assert killed.status == -signal.SIGKILL
    assert node.path("/etc/a.conf").exists()
    assert not node.path("/etc/b.conf").exists()
    assert node.leftovers() != []

    mended = node.converge(first, last)
    assert mended.actions == {last["path"]: "create"}
    assert mended.values["restarts"] == ["containerd.service", "static-pod/kube-apiserver"]
    assert node.leftovers() == []


def test_what_a_killed_run_placed_or_had_yet_to_do_is_removed_when_it_is_no_longer_listed(node: Node) -> None:
    kill = _script(node, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    node.converge(node.file("/etc/changed", "1"), node.file("/etc/waiting", "1"), node.file("/etc/dropped", "1"))
    node.converge(
        node.file("/etc/changed", "2"),
        node.file("/etc/new", "n"),
        node.file("/etc/last", "l", validate=[kill, "%s"]),
        node.file("/etc/waiting", "2"),
    )
    assert node.path("/etc/changed").read_text() == "2"
    assert node.path("/etc/waiting").read_text() == "1"
    result = node.converge()
    names = ("", "/changed", "/dropped", "/new", "/waiting")
    assert result.actions == {str(node.path(f"/etc{name}")): "remove" for name in names}
    assert result.values["left"] == []
    assert list(node.root.iterdir()) == []


def test_temporary_names_start_with_a_dot_so_that_no_kubelet_runs_them(node: Node) -> None:
    seen = node.root.parent / "seen"
    look = _script(node, f"import pathlib, sys\npathlib.Path({str(seen)!r}).write_text(sys.argv[1])")
    node.converge(node.file("/etc/kubernetes/manifests/x.yaml", "x", validate=[look, "%s"]))
    assert seen.read_text() == str(node.path("/etc/kubernetes/manifests/.x.yaml.kharden-new"))


def test_sensitive_content_is_nowhere_but_in_its_file(node: Node) -> None:
    check = _script(node, "import sys, pathlib\nsys.exit(pathlib.Path(sys.argv[1]).read_text())")
    key = node.file("/pki/ca.key", f"{CANARY} 1\n", sensitive=True)
    printed = [
        node.converge(key, diff=True).printed,
        node.converge(node.file("/pki/ca.key", f"{CANARY} 2\n", sensitive=True), diff=True).printed,
        node.converge(node.file("/pki/ca.key", "public now\n"), check=True, diff=True).printed,
        node.converge(node.file("/pki/ca.key", CANARY, sensitive=True, validate=[check, "%s"]), diff=True).printed,
        node.converge(key | {"sha256": "0" * 64}, diff=True).printed,
        node.converge(diff=True).printed,
    ]
    assert all("CANARY" not in text and CANARY not in text for text in printed)
    assert all(key["content"] not in text for text in printed)
    assert "(sensitive content, not shown)" in printed[1]
    assert "refuses it" in printed[3]
    assert key["sha256"] not in printed[0]
    assert CANARY not in node.record.read_text()


def test_a_second_run_at_the_same_time_is_refused(node: Node) -> None:
    inner = node.root.parent / "inner.json"
    inner.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": node.arguments()}))
    out = node.root.parent / "out"
    check = _script(
        node,
        "import subprocess, sys\n"
        f"sys.argv[1:] = [{str(MODULE_UTILS)!r}, {str(LIBRARY / 'converge.py')!r}]\n"
        "code = 'import runpy, sys, ansible.module_utils as m; m.__path__.append(sys.argv.pop(1)); "
        'runpy.run_path(sys.argv.pop(1), run_name="__main__")\'\n'
        f"with open({str(inner)!r}) as given, open({str(out)!r}, 'w') as told:\n"
        f"    subprocess.run([{sys.executable!r}, '-c', code, *sys.argv[1:]], stdin=given, stdout=told)",
    )
    assert node.converge(node.file("/etc/a", "a", validate=[check, "%s"])).status == 0
    assert "another run is changing this node" in out.read_text()


def test_large_files_are_hashed_each_time_unless_times_are_trusted(node: Node) -> None:
    content = b"k" * 10_000_000
    entry = node.entry("/bin/kubelet", kind="file", mode="0755", sha256=node.stage(content), size=len(content))
    node.converge(entry)
    assert node.converge(entry, trust_times=True).values["changed"] is False
    path = node.path("/bin/kubelet")
    times = path.stat()
    path.write_bytes(b"K" + content[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for trust in (True, False):  # the time of the last change of the inode can't be set back
        assert node.converge(entry, check=True, trust_times=trust).actions == {entry["path"]: "update"}
    recorded = json.loads(node.record.read_text())
    found = path.stat()
    recorded["placed"][entry["path"]]["times"] = [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    node.record.write_text(json.dumps(recorded))
    assert node.converge(entry, check=True, trust_times=True).values["changed"] is False
    assert node.converge(entry, check=True).values["changed"] is True


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": 2}', '{"schema": 1, "placed": {"/../x": {}}}', '{"schema": 1, "placed": []}']
)
def test_a_damaged_record_is_not_guessed_at(node: Node, text: str) -> None:
    node.state.mkdir()
    node.record.write_text(text)
    result = node.converge(node.file("/a", "a"))
    assert result.status == 1
    assert "move" in result.values["msg"]
    assert not node.path("/a").exists()


def test_ansible_itself_runs_it(node: Node) -> None:
    entry = node.file("/etc/a.conf", "new\n", restarts=["haproxy.service"])
    node.put("/etc/a.conf", "old\n")
    secret = node.file("/etc/key", CANARY, sensitive=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "adhoc", "localhost", "--connection=local", "--check", "--diff"),
            *(f"--module-path={LIBRARY}", "--module-name=converge", "-vvv"),
            f"--args={json.dumps(node.arguments(entry, secret))}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={
            **os.environ,
            "ANSIBLE_MODULE_UTILS": str(MODULE_UTILS),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(node.root.parent / "ansible"),
            "ANSIBLE_REMOTE_TMP": str(node.root.parent / "ansible-tmp"),
        },
    )
    assert "localhost | CHANGED" in done.stdout, done.stdout + done.stderr
    assert "-old\n+new" in done.stdout
    assert f"update {entry['path']}: {USER}:" in done.stdout
    assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in done.stdout
    assert node.path("/etc/a.conf").read_text() == "old\n"
    assert CANARY not in done.stdout + done.stderr
