"use strict";
// Everything that comes from data is written with textContent: it is text, whatever it looks like.
const PAGE = 50;
const $ = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// A cell that names its column where the columns' names have no room.
function cell(name, text, className) {
  const made = element("td", text, className);
  made.dataset.name = name;
  return made;
}

async function unpacked(id) {
  const bytes = Uint8Array.from(atob($(id).textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function voteText(content, row, vote) {
  if (vote === null) return "no answer";
  const options = content.optionSets[content.columns.options[row]];
  const place = vote.length === 1 ? vote.charCodeAt(0) - 65 : -1;
  return place >= 0 && place < options.length ? `${vote} · ${options[place]}` : vote;
}

function disagree(votes) {
  return new Set(votes.map((vote) => vote[1]).filter((value) => value !== null)).size > 1;
}

function start(content) {
  const { columns, outcomes, experts, reasons } = content;
  const rows = columns.id.map((_, row) => row);
  const texts = rows.map((row) => [columns.id[row], columns.question[row], columns.given[row], columns.final[row],
    reasons[columns.reason[row]]].join("\n").toLowerCase());
  const labels = [...new Set(columns.given)].filter((label) => label !== null).sort();
  for (const outcome of outcomes) $("outcome").append(element("option", outcome));
  if (labels.length <= 100) for (const label of labels) $("label").append(element("option", label));
  else $("label").hidden = true;
  let shown = rows, page = 0, sorting = { key: null, down: false };

  function chosen() {
    const words = $("words").value.toLowerCase(), outcome = $("outcome").value, label = $("label").value;
    shown = rows.filter((row) => (!outcome || outcomes[columns.decision[row]] === outcome)
      && (!label || columns.given[row] === label)
      && (!$("disagree").checked || disagree(columns.votes[row]))
      && (!$("changed").checked || columns.given[row] !== columns.final[row])
      && (!words || texts[row].includes(words)));
    if (sorting.key) {
      const values = columns[sorting.key], sign = sorting.down ? -1 : 1;
      shown.sort((a, b) => sign * (values[a] === values[b] ? a - b : (values[a] ?? "") < (values[b] ?? "") ? -1 : 1));
    }
    page = 0;
    draw();
  }

  function more(row) {
    const line = element("tr", undefined, "more"), whole = element("td");
    whole.colSpan = 6;
    whole.append(element("p", reasons[columns.reason[row]]));
    for (const [expert, vote] of columns.votes[row]) {
      whole.append(element("div", `${experts[expert]}: ${voteText(content, row, vote)}`, "soft"));
    }
    line.append(whole);
    return line;
  }

  function drawn(row) {
    const line = element("tr"), outcome = outcomes[columns.decision[row]], tag = element("td");
    const given = columns.given[row], final = columns.final[row];
    line.tabIndex = 0;
    tag.append(element("span", outcome, `tag ${outcome}`));
    line.append(element("td", columns.id[row]), element("td", columns.question[row], "question"),
      cell("given", given ?? "–"), cell("final", final ?? "–", given === final ? "same" : ""), tag,
      cell("confidence", columns.confidence[row].toFixed(2), "n"));
    const toggle = () => {
      const next = line.nextSibling;
      if (next && next.className === "more") next.remove();
      else line.after(more(row));
    };
    line.addEventListener("click", toggle);
    line.addEventListener("keydown", (event) => { if (event.key === "Enter") toggle(); });
    return line;
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    $("lines").replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(drawn));
    $("found").textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    $("page").textContent = `page ${page + 1} of ${pages}`;
    $("before").disabled = page === 0;
    $("after").disabled = page === pages - 1;
  }

  for (const id of ["words", "outcome", "label", "disagree", "changed"]) $(id).addEventListener("input", chosen);
  for (const button of document.querySelectorAll("#rows th button")) {
    button.addEventListener("click", () => {
      sorting = { key: button.dataset.key, down: sorting.key === button.dataset.key && !sorting.down };
      for (const other of document.querySelectorAll("#rows th")) other.removeAttribute("aria-sort");
      button.parentElement.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      chosen();
    });
  }
  $("before").addEventListener("click", () => { page -= 1; draw(); });
  $("after").addEventListener("click", () => { page += 1; draw(); });
  draw();
}

$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
unpacked("packed").then(start).catch((error) => { $("found").textContent = `the rows can't be shown: ${error}`; });
