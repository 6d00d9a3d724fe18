"""Measures of how close a restored picture is to the truth: PSNR, SSIM, LPIPS; of how natural it looks: NIQE; of whole
sets of pictures: Frechet distances."""

# Imported at once, not on first use: `psnr`, `ssim` and `niqe` are also the names of the modules that hold them.
from restore.evaluate.lpips import LPIPS
from restore.evaluate.luma import luma
from restore.evaluate.niqe import niqe
from restore.evaluate.psnr import psnr, psnr_y, quantise
from restore.evaluate.ssim import ssim, ssim_y

__all__ = ["LPIPS", "luma", "niqe", "psnr", "psnr_y", "quantise", "ssim", "ssim_y"]
