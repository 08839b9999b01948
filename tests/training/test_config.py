"""Training configurations: what loads, what an override does, what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammolens.errors import ConfigurationError
from mammolens.training import config

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = '[model]\nname="a"\narchitecture="efficientnet-b0"\nsize=[64, 48]\nimagenet="c"\n'
DATA = '[data]\ndataset="rsna-640"\nfolder="d"\n'
FIT = "[fit]\nepochs=2\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    made = tmp_path / "there" / "c.toml"
    made.write_text(MODEL + DATA + FIT)
    return made


@pytest.mark.parametrize("name", sorted(path.name for path in (REPOSITORY / "configs").glob("*.toml")))
def test_every_configuration_of_the_repository_loads(name: str) -> None:
    loaded = config.load(REPOSITORY / "configs" / name)
    assert loaded.model.architecture.removeprefix("efficientnet-") in name
    assert loaded.output == REPOSITORY / "runs" / name.removesuffix(".toml")
    assert loaded.data.folder.is_absolute()
    assert loaded.model.imagenet == "imagenet" or Path(loaded.model.imagenet).is_absolute()


BEFORE_WARM_UPS = """
output = "../runs/rsna640-b0"
[model]
name = "mammolens-b0"
version = "2"
architecture = "efficientnet-b0"
size = [384, 288]
imagenet = "weights.h5"
looks = 2
final = "average"
[data]
dataset = "rsna-640"
folder = "rsna-640"
[fit]
epochs = 5
low_epochs = 3
low_size = [256, 192]
seeds = [1, 2]
batch_size = 16
learning_rate = 1e-4
watch_epochs = 5
"""


def test_a_configuration_from_before_later_keys_means_what_it_meant(tmp_path: Path) -> None:
    """By hand: a file as runs were made with it before there were other keys, and its digest of then."""
    path = tmp_path / "before.toml"
    path.write_text(BEFORE_WARM_UPS, encoding="utf-8")
    loaded = config.load(path)
    assert (loaded.model.size, loaded.model.looks, loaded.model.final) == ((384, 288), 2, "average")
    assert (loaded.fit.epochs, loaded.fit.low_epochs, loaded.fit.low_size) == (5, 3, (256, 192))
    assert (loaded.fit.seeds, loaded.fit.batch_size, loaded.fit.learning_rate) == ((1, 2), 16, 1e-4)
    assert loaded.digest == "83b263c1a144f339"


@pytest.mark.parametrize("word", ["imagenet", "none"])
def test_weights_may_come_from_the_network_or_from_nowhere(path: Path, word: str) -> None:
    path.write_text(path.read_text().replace('"c"', f'"{word}"'))
    assert config.load(path).model.imagenet == word


@pytest.mark.parametrize(("single", "named"), [("default", "default"), ("bundle", "{there}/bundle")])
def test_bundle_of_single_pictures_is_named_or_lies_beside_the_file_and_no_weight_depends_on_it(
    path: Path, single: str, named: str
) -> None:
    plain = config.load(path, ["model.views=2"])
    path.write_text(MODEL + f'views = 2\nsingle = "{single}"\n' + DATA + FIT)
    loaded = config.load(path)
    assert str(loaded.model.single) == named.format(there=path.parent)
    assert plain.model.single is None
    assert loaded.digest == plain.digest


def test_a_network_that_grows_is_another_run(path: Path) -> None:
    plain = config.load(path, ['model.architecture="efficientnet-b1"'])
    grown = config.load(path, ['model.architecture="efficientnet-b1"', 'model.grown_from="efficientnet-b0"'])
    assert grown.model.grown_from == "efficientnet-b0"
    assert grown.digest != plain.digest


@pytest.mark.parametrize(
    "overrides",
    [
        ['model.grown_from="efficientnet-b0"'],
        ['model.grown_from="efficientnet-b1"'],
        ['model.grown_from="resnet"', 'model.architecture="efficientnet-b2"'],
        ['model.grown_from="efficientnet-b0"', 'model.architecture="efficientnet-b2"', 'model.imagenet="none"'],
    ],
)
def test_a_network_grows_from_the_weights_of_a_smaller_one_alone(path: Path, overrides: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="grown_from"):
        config.load(path, overrides)


def test_a_run_goes_on_from_the_one_of_the_file_it_names(path: Path) -> None:
    later = path.with_name("later.toml")
    later.write_text(f'after = "{path.name}"\n' + path.read_text())
    first, loaded = config.load(path), config.load(later)
    assert loaded.after == first
    assert loaded.output != first.output
    assert loaded.digest != first.digest
    again = path.with_name("again.toml")
    again.write_text(f'after = "{path.name}"\n' + path.read_text() + "\n")
    assert config.load(again).digest == loaded.digest
    path.write_text(path.read_text() + "weight_decay = 0.03\n")
    assert config.load(later).digest != loaded.digest


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("[fit]", "folds = 3\n[fit]"), "folds"),
        (("-b0", "-b1"), "architecture"),
        (("[fit]", '[fit]\nside_tasks = ["age"]'), "side_tasks"),
        (("[fit]", "[fit]\npatience = 2"), "patience"),
        (("[fit]", "[fit]\npatch_epochs = 2"), "Warm-ups"),
        (('after = "', 'after = "no-'), "can't be read"),
        (('after = "', "after = 1 #"), "paths"),
        (("after = ", 'after = "later.toml" # '), "itself"),
    ],
)
def test_a_run_goes_on_from_its_like_alone(path: Path, change: tuple[str, str], named: str) -> None:
    later = path.with_name("later.toml")
    text = f'after = "{path.name}"\n' + path.read_text()
    assert change[0] in text
    later.write_text(text.replace(*change))
    with pytest.raises(ConfigurationError, match=named):
        config.load(later)


def test_a_run_from_random_weights_is_another_run(path: Path) -> None:
    assert config.load(path).digest != config.load(path, ['model.imagenet="none"']).digest


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[model]\nname = 1 =", "TOML"),
        ("x = 1\n[y]\n", "unknown"),
        ("[data]\n[fit]\n", "model"),
        (MODEL + "surprise=1\n" + DATA + FIT, "surprise"),
        (MODEL + DATA + FIT + 'precision="float8"\n', "precision"),
        (MODEL + FIT + '[data]\nfolder="d"\n', "dataset"),
        (MODEL + 'final="best"\n' + DATA + FIT, "final"),
        (MODEL + "looks=3\n" + DATA + FIT, "looks"),
        (MODEL + 'single="there"\n' + DATA + FIT, "views = 2"),
        (MODEL + DATA + FIT + "low_epochs=1\n", "low_size"),
        (MODEL + DATA + FIT + "shared_epochs=1\n", "shared_epochs"),
        (MODEL + DATA + '[fit]\nepochs="2"\n', "epochs"),
        (MODEL + DATA + "[fit]\nepochs=true\n", "epochs"),
        (MODEL + DATA + FIT + "dropout=1.0\n", "dropout"),
        (MODEL + DATA + FIT + "learning_rate=inf\n", "learning_rate"),
        (MODEL + DATA + "folds=1\n" + FIT, "folds"),
        (MODEL + DATA + 'protocol="pooled"\n' + FIT, "protocol"),
        (MODEL.replace("[64, 48]", "[64]") + DATA + FIT, "size"),
        (MODEL.replace("-b0", "-b9") + DATA + FIT, "architecture"),
        ("output=1\n" + MODEL + DATA + FIT, "output"),
    ],
)
def test_wrong_configuration_says_what_is_wrong(path: Path, text: str, named: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=named):
        config.load(path)


def test_overrides_win_over_the_file_and_the_last_over_the_first(path: Path) -> None:
    made = config.load(path, ["fit.epochs=1", "model.size=[32, 24]", "fit.learning_rate=1e-3", "fit.epochs=3"])
    assert (made.fit.epochs, made.model.size, made.fit.learning_rate) == (3, (32, 24), 1e-3)
    assert made.model.name == "a"


def test_paths_of_overrides_are_relative_to_the_current_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = config.load(path, ['output="run"', 'data.folder="pictures"'])
    assert (made.output, made.data.folder) == (tmp_path / "run", tmp_path / "pictures")
    assert made.model.imagenet == tmp_path / "there" / "c"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("fit.epochs=many", "Text needs quotes"),
        ("fit.epochs", "KEY=VALUE"),
        ("fit.epochs='1'", "epochs"),
        ("fit.epoch=1", "epoch"),
        ("epochs=1", "sections"),
        ("fit=1", "sections"),
        ("model.size.height=1", "size"),
    ],
)
def test_wrong_override_is_checked_as_the_file_is(path: Path, override: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        config.load(path, [override])
