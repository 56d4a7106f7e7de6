"""Guest images: Debian trees from the package lists in `images/`, built once and cached by content."""

from halab.image.build import ImageBuildError, Progress, build
from halab.image.cache import Image, cache_root
from halab.image.spec import NAMES, image_key

__all__ = ["NAMES", "Image", "ImageBuildError", "Progress", "build", "cache_root", "image_key"]
