"""Text as tools write it: each oddity gives the right values, or one line with the remedy."""

import gzip
import io
import lzma
import tarfile
import zipfile
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pepbench.datasets.own import LabelReader

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


def archive(content, kind):
    """An archive with one file, the same bytes at any time."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as to:
            to.writestr(zipfile.ZipInfo("c.csv"), content)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as to:
            entry = tarfile.TarInfo("c.csv")
            entry.size = len(content)
            to.addfile(entry, io.BytesIO(content.encode()))
    return buffer.getvalue()


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
        (PLAIN + "\n0,Ulm,1\n", "row 82: y is '', expected a label; drop such rows"),
        (PLAIN + "0,Ulm,1,\n", "row 82: 4 columns, expected 3"),
        ("y,,city\n0,1,2\n", "row 1: column 2 has no name; add one"),
        (PLAIN.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (packed(PLAIN.encode())[:-9], "cannot be read"),
        (packed(PLAIN.encode())[:-6] + b"abcdef", "cannot be read"),
        (packed(PLAIN.encode()) + b"more", "cannot be read"),
        (b"\n\r\n\n", "is empty"),
        (b"\0\0\0\0\n", "row 1: has a NUL byte"),
        (PLAIN.replace("city", "ci\0ty"), "row 1: has a NUL byte"),
        (packed(packed(PLAIN.encode())), "is compressed twice; unpack it once"),
        (lzma.compress(PLAIN.encode()), "is compressed with xz"),
        (archive(PLAIN, "zip"), "is an archive or a workbook"),
        (packed(archive(PLAIN, "tar")), "is a tar archive"),
        (b"PAR1" + bytes(80) + b"PAR1", "is a Parquet file; say so with --format parquet"),
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


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.list_(pa.string())])
def test_parquet_text_that_is_not_utf_8_is_named(refused, tmp_path, kind):
    values = [[b"a"], [b"\xff"]] if pa.types.is_list(kind) else [b"a", b"\xff"]
    binary = pa.array(values, pa.list_(pa.binary()) if pa.types.is_list(kind) else None)
    if pa.types.is_list(kind):
        column = pa.ListArray.from_arrays(binary.offsets, binary.values.view(pa.string()))
    else:
        column = binary.view(pa.string()).cast(kind)
    pq.write_table(pa.table({"y": [0, 1], "x": column, "z": [1, 2]}), tmp_path / "c.parquet")
    use = "--multi=x" if pa.types.is_list(kind) else "--fields=x"
    error = refused("data", "add", "mine", "--from", tmp_path / "c.parquet", "--label=y", use)
    assert "c.parquet, column 'x': rows 1 to 2 hold text that is not UTF-8" in error


@pytest.mark.parametrize("change", ["grows", "vanishes"])
def test_a_file_that_changes_while_it_is_read_is_not_added(refused, tmp_path, monkeypatch, change):
    path = tmp_path / "c.csv"
    path.write_text(PLAIN)
    read = LabelReader.codes

    def codes(self, chunk):
        if change == "vanishes":
            path.unlink(missing_ok=True)
        else:
            path.write_text(PLAIN + PLAIN[PLAIN.index("\n") + 1 :])
        return read(self, chunk)

    monkeypatch.setattr(LabelReader, "codes", codes)
    error = refused("data", "add", "mine", "--from", path, "--label=y")
    assert f"{path} was changed while it was read" in error or "does not exist" in error


@pytest.mark.parametrize(
    "option", ["--multi=city:|,city:;", "--hash=city=2,city=3", "--dense=item,item:log1p"]
)
def test_a_column_named_twice_in_an_option_is_refused(refused, tmp_path, option):
    (tmp_path / "c.csv").write_text(PLAIN)
    error = refused("data", "add", "mine", "--from", tmp_path / "c.csv", "--label=y", option)
    assert f"{option.partition('=')[0]} names column" in error
    assert error.endswith("twice")


def test_a_separator_that_no_row_has_is_warned_of(command, tmp_path):
    (tmp_path / "c.csv").write_text(PLAIN)
    options = ("--from", tmp_path / "c.csv", "--label=y")
    ran = command("data", "add", "mine", *options, "--multi=city:\\t")
    assert "field 'city': no row has two values; is the separator right?" in ran.err


def test_whole_numbers_of_any_size_are_not_said_to_have_fractions(command, tmp_path):
    ids = [10**30 + i for i in range(80)]
    decimals = pa.array([Decimal(i) for i in ids], pa.decimal128(38, 0))
    table = pa.table({"y": [0, 1] * 40, "a": decimals, "b": pa.array(map(str, ids))})
    pq.write_table(table, tmp_path / "c.parquet")
    lines = [f"{i % 2},{number}" for i, number in enumerate(ids)]
    (tmp_path / "c.csv").write_text("\n".join(["y,a", *lines]) + "\n")
    for name in ("c.parquet", "c.csv"):
        ran = command("data", "add", "mine", "--from", tmp_path / name, "--label=y")
        assert ran.code == 0
        assert "fractions" not in ran.err


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
