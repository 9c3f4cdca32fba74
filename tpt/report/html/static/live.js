// The page of a live run: how far it is, asked again and again; a finished round brings the page anew.

const ASK_EVERY_MS = 3000;

async function followRun() {
  const { version } = at("live").dataset;
  for (let isOver = false; !isOver; ) {
    if (!document.hidden) isOver = await look(version);
    if (!isOver) await new Promise((done) => setTimeout(done, ASK_EVERY_MS));
  }
}

/** Say how far the run is; return whether there is nothing more to wait for. */
async function look(version) {
  let told;
  try {
    const answer = await fetch("status", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    told = await answer.json();
  } catch {
    at("live-line").textContent = "tpt watch does not answer any more: this is what it showed last.";
    return false;
  }
  at("live-line").textContent = told.line;
  const isNew = told.version !== version;
  if (isNew && !isReading()) location.reload();
  at("live-reload").hidden = !isNew;
  return isNew ? !isReading() : told.ended;
}

/** Whether the trace browser is in view, where a page that changes by itself would take the text away. */
const isReading = () => !at("browser").hidden && at("browser").getBoundingClientRect().top < innerHeight / 2;

at("live-reload").addEventListener("click", () => location.reload());
followRun();
