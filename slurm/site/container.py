"""How what we start on a node runs in an image: by Apptainer, or by the pyxis plugin of srun.

Only the batch text is made here: no such site has been at hand, so none of this was ever run.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from slurm.site.site import Site


def container_words(site: Site, root: Path, has_gpus: bool) -> list[str]:
    """Return the words that run what follows them in the image of a site; none without one.

    `root` is the folder of the studies, which the image has to see.
    """
    if site.image is None or site.container == "pyxis":
        return []
    binds = ["--bind", ",".join(_mounts(site, root))]
    return [site.container, "exec", *(["--nv"] if has_gpus else []), *binds, site.image]


def container_srun_options(site: Site, root: Path) -> list[str]:
    """Return the options of srun by which pyxis runs its tasks in the image of a site."""
    if not runs_by_srun(site):
        return []
    pairs = (mount if ":" in mount else f"{mount}:{mount}" for mount in _mounts(site, root))
    return [f"--container-image={site.image}", f"--container-mounts={','.join(pairs)}"]


def runs_by_srun(site: Site) -> bool:
    """Return True if the image needs srun, even for one process."""
    return site.image is not None and site.container == "pyxis"


def quote(words: Sequence[str]) -> str:
    """Return words of a command line, each with a blank after it."""
    return "".join(f"{shlex.quote(word)} " for word in words)


def _mounts(site: Site, root: Path) -> list[str]:
    """Return what the image sees of the node, once each, the folder of the studies first."""
    return list(dict.fromkeys(map(str, (root, *site.shared, *site.mounts))))
