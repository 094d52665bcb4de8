"""Every noun that has tags gets the same two commands, `tag` and `untag`."""

from __future__ import annotations

import click

from connector.cli import tables
from connector.cli.access import with_client
from connector.cli.options import JSON
from connector.cli.records import JOB, Noun, find_job, identity, tag_words
from connector.clients.smc import SmcClient
from connector.errors import BadInput


def tag_commands(noun: Noun, resource: str) -> tuple[click.Command, click.Command]:
    """Both commands for one noun; `resource` is its type in the API."""
    metavar = noun.word.upper()

    def named(client: SmcClient, word: str) -> str:
        return str(find_job(client, word)[noun.key]) if noun is JOB else identity(client, noun, word)

    @click.command(
        help=f"""Set tags of a {noun.word}. An existing tag gets the new value.

        \b
        connector {noun.word} tag web-01 owner=shop floor=2
        """
    )
    @click.argument("word", metavar=metavar)
    @click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE...")
    @with_client
    @JSON
    def tag(client: SmcClient, word: str, pairs: tuple[str, ...], as_json: bool) -> None:
        key = named(client, word)
        client.call(
            "TagResources", ResourceType=resource, ResourceId=[key], Tag=tag_words(pairs, "KEY=VALUE")
        )
        tables.told(word, "tagged", {noun.key: key}, as_json)

    @click.command(
        help=f"""Remove tags from a {noun.word}.

        \b
        connector {noun.word} untag web-01 floor
        connector {noun.word} untag web-01 --all
        """
    )
    @click.argument("word", metavar=metavar)
    @click.argument("keys", nargs=-1, metavar="[KEY]...")
    @click.option("--all", "everything", is_flag=True, help="Remove every tag.")
    @with_client
    @JSON
    def untag(client: SmcClient, word: str, keys: tuple[str, ...], everything: bool, as_json: bool) -> None:
        if bool(keys) == everything:
            raise BadInput("give either keys or --all", on=word)
        key = named(client, word)
        client.call(
            "UntagResources", ResourceType=resource, ResourceId=[key], TagKey=keys, All=everything or None
        )
        tables.told(word, "untagged", {noun.key: key}, as_json)

    return tag, untag
