"""What the site has beside the pages of this folder: pages of the repository, and references.

The references are made from the code when the site is built, so that they cannot be out of date.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from orchestrator.cli.main import command_line
from orchestrator.sweep.schema import cli_reference, sweep_reference

_REPO = Path(__file__).parents[1]
# By the place in the repository: the page of the site.
_PAGES = {
    "examples/README.md": "examples.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
_LINK = re.compile(r"\]\(([^)#\s:]+)((?:#[^)]*)?)\)")
_FENCE = re.compile(r"^```(\w+) (?:\w+ )*title=(\S+).*$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in this folder."""
    for origin, page in _PAGES.items():
        files.append(File.generated(config, page, content=(_REPO / origin).read_text()))
    made = {"cli.md": cli_reference(command_line()), "sweep-reference.md": sweep_reference()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - as MkDocs calls it
    """Turn links between places in the repository into links between pages of the site."""
    origins = {site: repo for repo, site in _PAGES.items()}
    folder = posixpath.dirname(origins.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def linked(match: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(folder, match[1]))
        inside = place.removeprefix("docs/") if place.startswith("docs/") else match[1]
        return f"]({_PAGES.get(place, inside)}{match[2]})"

    return _FENCE.sub(r'```\1 title="\2"', _LINK.sub(linked, markdown))
