"""The calibration images: real, known by their digest, shaped as the network wants them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from benchlib import config
from benchlib.case import resolution
from benchlib.errors import InputError
from benchlib.export import calibration


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


@pytest.mark.parametrize("size", config.find_preset("blog").values["resolutions"])
def test_every_photo_can_be_cut_to_every_size_of_the_blog(size: str) -> None:
    height, width = resolution(size)
    for images in (calibration.bundled(), calibration.held_out()):
        for values in images.batches(1, height, width):
            assert values.shape == (1, 3, height, width)
            assert np.isfinite(values).all()


def _ramp(top: int, bits: type = np.uint16) -> np.ndarray:
    """64 x 64 grey values that rise evenly from 0 to ``top``."""
    return np.linspace(0, top, 64 * 64).reshape(64, 64).astype(bits)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path: Path, name: str) -> None:
    Image.fromarray(_ramp(65535)).save(tmp_path / name)
    (photo,) = calibration.folder(tmp_path).photos
    assert photo.shape == (64, 64, 3)
    np.testing.assert_allclose(photo[..., 1], _ramp(255, float), atol=1.0)


def test_sixteen_bit_colour_is_scaled_to_eight(tmp_path: Path) -> None:
    colour = np.stack([_ramp(65535), _ramp(30000), 65535 - _ramp(65535)], axis=-1)
    (tmp_path / "a.png").write_bytes(_png(colour))
    (photo,) = calibration.folder(tmp_path).photos
    np.testing.assert_allclose(photo, colour / 257, atol=1.0)


def _png(colour: np.ndarray, side: int | None = None) -> bytes:
    """A PNG of 16 bits per channel, which Pillow reads and does not write; ``side`` is a lie."""
    height, width = (side, side) if side else colour.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in colour)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def _tiff(values: np.ndarray, bits: int, photometric: int, sample_format: int) -> bytes:
    """A TIFF of one channel and one strip with the tags that Pillow's writer chooses itself."""
    data = values.tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, height), (279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_tiff_in_which_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(_tiff(_ramp(65535), 16, photometric=0, sample_format=1))
    (photo,) = calibration.folder(tmp_path).photos
    np.testing.assert_allclose(photo[..., 0], 255 - _ramp(255, float), atol=1.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (_ramp(1, np.float32), "holds floating-point numbers"),
        (_ramp(70000, np.int32), "holds signed or 32-bit numbers"),
        (_ramp(4000), "fills less than 1 / 16 of their range"),
        (_ramp(255), "fills less than 1 / 16 of their range"),
    ],
)
def test_values_without_a_known_scale_are_refused_by_name(
    tmp_path: Path, values: np.ndarray, words: str
) -> None:
    Image.fromarray(values).save(tmp_path / "odd.tif")
    with pytest.raises(InputError, match=rf"calibration_dir: .*odd\.tif .*{words}.*; save it"):
        calibration.folder(tmp_path)


@pytest.mark.parametrize(
    ("mode", "name", "colour", "expected"),
    [
        ("1", "a.png", 1, (255, 255, 255)),
        ("L", "a.jpg", 128, (128, 128, 128)),
        ("LA", "a.png", (128, 0), (128, 128, 128)),
        ("RGBA", "a.png", (200, 100, 50, 0), (200, 100, 50)),
        ("RGBA", "a.webp", (200, 100, 50, 255), (200, 100, 50)),
        ("CMYK", "a.jpg", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", "a.tif", (0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_other_kinds_of_pixels_become_rgb_as_in_evaluation(
    tmp_path: Path, mode: str, name: str, colour: object, expected: tuple[int, ...]
) -> None:
    Image.new(mode, (16, 16), colour).save(tmp_path / name)
    (photo,) = calibration.folder(tmp_path).photos
    np.testing.assert_allclose(photo[8, 8], expected, atol=3)


def test_palette_with_transparency_keeps_its_colours_and_warns_of_nothing(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 100]))
    (photo,) = calibration.folder(tmp_path).photos
    assert tuple(photo[3, 3]) == (10, 200, 30)
    assert not recwarn.list


def test_an_exif_orientation_turns_nothing_as_in_evaluation(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 8), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    (photo,) = calibration.folder(tmp_path).photos
    assert photo.shape == (8, 16, 3)


def _many_words() -> bytes:
    """A PNG whose compressed text is larger than Pillow takes: it answers with a ValueError."""
    image, text = Image.new("RGB", (8, 8)), PngImagePlugin.PngInfo()
    text.add_text("note", "a" * 2_000_000, zip=True)
    image.save(sink := io.BytesIO(), "PNG", pnginfo=text)
    return sink.getvalue()


def _saved(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(sink := io.BytesIO(), kind)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("words.png", _many_words()),
        ("half.png", _saved("PNG")[:3000]),
        ("half.jpg", _saved("JPEG")[:2000]),
        ("half.tif", _saved("TIFF")[:3000]),
        ("half.webp", _saved("WEBP")[:300]),
        ("chunk.png", _saved("PNG").replace(b"IDAT", b"ID\0T")),
        (
            "bomb.png",
            _png(np.zeros((1, 1, 3)), side=65_536),
        ),
        ("page.jpg", b"<!DOCTYPE html><html>404</html>"),
    ],
)
def test_a_file_that_is_no_whole_image_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        calibration.folder(tmp_path)
    said = str(caught.value)
    assert said.startswith("calibration_dir: ") and "\n" not in said
    assert f"{name} cannot be read as an image" in said and said.endswith("; take it out")


def test_hidden_files_are_passed_over_and_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"\0\5\26\7")
    (tmp_path / "folder.png").mkdir()
    assert calibration.folder(tmp_path).count == 1
    (tmp_path / "gone.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match=r"gone\.png cannot be read .*No such file"):
        calibration.folder(tmp_path)
