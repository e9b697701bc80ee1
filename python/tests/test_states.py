"""What is removed from a home of kernels that nobody comes back for, and what is not."""

import fcntl
import os
from datetime import datetime, timezone

import pytest

from elastichub.notebook import states
from test_notebook import keep

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
LATER, BEFORE = "2026-06-01T00:00:01Z", "2026-06-01T01:59:59.999999999+02:00"


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def answer(*kernels, holder="h"):
    return {"holder": holder, "kernels": list(kernels)}


def test_what_is_over_goes(home):
    assert states.sweep(home, None, NOW) == []
    over, young = keep(home, "over", BEFORE), keep(home, "young", LATER)
    assert states.sweep(home, None, NOW) == ["over"]
    assert not over.exists()
    assert sorted(os.listdir(young)) == ["chunks", "lock", "manifest"]
    assert not (home / ".elastichub" / "seen").exists()


def test_what_was_seen_and_is_no_more_goes(home):
    kept, stranger = keep(home, "kept", LATER), keep(home, "stranger", LATER)
    seen = home / ".elastichub" / "seen"
    assert states.sweep(home, answer("kept", "without"), NOW) == []
    assert seen.stat().st_mode & 0o777 == 0o600
    assert states.sweep(home, answer(holder="another"), NOW) == [], "of another gateway's or notebook's nothing is said"
    assert states.sweep(home, None, NOW) == []
    with open(kept / "lock", "rb") as lock:  # it is being loaded
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert states.sweep(home, answer(), NOW) == []
        assert (kept / "manifest").exists()
    assert states.sweep(home, answer(), NOW) == ["kept"]
    assert not kept.exists()
    assert stranger.exists()
    assert states.sweep(home, answer(), NOW) == []


def test_what_was_seen_here_goes(home):
    kept = keep(home, "kept", LATER)
    assert states.sweep(home, answer(), NOW, {"another": {"kept"}}) == []
    assert states.sweep(home, answer(), NOW, {"h": {"kept"}}) == ["kept"]
    assert not kept.exists()


def test_nothing_leads_out_of_the_directory(home, tmp_path):
    """Whoever may write to the home can put links there, to what others may write to."""
    outside = keep(tmp_path / "outside", "over", BEFORE)
    kernels = home / ".elastichub" / "kernels"
    kernels.parent.mkdir()
    kernels.symlink_to(outside.parent)
    assert states.sweep(home, None, NOW) == []
    kernels.unlink()
    inside = keep(home, "over", BEFORE)
    os.rename(inside / "chunks", inside / "aside")
    (inside / "chunks").symlink_to(outside / "chunks")
    states.sweep(home, None, NOW)
    keep(home, "manifest-link", BEFORE)
    link = kernels / "manifest-link" / "manifest"
    link.unlink()
    link.symlink_to(outside / "manifest")
    (kernels / "linked").symlink_to(outside)
    keep(home, "fifo", BEFORE)
    (kernels / "fifo" / "manifest").unlink()
    os.mkfifo(kernels / "fifo" / "manifest")
    (kernels.parent / "seen").symlink_to(outside / "manifest")
    before = (outside / "manifest").read_text()
    states.sweep(home, answer("x"), NOW)
    assert sorted(os.listdir(outside)) == ["chunks", "lock", "manifest"]
    assert os.listdir(outside / "chunks") == ["0" * 64]
    assert (outside / "manifest").read_text() == before
    assert (kernels / "fifo").exists()


@pytest.mark.parametrize(
    "manifest",
    ["", "{}", "[]", '{"format": 2, "kernel": "k", "expires": "2020-01-01T00:00:00Z"}',
     '{"format": 1, "kernel": "other", "expires": "2020-01-01T00:00:00Z"}',
     '{"format": 1, "kernel": "k", "expires": "2020-13-01T00:00:00Z"}', '{"format": 1, "kernel": "k", "expires": 7}'],
)
def test_what_says_nothing_stays(home, manifest):
    (keep(home, "k", BEFORE) / "manifest").write_text(manifest)
    assert states.sweep(home, None, NOW) == []


def test_what_is_not_the_stores_stays(home):
    over = keep(home, "over", BEFORE)
    (over / "notes.txt").touch()
    (over / "chunks" / "mine").touch()
    (over / "chunks" / ("1" * 64 + ".new")).touch()
    assert states.sweep(home, None, NOW) == []
    assert sorted(os.listdir(over)) == ["chunks", "notes.txt"]
    assert os.listdir(over / "chunks") == ["mine"]


@pytest.mark.parametrize("seen", ["", "[]", '{"h": 7}', '{"h": ["../../x"]}', "\xff"])
def test_a_record_that_is_none(home, seen):
    kept = keep(home, "kept", LATER)
    (home / ".elastichub" / "seen").write_text(seen)
    assert states.sweep(home, answer("kept"), NOW) == []
    assert states.sweep(home, answer("kept"), NOW) == []
    assert kept.exists()
