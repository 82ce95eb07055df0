"""The names that a sweep may use, as a login node sees them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jobs.contract.workloads import catalog
from jobs.contract.workloads.catalog import DataError
from jobs.images import data, models, readers


def test_the_catalog_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from jobs.contract.workloads import catalog\n"
        "assert not {'torch', 'torchvision', 'numpy', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])


def test_the_twelve_sets_of_the_paper_come_first_and_in_its_order() -> None:
    assert list(catalog.DATASETS)[:12] == [
        *("gtsrb", "semeion", "mnist", "fashion_mnist", "kmnist", "emnist_mnist"),
        *("qmnist", "usps", "cifar10", "cifar100", "svhn", "stl10"),
    ]
    assert all(catalog.DATASETS[name].files for name in list(catalog.DATASETS)[:12])


def test_every_data_set_has_a_reader_and_every_model_a_builder() -> None:
    assert all(callable(getattr(readers, name)) for name in catalog.DATASETS)
    with torch.device("meta"):
        for name in catalog.MODELS:
            assert isinstance(models.build(name, {}, 1, 16, 10), torch.nn.Module)


@pytest.mark.parametrize("name", list(catalog.DATASETS))
def test_a_set_is_present_once_the_files_of_one_alternative_are(name: str, tmp_path: Path) -> None:
    for number, files in enumerate(catalog.DATASETS[name].files):
        root = tmp_path / str(number)
        for file in files:
            with pytest.raises(DataError, match="is absent"):
                catalog.check_present(name, root)
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
        catalog.check_present(name, root)
    if not catalog.DATASETS[name].files:
        catalog.check_present(name, None)


def test_absence_is_told_with_the_root_the_missing_files_and_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "train_32x32.mat").touch()
    with pytest.raises(DataError) as raised:
        catalog.check_present("svhn", tmp_path)
    message = str(raised.value)
    assert "'svhn'" in message
    assert f"below {tmp_path} (missing: test_32x32.mat)" in message
    assert all(step in message for step in ("--data DIR", "THERMOLION_DATA", "--download"))
    with pytest.raises(DataError, match="no data root is given"):
        catalog.check_present("svhn", None)


def test_an_unknown_name_is_told_with_the_nearest_and_all_choices() -> None:
    with pytest.raises(DataError, match=r"'fashon_mnist' \(did you mean 'fashion_mnist'\?\)"):
        catalog.check_present("fashon_mnist", None)
    with pytest.raises(DataError, match="choose from convnet, mlp, resnet18"):
        models.build("transformer", {}, 1, 32, 10)
    with pytest.raises(DataError, match="unknown option of synthetic 'dificulty'"):
        data.load("synthetic", {"dificulty": 1}, None)
    with pytest.raises(DataError, match="digits takes no options"):
        data.load("digits", {"size": 8}, None)


def test_a_users_own_set_answers_for_its_own_files() -> None:
    catalog.check_present("my_lab.data:Galaxies", None)


def test_prefixes_of_ours_are_no_dotted_paths() -> None:
    assert not catalog.is_dotted("torchvision:resnet50")
    assert not catalog.is_dotted("imagefolder:/data/pets")
    assert catalog.is_dotted("my_torchvision:resnet50")


def test_an_option_younger_than_the_ids_stays_out_while_it_holds_its_default() -> None:
    assert catalog.model_options("convnet", {}) == {}
    assert catalog.model_options("mlp", {}) == {"hidden": [256]}
    assert catalog.model_options("convnet", {"dropout": 0}) == {}
    assert catalog.model_options("convnet", {"dropout": 0.5}) == {"dropout": 0.5}
    assert catalog.model_options("vit", {})["dropout"] == 0.0
    with pytest.raises(DataError, match=r"dropout of convnet is 2.0, it must be a number from 0"):
        catalog.model_options("convnet", {"dropout": 2.0})


def test_a_folder_of_images_has_options_of_its_own() -> None:
    assert catalog.dataset_options("imagefolder:/data/pets", {}) == {"size": 224}
    with pytest.raises(DataError, match="unknown option of imagefolder:/data/pets 'width'"):
        catalog.dataset_options("imagefolder:/data/pets", {"width": 32})


def test_a_dotted_path_that_leads_nowhere_is_named() -> None:
    with pytest.raises(DataError, match=r"no module 'my_lab\.data'"):
        catalog.resolve("my_lab.data:Galaxies")
    with pytest.raises(DataError, match=r"'jobs\.images\.data' has no 'Galaxies'"):
        catalog.resolve("jobs.images.data:Galaxies")


def test_an_import_that_a_users_module_misses_is_not_blamed_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_with_a_gap.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        catalog.resolve("lab_with_a_gap:Galaxies")


def test_forward_costs_are_counted_in_multiply_adds() -> None:
    convnet, mlp = catalog.MODELS["convnet"], catalog.MODELS["mlp"]
    by_hand = 288 * 1024 + 18_432 * 256 + 4096 * 256 + 2560
    assert convnet.mflop(1, 32, 10, {}) == pytest.approx(by_hand / 1e6)
    assert mlp.mflop(1, 8, 10, {"hidden": [256]}) == pytest.approx((64 * 256 + 2560) / 1e6)
    vit = catalog.MODELS["vit"]
    layer = 65 * 12 * 192**2 + 2 * 65**2 * 192  # 64 patches and the class token
    assert vit.mflop(3, 32, 10, vit.options) == pytest.approx(
        (6 * layer + 65 * 48 * 192 + 1920) / 1e6
    )
    assert catalog.MODELS["resnet18"].mflop(3, 32, 10, {}) > 100 * mlp.mflop(
        3, 32, 10, mlp.options
    )
