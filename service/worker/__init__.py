"""The worker: drives the samplers of many jobs at once and packs their denoiser calls into batches."""
