"use strict";
// Packed data, and untrusted text made safe to look at. Text reaches the page through textContent alone.

const HEAD = 6000; // characters of a long text that are shown at first
const TAIL = 1500; // and of its end, where the answer is
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu; // what would reorder, hide or be invisible

/** Return what a data block holds. */
async function unpacked(name) {
  const bytes = Uint8Array.from(atob(document.getElementById(name).textContent), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Return an element with attributes, and children that are elements or text. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Append text with its control, bidi and invisible characters written out. */
function appendText(parent, text) {
  let from = 0;
  for (const found of text.matchAll(HIDDEN)) {
    if (found[0] === "\n" || found[0] === "\t") continue;
    parent.append(text.slice(from, found.index));
    parent.append(make("span", { class: "control" }, "\\u{" + found[0].codePointAt(0).toString(16) + "}"));
    from = found.index + found[0].length;
  }
  parent.append(text.slice(from));
}

/** Return an element that shows text; a long one is cut in the middle until all of it is asked for. */
function textBlock(text, span) {
  const block = make("pre");
  if (text.length <= HEAD + TAIL + 500) {
    appendMarked(block, text, span);
    return block;
  }
  const end = text.length - TAIL;
  appendMarked(block, text.slice(0, HEAD), span);
  const button = make("button", { type: "button", class: "more" }, `… show all ${text.length.toLocaleString("en")} characters …`);
  button.addEventListener("click", () => {
    block.replaceChildren();
    appendMarked(block, text, span);
  });
  block.append(button);
  appendMarked(block, text.slice(end), span && span.start >= end ? { start: span.start - end, end: span.end - end } : null);
  return block;
}

function appendMarked(parent, text, span) {
  if (!span || span.end > text.length) {
    appendText(parent, text);
    return;
  }
  appendText(parent, text.slice(0, span.start));
  const mark = make("mark", { title: "the answer that was read" });
  appendText(mark, text.slice(span.start, span.end));
  parent.append(mark);
  appendText(parent, text.slice(span.end));
}

/** Return where in a completion the extracted answer most likely stands: after the last "####", else at the end. */
function answerSpan(text, extracted) {
  if (!extracted) return null;
  const marker = text.lastIndexOf("####");
  return (marker >= 0 && lastSpan(text, extracted, marker)) || lastSpan(text, extracted, 0);
}

function lastSpan(text, extracted, from) {
  const number = extracted.replaceAll(",", "");
  if (/^-?\d{1,40}(\.\d{1,40})?$/.test(number)) {
    const digits = number.replace(".", "\\.").replace(/(\d)(?=\d)/g, "$1,?");
    const found = [...text.slice(from).matchAll(new RegExp(`(?<![\\d.])${digits}(?![\\d])`, "g"))].pop();
    if (found) return { start: from + found.index, end: from + found.index + found[0].length };
  }
  const start = text.lastIndexOf(extracted);
  return start >= from ? { start, end: start + extracted.length } : null;
}
