"""CSV forms and folders of trials: what is read, and what each slip is told."""

import numpy as np
import pytest
from worlds import table

from scaling.errors import InputError
from scaling.metrics import neg_log_pass_of_counts
from scaling.observations import Observations
from scaling.records import canonical
from scaling.results import seal


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "points.csv"
        path.write_text(text)
        return path

    return write


def test_points(csv):
    runs = Observations.read(csv("C,loss\n1e20,2.5\n1e21,2.2\n"))
    assert runs.frame["value"].tolist() == [2.5, 2.2]
    assert runs.axis == "C"
    assert set(runs.frame["se_kind"]) == {"none"}


def test_a_unit_in_the_header(csv):
    runs = Observations.read(csv("C [PF-day],loss,se\n1,2.5,0.01\n"))
    assert runs.frame["C"].tolist() == pytest.approx([8.64e19])
    assert runs.frame["se_kind"].tolist() == ["declared"]


def test_problems_give_both_pass_metrics_and_their_buckets(csv):
    lines = ["C,problem,n,c,bucket"]
    lines += [f"{c},{p},8,{p + k},{'easy' if p > 1 else 'hard'}" for k, c in enumerate((1e9, 1e10)) for p in range(4)]
    runs = Observations.read(csv("\n".join(lines) + "\n"))
    assert len(runs) == 2 * 2 * 3
    one = runs.select(metric="neg_log_pass", bucket="all").frame
    expected = [neg_log_pass_of_counts(np.full(4, 8), np.arange(4) + k).mean() for k in (0, 1)]
    assert one["value"].tolist() == pytest.approx(expected)
    assert runs.select(metric="pass_rate", bucket="hard").frame["value"].tolist() == pytest.approx([0.0625, 0.1875])
    assert runs.frame["se"].notna().all()


def test_aggregates_are_pass_rates_only(csv):
    runs = Observations.read(csv("C,passes,problems\n1e9,0,100\n1e10,40,100\n"))
    assert set(runs.frame["metric"]) == {"pass_rate"}
    assert (runs.frame["se"] > 0).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("C,loss\n", "no rows"),
        ("flops,loss\n1e9,1\n", "no compute column"),
        ("C\n1e9\n", "no metric column"),
        ("C,height,width\n1e9,1,2\n", "which column"),
        ("C,loss\n1e9,-1\n", "outside"),
        ("C,pass_rate\n1e9,43\n", "divide by 100"),
        ("C,pass_rate\n1e9,43%\n", "not percent"),
        ("C,loss\n1e9,two\n", "row 2.*not a number"),
        ("C,loss,se\n1e9,1,0\n", "standard error of 0"),
        ("C,loss\n0,1\n", "C is 0"),
        ("C,loss\n-1e9,1\n", "positive"),
        ("C,loss\ninf,1\n", "positive, finite"),
        ("C,loss\n1e9,inf\n", "loss is inf"),
        ("C,loss\n,1\n", "positive, finite"),
        ("C [GW],loss\n1e9,1\n", "'GW' is not known"),
        ("C,loss,loss\n1e9,1,1\n", "stands twice"),
        ("C [PF-day],C [PF-day],loss\n1,1,1\n", "stands twice"),
        ("C [PF-day],C,loss\n1,1,1\n", "'C' stands twice"),
        ("C,loss\n1e9,1,5\n", "not a CSV file"),
        ("C,problem,n,c\n1e9,a,4,5\n", "c = 5 of n = 4"),
        ("C,problem,n,c\n1e9,a,4,1\n1e9,a,4,2\n", "stands twice in one run"),
        ("C,passes,problems\n1e9,1.5,4\n", "whole counts"),
        ("C,passes,problems\n1e9,5,4\n", "passes = 5 of problems = 4"),
        ("C,N,D,loss\n6e18,1e9,1,2\n", "6 N D"),
    ],
)
def test_every_slip_gets_its_sentence(csv, text, says):
    with pytest.raises(InputError, match=says):
        Observations.read(csv(text))


def test_missing_values_are_missing(csv):
    assert len(Observations.read(csv("C,loss\n1e9,1\n1e10,\n1e11,0.8\n"))) == 2


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        Observations.read(tmp_path / "none.csv")


def test_a_folder_of_trials_keeps_what_was_left_out(tmp_path):
    lines = table([1e9, 1e10], [1.0, 0.9])
    for i, state in enumerate(["COMPLETE", "FAILED", None]):
        folder = tmp_path / f"trial-{i}"
        folder.mkdir()
        source = lines.frame.iloc[min(i, 1)]
        observation = table([source["C"]], [source["value"]])
        from scaling.observations import Observation

        one = Observation(
            id=f"o{i}", trial=f"trial-{i}", base_trial=f"trial-{i}", stage="pretrain", metric="loss", protocol="p",
            value=float(observation.frame["value"].iloc[0]), inputs={"C_pre": float(source["C"])},
        )  # fmt: skip
        (folder / "observations.jsonl").write_bytes(one.line())
        if state:
            (folder / "result.json").write_bytes(canonical(seal({"v": 1, "state": state})))
    runs = Observations.read(tmp_path)
    assert len(runs) == 1
    assert runs.axis == "C_pre"
    assert dict(runs.dropped) == {"trial-1": "failed", "trial-2": "unfinished"}
    assert list(runs.sources) == ["trial-0/observations.jsonl"]


def test_a_changed_measurement_is_left_out_and_named(tmp_path):
    from scaling.observations import Observation
    from scaling.records import sha256

    for i in range(2):
        folder = tmp_path / f"t{i}"
        folder.mkdir()
        row = Observation(id=f"o{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric="loss", protocol="p",
                          value=1.0, inputs={"C_pre": 10.0 ** (9 + i)})  # fmt: skip
        (folder / "observations.jsonl").write_bytes(row.line())
        body = {"v": 1, "state": "COMPLETE", "observations": sha256(row.line())}
        (folder / "result.json").write_bytes(canonical(seal(body)))
    changed = (tmp_path / "t1" / "observations.jsonl").read_bytes().replace(b'"value":1', b'"value":2')
    (tmp_path / "t1" / "observations.jsonl").write_bytes(changed)
    runs = Observations.read(tmp_path)
    assert len(runs) == 1 and "differs from its digest" in dict(runs.dropped)["t1"]
    for damage in (b"[]", b'{"v":1', b"", b'{"v":1,"state":"COMPLETE"}'):
        (tmp_path / "t1" / "result.json").write_bytes(damage)
        assert "not to be trusted" in dict(Observations.read(tmp_path).dropped)["t1"]


def test_a_copied_row_is_no_second_run(csv):
    once = Observations.read(csv("C,loss\n1e18,3\n1e19,2.8\n"))
    thrice = Observations.read(csv("C,loss\n1e18,3\n1e19,2.8\n1e18,3\n1e19,2.8\n"))
    assert len(thrice) == len(once) == 2 and len(thrice.dropped) == 2
    assert len(Observations.read(csv("C,loss,seed\n1e18,3,1\n1e18,3,2\n1e19,2.8,1\n"))) == 3


@pytest.mark.parametrize(("text", "says"), [
    ("C,loss\n1,3\n10,2.8\n", "unit"),
    ("C,problem,n,c\n1e18,a,9,3\n1e18,b,9,0\n1e19,a,9,6\n", "'b' has none"),
    ("C,problem,n,c\n1e18,a,1e15,3\n", "at most"),
])  # fmt: skip
def test_more_slips(csv, text, says):
    with pytest.raises(InputError, match=says):
        Observations.read(csv(text))


def test_runs_with_other_numbers_of_samples_have_a_pass_rate_and_no_mean_log(csv):
    path = csv("C,problem,n,c\n1e18,a,16,3\n1e18,b,16,0\n1e19,a,64,20\n1e19,b,64,1\n")
    found = Observations.read(path)
    assert set(found.frame["metric"]) == {"pass_rate"} and found.frame["protocol"].nunique() == 1
    assert found.frame["value"].tolist() == pytest.approx([3 / 32, 21 / 128])
    assert found.problems["n"].tolist() == [16, 16, 64, 64]
    assert [reason for _, reason in found.dropped] == [
        "neg_log_pass, as H_n differs with n, which differs between the runs"
    ] * 2
    with pytest.raises(InputError, match=r"'a' has 64 samples.*H_n differs with n"):
        Observations.read(path, metric="neg_log_pass")


def test_columns_that_are_no_inputs_do_not_split_a_run(csv):
    text = "C,problem,n,c,wall_s\n1e18,a,9,3,1\n1e18,b,9,0,2\n1e19,a,9,6,3\n1e19,b,9,6,4\n"
    assert len(Observations.read(csv(text), metric="pass_rate")) == 2


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="run the sweep first"):
        Observations.read(tmp_path)


def test_trials_with_a_role_are_read_only_where_that_role_is_asked_for(tmp_path):
    from scaling.observations import Observation

    for i, role in enumerate(["", "beside", "stability"]):
        folder = tmp_path / f"t{i}"
        folder.mkdir()
        row = Observation(id=f"o{i}", trial=f"t{i}", base_trial=f"t{i}", stage="pretrain", metric="loss", protocol="p",
                          value=1.0, inputs={"C_pre": 10.0 ** (9 + i)})  # fmt: skip
        (folder / "observations.jsonl").write_bytes(row.line())
        (folder / "result.json").write_bytes(canonical(seal({"v": 1, "state": "COMPLETE", "role": role})))
    assert list(Observations.read(tmp_path).frame["trial"]) == ["t0"]
    assert list(Observations.read(tmp_path, roles=("beside",)).frame["trial"]) == ["t0", "t1"]
    assert dict(Observations.read(tmp_path, roles=("beside",)).dropped) == {"t2": "stability"}
