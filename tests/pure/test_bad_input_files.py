"""What a stack file can be instead of one: not YAML, two things at once, something else to another reader of YAML."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from components.variant import StackError, load
from components.variant.document import LIMIT, read

COLLAPSED = (Path(__file__).parents[2] / "stacks" / "Pulumi.collapsed.yaml").read_text()
HEAD = "config:\n  halab:stack:\n    variant: collapsed\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stacks").mkdir()
    return tmp_path


def refusal(folder: Path, content: bytes | str, name: str = "mine") -> str:
    data = content.encode() if isinstance(content, str) else content
    (folder / "stacks" / f"Pulumi.{name}.yaml").write_bytes(data)
    with pytest.raises(StackError) as caught:
        load(folder, name)
    said = str(caught.value)
    assert all(line.isprintable() for line in said.splitlines()), ascii(said)
    return said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("config: [", "1: column 10: not YAML: "),
        ("config:\n\thalab:stack: {}\n", "2: column 1: not YAML: a tab: indent with spaces"),
        ("config: {a: 1}}\n", "1: column 15: not YAML: "),
        ("a: b: c\n", "1: column 5: not YAML: mapping values are not allowed here"),
        (HEAD + "    suite: \x1b[2Jtrixie\n", "4: character 0x001b: not YAML: it does not allow this one"),
        (HEAD + "    suite: \x00\n", "4: character 0x0000: not YAML"),
        (HEAD + "---\n" + HEAD, "4: ---: a second document: a stack file is one"),
        (HEAD + "    variant: cloned\n", "4: variant: is there twice, first in line 3: leave one"),
        (
            HEAD + "    vips: {spread: true, spread: true}\n",
            "4: vips.spread: is there twice, first in line 4: leave one",
        ),
        (HEAD + "    roles: &r {}\n", "4: roles: '&r': leave the anchor out: nothing may refer to it"),
        (HEAD + "    timers: *r\n", "4: timers: '*r': a mapping of token"),
        (HEAD + "    timers: {token: *r}\n", "4: timers.token: '*r': a whole number from 1000 to 60000 milliseconds"),
        (HEAD + "    timers: {<<: {token: 5000}}\n", "4: timers.<<: write the keys themselves"),
        (HEAD + "    timers: {token: !!int '5000'}\n", "4: timers.token: 'tag:yaml.org,2002:int': leave the tag out"),
        (HEAD + "    timers: !ruby/object {}\n", "4: timers: '!ruby/object': leave the tag out"),
        (HEAD + "    ? {a: b}\n    : c\n", "4: config.halab:stack: a key is a word"),
        (HEAD + "    vips: {spread: yes}\n", "4: vips.spread: 'yes': true or false is needed; write true or false"),
        (HEAD + "    vips: {spread: Off}\n", "4: vips.spread: 'Off': true or false is needed; write true or false"),
        (HEAD + "    timers: {token: 010000}\n", "4: timers.token: '010000': a whole number from 1000 to 60000"),
        (HEAD + "    timers: {token: 0x2710}\n", "4: timers.token: '0x2710': a whole number"),
        (HEAD + "    timers: {token: 10_000}\n", "4: timers.token: '10_000': a whole number"),
        (HEAD + "    timers: {token: 1e4}\n", "4: timers.token: '1e4': a whole number"),
        (HEAD + "    timers: {token: 2:46:40}\n", "4: timers.token: '2:46:40': a whole number"),
        (HEAD + "    timers: {token: 10000.5}\n", "4: timers.token: 10000.5: a whole number"),
        (HEAD + "    timers: {token: .inf}\n", "4: timers.token: '.inf': a whole number"),
        (HEAD + f"    timers: {{token: {'9' * 5000}}}\n", f"4: timers.token: '{'9' * 60}…': a whole number"),
        (HEAD + "    timers: {token: }\n", "4: timers.token: nothing: a whole number"),
        (HEAD + "    timers: {token: '10000'}\n", "4: timers.token: '10000': a whole number"),
        (HEAD + "    timers: [10000]\n", "4: timers: a list: a mapping of token"),
        (
            HEAD + "    suite: 2025-08-09\n",
            "4: suite: '2025-08-09': trixie (there is no other) is needed; write it in quotes",
        ),
        (HEAD + '    suite: "\\e]0;owned\\a"\n', "4: suite: '\\x1b]0;owned\\x07': trixie"),
        (HEAD + '    "\\u202eetiraw": 1\n', "4: '\\u202eetiraw': 1: unknown key"),
        (HEAD + "    ssh_password: hunter2\n", "4: ssh_password: ***: unknown key; no password or key goes into"),
        (HEAD + "    note: |\n      -----BEGIN PRIVATE KEY-----\n      abc\n", "4: note: ***: unknown key"),
        (HEAD + "    vips:\n      layuot: shared\n", "5: vips.layuot: 'shared': unknown key; did you mean layout?"),
        (HEAD + "  halab:stak: {}\n", "4: config.halab:stak: unknown key; did you mean halab:stack?"),
        (HEAD + "encryptionslat: v1\n", "4: encryptionslat: unknown key; did you mean encryptionsalt?"),
        ("", "mine.yaml: nothing: a mapping with the key config is needed"),
        ("# only a comment\n", "mine.yaml: nothing: a mapping with the key config is needed"),
        ("- config\n", "mine.yaml: a list: a mapping with the key config is needed"),
        ("collapsed\n", "mine.yaml: 'collapsed': a mapping with the key config is needed"),
        ("confg: {}\n", "did you mean config by 'confg'?"),
        ("config:\n", "1: config: nothing: the key 'halab:stack'"),
        ("config: 3\n", "1: config: 3: the key 'halab:stack'"),
        ("config: {}\n", "1: config: the key 'halab:stack'"),
        ("config:\n  halab:stak: {}\n", "2: config: 'halab:stak': the key 'halab:stack'"),
        ("config:\n  halab:stack:\n", "2: variant: nothing: one of collapsed"),
        ("config:\n  halab:stack: none\n", "2: config.halab:stack: 'none': a mapping of variant"),
        ("config:\n  halab:stack: {secure: v1:abc}\n", "2: secure: ***: unknown key; no password or key goes"),
    ],
)
def test_what_is_wrong_with_a_text_is_said_with_its_line(folder: Path, text: str, line: str) -> None:
    assert line in refusal(folder, text)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (HEAD.encode() + b"    suite: \xff\n", "mine.yaml:4: byte 0xff: is not UTF-8: save the file as UTF-8"),
        (HEAD.encode("utf-16"), "mine.yaml:1: byte 0xff: is not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "mine.yaml:1: character 0x007f: not YAML"),
        (b"\x1f\x8b\x08\x00\x00", "mine.yaml:1: byte 0x8b: is not UTF-8"),
        (b"[" * LIMIT, "nested more than 10 deep"),
        (b"{a: " * (LIMIT // 4), "nested more than 10 deep"),
        (b"a" * (LIMIT + 1), f"{LIMIT + 1} bytes: a stack file has at most {LIMIT}"),
        (b"- " * (LIMIT // 2), "nested more than 10 deep"),
    ],
)
def test_bytes_that_are_no_stack_file_are_refused(folder: Path, data: bytes, line: str) -> None:
    began = time.process_time()
    assert line in refusal(folder, data)
    assert time.process_time() - began < 1


def test_a_file_of_nothing_but_mistakes_is_answered_in_forty_lines_and_at_once(folder: Path) -> None:
    lines = [f"    key{number}: {number}\n" for number in range((LIMIT - 200) // 22)]
    began = time.process_time()
    said = refusal(folder, HEAD + "".join(lines)).splitlines()
    assert time.process_time() - began < 1
    assert len(said) == 41
    assert said[-1].endswith(" more")


def test_what_comes_after_the_end_of_what_can_be_read_is_not_missed(folder: Path) -> None:
    said = refusal(folder, "config:\n  halab:stack:\n    suite: sid\n    roles: }\n").splitlines()
    assert [line.split(": ")[0] for line in said] == ["stacks/Pulumi.mine.yaml:3", "stacks/Pulumi.mine.yaml:4"]


def test_all_of_a_file_is_said_in_the_order_of_its_lines(folder: Path) -> None:
    text = COLLAPSED.replace("count: 3", "count: 4").replace("variant: collapsed", "variant: collapsd")
    said = refusal(folder, text + "    vips: {spread: yes}\n    vips: {}\n").splitlines()
    keys = [line.split(": ")[1] for line in said]
    assert list(dict.fromkeys(keys)) == ["variant", "roles.controller.count", "vips.spread", "vips"]
    numbers = [int(line.split(":")[1]) for line in said]
    assert numbers == sorted(numbers)
    assert text.splitlines()[numbers[1] - 1].strip() == "count: 4"


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_a_byte_order_mark_and_other_line_ends_are_no_mistakes(folder: Path, change: object) -> None:
    (folder / "stacks" / "Pulumi.mine.yaml").write_bytes(change(COLLAPSED).encode())  # type: ignore[operator]
    assert load(folder, "mine").roles


def test_what_pulumi_itself_keeps_in_a_stack_file_is_left_to_it(folder: Path) -> None:
    text = "secretsprovider: passphrase\nencryptionsalt: v1:abc\n" + COLLAPSED + "  other:list: [{a: 1}, {a: 2}]\n"
    (folder / "stacks" / "Pulumi.mine.yaml").write_text(text)
    assert load(folder, "mine").roles


def test_a_stack_file_must_be_a_file(folder: Path) -> None:
    (folder / "stacks" / "Pulumi.folder.yaml").mkdir()
    os.mkfifo(folder / "stacks" / "Pulumi.pipe.yaml")
    (folder / "stacks" / "Pulumi.zero.yaml").symlink_to("/dev/zero")
    (folder / "stacks" / "Pulumi.loop.yaml").symlink_to("Pulumi.loop.yaml")
    for name, complaint in (
        ("folder", "is no file but a folder or a device"),
        ("pipe", "is no file but a folder or a device"),
        ("zero", "is no file but a folder or a device"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
    ):
        with pytest.raises(StackError, match=f"^stacks/Pulumi.{name}.yaml: {complaint}"):
            load(folder, name)


def test_a_file_that_may_not_be_read_is_said_to_be_so() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "stacks", "Pulumi.mine.yaml")
        path.parent.mkdir()
        path.write_text(COLLAPSED)
        path.chmod(0)
        Path(name).chmod(0o755)
        before = os.geteuid()
        try:
            if before == 0:
                os.seteuid(65_534)
            with pytest.raises(StackError, match="cannot be read: Permission denied"):
                load(Path(name), "mine")
        finally:
            os.seteuid(before)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "/etc/hostname", "\x1b[31mred", "a b", "Ü", "a" * 300, ""])
def test_a_name_never_leads_out_of_the_folder_of_stacks(folder: Path, name: str) -> None:
    with pytest.raises(StackError) as caught:
        load(folder, name)
    said = str(caught.value)
    assert said.startswith("--stack: ")
    assert said.isprintable()
    assert "a name of a-z" in said


def test_a_name_that_is_nearly_one_is_asked_back(folder: Path) -> None:
    (folder / "stacks" / "Pulumi.collapsed.yaml").write_text(COLLAPSED)
    with pytest.raises(StackError, match=r"did you mean collapsed\? there are: collapsed$"):
        load(folder, "colapsed")


@pytest.mark.parametrize("name", ["stacks/Pulumi.mine.yaml", "Pulumi.mine.yaml", "mine.yaml", "/x/y/Pulumi.mine.yml"])
def test_a_file_given_for_a_stack_is_answered_with_the_stack(folder: Path, name: str) -> None:
    with pytest.raises(StackError, match=r"; did you mean --stack mine\?$"):
        load(folder, name)


@pytest.mark.parametrize("other", ["stacks/Pulumi.mine.yml", "stacks/mine.yaml", "Pulumi.mine.yaml"])
def test_a_stack_file_of_another_name_is_found(folder: Path, other: str) -> None:
    (folder / other).write_text(COLLAPSED)
    with pytest.raises(StackError, match=f"there is {other}: it must be called stacks/Pulumi.mine.yaml$"):
        load(folder, "mine")


def test_the_largest_file_allowed_is_read_in_time() -> None:
    text = HEAD + "    roles:\n" + "".join(f"      role{n}: {{count: {n}}}\n" for n in range(1150))
    assert LIMIT * 0.9 < len(text) <= LIMIT
    began = time.process_time()
    assert not read(text.encode()).problems
    assert time.process_time() - began < 1
