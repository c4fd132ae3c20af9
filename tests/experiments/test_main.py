"""`python -m experiments`: lists, runs what is not on record, and refuses in one line."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from experiments import __main__ as command
from experiments import profiles, report, runs
from experiments.profiles import ROOT
from experiments.variants import LINE_ART, VARIANTS
from nstlib import ModelError

TEST = {"accuracy": 0.1, "accuracy_ab": 0.1, "edge_f1": 0.1, "perceptual": 0.1}


@pytest.fixture
def figures(monkeypatch, tmp_path):
    """A figures folder of its own, which does not exist yet."""
    folder = tmp_path / "figures"
    monkeypatch.setenv("NSTLIB_PROFILE", "smoke")
    monkeypatch.setitem(profiles.PROFILES, "smoke", replace(profiles.PROFILES["smoke"], figures=folder))
    return folder


def test_the_command_lists_every_variant():
    result = subprocess.run(
        [sys.executable, "-m", "experiments", "--list"],
        cwd=ROOT,
        env={**os.environ, "NSTLIB_PROFILE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    listed = {line.split()[1]: line for line in result.stdout.splitlines()}
    assert list(listed) == list(VARIANTS)
    assert listed["canny-l1-gan"].endswith("0, 1, 2")


def test_an_unknown_variant_is_named(figures, capsys):
    assert command.main(["canny-l1", "canny-l2"]) == 2
    error = capsys.readouterr().err
    assert "canny-l2" in error
    assert len(error.splitlines()) == 1


def test_an_unknown_profile_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("NSTLIB_PROFILE", "huge")
    assert command.main(["--list"]) == 2
    error = capsys.readouterr().err
    assert "NSTLIB_PROFILE" in error
    assert len(error.splitlines()) == 1


def test_the_table_is_of_the_profiles_records(figures, capsys):
    assert command.main(["--table"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2, "nothing is on record"
    figures.mkdir()
    test = dict.fromkeys(report.MEASURES, 0.5)
    (figures / "ablations.json").write_text(json.dumps([{"variant": "canny-l1", "seed": 0, "test": test}]))
    assert command.main(["--table"]) == 0
    *_, row = capsys.readouterr().out.splitlines()
    assert next(label for label, name in LINE_ART.items() if name == "canny-l1") in row


def test_what_is_on_record_is_not_run_again(figures, monkeypatch, capsys):
    calls = []

    def fake(name, seed, profile, folder):
        calls.append((name, seed))
        return {"variant": name, "seed": seed, "seconds": 1, "test": TEST}

    monkeypatch.setattr(runs, "run", fake)
    for _ in range(2):
        assert command.main(["canny-l1", "sobel-l1-gan", "--seeds", "0", "1"]) == 0
    assert calls == [("canny-l1", 0), ("sobel-l1-gan", 0), ("canny-l1", 1), ("sobel-l1-gan", 1)]
    printed = capsys.readouterr().out
    assert "(4; --seeds" in printed, "the second time, all four are said to be on record"
    records = json.loads((figures / "ablations.json").read_text())
    assert [(record["variant"], record["seed"]) for record in records] == [
        ("canny-l1", 0),
        ("canny-l1", 1),
        ("sobel-l1-gan", 0),
        ("sobel-l1-gan", 1),
    ]


def test_a_failed_run_is_one_line_and_keeps_the_records(figures, monkeypatch, capsys):
    def fake(name, seed, profile, folder):
        if seed:
            raise ModelError("step 7")
        return {"variant": name, "seed": seed, "seconds": 1, "test": TEST}

    monkeypatch.setattr(runs, "run", fake)
    assert command.main(["canny-l1", "--seeds", "0", "1"]) == 1
    assert capsys.readouterr().err.strip() == "step 7"
    assert report.recorded(figures / "ablations.json") == {("canny-l1", 0)}


def test_an_interrupted_run_says_how_to_go_on(figures, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run", interrupt)
    assert command.main(["canny-l1"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted; the same command goes on from here"


def test_processes_that_add_records_at_once_keep_both(figures, monkeypatch):
    """Each has read the records before the other writes: both wait until both have run."""
    both = threading.Barrier(2, timeout=20)

    def fake(name, seed, profile, folder):
        both.wait()
        return {"variant": name, "seed": seed, "seconds": 1, "test": TEST}

    monkeypatch.setattr(runs, "run", fake)
    workers = [threading.Thread(target=command.main, args=(["canny-l1", "--seeds", seed],)) for seed in ("0", "1")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert report.recorded(figures / "ablations.json") == {("canny-l1", 0), ("canny-l1", 1)}
