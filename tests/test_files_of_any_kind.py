"""Reading and writing where a name leads to a link, a pipe, a device, or a file without end."""

import os
import stat
import threading

import pytest

from graphgrad.errors import DataError, EnvironmentLimitError
from graphgrad.files import append_line, read_file, write_atomically


def reader_of(path):
    """What stands in a pipe, once it was written."""
    found = []
    thread = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    thread.start()
    return thread, found


def test_a_pipe_gets_the_bytes_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread, found = reader_of(pipe)
    write_atomically(pipe, "text")
    thread.join(10)
    assert found == [b"text"] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    real = tmp_path / "folder" / "real.dot"
    real.write_text("old")
    (tmp_path / "middle").symlink_to(real)
    link = tmp_path / "link.dot"
    link.symlink_to("middle")
    write_atomically(link, "new")
    assert link.is_symlink() and real.read_text() == "new" and not real.is_symlink()
    assert os.listdir(real.parent) == ["real.dot"]


def test_a_link_into_nothing_makes_what_it_names(tmp_path):
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


def test_a_link_to_a_pipe_leads_into_the_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    thread, found = reader_of(tmp_path / "pipe")
    write_atomically(tmp_path / "link", b"text")
    thread.join(10)
    assert found == [b"text"] and (tmp_path / "link").is_symlink()


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(EnvironmentLimitError, match="circle"):
        write_atomically(tmp_path / "a", "text")


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    write_atomically(path, "new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == mode


def test_a_device_of_ones_own_is_written_and_stays(tmp_path):
    node = tmp_path / "null"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        node.write_bytes(b"")
    except PermissionError:  # no right to make or to use one: a link to a pipe is the same kind
        node.unlink(missing_ok=True)
        return test_a_link_to_a_pipe_leads_into_the_pipe(tmp_path)
    write_atomically(node, "text")
    assert stat.S_ISCHR(node.stat().st_mode)


def test_a_file_of_a_run_takes_the_place_of_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    link = tmp_path / "configuration.json"
    link.symlink_to(victim)
    with pytest.raises(EnvironmentLimitError):
        append_line(link, "more")
    write_atomically(link, "{}", follow=False)
    assert victim.read_text() == "precious" and link.read_text() == "{}" and not link.is_symlink()


def test_only_a_regular_file_of_bounded_size_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(DataError, match="too large"):
        read_file(path, 4)
    os.truncate(path, 100 << 30)  # sparse
    with pytest.raises(DataError, match="too large"):
        read_file(path, 1 << 30)
    os.mkfifo(tmp_path / "pipe")
    for strange in (tmp_path / "pipe", tmp_path):
        with pytest.raises((DataError, IsADirectoryError)):
            read_file(strange, 5)
    with pytest.raises(EnvironmentLimitError, match="cannot append"):
        append_line(tmp_path / "pipe", "text")
