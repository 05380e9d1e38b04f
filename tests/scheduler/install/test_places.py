"""Files and crontabs: what is replaced, and what is left alone."""

from pathlib import Path

import pytest

from plaster_ops.errors import PlasterError, UsageError
from scheduler.install.places import Edit, TextFile, UsersCrontab, edits_of_folder

MARK = "# plaster-ops project /srv/churn"

STAND_IN = """#!/bin/sh
file={file}
case "$1" in
    -l) [ -f "$file" ] && cat "$file" || {{ echo "no crontab for $USER" >&2; exit 1; }} ;;
    -r) rm "$file" ;;
    -) {write} ;;
esac
"""


def crontab(folder: Path, write: str = 'cat > "$file"') -> UsersCrontab:
    """A program that answers as crontab(1) does, for a file of its own."""
    program = folder / "crontab"
    program.write_text(STAND_IN.format(file=folder / "tab", write=write))
    program.chmod(0o755)
    return UsersCrontab(str(program))


def test_a_crontab_is_read_written_and_removed(tmp_path: Path) -> None:
    place = crontab(tmp_path)
    assert place.read() is None
    place.write("0 2 * * * é\n")
    assert place.read() == "0 2 * * * é\n"
    place.write(None)
    assert place.read() is None


def test_a_crontab_that_is_refused_or_changed_by_another_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bad minute"):
        crontab(tmp_path, "echo 'bad minute' >&2; exit 1").write("x\n")
    with pytest.raises(PlasterError, match="somebody else"):
        crontab(tmp_path, 'echo other > "$file"').write("x\n")


def test_no_program_and_no_right_to_it_have_a_next_step(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no program crontab") as missing:
        UsersCrontab(str(tmp_path / "nothing")).read()
    assert "--output" in missing.value.next_step
    denied = tmp_path / "denied"
    denied.write_text("#!/bin/sh\necho 'You are not allowed to use this program' >&2; exit 1\n")
    denied.chmod(0o755)
    with pytest.raises(UsageError, match="not allowed"):
        UsersCrontab(str(denied)).read()


def test_a_file_is_replaced_whole_and_keeps_its_rights(tmp_path: Path) -> None:
    place = TextFile(tmp_path / "new" / "a.timer")
    place.write("one\n")
    place.path.chmod(0o600)
    place.write("two\n")
    assert (place.read(), place.path.stat().st_mode & 0o777) == ("two\n", 0o600)
    assert [file.name for file in place.path.parent.iterdir()] == ["a.timer"]
    place.write(None)
    assert place.read() is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        TextFile(tmp_path / "file" / "a.timer").write("x")


def test_files_of_a_project_become_the_wanted_ones_and_no_others(tmp_path: Path) -> None:
    for name, text in {
        "plaster-ops-churn-old.timer": f"{MARK}\n",
        "plaster-ops-churn-same.timer": f"{MARK}\nsame\n",
        "plaster-ops-churn-new.timer": f"{MARK}\nbefore\n",
        "plaster-ops-other-old.timer": "# plaster-ops project /srv/other\n",
        "plaster-ops-hand.service": "[Unit]\n",
        "cron.service": f"{MARK}\n",
    }.items():
        (tmp_path / name).write_text(text)
    wanted = {
        "plaster-ops-churn-same.timer": f"{MARK}\nsame\n",
        "plaster-ops-churn-new.timer": f"{MARK}\nafter\n",
        "plaster-ops-churn-first.timer": f"{MARK}\nfirst\n",
    }
    edits = edits_of_folder(tmp_path, MARK, wanted)
    assert [edit.tell().replace(f"{tmp_path}/", "") for edit in edits] == [
        "wrote plaster-ops-churn-first.timer",
        "changed plaster-ops-churn-new.timer",
        "removed plaster-ops-churn-old.timer",
    ]
    for edit in edits:
        edit.place.write(edit.after)
    assert edits_of_folder(tmp_path, MARK, wanted) == []
    assert (tmp_path / "plaster-ops-other-old.timer").exists()
    assert (tmp_path / "cron.service").exists()


def test_a_file_of_another_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "plaster-ops-churn.service").write_text("[Unit]\n")
    with pytest.raises(UsageError, match="not of this project"):
        edits_of_folder(tmp_path, MARK, {"plaster-ops-churn.service": f"{MARK}\n"})


def test_a_diff_names_the_place_and_ends_its_lines(tmp_path: Path) -> None:
    edit = Edit(place=TextFile(tmp_path / "tab"), before="a\nb", after="a\nc\n")
    assert edit.diff().splitlines() == [
        f"--- {tmp_path}/tab (as it is)",
        f"+++ {tmp_path}/tab (as it shall be)",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]
