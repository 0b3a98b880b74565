"""A photo's way to pixels and tensor, against an independent computation."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mobilesplit.core.manifest import ImageInput
from mobilesplit.wire.images import MAX_PIXELS, PhotoError, normalise, open_photo, to_pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL = ImageInput(height=8, width=6, resize_shorter=10, mean=MEAN, std=STD)


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], -1).astype(np.uint8)


def png_header_of(width, height):
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    idat = b"IDAT" + zlib.compress(b"")
    chunk += struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    return b"\x89PNG\r\n\x1a\n" + chunk


def test_a_png_opens_to_its_pixels():
    pixels = gradient(7, 9)
    np.testing.assert_array_equal(open_photo(file_of(Image.fromarray(pixels))), pixels)


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    data = file_of(Image.fromarray(gradient(16, 32)), "JPEG", exif=exif, quality=95)
    assert open_photo(data).shape == (32, 16, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    image = Image.fromarray(gradient(5, 4)).convert(mode)
    assert open_photo(file_of(image, "JPEG" if mode == "CMYK" else "PNG")).shape == (5, 4, 3)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    image = Image.fromarray(np.full((2, 2), 0x8000, np.uint16))
    assert (open_photo(file_of(image)) == 0x80).all()


def test_the_shorter_side_is_resized_and_the_centre_is_cropped():
    photo = Image.fromarray(gradient(40, 20))
    expected = np.asarray(photo.resize((10, 20), Image.Resampling.BICUBIC))[6:14, 2:8]
    np.testing.assert_array_equal(to_pixels(file_of(photo), SMALL), expected)


def test_a_crop_beyond_the_photo_is_filled_with_black():
    wide = SMALL.model_copy(update={"width": 14})
    pixels = to_pixels(file_of(Image.new("RGB", (10, 10), "white")), wide)
    assert pixels.shape == (8, 14, 3)
    assert (pixels[:, :2] == 0).all() and (pixels[:, 2:12] == 255).all()


def test_normalise_is_the_documented_formula():
    pixels = gradient(8, 6)
    tensor = normalise(pixels, SMALL)
    expected = ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
    assert tensor.dtype == np.float32 and tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a JPEG or PNG"),
        (b"GIF89a" + bytes(100), "not a JPEG or PNG"),
        (file_of(Image.new("RGB", (4, 4)), "BMP"), "not a JPEG or PNG"),
        (file_of(Image.fromarray(gradient(64, 64)), "JPEG")[:-100], "damaged"),
        (file_of(Image.fromarray(gradient(64, 64)))[:100], "damaged"),
        (png_header_of(8000, 8000), f"at most {MAX_PIXELS:,}"),
        (png_header_of(100_000, 100_000), "too many pixels"),
        (bytes(64 * 1024 * 1024 + 1), "at most"),
        (file_of(Image.new("RGB", (60_000, 1))), "too elongated"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_usable_photo_says_why(data, why):
    large = SMALL.model_copy(update={"resize_shorter": 100})
    with pytest.raises(PhotoError, match=why):
        to_pixels(data, large)
