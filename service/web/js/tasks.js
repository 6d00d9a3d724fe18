// What can be wrong with a picture, in the words of its owner, and which parameters then matter.

export const TASKS = [
  { id: "auto", label: "Find out", hint: "Looks for darkness, noise and JPEG artefacts, and treats the worst.", fields: ["noise"] },
  { id: "denoise", label: "Noise", hint: "Grain from a high ISO.", fields: ["noise"] },
  { id: "super-resolve", label: "Too small", hint: "Enlarges and puts detail back.", fields: ["scale", "noise"] },
  { id: "low-light-enhance", label: "Too dark", hint: "Brightens, and removes the noise that comes to light.", fields: ["exposure", "noise"] },
  { id: "deblur", label: "Blurred", hint: "Undoes a blur whose shape you set.", fields: ["kernel", "noise"] },
  { id: "inpaint", label: "Damaged", hint: "Fills in what you paint over: scratches, dust, holes.", fields: ["mask"] },
  { id: "colorize", label: "No colour", hint: "Gives a grey picture muted, plausible colours.", fields: ["noise"] },
  { id: "dejpeg", label: "Blocky", hint: "Removes the artefacts of JPEG compression.", fields: ["quality"] },
];

export const task = (id) => TASKS.find((one) => one.id === id);

export const FIELDS = {
  noise: {
    label: "Noise", min: 0, max: 100, step: 0.5, fallback: 15, auto: true,
    hint: "Standard deviation on the 0–255 scale. Auto measures it in the picture.",
  },
  exposure: {
    label: "Brighten", unit: "stops", min: -2, max: 8, step: 0.1, fallback: 2, auto: true,
    hint: "Auto chooses what a normal exposure would have been.",
  },
  quality: {
    label: "JPEG quality", min: 1, max: 100, step: 1, fallback: 40, auto: true,
    hint: "Of the compression to undo. Auto reads it from the file.",
  },
  fidelity: {
    label: "Fidelity", min: 0, max: 1, step: 0.05,
    hint: "1: closest to the truth on average, softer where unsure. 0: crisp, one plausible version of many.",
  },
  samples: {
    label: "Samples", min: 1, max: 16, step: 1,
    hint: "Several plausible versions: their mean is the result, and where they disagree is shown as uncertainty.",
  },
  strength: { label: "Strength", min: 0, max: 1, step: 0.05, hint: "Blends with the given picture; 1 is all restored." },
  steps: {
    label: "Steps", min: 1, max: 64, step: 1, fallback: 8, auto: true,
    hint: "Calls of the prior: more take longer and are a little better. Auto leaves it to the task.",
  },
};

export const DEFAULTS = Object.freeze({
  task: "auto",
  noise: "auto",
  scale: 4,
  exposure: "auto",
  quality: "auto",
  fidelity: null,
  samples: 1,
  strength: 1,
  steps: "auto",
  seed: 0,
  kernel: Object.freeze({ form: "gaussian", sigma: 1.6, radius: 3, length: 15, angle: 30 }),
  format: "same",
  keepGps: false,
});

/** What null stands for: a mean for one picture, samples where several are asked for. */
export function fidelity(values) {
  return values.fidelity ?? (values.samples > 1 ? 0 : 1);
}

/** Whether a task knows a parameter. */
export function reads(id, name) {
  return [...task(id).fields, "fidelity", "steps", "samples", "strength", "seed"].includes(name);
}

/** The parameters that differ from the server's own defaults, under the names of its API. */
export function parameters(values) {
  const given = {};
  for (const name of ["noise", "scale", "exposure", "quality", "steps", "samples", "strength", "seed"]) {
    if (reads(values.task, name) && values[name] !== DEFAULTS[name]) given[name] = values[name];
  }
  if (values.task === "super-resolve") given.scale = values.scale;
  if (values.task === "deblur") given.kernel = kernelWords(values.kernel);
  if (values.fidelity !== null && values.fidelity !== (values.samples > 1 ? 0 : 1)) given.fidelity = values.fidelity;
  return given;
}

/** Width and height of what will come back. */
export function outputSize(values, width, height) {
  const scale = values.task === "super-resolve" ? values.scale : 1;
  return { width: width * scale, height: height * scale };
}

/** Calls of the prior for one picture; null where only the server knows (auto finds its task there). */
export function calls(values, defaults) {
  if (values.steps !== "auto") return values.steps * values.samples;
  const own = defaults?.[values.task];
  if (!own) return null;
  return (fidelity(values) === 1 ? own.mean : own.sample) * values.samples;
}

/** The blur in the notation of API and command line. */
function kernelWords({ form, sigma, radius, length, angle }) {
  if (form === "gaussian") return `gaussian:${sigma}`;
  return form === "defocus" ? `defocus:${radius}` : `motion:${length}:${angle}`;
}

/** One line on what was asked, for the history: "noise 25, fidelity 0.5". */
export function summary(values) {
  const words = { scale: "×", noise: "noise ", exposure: "", quality: "quality ", fidelity: "fidelity ",
    steps: "", samples: "", strength: "strength ", seed: "seed " };
  const units = { exposure: " stops", steps: " steps", samples: " samples" };
  const { kernel, ...rest } = parameters(values);
  const parts = Object.entries(rest).map(([name, value]) => `${words[name]}${value}${units[name] ?? ""}`);
  if (kernel) parts.unshift(blurWords(values.kernel));
  if (values.task === "inpaint") parts.unshift("painted mask");
  return parts.join(", ");
}

function blurWords({ form, sigma, radius, length, angle }) {
  if (form === "gaussian") return `Gaussian ${sigma} px`;
  return form === "defocus" ? `defocus ${radius} px` : `motion ${length} px, ${angle}°`;
}
