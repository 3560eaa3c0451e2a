"""Makes the pictures of kinds that people have and programs forget, and what they ought to be read as.

Needs Pillow. `expected.json` holds for each picture the channels, size and pixels that page and command line must
give, within 2 of 255; they are Pillow's own: straight alpha over white, BT.601's luma, bicubic.
"""

import json
import pathlib

from PIL import Image, ImageFile

ImageFile.LOAD_TRUNCATED_IMAGES = True

HERE = pathlib.Path(__file__).parent


def scene(width, height):
    """A smooth scene: red from the left, green from the top, a blue disc."""
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2
            image.putpixel((x, y), (255 * x // width, 255 * y // height, 200 if disc else 40))
    return image


def save():
    rgb = scene(96, 64)
    grey = rgb.convert("L")
    deep = Image.new("I;16", grey.size)
    deep.putdata([value * 257 for value in grey.getdata()])
    deep.save(HERE / "grey16.png")
    rgb.quantize(64).save(HERE / "palette.png")
    with_alpha = grey.copy()
    with_alpha.putalpha(Image.linear_gradient("L").resize(grey.size))
    with_alpha.save(HERE / "grey_alpha.png")
    rgb.convert("CMYK").save(HERE / "cmyk.jpg", quality=95)
    frames = [rgb.quantize(128), Image.new("RGB", rgb.size, "red").quantize(4)]
    frames[0].save(HERE / "animated.gif", save_all=True, append_images=frames[1:], duration=100)
    frames = [rgb, Image.new("RGB", rgb.size, "red")]
    frames[0].save(
        HERE / "animated.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True
    )


def expected(path, channels, size):
    image = Image.open(path)
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 257).convert("L")
    image = image.convert("RGBA" if image.mode != "CMYK" else "RGB").convert("RGBA")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    over = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    over = over.resize((size, size), Image.BICUBIC)
    if channels == 1:
        return list(over.convert("L").getdata())
    return [value for plane in over.split() for value in plane.getdata()]


if __name__ == "__main__":
    save()
    found = {}
    for path in sorted(HERE.iterdir()):
        if path.suffix in {".png", ".jpg", ".gif", ".webp"}:
            found[path.name] = {str(c): expected(path, c, 8) for c in (1, 3)}
    (HERE / "expected.json").write_text(json.dumps(found, indent=None, separators=(",", ":")) + "\n")
