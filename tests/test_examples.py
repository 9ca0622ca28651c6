"""The example of a lab's own package: installed, it is found, it measures, its own tests pass.

And what the registries say of a package that is not in order.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

import pytest

import instruments.registry
import procedures.registry
from instruments import config
from instruments.bench import open_bench
from instruments.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "gainbench-example-lab"


def _pip_can_build() -> bool:
    """Whether a wheel can be made without the network: the test environment need not have pip."""
    if importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None:
        return False
    major, minor = (int(part) for part in version("setuptools").split(".")[:2])
    return (major, minor) >= (70, 1) or importlib.util.find_spec("wheel") is not None


def unpacked(target: Path) -> None:
    """Put the package where a wheel of it would go, with the metadata of its pyproject.toml."""
    told = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    project = told["project"]
    for source in (EXAMPLE / told["tool"]["setuptools"]["packages"]["find"]["where"][0]).iterdir():
        if (source / "__init__.py").is_file():
            shutil.copytree(source, target / source.name)
    name = project["name"].replace("-", "_")
    folder = target / f"{name}-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
        encoding="utf-8",
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (folder / "entry_points.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")


def run(target: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python on words, with the installed example and this project on its path."""
    path = os.pathsep.join([str(target), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *words],
        cwd=target,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def gainbench(target: Path, *words: str) -> Any:
    """Return the JSON object of a command."""
    return json.loads(run(target, "-m", "procedures.cli", *words, "--json").stdout)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    unpacked(target)
    return target


def test_it_is_found_by_name(installed: Path) -> None:
    listed = gainbench(installed, "list")
    assert listed["drivers"]["zaber-rotary"] == "from gainbench-example-lab 0.1.0"
    assert listed["measurements"]["noise-floor"] == "from gainbench-example-lab 0.1.0"
    assert listed["drivers"]["thorlabs-elliptec"] and listed["measurements"]["power-sweep"]


def test_it_measures_on_the_simulated_bench(installed: Path, tmp_path: Path) -> None:
    few = ("--set", "frames=12", "--set", "levels=5", "--set", "dark_exposures_s=[0.01,2.0]")
    bench = str(EXAMPLE / "bench.toml")
    ran = gainbench(installed, "run", "noise-floor", "--bench", bench, "--out", str(tmp_path), *few)
    assert (ran["run_status"], ran["records"]) == ("finished", 7)
    for name, true in {"gain_e_per_count": 4.0, "read_noise_e": 11.0}.items():
        found = ran["results"][name]
        assert abs(found["value"] - true) < 4.0 * found["stderr"] < 0.2 * true
    figure = tmp_path / "noise.png"
    again = gainbench(installed, "analyze", ran["file"], "--figure", str(figure))
    assert again["results"] == ran["results"] and figure.stat().st_size > 10_000


def test_its_own_tests_pass(installed: Path) -> None:
    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests"))
    assert " passed" in done.stdout and "failed" not in done.stdout


@pytest.mark.skipif(not _pip_can_build(), reason="no pip, or no setuptools that makes wheels")
def test_pip_installs_it_without_the_network(tmp_path: Path) -> None:
    copy, target = tmp_path / "copy", tmp_path / "site"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    run(tmp_path, *pip, "--target", str(target), str(copy))
    other = tmp_path / "other"
    other.mkdir()
    unpacked(other)
    modules, points = ("gainbench_example_lab/*.py", "*.dist-info/entry_points.txt")
    assert [p.name for p in sorted(target.glob(modules))] == [
        p.name for p in sorted(other.glob(modules))
    ]
    made, expected = (next(folder.glob(points)).read_text() for folder in (target, other))
    assert sorted(filter(None, made.split("\n"))) == sorted(filter(None, expected.split("\n")))


# ---- packages that are not in order -------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Register entry points as if packages were installed."""
    points: dict[str, list[EntryPoint]] = {}
    for module in ("instruments.registry", "procedures.registry", "sim_drivers.bench"):
        monkeypatch.setattr(
            importlib.import_module(module), "entry_points", lambda group: points.get(group, [])
        )

    def register(group: str, name: str, value: str) -> None:
        group = f"gainbench.{group}"
        points.setdefault(group, []).append(EntryPoint(name, value, group))

    return register


def test_a_driver_that_cannot_be_loaded(registered: Any) -> None:
    registered("drivers", "ours", "no_such_package.shutter:Shutter")
    with pytest.raises(ConfigError, match=r"'ours' .* cannot be loaded .*no_such_package"):
        instruments.registry.driver("ours", "shutter", "bench.toml")
    registered("drivers", "theirs", "instruments.drivers.thorlabs_sc10:NoSuchClass")
    with pytest.raises(ConfigError, match="NoSuchClass") as caught:
        instruments.registry.driver("theirs", "shutter", "bench.toml")
    assert (caught.value.file, caught.value.key) == ("bench.toml", "instruments.shutter.driver")


def test_a_driver_fills_the_roles_of_its_class(registered: Any) -> None:
    registered("drivers", "ours", "instruments.drivers.thorlabs_sc10:SC10Shutter")
    registered("drivers", "thorlabs-sc10", "no_such_package:Shutter")
    assert instruments.registry.driver("ours", "shutter").load("shutter").__name__ == "SC10Shutter"
    with pytest.raises(ConfigError, match=r"'ours' cannot be the camera; allowed: .*andor-sdk2"):
        instruments.registry.driver("ours", "camera")
    assert instruments.registry.driver("thorlabs-sc10", "shutter").roles == ("shutter",)
    with pytest.raises(ConfigError, match="did you mean 'ours'"):
        instruments.registry.driver("oours", "shutter")


def test_every_role_says_what_fills_it() -> None:
    assert set(instruments.registry._FILLS) == set(config.ROLES)
    for entry in instruments.registry.drivers().values():
        for role in entry.roles:
            assert issubclass(entry.load(role), instruments.registry._FILLS[role])


@pytest.mark.parametrize("simulator", ["", "no_such_package:Simulated"])
def test_a_simulated_device_that_is_missing(registered: Any, simulator: str) -> None:
    registered("drivers", "ours", "instruments.drivers.thorlabs_sc10:SC10Shutter")
    if simulator:
        registered("simulators", "ours", simulator)
    bench_file = config.parse('[instruments.shutter]\ndriver = "ours"\nresource = "sim"\n')
    expected = "cannot be loaded" if simulator else "no simulated device is registered"
    with (
        pytest.raises(ConfigError, match=expected),
        open_bench(bench_file, ("shutter",), extras=False),
    ):
        pass


def test_a_measurement_names_what_goes_with_it(
    registered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from procedures.power_sweep import PowerSweep

    class Ours(PowerSweep):
        MEASUREMENT = "ours"

    monkeypatch.setattr("procedures.power_sweep.Ours", Ours, raising=False)
    registered("measurements", "ours", "procedures.power_sweep:Ours")
    assert procedures.registry.measurements()["ours"].evaluate == ""
    entry = procedures.registry.measurement("ours")
    assert entry.evaluate == entry.figure == "" and entry.load() is Ours
    with pytest.raises(ConfigError, match='FIGURE = "module:function"'):
        entry.load("figure")
    Ours.EVALUATE = "procedures.evaluation:evaluate_power_sweep"  # type: ignore[attr-defined]
    Ours.FIGURE = "procedures.figures:power_sweep_figure"  # type: ignore[attr-defined]
    entry = procedures.registry.measurement("ours")
    assert entry.load("evaluate").__name__ == "evaluate_power_sweep"
    assert entry.load("figure").__name__ == "power_sweep_figure"


def test_a_measurement_that_is_not_in_order(registered: Any) -> None:
    registered("measurements", "theirs", "procedures.power_sweep:PowerSweep")
    with pytest.raises(ConfigError, match="'power-sweep' and is registered as 'theirs'"):
        procedures.registry.measurement("theirs")
    registered("measurements", "ours", "no_such_package:Measurement")
    with pytest.raises(ConfigError, match="cannot be loaded from 'no_such_package:Measurement'"):
        procedures.registry.measurement("ours")
    registered("measurements", "power-sweep", "no_such_package:Measurement")
    assert procedures.registry.measurement("power-sweep").evaluate
