"""The command: exit codes, one JSON object on standard output, the rest on standard error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
QUICK = [
    *("--set", "points=3", "--set", "centre_wavelength_nm=520"),
    *("--set", "fluence_min_uJ_cm2=10", "--set", "fluence_max_uJ_cm2=20"),
]


def gainbench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "procedures.cli", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )


def the_object(done: subprocess.CompletedProcess[str]) -> Any:
    lines = [line for line in done.stdout.split("\n") if line.strip()]
    assert len(lines) == 1, done.stderr
    return json.loads(lines[0])


def test_list_names_measurements_drivers_and_presets(tmp_path: Path) -> None:
    found = the_object(gainbench(tmp_path, "list", "--json"))
    assert "power-sweep" in found["measurements"]
    assert "thorlabs-elliptec" in found["drivers"]
    assert "CsPbBr3-9nm" in found["presets"]


def test_run_then_analyze(tmp_path: Path) -> None:
    done = gainbench(tmp_path, "run", "power-sweep", *QUICK, "--sample", "a/b\nc", "--json")
    assert done.returncode == 0, done.stderr
    found = the_object(done)
    assert (found["run_status"], found["records"]) == ("finished", 3)
    assert found["results"]["threshold_uJ_cm2"]["value"] is None
    assert found["warnings"]
    file = Path(found["file"])
    assert file.parent == tmp_path / "runs"
    again = gainbench(tmp_path, "analyze", str(file), "--json", "--figure", "x.svg", "--store")
    assert again.returncode == 0, again.stderr
    assert the_object(again)["measurement"] == "power-sweep"
    assert (tmp_path / "x.svg").stat().st_size > 1000
    assert gainbench(tmp_path, "resume", str(file)).returncode == 2


@pytest.mark.parametrize(
    ("words", "code", "key"),
    [
        (["run", "powr-sweep", "--json"], 2, "measurement"),
        (["run", "power-sweep", "--set", "point=3", "--json"], 2, "point"),
        (["run", "power-sweep", "--set", "points", "--json"], 2, "--set"),
        (["run", "power-sweep", "--frob", "--json"], 2, None),
        (["analyze", "nowhere.h5", "--json"], 2, None),
        (["check", "--bench", "nowhere.toml", "--json"], 2, None),
        (["run", "power-sweep", "--set", "fluence_max_uJ_cm2=1e4", "--json"], 2, "fluence"),
    ],
)
def test_bad_input_ends_with_2_and_one_object(
    tmp_path: Path, words: list[str], code: int, key: str | None
) -> None:
    done = gainbench(tmp_path, *words)
    assert done.returncode == code
    error = the_object(done)["error"]
    assert error["message"] in done.stderr
    assert error["key"] == key
    assert "Traceback" not in done.stderr


def test_a_dry_run_leaves_no_file(tmp_path: Path) -> None:
    done = gainbench(tmp_path, "run", "power-sweep", "--dry-run", "--json")
    assert done.returncode == 0
    assert the_object(done)["points"] == 40
    assert list(tmp_path.iterdir()) == []


def test_check_finds_what_does_not_answer_and_the_rest(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(
        "[simulation]\n[instruments.shutter]\ndriver='thorlabs-sc10'\n"
        "resource='TCPIP0::127.0.0.1::9::SOCKET'\n"
    )
    done = gainbench(tmp_path, "check", "--bench", "b.toml", "--json")
    assert done.returncode == 1
    found = the_object(done)
    rows = {row["role"]: row for row in found["instruments"]}
    assert not found["ok"]
    assert not rows["shutter"]["ok"]
    assert "power and cable" in rows["shutter"]["remedy"]
    assert all(row["ok"] for role, row in rows.items() if role != "shutter")
    assert gainbench(tmp_path, "check", "--move").returncode == 0


def test_another_identity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(
        "[simulation]\n[instruments.shutter]\ndriver='thorlabs-sc10'\nresource='sim'\n"
        "identity_contains='SC99'\n"
    )
    done = gainbench(tmp_path, "run", "power-sweep", *QUICK, "--bench", "b.toml", "--json")
    assert done.returncode == 1
    assert the_object(done)["error"]["code"] == "wrong-identity"


def test_an_instrument_that_goes_away_fails_the_run_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(
        "[simulation]\n[[simulation.faults]]\ndevice='camera'\nkind='disconnect'\n"
        "after_s=11.0\nfor_s=1e6\n"
    )
    done = gainbench(tmp_path, "run", "power-sweep", *QUICK, "--bench", "b.toml", "--json")
    assert done.returncode == 1
    error = the_object(done)["error"]
    assert error["code"] == "no-reply"
    assert error["message"].startswith("camera: ")
    assert "given up after 3 retries" in error["message"]
    assert "retry 2 of 3 in 5 s" in done.stderr
    assert "Traceback" not in done.stderr
    (file,) = (tmp_path / "runs").glob("*.h5")
    (tmp_path / "b.toml").write_text("[simulation]\n")
    again = gainbench(tmp_path, "resume", str(file), "--bench", "b.toml", "--json")
    assert (again.returncode, the_object(again)["records"]) == (0, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_served_bench_is_driven_from_another_process(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "procedures.cli", "simulate", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert server.stdout is not None
        served = json.loads(server.stdout.readline())
        assert served["instruments"]["attenuator"]["resource"].startswith("ASRL")
        text = Path(served["bench_file"]).read_text()
        before, _, after = text.partition("[instruments.stripe]")  # homing it takes real time
        rest = after[after.index("\n[") :] if "\n[" in after else ""
        (tmp_path / "bench.toml").write_text(before + rest)
        done = gainbench(
            tmp_path,
            *("run", "power-sweep", *QUICK, "--set", "points=1", "--set", "exposure_max_s=0.1"),
            *("--bench", "bench.toml", "--json"),
        )
        assert done.returncode == 0, done.stderr
        assert the_object(done)["records"] == 1
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0
