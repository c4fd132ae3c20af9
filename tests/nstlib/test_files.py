"""Files are written whole or not at all."""

import os

import pytest

from nstlib.files import atomic_write


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "report.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["report.txt"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_exception_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, error):
    path = tmp_path / "report.txt"
    path.write_text("old")

    def fail_halfway():
        with atomic_write(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        fail_halfway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.txt"]


def test_a_failed_first_write_leaves_an_empty_folder(tmp_path):
    def fail():
        with atomic_write(tmp_path / "report.txt"):
            raise ValueError("report")

    with pytest.raises(ValueError, match="report"):
        fail()
    assert os.listdir(tmp_path) == []


def test_the_temporary_file_lies_in_the_same_folder_with_the_same_ending(tmp_path):
    # the same folder: only within one file system is replacing atomic; the same ending: Pillow takes the format from it
    with atomic_write(tmp_path / "picture.png") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    path = tmp_path / "report.txt"
    before = os.umask(umask)
    try:
        with atomic_write(path) as temporary:
            temporary.write_text("new")
        assert path.stat().st_mode & 0o777 == mode
        assert os.umask(umask) == umask  # and the umask is as it was
    finally:
        os.umask(before)


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match=r"missing'$"), atomic_write(tmp_path / "missing" / "report.txt"):
        pass


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), atomic_write(tmp_path / "folder") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["folder"]


def test_the_longest_name_the_file_system_takes_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".txt")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
