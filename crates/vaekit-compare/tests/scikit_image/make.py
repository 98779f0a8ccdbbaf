"""Writes expected.json: what scikit-image says of two synthetic pictures.

    python -m venv venv && venv/bin/pip install scikit-image==0.26.0 && venv/bin/python make.py

The pictures are written in integers, so that tests/it/scikit_image.rs draws the very same ones.
"""

import json
import pathlib

import numpy as np
import scipy
import skimage
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.filters import gaussian, sobel
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.transform import downscale_local_mean

HEIGHT, WIDTH = 180, 208


def wave(i, period):
    """A triangle from 0 to 255 and back."""
    position = i % (2 * period)
    return np.minimum(position, 2 * period - position) * 255 // period


def original():
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    coarse = wave(x * (c + 2) + 3 * y, 97)
    fine = wave(x * x // 16 + y * (5 + c), 11)
    return ((3 * coarse + fine) // 4).astype(np.uint8)


def decoded(image):
    """Softer, washed out, greener, with some noise."""
    wide = image.astype(np.int64)
    left = np.concatenate([wide[:, :1], wide[:, :-1]], axis=1)
    soft = (3 * wide + left) // 4
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    noise = (x * 7919 + y * 104729 + c * 1299709) % 13 - 6
    tint = np.array([-4, 5, 0])
    return np.clip(128 + (soft - 128) * 9 // 10 + noise + tint, 0, 255).astype(np.uint8)


def ms_ssim(a, b):
    """Wang, Simoncelli and Bovik 2003. A huge K1 makes scikit-image's luminance term 1, so that contrast remains."""
    exponents = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    product = 1.0
    for scale, exponent in enumerate(exponents):
        coarsest = scale == len(exponents) - 1
        product *= structural_similarity(a, b, K1=0.01 if coarsest else 1e6, **options) ** exponent
        even = tuple(slice(0, side // 2 * 2) for side in a.shape)
        a, b = downscale_local_mean(a[even], (2, 2)), downscale_local_mean(b[even], (2, 2))
    return product


def luma(image):
    return (image / 127.5 - 1) @ np.array([0.2126, 0.7152, 0.0722])


def high(image, radius=4):
    inner = slice(radius, -radius)
    return (image - gaussian(image, sigma=1, truncate=radius))[inner, inner]


def expected():
    a = original()
    b = decoded(a)
    lab_a, lab_b = rgb2lab(a), rgb2lab(b)
    delta_e = deltaE_ciede2000(lab_a, lab_b)
    chroma = lambda lab: np.hypot(lab[..., 1], lab[..., 2])
    turn = (lab_b[..., 1] + 1j * lab_b[..., 2]) * np.conj(lab_a[..., 1] + 1j * lab_a[..., 2])
    high_a, high_b = high(luma(a)), high(luma(b))
    gradient = lambda image: sobel(image)[1:-1, 1:-1].mean()
    channels = [(a[..., c].astype(float), b[..., c].astype(float)) for c in range(3)]
    return {
        "versions": {"scikit-image": skimage.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
        "sum_of_samples": [int(a.sum()), int(b.sum())],
        "psnr": peak_signal_noise_ratio(a, b, data_range=255),
        "ssim": structural_similarity(
            a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        ),
        "ms_ssim": np.mean([ms_ssim(one, other) for one, other in channels]),
        "delta_e_mean": delta_e.mean(),
        "delta_e_p95": np.percentile(delta_e, 95),
        "saturation": chroma(lab_b).mean() / chroma(lab_a).mean(),
        "contrast": lab_b[..., 0].std() / lab_a[..., 0].std(),
        "lightness": (lab_b - lab_a)[..., 0].mean(),
        "tint_a": (lab_b - lab_a)[..., 1].mean(),
        "tint_b": (lab_b - lab_a)[..., 2].mean(),
        "hue_shift": np.degrees(np.angle(turn.sum())),
        "sharpness": gradient(luma(b)) / gradient(luma(a)),
        "high_frequency_energy": (high_b**2).sum() / (high_a**2).sum(),
        "detail_kept": (high_a * high_b).sum() / (high_a**2).sum(),
    }


if __name__ == "__main__":
    target = pathlib.Path(__file__).with_name("expected.json")
    target.write_text(json.dumps(expected(), indent=2) + "\n")
