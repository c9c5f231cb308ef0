"""Options in groups: headings of the help, and the order in which they stand."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from gtool.commands.options import Command, Group, Option, option, under


@click.command(cls=Command)
@click.argument("names", nargs=-1)
@under("Fruit", option("--apple", default=3, help="Red."), option("--pear", help="Green."))
@under("Bread", option("--rye/--no-rye", default=False, help="Dark."), option("--wheat", default=0, help="Light."))
def shop(names, **options):
    """Buy things."""
    return names, options


@pytest.fixture
def shop_help() -> str:
    return CliRunner().invoke(shop, ["--help"]).output


def section(text: str, heading: str) -> list[str]:
    """The options under a heading of a help text."""
    lines = text.partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  (--[\w-]+)", lines, re.MULTILINE)


def test_options_stand_under_their_heading_in_the_order_of_the_source(shop_help):
    assert [section(shop_help, heading) for heading in ("Fruit", "Bread")] == [
        ["--apple", "--pear"],
        ["--rye", "--wheat"],
    ]


def test_headings_stand_in_the_order_of_the_source(shop_help):
    assert re.findall(r"^(\w+):$", shop_help, re.MULTILINE) == ["Fruit", "Bread", "Other"]


def test_an_option_without_a_heading_stands_under_other(shop_help):
    assert section(shop_help, "Other") == ["--help"]


def test_every_option_is_in_the_help_once(shop_help):
    assert [shop_help.count(f"  --{name}") for name in ("apple", "pear", "rye", "wheat", "help")] == [1] * 5


def test_a_hidden_option_is_in_no_section():
    command = click.command(cls=Command)(under("Fruit", option("--fig", hidden=True))(lambda fig: None))
    assert "Fruit" not in CliRunner().invoke(command, ["--help"]).output


@pytest.mark.parametrize(
    ("attributes", "is_shown"),
    [
        ({"default": 3}, True),
        ({"default": "x"}, True),
        ({}, False),
        ({"default": 0}, False),
        ({"is_flag": True}, False),
    ],
)
def test_a_default_is_shown_where_there_is_one_to_speak_of(attributes, is_shown):
    command = click.command(cls=Command)(option("--fig", **attributes)(lambda fig: None))
    assert ("[default: " in CliRunner().invoke(command, ["--help"]).output) is is_shown


def test_whether_a_default_is_shown_can_be_said():
    command = click.command(cls=Command)(option("--fig", default=3, show_default=False)(lambda fig: None))
    assert "default" not in CliRunner().invoke(command, ["--help"]).output


def test_options_do_what_those_of_click_do():
    given = shop.main(["a", "--apple", "5", "--rye"], standalone_mode=False)
    assert given == (("a",), {"apple": 5, "pear": None, "rye": True, "wheat": 0})


def test_a_heading_that_an_option_names_itself_is_kept():
    @click.command(cls=Command)
    @under("Fruit", click.option("--fig", cls=Option, heading="Dried"), option("--kiwi"))
    def command(fig, kiwi):
        pass

    assert {param.name: param.heading for param in command.params} == {"fig": "Dried", "kiwi": "Fruit"}


# Groups


@click.group(cls=Group, invoke_without_command=True)
@under("Fruit", option("--apple", default=3, help="Red."), option("--pear", help="Green."))
def market(**options):
    """Go shopping."""
    return options


@market.command()
def bakery():
    """Buy bread."""
    return "bread"


@pytest.fixture
def market_help() -> str:
    return CliRunner().invoke(market, ["--help"]).output


def test_options_of_a_group_stand_under_their_heading(market_help):
    assert section(market_help, "Fruit") == ["--apple", "--pear"]


def test_the_commands_of_a_group_stand_after_its_options(market_help):
    assert re.findall(r"^(\w+):$", market_help, re.MULTILINE) == ["Fruit", "Other", "Commands"]


def test_each_command_of_a_group_is_in_its_help_once(market_help):
    assert re.findall(r"^  (bakery) +Buy bread\.$", market_help, re.MULTILINE) == ["bakery"]


def test_each_option_of_a_group_is_in_its_help_once(market_help):
    assert [market_help.count(f"  --{name}") for name in ("apple", "pear", "help")] == [1] * 3


@pytest.mark.parametrize(
    ("args", "given"),
    [([], {"apple": 3, "pear": None}), (["--pear", "x"], {"apple": 3, "pear": "x"}), (["bakery"], "bread")],
)
def test_a_group_does_what_those_of_click_do(args, given):
    assert market.main(args, standalone_mode=False) == given
