"""Measures of how close a restored picture is to the truth: PSNR, SSIM, LPIPS."""

# Imported at once, not on first use: `psnr` and `ssim` are also the names of the modules that hold them.
from restore.evaluate.lpips import LPIPS
from restore.evaluate.luma import luma
from restore.evaluate.psnr import psnr, psnr_y, quantise
from restore.evaluate.ssim import ssim, ssim_y

__all__ = ["LPIPS", "luma", "psnr", "psnr_y", "quantise", "ssim", "ssim_y"]
