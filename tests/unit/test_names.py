"""How a person names a deployment: any part that is the only one's."""

from __future__ import annotations

import pytest

from heat_config_kubelet.commands.names import UnknownNameError, find

THINGS = ["shop/web", "shop/web-2", "blog/web", "blog/db"]


def names(thing: str) -> tuple[str, ...]:
    return (thing, thing.split("/")[1], f"id-of-{thing}")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("shop/web", "shop/web"),
        ("db", "blog/db"),
        ("web-2", "shop/web-2"),
        ("g/w", "blog/web"),
        ("id-of-blog/d", "blog/db"),
    ],
)
def test_a_whole_name_or_a_part_that_is_the_only_ones(name: str, found: str) -> None:
    assert find(name, THINGS, names, "deployment") == found


def test_of_several_lives_of_one_deployment_the_last_is_meant() -> None:
    lives = [("shop/web", "old"), ("shop/web", "new"), ("shop/db", "new")]
    assert find("web", lives, lambda life: (life[0], life[1] + life[0]), "deployment") == ("shop/web", "new")
    assert find("oldshop/web", lives, lambda life: (life[0], life[1] + life[0]), "deployment") == ("shop/web", "old")


def test_a_part_of_several_names_them() -> None:
    with pytest.raises(UnknownNameError, match=r"web is more than one deployment: blog/web, shop/web \(give more"):
        find("web", THINGS, names, "deployment")


def test_what_is_not_there_names_what_is() -> None:
    with pytest.raises(UnknownNameError, match=r"there is no deployment cache \(there are blog/db, blog/web, shop/web"):
        find("cache", THINGS, names, "deployment")
    with pytest.raises(UnknownNameError, match="there is no pod at all"):
        find("cache", [], names, "pod")
