// Numbers as people read them.

const NARROW = "\u202f";
const decimals = new Map();

export function number(value, digits = 1) {
  if (!decimals.has(digits)) decimals.set(digits, new Intl.NumberFormat("en", { maximumFractionDigits: digits }));
  return decimals.get(digits).format(value);
}

export function bytes(count) {
  if (count < 1024) return `${count}${NARROW}bytes`;
  const power = count < 2 ** 20 ? 1 : count < 2 ** 30 ? 2 : 3;
  return `${number(count / 1024 ** power, count / 1024 ** power < 10 ? 1 : 0)}${NARROW}${["", "KiB", "MiB", "GiB"][power]}`;
}

export function megapixels(pixels) {
  const millions = pixels / 1e6;
  return `${number(millions, millions < 1 ? 2 : millions < 10 ? 1 : 0)}${NARROW}megapixels`;
}

export function size(width, height) {
  return `${width}${NARROW}×${NARROW}${height}`;
}

export function duration(seconds) {
  if (seconds < 10) return `${number(seconds, 1)}${NARROW}s`;
  if (seconds < 90) return `${number(seconds, 0)}${NARROW}s`;
  const minutes = seconds / 60;
  return minutes < 90 ? `${number(minutes, 0)}${NARROW}min` : `${number(minutes / 60, 1)}${NARROW}h`;
}

/** Time left, rounded so that it does not flicker. */
export function remaining(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 1) return "nearly done";
  if (seconds < 20) return `about ${duration(Math.ceil(seconds))} left`;
  if (seconds < 90) return `about ${duration(Math.ceil(seconds / 5) * 5)} left`;
  return `about ${duration(seconds)} left`;
}

export const FORMATS = {
  png: "PNG", jpeg: "JPEG", webp: "WebP", tiff: "TIFF", avif: "AVIF", heic: "HEIC", bmp: "BMP", ppm: "PPM",
};

export function list(words) {
  return new Intl.ListFormat("en-GB", { type: "disjunction" }).format(words);
}
