// A look at a file before it is sent: what it is, by its first bytes, and whether the server would take it.

import { FORMATS, bytes, list, megapixels, number, size } from "./words.js";
import { calls, outputSize, task } from "./tasks.js";

const HEAD = 65536;
const ascii = (head, start, end) => String.fromCharCode(...head.subarray(start, end));

export function sniff(head) {
  const starts = (...values) => values.every((value, i) => head[i] === value);
  if (starts(0x89, 0x50, 0x4e, 0x47)) return "png";
  if (starts(0xff, 0xd8, 0xff)) return "jpeg";
  if (ascii(head, 0, 4) === "RIFF" && ascii(head, 8, 12) === "WEBP") return "webp";
  if (["II*\0", "MM\0*", "II+\0", "MM\0+"].includes(ascii(head, 0, 4))) return "tiff";
  if (ascii(head, 4, 8) === "ftyp") {
    const brands = ascii(head, 8, 40);
    if (/avi[fs]/.test(brands)) return "avif";
    if (/hei[cxm]|hevc|mif1|msf1/.test(brands)) return "heic";
  }
  if (ascii(head, 0, 2) === "BM") return "bmp";
  if (/^P[56]\s/.test(ascii(head, 0, 3))) return "ppm";
  return null;
}

function animated(format, head) {
  if (format === "webp") return ascii(head, 12, 16) === "VP8X" && (head[20] & 2) !== 0;
  if (format !== "png") return false;
  const text = ascii(head, 0, Math.min(head.length, 4096));
  const control = text.indexOf("acTL");
  return control > 0 && (text.indexOf("IDAT") < 0 || control < text.indexOf("IDAT"));
}

/** {format, animated, url, width, height}; url, width and height are null where the browser cannot show the file. */
export async function inspect(file) {
  const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  const format = sniff(head);
  const found = { format, animated: animated(format, head), url: null, width: null, height: null };
  if (!format) return found;
  const url = URL.createObjectURL(file);
  try {
    const image = new Image();
    image.src = url;
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
    });
    return { ...found, url, width: image.naturalWidth, height: image.naturalHeight };
  } catch {
    URL.revokeObjectURL(url);
    return found;
  }
}

/** What speaks against sending a picture with these settings: [{stops, text}], the worst first. */
export function objections(picture, values, server) {
  const { limits, formats } = server;
  const stops = [];
  const notes = [];
  const known = list(formats.map((format) => FORMATS[format] ?? format));
  if (picture.file.size === 0) stops.push("The file is empty.");
  else if (!picture.format) stops.push(`This file is not a picture that the server reads. It takes ${known}.`);
  else if (!formats.includes(picture.format)) {
    stops.push(`The server does not read ${FORMATS[picture.format]}. It takes ${known}.`);
  }
  if (picture.file.size > limits.max_bytes) {
    stops.push(`The file has ${bytes(picture.file.size)}; the server takes up to ${bytes(limits.max_bytes)}.`);
  }
  if (picture.animated) stops.push("The file is an animation; the server takes single pictures.");
  if (picture.width) stops.push(...tooLarge(picture, values, server));
  else if (picture.format && !stops.length) {
    notes.push(
      `This browser cannot show ${FORMATS[picture.format]} or the file is damaged. It can be restored all the same, but not compared.`,
    );
  }
  if (!stops.length) notes.push(...doubts(picture, values));
  return [...stops.map((text) => ({ stops: true, text })), ...notes.map((text) => ({ stops: false, text }))];
}

function tooLarge(picture, values, { limits, steps }) {
  const found = [];
  const { width, height } = picture;
  if (width * height > limits.max_pixels) {
    found.push(`The picture has ${megapixels(width * height)}; the server takes up to ${megapixels(limits.max_pixels)}.`);
  } else if (Math.max(width, height) > limits.max_side) {
    found.push(`The picture is ${size(width, height)}; the server takes up to ${limits.max_side} a side.`);
  }
  const out = outputSize(values, width, height);
  const pixels = out.width * out.height;
  if (found.length) return found;
  if (pixels > limits.max_output_pixels) {
    found.push(
      `The result would have ${megapixels(pixels)}; the server makes up to ${megapixels(limits.max_output_pixels)}. Choose a smaller scale.`,
    );
    return found;
  }
  const made = calls(values, steps);
  const work = (pixels / 1e6) * (made ?? 0);
  if (work > limits.max_work) {
    found.push(
      `That is ${number(work, 0)} megapixel-calls of work (${number(pixels / 1e6)} megapixels × ${made} calls); ` +
        `the server takes up to ${number(limits.max_work, 0)}. Choose fewer steps or samples.`,
    );
  }
  return found;
}

function doubts(picture, values) {
  const notes = [];
  if (task(values.task).id === "inpaint" && !picture.mask?.painted) {
    notes.push("Paint over what is to be filled in, or load a mask.");
  }
  if (values.samples > 1 && values.fidelity === 1) {
    notes.push("At fidelity 1 every sample is the same picture: choose a lower fidelity for several samples.");
  }
  if (values.task === "dejpeg" && values.quality === "auto" && picture.format !== "jpeg") {
    notes.push("The file is no JPEG, so its quality must be estimated from what is seen.");
  }
  if (values.task === "super-resolve" && picture.width * picture.height > 4e6) {
    notes.push("The picture is not small: enlarging restores detail that a small picture lost, not focus.");
  }
  return notes;
}
