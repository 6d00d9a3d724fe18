// A painted mask: strokes in the picture's own pixels, so that undo is exact and the mask sharp at any zoom.

const RUBYLITH = "rgb(225 45 45)"; // the retoucher's masking film; shown half transparent

export class Mask {
  constructor(width, height) {
    Object.assign(this, { width, height, strokes: [], loaded: null });
  }

  get painted() {
    return this.loaded !== null || this.strokes.some((stroke) => !stroke.erase);
  }

  begin(point, radius, erase) {
    this.strokes.push({ points: [point], radius, erase });
  }

  extend(point) {
    this.strokes.at(-1).points.push(point);
  }

  undo() {
    if (this.strokes.length) this.strokes.pop();
    else this.loaded = null;
  }

  clear() {
    this.strokes = [];
    this.loaded = null;
  }

  /** Take a picture's bright half as the mask; throws where the sizes differ. */
  async load(file) {
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (!bitmap) throw new Error(`${file.name} is no picture that this browser reads.`);
    if (bitmap.width !== this.width || bitmap.height !== this.height) {
      throw new Error(`The mask is ${bitmap.width} × ${bitmap.height}, the picture ${this.width} × ${this.height}.`);
    }
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const image = context.getImageData(0, 0, canvas.width, canvas.height);
    const { data } = image;
    let peak = 0;
    for (let i = 0; i < data.length; i += 4) peak = Math.max(peak, data[i] + data[i + 1] + data[i + 2]);
    for (let i = 0; i < data.length; i += 4) {
      data[i + 3] = 2 * (data[i] + data[i + 1] + data[i + 2]) > peak ? 255 : 0;
      data[i] = data[i + 1] = data[i + 2] = 255;
    }
    context.putImageData(image, 0, 0);
    this.clear();
    this.loaded = canvas;
  }

  /** Draw on a canvas of any size. */
  draw(canvas, colour = RUBYLITH) {
    const context = canvas.getContext("2d");
    const scale = canvas.width / this.width;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.loaded) {
      context.drawImage(this.loaded, 0, 0, canvas.width, canvas.height);
      context.globalCompositeOperation = "source-in";
      context.fillStyle = colour;
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
    Object.assign(context, { lineCap: "round", lineJoin: "round", strokeStyle: colour });
    for (const { points, radius, erase } of this.strokes) {
      context.globalCompositeOperation = erase ? "destination-out" : "source-over";
      context.lineWidth = 2 * radius * scale;
      context.beginPath();
      context.moveTo(points[0].x * scale, points[0].y * scale);
      for (const { x, y } of points) context.lineTo(x * scale, y * scale);
      context.stroke();
    }
    context.globalCompositeOperation = "source-over";
  }

  /** The mask in the picture's size, white where it is to be filled in. */
  async png() {
    const canvas = new OffscreenCanvas(this.width, this.height);
    this.draw(canvas, "white");
    const context = canvas.getContext("2d");
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "black";
    context.fillRect(0, 0, this.width, this.height);
    return canvas.convertToBlob({ type: "image/png" });
  }
}
