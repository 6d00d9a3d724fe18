// The same restoration as curl and as Python.

import { submission } from "./run.js";

const quoted = (text) => (/^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const python = (value) => (value === true ? "True" : value === false ? "False" : JSON.stringify(value));

export function resultName(name, task, extension) {
  return `${name.replace(/\.[^.]*$/, "")}-${task === "auto" ? "restored" : task}.${extension}`;
}

export function curl(values, name, origin, withKey) {
  const { task, ...fields } = submission(values);
  const lines = [`curl ${quoted(`${origin}v1/${task === "auto" ? "restore" : task}`)}`];
  if (withKey) lines.push(`-H "Authorization: Bearer $PELLUCID_API_KEY"`);
  lines.push("-H 'Accept: image/*'", `-F ${quoted(`image=@${name}`)}`);
  if (task === "inpaint") lines.push("-F mask=@mask.png");
  for (const [field, value] of Object.entries(fields)) lines.push(`-F ${quoted(`${field}=${value}`)}`);
  lines.push(`-o ${quoted(resultName(name, task, extension(values, name)))}`);
  return lines.join(" \\\n  ");
}

export function pythonCode(values, name, origin) {
  const { task, kernel, output_format: format, ...fields } = submission(values);
  const given = Object.entries(format ? { ...fields, format } : fields).map(([field, value]) => `, ${field}=${python(value)}`);
  const method = task === "auto" ? "restore" : task.replaceAll("-", "_");
  const first = `${python(name)}${kernel ? `, kernel=${python(kernel)}` : ""}${task === "inpaint" ? ', mask="mask.png"' : ""}`;
  return [
    "from pellucid_client import Client",
    "",
    `client = Client(${python(origin.replace(/\/$/, ""))})`,
    `image = client.${method}(${first}${given.join("")})`,
    `image.save(${python(resultName(name, task, extension(values, name)))})`,
  ].join("\n");
}

function extension(values, name) {
  if (values.format !== "same") return values.format;
  return /\.([^.]+)$/.exec(name)?.[1] ?? "png";
}
