"""Text as tools write it: each oddity gives the right values, or one line with the remedy."""

import gzip

import pytest

from pepbench.catalog import Catalog
from pepbench.data.manage import open_table
from pepbench.data.readers.raw_files import line_blocks

pytestmark = pytest.mark.filterwarnings("error")

ROWS = ["0,Ulm,1", "1,Bonn,2"] * 40
PLAIN = "\n".join(["y,city,item", *ROWS]) + "\n"
EXPECTED = {"city": ["Ulm", "Bonn"], "item": ["1", "2"]}


def packed(content):
    """The same bytes at any time: they are in the names of tests."""
    return gzip.compress(content, mtime=0)


@pytest.fixture
def values_of(command, tmp_path):
    """Add a file; the vocabularies by field."""

    def call(name, content, *options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        ran = command("data", "add", "mine", "--from", path, *options)
        assert ran.code == 0, ran.err
        table = open_table(Catalog().select("dataset", "own:data=mine").default())
        assert table.meta.n_rows == 80
        assert table.labels.tolist() == [0, 1] * 40
        return dict(zip(table.meta.fields, table.vocabularies, strict=True))

    return call


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("c.csv", PLAIN.replace("\n", "\r"), ()),
        ("c.csv", PLAIN.replace("\n", "\r\n"), ()),
        ("c.csv", PLAIN + "\n\n\r\n\n", ()),
        ("c.csv", "\ufeff" + PLAIN, ()),
        ("c.csv", PLAIN.replace("\n", ",\n"), ()),
        ("c.csv", ",".join(["", "y,city,item\n"]) + "".join(f"7,{row}\n" for row in ROWS), ()),
        ("c.csv", '"","y","city","item"\n' + "".join(f'"7",{row}\n' for row in ROWS), ()),
        ("c.csv", "Unnamed: 0,y,city,item\n" + "".join(f"7,{row}\n" for row in ROWS), ()),
        ("c.txt", PLAIN, ("--format=csv",)),
        ("c", PLAIN, ("--format=csv",)),
        ("c.data.old", PLAIN.replace(",", "\t"), ("--format=tsv",)),
        ("C.CSV", PLAIN, ()),
        ("C.TSV", PLAIN.replace(",", "\t"), ()),
        ("C.CSV.GZ", packed(PLAIN.encode()), ()),
        ("c.csv.gz", packed(PLAIN.encode()) + bytes(512), ()),
        ("c.csv.gz", packed(PLAIN[:99].encode()) + packed(PLAIN[99:].encode()), ()),
        ("c.csv", packed(PLAIN.encode()), ()),
        ("c.csv.gz", PLAIN, ()),
    ],
)  # fmt: skip
def test_the_values_are_those_of_the_plain_file(values_of, name, content, options):
    assert values_of(name, content, "--label=y", *options) == EXPECTED


def test_an_index_column_may_be_asked_for(values_of):
    content = ",y\n" + "".join(f"{i % 3},{i % 2}\n" for i in range(80))
    found = values_of("c.csv", content, "--label=y", "--fields=Unnamed: 0")
    assert found == {"Unnamed: 0": ["0", "1", "2"]}


def test_columns_without_a_name_are_shown_as_not_used(command, tmp_path):
    (tmp_path / "c.csv").write_text("".join(f"7,{row},\n" for row in ["y,city,item", *ROWS])[1:])
    ran = command("data", "add", "mine", "--from", tmp_path / "c.csv", "--label=y")
    assert ran.code == 0, ran.err
    for name in ("Unnamed: 0", "Unnamed: 4"):
        assert any(f"{name} " in line and "not used" in line for line in ran.err.splitlines())


def test_quoted_headers_hold_separators_and_quotes(values_of):
    content = '"y","a,b","c""d"\n' + "".join(f'{row[:2]}"x, y","say ""hi"""\n' for row in ROWS)
    assert values_of("c.csv", content, "--label=y") == {"a,b": ["x, y"], 'c"d': ['say "hi"']}


@pytest.mark.parametrize("separator", [" ", "  ", "\t"])
@pytest.mark.parametrize("end", ["\n", " \n", "  \r\n"])
def test_libsvm_lines_may_end_in_spaces(values_of, separator, end):
    lines = [separator.join(row) for row in ([("-1", "3:1", "7:1"), ("+1", "4:1", "7:1.0")] * 40)]
    found = values_of("c.svm", end.join(lines) + end, "--label=label")
    assert found == {"f0": ["3", "4"], "f1": ["7"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n" + PLAIN, "row 1: is blank, expected the names of the columns; remove it"),
        ('"y,city\n1,2\n', "row 1: a quote is opened and not closed"),
        (PLAIN + "\n0,Ulm,1\n", "row 82: y is '', expected 0 or 1"),
        (PLAIN + "0,Ulm,1,\n", "row 82: 4 columns, expected 3"),
        ("y,,city\n0,1,2\n", "row 1: column 2 has no name; add one"),
        (PLAIN.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (packed(PLAIN.encode())[:-9], "cannot be read"),
        (packed(PLAIN.encode())[:-6] + b"abcdef", "cannot be read"),
        (packed(PLAIN.encode()) + b"more", "cannot be read"),
        (b"\n\r\n\n", "is empty"),
        (b"\0\0\0\0\n", "holds no rows"),
        (PLAIN.replace("1,Bonn", "-1,Bonn"), "y is '-1' after '0' in row 2"),
    ],
)
def test_what_cannot_be_read_is_named(refused, tmp_path, content, message):
    path = tmp_path / "c.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    error = refused("data", "add", "mine", "--from", path, "--label=y")
    assert str(path) in error
    assert message in error


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1 << 20])
def test_blank_lines_are_dropped_at_the_end_alone(tmp_path, size):
    (tmp_path / "c").write_bytes(b"a\n\nb\n\r\n\nc\r\n\r\n\n\n")
    assert b"".join(line_blocks(tmp_path / "c", size)) == b"a\n\nb\n\r\n\nc\r\n"


BIG = ("100000000000000000000", "1" + "0" * 400, "1" + "0" * 5000, "-1", "0", "nan", "²")
SIZES = ("--bins={}", "--min-count={}", "--top={}", "--rows={}", "--hash=city={}")


@pytest.mark.parametrize("option", [*SIZES, "--bins=1000000000", "--hash=city=4294967296"])
def test_sizes_without_sense_are_refused(refused, tmp_path, option):
    (tmp_path / "c.csv").write_text(PLAIN)
    for size in BIG if "{}" in option else ("",):
        given = option.format(size)
        error = refused("data", "add", "mine", "--from", tmp_path / "c.csv", "--label=y", given)
        name = option.partition("=")[0]
        assert name in error or name[2:].replace("-", "_") in error


@pytest.mark.parametrize(
    "spec", ["rows=1000000000000:fields=100", "features=100000000:dim=1024", "rows=1" + "0" * 5000,
             "fields=1000:dim=1024:features=9999"],
)  # fmt: skip
def test_drawn_data_sets_without_measure_are_refused(refused, spec):
    assert "dataset synthetic" in refused("data", "add", f"synthetic:{spec}")


@pytest.mark.parametrize("content", ["from = 5", 'from = "c.csv"\nlabel = 5', 'from = "a\\u0000b"'])
def test_descriptions_of_the_wrong_type_are_refused(refused, tmp_path, content):
    (tmp_path / "c.csv").write_text(PLAIN)
    (tmp_path / "c.toml").write_text(content)
    assert "c.csv" in (error := refused("data", "add", "mine", "--from", tmp_path / "c.toml")) or (
        "c.toml" in error
    )


def test_missing_words_of_a_description_hold_in_every_use(command, tmp_path):
    lines = [f"{i % 2},{'NA' if i % 4 else 'Ulm'},{'-' if i % 5 else i}" for i in range(80)]
    (tmp_path / "c.csv").write_text("\n".join(["y,city,n", *lines]) + "\n")
    (tmp_path / "c.toml").write_text(
        'from = "c.csv"\nlabel = "y"\nlog = ["n"]\nmissing = ["NA", "-"]\nhash = { city = 3 }\n'
    )
    ran = command("data", "add", "mine", "--from", tmp_path / "c.toml")
    assert ran.code == 0, ran.err
    table = open_table(Catalog().select("dataset", "own:data=mine").default())
    city, n = table.vocabularies
    assert (len(city), city[1], n[1]) == (2, "", "")
    own = ("--from", tmp_path / "c.csv", "--missing=NA,-", "--fields=n")
    for option in (
        ("--label=city", "--positive=Ulm"),
        ("--label=y", "--split-by=time:n"),
        ("--label=y", "--split-by=file:n"),
    ):
        ran = command("data", "add", "other", *own, *option)
        assert ran.code == 2
        assert "is ''" in ran.err


def test_few_known_users_are_not_warned_of(command, tmp_path):
    lines = [f"{i % 2},u{i},{i % 7}" for i in range(400)]
    (tmp_path / "c.csv").write_text("\n".join(["y,user_id,item", *lines]) + "\n")
    ran = command("data", "add", "mine", "--from", tmp_path / "c.csv", "--label=y")
    assert ran.code == 0
    assert "too good" not in ran.err
    assert "of the test rows" not in ran.err
