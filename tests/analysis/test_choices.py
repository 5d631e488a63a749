"""The answer: at each size and precision one row for each question, ties named."""

import pytest

from benchlib.analysis import comparable_groups, ranking
from benchlib.models import registry

RESNETS = {"accuracy_metric": "ImageNet top-1"}


def test_the_answer_quotes_one_row_and_names_its_ties(row, table) -> None:
    frame = table(
        [
            row("tiny", 1.0, accuracy=60.0, **RESNETS),
            row("resnet18", 2.0, accuracy=69.758, throughput_img_s=400.0, **RESNETS),
            row("even", 2.01, accuracy=75.0, **RESNETS),
            row("resnet50", 4.0, accuracy=80.858, limited_by="power", **RESNETS),
            row("vgg11_bn", 0.5, accuracy=90.0, **RESNETS),
            row("net", 0.7, task="segmentation"),
        ]
    )
    (answer,) = ranking.answers(frame)
    fastest, eighteen, fifty, segments = answer.choices
    assert (answer.resolution, answer.precision, answer.networks) == ("640x480", "fp32", 6)
    # VGG is timed without its classifier: fast, and no accuracy can be asked of it.
    assert fastest.model == "vgg11_bn"
    assert (eighteen.model, eighteen.tied) == ("resnet18", ("even",))
    assert (fifty.model, fifty.power_limited) == ("resnet50", True)
    assert segments.model == "net"
    # At 400 images a second an hour makes 1.44 million; where no throughput was recorded, one
    # batch after the other: 250 a second.
    assert eighteen.dollars_per_million(3.0) == pytest.approx(3.0 / 1.44)
    assert fifty.dollars_per_million(3.0) == pytest.approx(3.0 / 0.9)


def test_the_answer_takes_the_sets_own_milestone_and_tells_gains(row, table) -> None:
    rows = [
        row(model, ms / speed, precision=precision, accuracy=accuracy, **RESNETS)
        for precision, speed in (("fp32", 1.0), ("fp16", 2.0))
        for model, ms, accuracy in (("resnet18", 2.0, 70.5), ("near", 1.0, 70.0))
    ]
    assert ranking.questions(table(rows))[1].least_accuracy == 70.5
    fp32, fp16 = ranking.answers(table(rows))
    assert [one.choices[1].model for one in (fp32, fp16)] == ["resnet18", "resnet18"]
    assert fp32.choices[1].gain is None
    assert (fp16.choices[1].gain.base, fp16.choices[1].gain.ratio) == ("fp32", 2.0)
    assert fp16.choices[2] is None


def test_made_up_ranges_answer_no_question_of_accuracy(row, table) -> None:
    made_up = {"precision": "int8", "int8_method": "made-up ranges", "accuracy": 75.0, **RESNETS}
    qdq = made_up | {"int8_method": "qdq"}
    (alone,) = ranking.answers(table([row("a", 1.0, **made_up)]))
    assert alone.made_up and alone.choices[0].model == "a" and alone.choices[1] is None
    frame = table([row("a", 1.0, **made_up, key="1"), row("a", 1.5, **qdq, key="2")])
    (beside,) = ranking.answers(comparable_groups.side_by_side(frame)[0].frame)
    assert not beside.made_up
    assert beside.choices[1].variant == comparable_groups.Variant("int8", "qdq")
    assert beside.choices[1].latency_ms == 1.5


def test_a_network_of_unknown_task_has_a_question_of_its_own(row, table) -> None:
    (answer,) = ranking.answers(table([row("mine", 1.0, task=None)]))
    assert [one.task for one in ranking.questions(table([row("mine", 1.0, task=None)]))] == [None]
    assert answer.choices[0].model == "mine"


def test_milestones_are_torchvisions() -> None:
    for name, percent in ranking.MILESTONES.items():
        assert registry.card(name).published().value == percent
