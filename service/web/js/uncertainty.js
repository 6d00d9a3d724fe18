// The uncertainty map in colours: where the samples disagree, and by how much.

// From dark to light in even steps of lightness, so that it reads without colour vision too, and from thin to thick, so
// that the picture stays visible where it is certain.
const STOPS = [[8, 6, 30], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const TABLE = Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  const colour = STOPS[low].map((value, c) => Math.round(value + (STOPS[low + 1][c] - value) * (place - low)));
  return [...colour, Math.round(255 * Math.min(1, 0.2 + 1.6 * (i / 255)))];
});

/** {canvas, top}: `top` is the standard deviation, in levels of 255, that the lightest colour stands for. */
export async function uncertaintyMap(blob) {
  const peak = 65535 * scaleOf(new Uint8Array(await blob.arrayBuffer()));
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height, className: "uncertainty" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const limit = quantile(image.data, 0.995);
  for (let i = 0; i < image.data.length; i += 4) {
    image.data.set(TABLE[Math.min(255, Math.round((255 * image.data[i]) / limit))], i);
  }
  context.putImageData(image, 0, 0);
  return { canvas, top: (peak * limit) / 255 };
}

/** Draw the legend's colours, left to right. */
export function drawLegend(canvas) {
  Object.assign(canvas, { width: 256, height: 1 });
  const image = new ImageData(256, 1);
  TABLE.forEach((colour, i) => image.data.set(colour, 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The level below which a share of the pixels lies; a few outliers must not darken the rest. */
function quantile(data, share) {
  const counts = new Uint32Array(256);
  for (let i = 0; i < data.length; i += 4) counts[data[i]]++;
  let left = (share * data.length) / 4;
  let level = 0;
  while (level < 255 && (left -= counts[level]) > 0) level++;
  return Math.max(1, level);
}

/** The file says in a tEXt chunk named Scale what one of its 65,535 levels stands for. */
function scaleOf(png) {
  const view = new DataView(png.buffer);
  for (let at = 8; at + 8 <= png.length; at += 12 + view.getUint32(at)) {
    const text = String.fromCharCode(...png.subarray(at + 4, at + 14));
    if (text === "tEXtScale\0") {
      return Number.parseFloat(String.fromCharCode(...png.subarray(at + 14, at + 8 + view.getUint32(at))));
    }
  }
  return 255 / 65535;
}
