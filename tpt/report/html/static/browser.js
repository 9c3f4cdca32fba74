// The trace browser: a list of problems, one problem's traces, and the training examples.

const PAGE = 50;
const OUTCOME = {
  CORRECT: ["right", "right value, format not kept"],
  WRONG: ["wrong", "wrong"],
  NO_ANSWER: ["no answer read", "no answer read"],
  TIMEOUT: ["time limit", "time limit"],
  ERROR: ["verifier error", "verifier error"],
};
const at = (id) => document.getElementById(id);
const roundName = (round) => (round === 0 ? "base model" : `round ${round}`);
const browser = { index: null, sets: [], lower: [], trained: new Map(), learned: new Map(), chunks: new Map(), matches: [], page: 0, examplePage: 0, current: -1 };

async function openBrowser() {
  const index = await unpacked("index");
  browser.index = index;
  browser.lower = index.ids.map((id, place) => `${id}\n${index.questions[place]}`.toLowerCase());
  for (const [round, rows] of Object.entries(index.examples)) {
    browser.learned.set(Number(round), new Set(rows.map((row) => row[0])));
    rows.forEach(([place, sample, origin], line) => {
      const key = `${place}/${origin}/${sample}`;
      browser.trained.set(key, [...(browser.trained.get(key) || []), { round: Number(round), line }]);
    });
  }
  for (const [name, count] of index.sets) {
    const start = browser.sets.at(-1)?.end || 0;
    const option = make("option", { value: browser.sets.length });
    appendText(option, name);
    at("split").append(option);
    browser.sets.push({ start, end: start + count });
  }
  at("split").append(make("option", { value: "all" }, "all"));
  for (const round of index.rounds) at("round").append(make("option", { value: round }, roundName(round)));
  at("round").value = index.rounds.includes(index.best) ? index.best : index.rounds.at(-1);
  for (const round of Object.keys(index.examples)) at("example-round").append(make("option", { value: round }, round));
  listen();
  at("browser").hidden = false;
  filter();
  showExamples();
  // On a phone the problem would stand between the list and what follows, unasked.
  const isWide = matchMedia("(min-width: 46rem)").matches;
  if (!(await followLink()) && isWide && browser.matches.length) await showProblem(browser.matches[0], null, 0);
}

function listen() {
  let waiting = 0;
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("query").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  for (const id of ["split", "round", "pattern"]) at(id).addEventListener("change", filter);
  at("previous").addEventListener("click", () => turn(-1));
  at("next").addEventListener("click", () => turn(1));
  at("examples-previous").addEventListener("click", () => turnExamples(-1));
  at("examples-next").addEventListener("click", () => turnExamples(1));
  at("example-filters").addEventListener("submit", (event) => event.preventDefault());
  for (const [id, event] of [["example-round", "change"], ["example-query", "input"]]) {
    at(id).addEventListener(event, () => {
      browser.examplePage = 0;
      showExamples();
    });
  }
  addEventListener("hashchange", followLink);
}

// The list

function filter() {
  const { index } = browser;
  const words = at("query").value.toLowerCase().split(/\s+/).filter(Boolean);
  const { start, end } = browser.sets[at("split").value] || { start: 0, end: index.ids.length };
  const fits = PATTERNS[at("pattern").value];
  const round = Number(at("round").value);
  browser.matches = [];
  for (let place = start; place < end; place++) {
    if (words.every((word) => browser.lower[place].includes(word)) && fits(place, round)) browser.matches.push(place);
  }
  browser.page = 0;
  showList();
}

const tally = (place, round) => browser.index.tallies[round][place]; // [tries, strictly right, right] or 0
const tried = (place) => browser.index.rounds.filter((round) => tally(place, round));
const solved = (place, round) => Boolean(tally(place, round)) && tally(place, round)[1] > 0;
const PATTERNS = {
  any: () => true,
  gained: (place, round) => solved(place, round) && tried(place)[0] !== round && !solved(place, tried(place)[0]),
  lost: (place, round) => Boolean(tally(place, round)) && !solved(place, round) && solved(place, tried(place)[0]),
  never: (place) => tried(place).length > 0 && !tried(place).some((round) => solved(place, round)),
  always: (place) => tried(place).length > 0 && tried(place).every((round) => solved(place, round)),
  format: (place, round) => Boolean(tally(place, round)) && tally(place, round)[2] > tally(place, round)[1],
  trained: (place, round) => Boolean(browser.learned.get(round)?.has(place)),
};

function showList() {
  const { index, matches, page } = browser;
  const pages = Math.max(1, Math.ceil(matches.length / PAGE));
  at("count").textContent = `${matches.length.toLocaleString("en")} problem${matches.length === 1 ? "" : "s"}`;
  const rows = matches.slice(page * PAGE, (page + 1) * PAGE).map((place) => {
    const link = make("a", { href: linkTo(place) });
    if (place === browser.current) link.setAttribute("aria-current", "true");
    const title = make("span", { class: "id" });
    appendText(title, index.ids[place]);
    const question = make("span", { class: "question" });
    appendText(question, index.questions[place].slice(0, 160).replace(/\s+/g, " "));
    link.append(title, question, tallies(place));
    return make("li", null, link);
  });
  at("list").replaceChildren(...rows);
  at("page").textContent = `${page + 1} of ${pages}`;
  at("previous").disabled = page === 0;
  at("next").disabled = page + 1 >= pages;
}

/** Strictly right of tries, round by round. */
function tallies(place) {
  const parts = browser.index.rounds.map((round) => {
    const found = tally(place, round);
    const text = found ? `${found[1]}/${found[0]}` : "–";
    const look = !found ? "untried" : found[1] === 0 ? "none" : found[1] === found[0] ? "full" : "some";
    return make("span", { class: `tally ${look}`, title: `${roundName(round)}: ${found ? `${found[1]} of ${found[0]} strictly right` : "not tried"}` }, text);
  });
  return make("span", { class: "tallies" }, ...parts);
}

const setOf = (place) => browser.sets.findIndex(({ end }) => place < end);
const isTraining = (place) => setOf(place) === 1;

/** Choose filters under which a problem is in the list. */
function widen(place) {
  at("query").value = "";
  at("pattern").value = "any";
  at("split").value = setOf(place);
  filter();
}

function turn(by) {
  browser.page += by;
  showList();
  at("list").scrollTop = 0;
}

// One problem

const linkTo = (place, round, sample) =>
  `#p=${encodeURIComponent(wellFormed(browser.index.ids[place]))}` + (round === undefined ? "" : `&r=${round}&s=${sample}`);
const wellFormed = (text) => text.replace(/\p{Cs}/gu, "\ufffd");
const exampleLink = (round, line) => `#e=${round}.${line}`;

/** Show what the address points to, if it points to a problem or an example. */
async function followLink() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("e")) {
    return followExample(given.get("e"));
  }
  const place = given.has("p") ? browser.index.ids.findIndex((id) => wellFormed(id) === given.get("p")) : -1;
  if (place < 0) return false;
  const round = given.has("r") ? Number(given.get("r")) : null;
  if (!browser.matches.includes(place)) widen(place);
  browser.page = Math.floor(browser.matches.indexOf(place) / PAGE);
  await showProblem(place, round, Number(given.get("s")));
  const target = (round !== null && at(`trace-${round}-${given.get("s")}`)) || at("problem");
  target.scrollIntoView({ block: target === at("problem") ? "nearest" : "center" });
  target.focus({ preventScroll: true });
  return true;
}

async function entryOf(place) {
  const { starts } = browser.index;
  let chunk = starts.findIndex((start) => start > place) - 1;
  if (chunk < 0) chunk = starts.length - 1;
  if (!at(`chunk-${chunk}`) && document.readyState === "loading") {
    await new Promise((done) => addEventListener("DOMContentLoaded", done, { once: true }));
  }
  if (!browser.chunks.has(chunk)) {
    browser.chunks.clear(); // one at a time: traces of thousands of problems would fill the memory
    browser.chunks.set(chunk, unpacked(`chunk-${chunk}`));
  }
  return (await browser.chunks.get(chunk))[place - starts[chunk]];
}

async function showProblem(place, round, sample) {
  const [question, answer, solution, attempts] = await entryOf(place);
  const article = at("problem");
  browser.current = place;
  const title = make("h3");
  appendText(title, browser.index.ids[place]);
  const gold = make("p", { class: "gold" }, "Gold answer ");
  const value = make("strong");
  appendText(value, answer);
  gold.append(value);
  article.replaceChildren(title, textBlock(question), gold);
  if (solution) article.append(folded("The source's own solution", () => [textBlock(solution)]));
  const rounds = browser.index.rounds.filter((each) => attempts[each]);
  const wanted = round === null ? Number(at("round").value) : round;
  const open = rounds.includes(wanted) ? wanted : rounds.at(-1);
  for (const each of rounds) {
    article.append(folded(roundTitle(place, each, attempts[each].length), () => attempts[each].map((row) => traceBlock(place, each, row)), each === open));
  }
  if (!rounds.length) article.append(make("p", null, "No traces of this problem: no round needed to try it."));
  showList();
  const target = round !== null && at(`trace-${round}-${sample}`);
  if (target) target.classList.add("target");
}

function roundTitle(place, round, shown) {
  const [tries, strict, lenient] = tally(place, round);
  const name = isTraining(place) ? `round ${round}, to learn from` : roundName(round);
  const left = shown < tries ? `; ${shown} of ${tries} shown` : "";
  return `${name[0].toUpperCase()}${name.slice(1)}: ${strict} of ${tries} strictly right, ${lenient} with the right value${left}`;
}

/** Content that is made when it is first unfolded. */
function folded(title, content, open = false) {
  const block = make("details", null, make("summary", null, title));
  let made = false;
  const fill = () => {
    if (!made && block.open) block.append(...content());
    made ||= block.open;
  };
  block.addEventListener("toggle", fill);
  block.open = open;
  fill();
  return block;
}

function traceBlock(place, round, row) {
  const [sample, outcome, strict, extracted, detail, cut, tokens, completion, answer] = row;
  const name = browser.index.outcomes[outcome];
  const text = name ? OUTCOME[name][strict || name !== "CORRECT" ? 0 : 1] : "not judged";
  const look = !name ? "unjudged" : name === "CORRECT" && !strict ? "lenient" : name.toLowerCase();
  const head = make("p", { class: "facts" }, make("a", { href: linkTo(place, round, sample), class: "sample" }, `sample ${sample}`), make("span", { class: `badge ${look}` }, text));
  const read = make("span", null, extracted === null ? "" : "answer read: ");
  appendText(read, extracted || "");
  head.append(read, make("span", null, `${tokens.toLocaleString("en")} tokens${cut ? ", cut off" : ""}`));
  for (const { round: by, line } of browser.trained.get(`${place}/${round}/${sample}`) || []) {
    if (isTraining(place)) head.append(make("a", { href: exampleLink(by, line), class: "badge trained" }, `trained on in round ${by}`));
  }
  const block = make("section", { class: "trace", id: `trace-${round}-${sample}`, tabindex: "-1", "aria-label": `${roundName(round)}, sample ${sample}: ${text}` }, head);
  if (detail) {
    const said = make("p", { class: "detail" });
    appendText(said, detail);
    block.append(said);
  }
  if (answer === undefined) block.append(textBlock(completion, answerSpan(completion, extracted)));
  else {
    block.append(textBlock(completion), make("p", { class: "facts" }, "judged, after the reasoning and without special tokens:"));
    block.append(textBlock(answer, answerSpan(answer, extracted)));
  }
  return block;
}

// Training examples

/** Return the lines of a round's examples that have all the words searched for. */
function exampleLines(rows) {
  const words = at("example-query").value.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.map((_, line) => line).filter((line) => words.every((word) => browser.lower[rows[line][0]].includes(word)));
}

function showExamples(target = -1) {
  const { index } = browser;
  const round = at("example-round").value;
  const rows = index.examples[round] || [];
  const lines = exampleLines(rows);
  const pages = Math.max(1, Math.ceil(lines.length / PAGE));
  const start = browser.examplePage * PAGE;
  const items = lines.slice(start, start + PAGE).map((line) => {
    const [place, sample, origin] = rows[line];
    const link = make("a", { href: linkTo(place, origin, sample) });
    appendText(link, `${index.ids[place]}, sample ${sample}${origin === Number(round) ? "" : ` of round ${origin}`}`);
    const question = make("td", { class: "text excerpt" });
    appendText(question, index.questions[place].slice(0, 160).replace(/\s+/g, " "));
    const item = make("tr", { id: `example-${line}` }, make("td", { class: "number" }, String(line + 1)), make("td", { class: "text" }, link), question);
    if (line === target) item.classList.add("target");
    return item;
  });
  at("examples").replaceChildren(...items);
  at("example-count").textContent = `${lines.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} examples`;
  at("examples-page").textContent = `${browser.examplePage + 1} of ${pages}`;
  at("examples-previous").disabled = browser.examplePage === 0;
  at("examples-next").disabled = browser.examplePage + 1 >= pages;
  const messages = (index.messages[round] || []).flatMap(([role, content]) => {
    const title = make("h4");
    appendText(title, role);
    return [title, textBlock(content)];
  });
  at("messages").replaceChildren(...messages);
  at("example-shape").hidden = !messages.length;
}

function turnExamples(by) {
  browser.examplePage += by;
  showExamples();
}

function followExample(given) {
  const [round, line] = given.split(".").map(Number);
  if (!browser.index.examples[round]?.[line]) return false;
  at("example-round").value = round;
  at("example-query").value = "";
  browser.examplePage = Math.floor(line / PAGE);
  showExamples(line);
  const item = at(`example-${line}`);
  item.scrollIntoView({ block: "center" });
  item.querySelector("a").focus({ preventScroll: true });
  return true;
}
