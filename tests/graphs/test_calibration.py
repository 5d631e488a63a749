"""The calibration images: real, known by their digest, shaped as the network wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchlib.case import resolution
from benchlib.errors import InputError
from benchlib.graphs import calibration
from benchlib.sweep import preset


def test_bundled_set_is_named_counted_and_hashed() -> None:
    identity = calibration.bundled().identity
    assert identity.name == "scikit-image"
    assert identity.count == len(list(calibration.bundled().batches(1, 32, 32))) == 8
    assert identity == calibration.bundled().identity
    assert len(identity.sha256) == 64


def test_error_is_measured_on_other_photos_than_the_ranges() -> None:
    assert set(calibration.BUNDLED).isdisjoint(calibration.HELD_OUT)
    assert calibration.held_out().identity.sha256 != calibration.bundled().identity.sha256


def test_digest_follows_every_pixel() -> None:
    photo = np.zeros((4, 4, 3), np.uint8)
    other = photo.copy()
    other[3, 3, 2] = 1
    first, second = (calibration.ImageSet("a", (image,)).identity for image in (photo, other))
    assert first.sha256 != second.sha256


def test_values_are_normalised_as_torchvision_does() -> None:
    photo = np.full((8, 8, 3), (255, 0, 128), np.uint8)
    values = calibration.tensor(photo, 2, 3)
    assert values.shape == (1, 3, 2, 3)
    assert values.dtype == np.float32
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(values[0, :, 1, 1], expected, rtol=1e-5)


def test_photo_is_cut_in_its_middle_and_not_stretched() -> None:
    photo = np.zeros((10, 30, 3), np.uint8)
    photo[:, 10:20] = 255
    assert (calibration.tensor(photo, 10, 10) > 2).all()


def test_batches_hold_every_image_and_are_always_full() -> None:
    images = calibration.bundled()
    batches = list(images.batches(3, 16, 16))
    assert [batch.shape for batch in batches] == [(3, 3, 16, 16)] * 3
    np.testing.assert_array_equal(batches[-1][-1], batches[0][0])


def test_own_folder_is_read_in_order_of_name(tmp_path: Path) -> None:
    for name, value in (("b.png", 200), ("a.jpg", 10)):
        Image.new("RGB", (8, 8), (value,) * 3).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    images = calibration.folder(tmp_path)
    assert images.count == 2
    assert images.photos[0].mean() < images.photos[1].mean()


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"calibration_dir: .*is not a folder"):
        calibration.folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no image"):
        calibration.folder(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(InputError, match=r"broken\.png cannot be read"):
        calibration.folder(tmp_path)


@pytest.mark.parametrize("size", preset.find("blog").values["resolutions"])
def test_every_photo_can_be_cut_to_every_size_of_the_blog(size: str) -> None:
    height, width = resolution(size)
    for images in (calibration.bundled(), calibration.held_out()):
        for values in images.batches(1, height, width):
            assert values.shape == (1, 3, height, width)
            assert np.isfinite(values).all()
