"""Topics: what a template subscribes to, which topics it fits, and what it takes from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import OptionError
from streamgauge.sources.topics import TopicFields, TopicTemplate

LEVELS = st.sampled_from(["", "a", "b", "a.b", "(", "$x", "é", "a\nb"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=5).map("/".join).filter(bool)
FILTERS = st.tuples(
    st.lists(st.one_of(LEVELS, st.just("+")), min_size=1, max_size=4), st.sampled_from(["", "/#"])
).map(lambda made: "/".join(made[0]) + made[1])
TEXTS = st.text(st.characters(exclude_characters="/+#\0", exclude_categories=["Cs"]), max_size=8)


def parse(text: str) -> TopicTemplate:
    return TopicTemplate.parse(text, "topics")


def fits(wanted: list[str], levels: list[str]) -> bool:
    """Say what MQTT says (5.0, section 4.7), level by level."""
    if not wanted:
        return not levels
    if wanted[0] == "#":
        return True
    if wanted == ["+", "#"] and not levels:
        return False
    return bool(levels) and wanted[0] in {"+", levels[0]} and fits(wanted[1:], levels[1:])


@given(FILTERS, TOPICS)
def test_a_filter_fits_the_topics_that_mqtt_says_it_fits(wanted: str, topic: str) -> None:
    expected = fits(wanted.split("/"), topic.split("/"))
    if topic.startswith("$") and wanted[:1] in {"+", "#"}:
        expected = False  # wildcards do not reach what begins with $
    if topic.startswith("$") != wanted.startswith("$"):
        expected = False
    assert (parse(wanted).match(topic) is not None) is expected


def test_everything_is_fitted_by_a_hash_alone_except_what_the_broker_keeps_for_itself() -> None:
    assert parse("#").match("a/b/c") == ()
    assert parse("#").match("a") == ()
    assert parse("#").match("$SYS/broker/uptime") is None
    assert parse("$SYS/#").match("$SYS/broker/uptime") == ()


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_what_is_put_into_a_template_comes_out_of_it_again(texts: list[str]) -> None:
    template = parse("fleet/" + "/".join(f"{{p{i}}}" for i in range(len(texts))))
    assert template.filter == "fleet/" + "/".join("+" for _ in texts)
    assert template.match("fleet/" + "/".join(texts)) == tuple(texts)


def test_a_template_may_hold_wildcards_beside_its_parts() -> None:
    template = parse("fleet/{site}/+/{kind}/#")
    assert (template.filter, template.parts) == ("fleet/+/+/+/#", ("site", "kind"))
    assert template.match("fleet/oslo/t17/status/a/b") == ("oslo", "status")
    assert template.match("fleet/oslo/t17/status") == ("oslo", "status")
    assert template.match("fleet/oslo/t17") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a/#/b", "`#` stands alone at the end"),
        ("a/b#", "`#` stands alone at the end"),
        ("a/b+/c", "`+` stands for a whole level"),
        ("a/x{site}", "a part in braces fills a whole level"),
        ("a/{site}{device}", "a part in braces fills a whole level"),
        ("a/{site", "a part in braces fills a whole level"),
        ("a/{}", "expected a field name"),
        ('a/{"}', "expected a field name"),
        ("{a}/{a}", "the same name as another"),
        ("$share/group/a", "is asked for with `group`"),
    ],
)
def test_what_is_no_template_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(text)
    assert caught.value.path == "topics"
    assert problem in caught.value.problem


def fields(*texts: str, type_field: str = "type", whole: bool = False) -> TopicFields:
    return TopicFields([parse(text) for text in texts], type_field=type_field, whole=whole)


def test_the_parts_of_the_first_template_that_fits_become_fields() -> None:
    found = fields("a/{x}/c", "a/{y}/+", "b/#")
    assert found.of("a/1/c") == {"x": "1"}
    assert found.of("a/1/d") == {"y": "1"}
    assert found.of("b/1") == {}
    assert found.of("c") is None


def test_a_part_named_type_plays_the_type_whatever_field_that_is() -> None:
    assert fields("{site}/{type}").of("oslo/door") == {"site": "oslo", "type": "door"}
    assert fields("{site}/{type}", type_field="event").of("oslo/door") == {"site": "oslo", "event": "door"}


def test_the_whole_topic_may_be_the_type() -> None:
    assert fields("sensors/{id}", whole=True).of("sensors/7") == {"type": "sensors/7", "id": "7"}


def test_a_topic_too_long_to_be_remembered_is_read_all_the_same() -> None:
    assert fields("a/{rest}").of("a/" + "x" * 5000) == {"rest": "x" * 5000}
