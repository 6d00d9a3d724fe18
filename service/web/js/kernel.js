// Blur kernels by formula, as restore.degradations.kernels draws them: rows of numbers with sum 1.

const FINE = 8; // sub-pixels a side

export function kernel({ form, sigma, radius, length, angle }) {
  if (form === "gaussian") return gaussian(sigma);
  if (form === "defocus") return disc(radius);
  return line(length, angle);
}

/** Sampled at pixel centres, 3.5 sigma either side. */
function gaussian(sigma) {
  const half = Math.ceil(3.5 * sigma);
  return square(half, (y, x) => Math.exp((-0.5 * (x * x + y * y)) / (sigma * sigma)));
}

function disc(radius) {
  return square(Math.ceil(radius), (y, x) => {
    let inside = 0;
    for (let j = 0; j < FINE; j++) {
      for (let i = 0; i < FINE; i++) {
        inside += Math.hypot(x + (i + 0.5) / FINE - 0.5, y + (j + 0.5) / FINE - 0.5) <= radius;
      }
    }
    return inside;
  });
}

/** `angle` in degrees, anticlockwise from the horizontal. */
function line(length, angle) {
  const half = Math.ceil(length / 2);
  const rows = square(half + 1, () => 0);
  const direction = (angle * Math.PI) / 180;
  const points = Math.max(2, Math.ceil(length * FINE));
  for (let i = 0; i < points; i++) {
    const t = (i / (points - 1) - 0.5) * length;
    const y = half + 1 - t * Math.sin(direction);
    const x = half + 1 + t * Math.cos(direction);
    const top = Math.floor(y);
    const left = Math.floor(x);
    for (const dy of [0, 1]) {
      for (const dx of [0, 1]) {
        rows[top + dy][left + dx] += (1 - Math.abs(y - top - dy)) * (1 - Math.abs(x - left - dx));
      }
    }
  }
  return normalised(rows.slice(1, -1).map((row) => row.slice(1, -1)));
}

function square(half, value) {
  const side = Array.from({ length: 2 * half + 1 }, (_, i) => i - half);
  const rows = side.map((y) => side.map((x) => value(y, x)));
  return rows.some((row) => row.some(Boolean)) ? normalised(rows) : rows;
}

function normalised(rows) {
  const total = rows.flat().reduce((sum, value) => sum + value, 0);
  return rows.map((row) => row.map((value) => value / total));
}

/** Draw a kernel white on black, its largest value white. */
export function draw(canvas, rows) {
  const side = rows.length;
  canvas.width = canvas.height = side;
  const peak = Math.max(...rows.flat());
  const image = new ImageData(side, side);
  rows.flat().forEach((value, i) => {
    const level = Math.round(255 * Math.sqrt(value / peak)); // lifted, or the tails would not show
    image.data.set([level, level, level, 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}
