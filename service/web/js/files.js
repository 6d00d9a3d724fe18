// How pictures come in: dropped, pasted, chosen.

import { $ } from "./dom.js";

/** `take` gets the files of each drop, paste and choice. */
export function intake(take) {
  const input = $("files");
  for (const id of ["choose", "add"]) $(id).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // or the same file could not be chosen again
  });

  const curtain = $("drop");
  let depth = 0;
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    depth++;
    curtain.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (holdsFiles(event) && --depth <= 0) curtain.hidden = true;
  });
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    curtain.hidden = true;
    take([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
}
