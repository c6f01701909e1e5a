"""Files of a user's own: formats, types, labels, splits, and everything that can be wrong."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from split_helpers import feature_values

from pepbench.catalog import Catalog
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.errors import PlanError
from pepbench.harness.planted_facts import users_of_rows
from pepbench.plan import Plan


def clicks(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "clicked": rng.integers(0, 2, n),
            "user": [f"u{i}" for i in rng.integers(0, 30, n)],
            "item": rng.integers(0, 50, n),
            "city": [["Ulm", "Köln", None][i] for i in rng.integers(0, 3, n)],
            "price": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(3, 1, n).round(2)),
            "time": rng.permutation(n) + 1_000,
        }
    )


def write(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=70)
        return path
    separator = "\t" if ".tsv" in path.name else ","
    options = csv.WriteOptions(delimiter=separator, quoting_style="needed")
    without_nan = [
        pa.array([None if v != v else v for v in column.to_pylist()]) if name == "price" else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    plain = path.with_name("plain" + ("".join(path.suffixes[:1])))
    csv.write_csv(pa.table(without_nan, names=table.column_names), plain, options)
    content = plain.read_bytes().replace(b'"', b"") if separator == "\t" else plain.read_bytes()
    plain.unlink()
    if path.suffix in (".gz", ".zst"):
        with pa.CompressedOutputStream(
            str(path), {".gz": "gzip", ".zst": "zstd"}[path.suffix]
        ) as out:
            out.write(content)
    else:
        path.write_bytes(content)
    return path


OPTIONS = ("--label=clicked", "--fields=user,item,city", "--numeric=price")


def own(name="mine"):
    return Catalog().select("dataset", f"own:data={name}").default()


@pytest.mark.parametrize(
    "name", ["c.csv", "c.tsv", "c.csv.gz", "c.tsv.gz", "c.csv.zst", "c.parquet"]
)
def test_the_format_makes_no_difference(command, tmp_path, name):
    path = write(clicks(), tmp_path / name)
    ran = command("data", "add", "mine", "--from", path, *OPTIONS, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["table_fingerprint"] == "fe97f86eefba942f"
    values = open_table(own()).vocabularies
    assert values[2][0] in ("Ulm", "Köln", "")
    assert sorted(values[2]) == ["", "Köln", "Ulm"]


def test_what_was_found_is_shown(command, tmp_path):
    path = write(clicks(), tmp_path / "c.csv")
    ran = command("data", "add", "mine", "--from", path, "--label=clicked", "--split-by=time")
    lines = {line.split()[0]: line for line in ran.err.splitlines() if line.startswith("  ")}
    assert "label" in lines["clicked"]
    assert "text" in lines["user"]
    assert "whole numbers" in lines["item"]
    assert "splits rows by time" in lines["time"]
    assert "column 'price' holds numbers that may have fractions" in ran.err
    assert "pepbench run --datasets mine" in ran.err
    assert "mine" in command("data", "list").out
    assert command("data", "verify", "mine").code == 0
    assert json.loads(command("data", "info", "mine", "--json").out)["split_by"] == "time"


def test_its_name_alone_is_a_data_set_of_a_plan(command, tmp_path):
    path = write(clicks(), tmp_path / "c.csv")
    command("data", "add", "mine", "--from", path, *OPTIONS)
    assert Catalog().select("dataset", "mine").default() == own()
    assert Catalog().select("dataset", "mine").spec == "own:data=mine"
    skipped = {"datasets": ["mine"], "skip": True, "reason": "large"}
    plan = Plan.load(None, {"datasets": ["mine", "synthetic"], "except": [skipped]})
    assert plan.datasets == ("own:data=mine", "synthetic")
    assert plan.of_cell("own:data=mine", "fm", "full", "100%") is None
    assert plan.of_cell("synthetic", "fm", "full", "100%") is not None
    with pytest.raises(PlanError, match="'own:data=mine' is listed twice"):
        Plan.load(None, {"datasets": ["mine", "own:data=mine"]})
    assert command("show", "dataset", "mine").code == 0


def test_users_that_rows_are_split_by_count_though_they_are_no_field(command, tmp_path):
    path = write(clicks(), tmp_path / "c.csv")
    options = ("--label=clicked", "--fields=item,city", "--split-by=user")
    ran = command("data", "add", "mine", "--from", path, *options)
    assert ran.code == 0, ran.err
    splits = open_splits(open_table(own()), 0)
    assert own().user_field == "user"
    users = users_of_rows(own(), splits, "test")
    in_test = splits.parts() == 2
    expected = np.array(clicks()["user"].to_pylist())[in_test]
    # The same rows are of the same user, whatever the users' numbers.
    assert len(np.unique(users)) == len(np.unique(expected)) > 1
    pairs = set(zip(users.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(np.unique(expected))


def test_a_field_that_tells_the_label_is_warned_of(command, tmp_path):
    table = clicks()
    told = table.append_column("told", pa.array([f"v{y}" for y in table["clicked"].to_pylist()]))
    path = write(told, tmp_path / "c.csv")
    ran = command("data", "add", "mine", "--from", path, "--label=clicked", "--fields=city,told")
    assert "field 'told' tells the label of every row" in ran.err
    assert "field 'city' tells" not in ran.err


@pytest.mark.parametrize("rows", ["100.7", "1.5", "0"])
def test_parts_of_a_row_are_refused(command, tmp_path, rows):
    path = write(clicks(), tmp_path / "c.csv")
    ran = command("data", "add", "mine", "--from", path, *OPTIONS, f"--rows={rows}")
    assert (ran.code, "write a number of rows" in ran.err) == (2, True)


@pytest.mark.parametrize("content", ["[[", 'format = "csv"\n', "\udcff"])
def test_a_damaged_description_stops_its_own_data_set_alone(command, tmp_path, content):
    path = write(clicks(), tmp_path / "c.csv")
    for name in ("mine", "whole"):
        assert command("data", "add", name, "--from", path, *OPTIONS).code == 0
    description = Path(os.environ["PEPBENCH_CACHE"]) / "own" / "mine.toml"
    description.write_text(content, errors="surrogateescape")
    listed = command("data", "list", "--json")
    assert listed.code == 0
    states = {row["name"]: row["state"] for row in json.loads(listed.out)}
    assert (states["mine"], states["whole"]) == ("damaged", "added")
    again = "add it again: pepbench data add mine --from FILE --label COLUMN"
    assert again in listed.err
    assert again in command("data", "info", "mine").err
    assert command("data", "add", "mine", "--from", path, *OPTIONS).code == 0


def test_rows_without_a_user_are_warned_of_where_users_count(command, tmp_path):
    users = [None if n % 5 == 0 else f"u{n}" for n in range(100)]
    rows = pa.table({"clicked": [0, 1] * 50, "user": users, "item": ["a", "b", "b", "a"] * 25})
    path = write(rows, tmp_path / "c.parquet")
    add_by = ("data", "add", "mine", "--from", path, "--label=clicked")
    said = "20 of 100 rows have no 'user'; they count as one user"
    assert said in command(*add_by, "--fields=user,item", "--split-by=user").err
    assert said not in command(*add_by).err


@pytest.mark.parametrize("n", [8, 100])
def test_a_file_that_cannot_be_split_is_not_added(command, tmp_path, n):
    table = clicks(n).set_column(5, "time", pa.array([7] * n))
    path = write(table, tmp_path / "c.parquet")
    ran = command("data", "add", "mine", "--from", path, *OPTIONS, "--split-by=time")
    assert ran.code == 2
    assert "Use it as" not in ran.err
    assert ("has 8 rows" if n == 8 else "too many rows have the same time") in ran.err
    assert "mine" not in command("data", "list").out
    assert not list(Path(os.environ["PEPBENCH_CACHE"]).glob("tables/own-*"))


def test_files_of_another_content_are_another_source(command, tmp_path):
    paths = [write(clicks(seed=seed), tmp_path / f"{seed}.csv") for seed in (0, 1)]
    command("data", "add", "mine", "--from", paths[0], *OPTIONS)
    command("data", "add", "again", "--from", paths[0], *OPTIONS, "--top=3")
    command("data", "add", "other", "--from", paths[1], *OPTIONS)
    mine, again, other = (
        json.loads(command("data", "info", name, "--json").out)["source"]
        for name in ("mine", "again", "other")
    )
    assert mine == again != other
    assert own("mine").source == mine
    assert own("absent").source == "own:absent"


def test_splits_by_time_user_and_the_files_own_column(command, tmp_path):
    table = clicks()
    times = table["time"].to_numpy()
    stamps = pa.array(times * 10**6).cast(pa.timestamp("us"))
    parts = np.array(["train", "validation", "test"])[np.digitize(times, [1_200, 1_250])]
    table = table.append_column("stamp", stamps).append_column("part", pa.array(parts))
    for path in (write(table, tmp_path / "c.parquet"), write(table, tmp_path / "c.csv")):
        tests = {}
        for way in ("time", "time:stamp", "file:part", "user"):
            ran = command("data", "add", "mine", "--from", path, *OPTIONS, "--split-by", way)
            assert ran.code == 0, ran.err
            tests[way] = open_splits(open_table(own()), 0)
        latest = table["clicked"].to_numpy()[times >= 1_270]
        assert (tests["time"].open_test().labels == latest).all()
        assert (tests["time:stamp"].open_test().labels == latest).all()
        assert tests["file:part"].meta.n_rows == {"train": 200, "validation": 50, "test": 50}
        held = {feature_values(tests["user"])[i] for i in tests["user"].open_test().ids[:, 0]}
        assert held == {None}


def test_a_description_in_toml_says_the_same(command, tmp_path):
    write(clicks(), tmp_path / "c.parquet")
    (tmp_path / "c.toml").write_text(
        'from = "c.parquet"\nlabel = "clicked"\nfields = ["user", "item", "city"]\n'
        'numeric = ["price"]\nbins = 5\nmin_count = 3\nhash = { user = 7 }\n'
    )
    ran = command("data", "add", "mine", "--from", tmp_path / "c.toml", "--json")
    assert ran.code == 0, ran.err
    fields = json.loads(ran.out)["fields"]
    assert fields["price"] == 1 + 5 + 1
    assert 1 < fields["user"] <= 1 + 7
    flags = ("--bins=5", "--min-count=3", "--hash=user=7")
    again = command(
        "data", "add", "again", "--from", tmp_path / "c.parquet", *OPTIONS, *flags, "--json"
    )
    assert json.loads(again.out)["split_fingerprint"] == json.loads(ran.out)["split_fingerprint"]


def test_top_and_rows(command, tmp_path):
    path = write(clicks(), tmp_path / "c.parquet")
    ran = command(
        "data", "add", "mine", "--from", path, *OPTIONS, "--top=4", "--rows=0.1k", "--json"
    )
    described = json.loads(ran.out)
    assert described["rows"] == 100
    assert described["fields"]["item"] == 1 + 4


def test_libfm_rows_are_read(command, tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{rng.integers(2)} {rng.integers(5)}:1 {5 + rng.integers(9)}:1" for _ in range(200)]
    (tmp_path / "c.libfm").write_text("\n".join(lines) + "\n")
    ran = command("data", "add", "mine", "--from", tmp_path / "c.libfm", "--label=label", "--json")
    assert list(json.loads(ran.out)["fields"].values()) == [6, 10]


@pytest.mark.slow
def test_adult_goes_through_the_whole_main_job(command, raw):
    path = raw("adult") / "adult.parquet"
    ran = command(
        "data", "add", "adult", "--from", path, "--label=income", "--positive=>50K",
        "--numeric=age,fnlwgt,capital-gain", "--log=capital-loss", "--json",
    )  # fmt: skip
    described = json.loads(ran.out)
    assert described["rows"] == 48_842
    assert described["positive_share"] == pytest.approx(0.2393, abs=1e-4)
    assert described["table_fingerprint"] == "43fc1b9e690808ec"
    assert described["split_fingerprint"] == "4a1df95a269fd20d"
    ran = command(
        "run", "--datasets=own:data=adult", "--methods=full", "--dim=2", "--epochs=1", "--trials=1",
        "--seeds=2", "--jobs=1", "--backbones=lr", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "own:data=adult" in ran.out


def add(refused, path, *more, label="clicked"):
    return refused("data", "add", "mine", "--from", path, f"--label={label}", *more)


GOOD = "clicked,city,item\n" + "0,Ulm,1\n1,Bonn,2\n" * 40


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD + "1,Ulm", "row 82: the file ends without a newline, so it was cut"),
        (GOOD + "1,Ulm,1,9\n", "row 82: 4 columns, expected 3; quote values that hold"),
        (GOOD + "yes,Ulm,1\n", "row 82: clicked is 'yes', expected 0 or 1; name the value"),
        (GOOD + '1,"Ulm,1\n', "row 82: a quote is opened and not closed"),
        (GOOD + '1,5"x,"y\n0,Ulm,1\n1,Ulm,2\n0,5"",z"\n', "row 82: a quote is opened and not"),
        (GOOD.replace("\n", "\r", 1), "row 1: has a carriage return within the line; remove it"),
        (GOOD + "\n1,Ulm,1\n1\n", "row 82: is blank; remove it"),
        (GOOD + "x" * 9_999 + ",Ulm,1\n", "row 82: clicked is 'xxxx"),
        (
            GOOD + '1,"Ulm\nat the Danube",1\n',
            "take line breaks out of quoted values, or convert the file to Parquet",
        ),
        (GOOD.replace("1,Bonn,2", "0,Bonn,2"), "all 80 labels are 0"),
        ("clicked,city,city\n0,1,2\n", "row 1: column 'city' occurs twice; rename one"),
        ("clicked,,city\n0,1,2\n", "row 1: column 2 has no name"),
        ("clicked;city\n0;1\n", "row 1: has one column, 'clicked;city'; if semicolons separate"),
        ("clicked\tcity\n0\t1\n", "say so with --format tsv"),
        ("user;price,eur;clicked\n1;2,5;0\n", "row 1 has 'eur;clicked': if semicolons separate"),
        (" clicked,city\n0,1\n", "name ' clicked' in a description, a .toml file"),
        ('{"clicked": 0, "city": 1}\n', "c.csv is JSON; write it as Parquet"),
        ("clicked,city\n", "holds no rows below its header"),
        ("", "is empty"),
        ("clicked\n1\n0\n", "has no column beside the label"),
    ],
)
def test_bad_text_is_named(refused, tmp_path, bad, message):
    (tmp_path / "c.csv").write_text(bad)
    error = add(refused, tmp_path / "c.csv")
    assert str(tmp_path / "c.csv") in error or "own:data=mine" in error
    assert message in error
    assert len(error) < 500


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"1,K\xf6ln,1\n", "row 82: not utf-8 text in column city; convert the file"),
        (b"1,U\0m,1\n", "row 82: has a NUL byte"),
    ],
)
def test_bad_bytes_are_named(refused, tmp_path, bad, message):
    (tmp_path / "c.csv").write_bytes(GOOD.encode() + bad)
    assert message in add(refused, tmp_path / "c.csv")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_header_of_a_second_file_is_named(refused, tmp_path, mark):
    (tmp_path / "c.csv").write_text(GOOD + mark + GOOD)
    error = add(refused, tmp_path / "c.csv", "--positive=1")
    assert "c.csv, row 82: holds the names of the columns again; remove this row" in error


def test_number_that_is_none_is_named(refused, tmp_path):
    (tmp_path / "c.csv").write_text(GOOD + "1,Ulm,1e\n")
    error = add(refused, tmp_path / "c.csv", "--numeric=item")
    assert "row 82: item is '1e', expected a number, or nothing; --missing names words" in error
    error = add(refused, tmp_path / "c.csv", "--log=item")
    assert "row 82: item is '1e', expected a whole number" in error
    (tmp_path / "c.csv").write_text(GOOD + "1,Ulm,0X10\n")
    error = add(refused, tmp_path / "c.csv", "--log=item")
    assert "row 82: item is '0X10', expected a whole number" in error


def test_numbers_too_large_to_scale_are_named(refused, tmp_path):
    (tmp_path / "c.csv").write_text(GOOD + "1,Ulm,-1e200\n")
    error = add(refused, tmp_path / "c.csv", "--dense=item")
    assert "c.csv, row 82: item is '-1e200', expected a number of at most 1e+150 in size" in error


def test_missing_times_of_parquet_are_named(refused, tmp_path):
    table = clicks().drop("time").append_column("time", pa.array([*range(299), None]))
    pq.write_table(table, tmp_path / "c.parquet")
    error = add(refused, tmp_path / "c.parquet", "--split-by=time")
    assert "c.parquet, row 300: time is '', expected a time" in error
    assert "row 300" in add(refused, tmp_path / "c.parquet", "--split-by=time", "--rows=200")


def test_a_table_without_features_is_not_added(refused, tmp_path):
    path = write(clicks(), tmp_path / "c.csv")
    error = add(refused, path, "--fields=user,item", "--min-count=99")
    assert "no value is in enough training rows to be a feature; lower --min-count" in error


def test_a_part_with_equal_labels_is_not_added(refused, tmp_path):
    rows = [f"{int(day > 55)},u{day % 3},{day}\n" for day in range(60)]
    (tmp_path / "c.csv").write_text("clicked,user,day\n" + "".join(rows))
    error = add(refused, tmp_path / "c.csv", "--split-by=time:day")
    assert "all 48 labels of the train split" in error
    assert "take more rows or another way to split" in error


def test_a_refused_file_leaves_the_data_set_of_that_name(command, tmp_path):
    path = write(clicks(), tmp_path / "c.parquet")
    again = ("data", "add", "mine", "--from", path)
    more = (*OPTIONS, "--split-by=time")
    assert command(*again, *more).code == 0
    before = open_table(own()).fingerprint
    write(clicks().set_column(5, "time", pa.array([7] * 300)), path)
    for arguments in ((*again, *more), again):
        assert "too many rows have the same time" in command(*arguments).err
        assert open_table(own()).fingerprint == before
        assert command("data", "verify", "mine").code == 0
    assert "give --label and the others, too" in command(*again, "--rows=100").err


def test_a_description_that_is_wrong_is_named_by_its_own_file(refused, tmp_path):
    (tmp_path / "c.csv").write_text(GOOD)
    path = tmp_path / "d.toml"
    for line, message in (
        ('fieldz = ["city"]', "d.toml: unknown key 'fieldz'; did you mean 'fields'?"),
        ('fields = "city"', "d.toml: fields: 'city' is not a list; write [\"city\"]"),
        ('fields = ["city", "city"]', "d.toml: column 'city' has two uses"),
    ):
        path.write_text(f'from = "c.csv"\nlabel = "clicked"\n{line}\n')
        assert message in refused("data", "add", "mine", "--from", path)


def test_other_labels_than_the_positive_one_are_shown(command, tmp_path):
    (tmp_path / "c.csv").write_text(GOOD.replace("1,Bonn", "yes,Bonn") + "NA,Ulm,1\n")
    ran = command("data", "add", "mine", "--from", tmp_path / "c.csv", "--label=clicked",
                  "--positive=yes")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "label: 'yes' is 1; '0', 'NA': 0" in ran.err


def test_corrupt_gz_is_named(refused, tmp_path):
    content = gzip.compress(GOOD.encode() * 2_000, mtime=0)
    (tmp_path / "cut.csv.gz").write_bytes(content[: len(content) // 2])
    assert "cut.csv.gz cannot be read" in add(refused, tmp_path / "cut.csv.gz")
    damaged = content[:40] + bytes(40) + content[80:]
    (tmp_path / "bad.csv.gz").write_bytes(damaged)
    assert "bad.csv.gz cannot be read" in add(refused, tmp_path / "bad.csv.gz")


def test_loop_of_links_is_named(refused, tmp_path):
    (tmp_path / "a.csv").symlink_to("b.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    assert "a.csv" in add(refused, tmp_path / "a.csv")


def test_folder_pipe_and_nothing_are_named(refused, tmp_path):
    assert "is not a file" in add(refused, tmp_path)
    assert "nothing.csv does not exist" in add(refused, tmp_path / "nothing.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is not a file" in add(refused, tmp_path / "pipe.csv")


def test_nested_columns_and_equal_names_of_parquet_are_named(refused, tmp_path):
    lists = pa.table({"clicked": [0, 1], "tags": [["a"], ["b", "c"]]})
    pq.write_table(lists, tmp_path / "c.parquet")
    error = add(refused, tmp_path / "c.parquet")
    assert "column 'tags': holds list<element: string>, expected one value a row" in error
    structs = pa.table({"clicked": [0, 1], "who": [{"a": 1}, {"a": 2}]})
    pq.write_table(structs, tmp_path / "c.parquet")
    assert "column 'who': holds struct" in add(refused, tmp_path / "c.parquet")
    twice = pa.Table.from_arrays([pa.array([0, 1])] * 3, names=["clicked", "x", "x"])
    pq.write_table(twice, tmp_path / "c.parquet")
    assert "column 'x' occurs twice" in add(refused, tmp_path / "c.parquet")


def test_parquet_that_is_cut_is_named(refused, tmp_path):
    path = write(clicks(), tmp_path / "c.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert "c.parquet cannot be read" in add(refused, path)
    middle = len(content) // 3
    path.write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    add(refused, path)


def test_missing_label_in_parquet_is_named(refused, tmp_path):
    pq.write_table(pa.table({"clicked": [0, 1, None], "x": [1, 2, 3]}), tmp_path / "c.parquet")
    error = add(refused, tmp_path / "c.parquet")
    assert "row 3: clicked is '', expected a label; drop such rows" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--label=clicked", "--fields=usr"), "unknown column 'usr'"),
        (("--label=clicked", "--fields=city", "--numeric=city"), "column 'city' has two uses"),
        (("--label=clicked", "--split-by=tme"), "did you mean 'time'?"),
        (("--label=clicked", "--split-by=time:when"), "unknown column 'when'"),
        (("--label=clicked", "--hash=city"), "write column=number"),
        (("--label=clicked", "--hash=town=9"), "unknown column 'town'"),
        (("--label=clicked", "--bins=9"), "bins is of no use without columns in numeric"),
        (("--label=clicked", "--max-values=9"), "max_values is of no use without columns in multi"),
        (("--label=clicked", "--split-by=random:item"), "random takes no column"),
        (("--label=clicked", "--bins=1"), "bins: Input should be greater than or equal to 2"),
        (("--label=clicked", "--format=xls"), "format: Input should be 'csv', 'tsv'"),
        (("--label=clicked", "--rows=many"), "write a number of rows, such as 1M"),
        (("--label=clicked", "--rows=81"), "has 80 rows, fewer than the 81 asked for"),
        (("--fields=city",), "say which column holds the labels"),
        (("--label=clicked", "--fields=,"), "--fields ',': names no column; leave it out"),
    ],
)
def test_options_that_do_not_fit_are_named(refused, tmp_path, options, message):
    (tmp_path / "c.csv").write_text(GOOD)
    assert message in refused("data", "add", "mine", "--from", tmp_path / "c.csv", *options)


def test_names_that_will_not_do(refused, tmp_path):
    (tmp_path / "c.csv").write_text(GOOD)
    more = ("--from", tmp_path / "c.csv", "--label=clicked")
    assert "is built in" in refused("data", "add", "anime", *more)
    assert "will not do as a name" in refused("data", "add", "My Clicks", *more)
    error = refused("data", "add", "mine", *more[:2])
    assert "unknown data set 'mine'" in error
    assert "pepbench data add mine --from FILE --label COLUMN" in error
    (tmp_path / "c.txt").write_text(GOOD)
    assert "unknown format" in add(refused, tmp_path / "c.txt")


@pytest.mark.parametrize(("way", "told"), [("random", True), ("user", False), ("time", False)])
def test_rows_of_one_user_on_both_sides_are_warned_of(command, tmp_path, way, told):
    path = write(clicks(), tmp_path / "c.parquet")
    ran = command("data", "add", "mine", "--from", path, *OPTIONS, f"--split-by={way}")
    assert ran.code == 0, ran.err
    warning = "of the test rows are of a 'user' that training rows have, too"
    assert (warning in ran.err) == told


def test_a_field_of_one_value_is_warned_of(command, tmp_path):
    (tmp_path / "c.csv").write_text(GOOD.replace("Bonn", "Ulm"))
    ran = command("data", "add", "mine", "--from", tmp_path / "c.csv", "--label=clicked")
    assert ran.code == 0
    assert "warning: field 'city' has the same value in all rows" in ran.err


@pytest.mark.slow
def test_fault_far_down_is_found_in_its_row(refused, tmp_path):
    block = "1,Ulm,1\n0,Bonn,2\n" * 50_000
    with (tmp_path / "c.csv").open("w") as file:
        file.write("clicked,city,item\n")
        file.writelines([block] * 70)
        file.write("1,Ulm\n")
        file.write(block)
    error = add(refused, tmp_path / "c.csv")
    assert "row 7000002: 2 columns, expected 3" in error
