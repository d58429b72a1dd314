"use strict";
// Everything that comes from data is written with textContent: it is text, whatever it looks like.
const $ = (id) => document.getElementById(id);
let row = null, rows = 0, waiting = 0, texts = false, last = Promise.resolve();

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

async function ask(path, sent) {
  const how = sent === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent) };
  const reply = await fetch(path, how);
  const told = await reply.json().catch(() => ({ error: reply.statusText }));
  if (!reply.ok) throw new Error(told.error || reply.statusText);
  return told;
}

function showState(state) {
  rows = state.rows;
  $("name").textContent = `review of ${state.name}`;
  const lot = state.drawn === "random" ? ", drawn by lot" : "";
  $("progress").textContent = `${state.done} of ${state.rows} rows have a verdict${lot}`;
  $("bar").max = state.rows;
  $("bar").value = state.done;
  $("done").hidden = state.done < state.rows;
  $("own").hidden = !state.open;
}

function showRow(told) {
  row = told;
  $("id").textContent = `row ${told.position + 1} of ${rows}: ${told.id}`;
  $("decision").textContent = told.decision;
  $("decision").className = `tag ${told.decision}`;
  $("verdict").textContent = told.verdict ? (told.verdict.value === null ? "you left it out" : `you said ${told.verdict.text}`) : "";
  $("messages").replaceChildren(...told.messages.flatMap((message) =>
    told.messages.length > 1 ? [element("div", message.role, "role"), element("div", message.content)] : [element("div", message.content)]));
  $("given").textContent = told.given ?? "none";
  $("candidates").replaceChildren(...told.candidates.map(candidate));
  $("reason").textContent = told.reason;
  $("votes").replaceChildren(...told.votes.map(voted));
  $("neighbours").replaceChildren(element("div", "looking …", "soft"));
  ask(`neighbours/${told.position}`).then((near) => { if (row === told) showNeighbours(near); })
    .catch((error) => { if (row === told) $("neighbours").textContent = error.message; });
  $("keep").disabled = told.given === null;
  $("answer").value = "";
  $("error").textContent = "";
}

// What an expert wrote opens below its vote, where that says more than the vote.
function voted(vote) {
  const more = vote.text !== "" && vote.text !== vote.value;
  const made = element(more ? "details" : "div", undefined, "vote"), line = element(more ? "summary" : "div", undefined, "line");
  line.append(element("span", vote.expert), element("b", vote.value ?? "no answer"),
    element("span", vote.sure === null ? "" : `${Math.round(100 * vote.sure)} %`));
  made.append(line);
  if (more) {
    made.append(element("p", vote.text));
    made.open = texts;
  }
  return made;
}

function showTexts() {
  texts = !texts;
  for (const vote of document.querySelectorAll("details.vote")) vote.open = texts;
}

function showNeighbours(told) {
  if (told.length === 0) $("neighbours").textContent = "none";
  else $("neighbours").replaceChildren(...told.map((near) => {
    const line = element("div", near.question, "near");
    line.append(" → ", element("b", near.response ?? "–"));
    return line;
  }));
}

function candidate(told, place) {
  const item = element("li"), button = element("button");
  button.type = "button";
  const name = told.text === told.value ? told.text : `${told.value}. ${told.text}`;
  button.append(element("kbd", place < 9 ? place + 1 : " "), element("span", name + (told.given ? "  (given)" : ""), "text"),
    element("span", told.prob === null ? "" : `${Math.round(100 * told.prob)} %`, "prob"));
  if (told.prob !== null) {
    const fill = element("span", undefined, "fill");
    fill.style.width = `${100 * told.prob}%`;
    button.append(fill);
  }
  if (row.verdict && row.verdict.value === told.value) button.classList.add("said");
  button.addEventListener("click", () => say("answer", told.value));
  item.append(button);
  return item;
}

// One thing after another, in the order of the keys.
function act(work) {
  waiting += 1;
  last = last.then(work).catch((error) => { $("error").textContent = error.message; }).finally(() => { waiting -= 1; });
}

const open = async (position) => showRow(await ask(`row/${position}`));
const look = (position) => act(async () => { if (position >= 0 && position < rows) await open(position); });
// A verdict is about the row that is seen: until the next one has come, a key is no verdict on it.
const say = (what, value) => waiting || act(async () => {
  const state = await ask("verdict", { position: row.position, what, value });
  showState(state);
  await open(row.position + 1 < rows ? row.position + 1 : state.next ?? row.position);
});
const undo = () => act(async () => {
  const state = await ask("undo", {});
  showState(state);
  if (state.position === null) throw new Error("there is nothing to undo in this sitting");
  await open(state.position);
});
const first = () => act(async () => { const state = await ask("state"); showState(state); await open(state.next ?? 0); });

const KEYS = {
  k: () => say("keep"), d: () => say("drop"), u: undo, n: first, j: () => look(row.position + 1),
  ArrowRight: () => look(row.position + 1), ArrowLeft: () => look(row.position - 1),
  "?": () => $("keys").showModal(), t: showTexts, a: () => { if (!$("own").hidden) $("answer").focus(); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || row === null) return;
  if (event.target === $("answer")) {
    if (event.key === "Escape") $("answer").blur();
    return;
  }
  const place = "123456789".indexOf(event.key);
  if (place >= 0 && place < row.candidates.length) say("answer", row.candidates[place].value);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});
$("own").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("answer").value.trim()) { say("answer", $("answer").value); $("answer").blur(); }
});
$("keep").addEventListener("click", KEYS.k);
$("drop").addEventListener("click", KEYS.d);
$("undo").addEventListener("click", undo);
$("previous").addEventListener("click", KEYS.ArrowLeft);
$("next").addEventListener("click", KEYS.ArrowRight);
$("help").addEventListener("click", KEYS["?"]);
first();
